"""Any module as a model that analyses take."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from seqprobe import plugins
from seqprobe.adapters.foreign import (
    TOLERANCE,
    Agreement,
    ForeignModel,
    HookedModel,
    compare,
)
from seqprobe.adapters.form import Form, find_form, shown_name
from seqprobe.adapters.huggingface import from_huggingface
from seqprobe.adapters.recurrent import RecurrentModel, recurrent_parts
from seqprobe.adapters.stepped import InitState, Step, SteppedModel, Steps
from seqprobe.adapters.truncated import Truncated
from seqprobe.errors import NotApplicableError, SeqprobeError, UsageError
from seqprobe.models import WholeModel
from seqprobe.models.access import borrowed, float64_twin, like_parameters
from seqprobe.spec import Spec
from seqprobe.tasks import Batch

__all__ = ["wrap"]

_CHECKED = 1024  # steps; what a longer sequence does beyond is not compared


def wrap(
    module: nn.Module,
    batch: Tensor | Batch,
    *,
    state: str | None = None,
    init_state: InitState | None = None,
    step: Step | None = None,
    spec: Spec | None = None,
    name: str | None = None,
) -> WholeModel:
    """Return a module of any origin as a model that every analysis takes as far as it can.

    How it is called is found by calling it: inputs (B, T, D), (T, B, D) or (B, D, T), or tokens;
    outputs with the same axes, (B, T), or one answer per sequence (B, K), which then counts as that
    after the last step. That is enough for sensitivity, substitution, copy curves and context use.

    The state, which the other analyses look into, is found in this order:

    * `init_state` and `step`, or methods of the module of these names (`Steps`);
    * torch's recurrent modules that its forward calls: `RNN`, `GRU`, `LSTM` and their cells, of any
      depth, with projections. A step is the module's own forward on one input, from a given state;
    * the output at every step of the part that `state` names, for measures of recorded states.

    Parameters
    ----------
    module
        A module whose ``forward(x)`` takes sequences alone and returns a tensor, or a tuple that
        begins with one. It is held, and left as it was; its forward runs some times, on `batch` and
        on pieces of it.
    batch
        Inputs (N, T, D) or tokens (N, T) to try it on; two rows are enough.
    state
        Name of a part, as ``module.named_modules()`` has it. The model then ends there: what comes
        after is not computed. The state is that of torch's recurrent modules in the part; if it has
        none, its output at every step.
    init_state, step
        Two functions, see `Steps`.
    spec
        Kinds and sizes of input and output, such as ``task.spec``; None for outputs that are plain
        numbers. It decides whether outputs are logits.
    name
        For tables and figures; None for the name of the class.

    Returns
    -------
    WholeModel
        The module itself if it is one already, a model of transformers by `from_huggingface`, one
        that an adapter of a plug-in knows by that. ``agreement`` of others says how far stepping
        and reading at once are apart.

    Raises
    ------
    NotApplicableError
        If it cannot be called in one of these ways; the line says how to wrap it.
    UsageError
        If sizes do not fit the spec, there is no part of that name, or a state is no tensor.
    SeqprobeError
        If a weight is not finite, its forward fails, or stepping differs from reading at once where
        the user gave the step.

    Notes
    -----
    Stepping and reading at once must agree to 1e-9 in double precision, over the sequences given
    and up to 1024 steps; to 1e-4 in single precision for modules that cannot compute in double.
    Where torch's recurrent modules are found, but a step is not the same function as reading at
    once (attention over time, convolution before the recurrence, packed sequences), the model has
    no state, and analyses that need one say why, with the numbers.

    Examples
    --------
    >>> model = sp.wrap(my_lstm_classifier, x)
    >>> starts = sp.dynamics.sample_states(model, x)
    >>> points = sp.dynamics.fixed_points(model, starts)
    """
    asked = [state, init_state, step, spec, name]
    known = _known(module)
    if known is not None:
        if any(value is not None for value in asked):
            raise UsageError(
                f"{type(module).__name__} says itself what it keeps, reads and gives; leave out"
                " state, init_state, step, spec and name"
            )
        return known
    if not isinstance(module, nn.Module):
        raise UsageError(
            f"a {type(module).__name__} cannot be wrapped (allowed: a torch.nn.Module; for a plain"
            " function use seqprobe.dynamics.CallableMap)"
        )
    if (init_state is None) != (step is None):
        raise UsageError("init_state and step go together; give both or none")
    _check_weights(module)
    given = batch.inputs if isinstance(batch, Batch) else torch.as_tensor(batch)
    x = like_parameters(module, given)
    name = name or type(module).__name__
    whole = module if state is None else Truncated(module, state)
    with borrowed(module):
        form = find_form(whole, x)
        if isinstance(whole, Truncated):
            whole.settle()
        spec = _spec(whole, form, x, spec if state is None else None)
        if step is None and state is None and isinstance(module, Steps):
            init_state, step = module.init_state, module.step
        if init_state is not None and step is not None:
            if state is not None:
                raise UsageError("give a part (state) or two functions (init_state, step)")
            return _with_steps(module, form, spec, name, init_state, step, x)
        return _with_recurrence(whole, form, spec, name, x, state)


def _known(module: object) -> WholeModel | None:
    """Return what needs no wrapping, or has an adapter of its own."""
    if isinstance(module, WholeModel):
        return module
    if not isinstance(module, nn.Module):
        return None
    if _is_huggingface(module):
        return from_huggingface(cast("Any", module))
    return _by_plugin(module)


def _by_plugin(module: nn.Module) -> WholeModel | None:
    """Return what an adapter of a plug-in makes of a module, if one knows it."""
    for adapter in plugins.adapters():
        try:
            made = adapter.wrap(module) if adapter.matches(module) else None
        except SeqprobeError:
            raise
        except Exception as error:
            reason = " ".join(str(error).split())
            raise SeqprobeError(
                f"adapter '{adapter.name}' of a plug-in fails on {type(module).__name__}:"
                f" {type(error).__name__}: {reason[:300]}; repair or uninstall it"
            ) from error
        if made is None:
            continue
        if not isinstance(made, WholeModel):
            raise SeqprobeError(
                f"adapter '{adapter.name}' of a plug-in returns a {type(made).__name__} (allowed: a"
                " WholeModel); repair or uninstall it"
            )
        return made
    return None


def _is_huggingface(module: nn.Module) -> bool:
    """Say whether a module is one of transformers, without importing that."""
    bases = {f"{kind.__module__}.{kind.__name__}" for kind in type(module).__mro__}
    return "transformers.modeling_utils.PreTrainedModel" in bases


def _check_weights(module: nn.Module) -> None:
    named = [*module.named_parameters(), *module.named_buffers()]
    for name, tensor in named:
        if is_lazy(tensor):
            raise NotApplicableError(
                f"weight '{name}' has no size yet (a lazy module); run the module once, or build it"
                " with its sizes"
            )
        if not (tensor.is_floating_point() or tensor.is_complex()):
            continue
        bad = int((~torch.isfinite(tensor)).sum())
        if bad and name in dict(module.named_parameters()):
            raise SeqprobeError(
                f"weight '{name}' holds NaN or infinity ({bad} of {tensor.numel()} values), and so"
                " does every output; check the file, or train the model again"
            )
        if bool(tensor.isnan().any()):  # infinities are how masks are made
            raise SeqprobeError(
                f"buffer '{name}' holds NaN; check the file, or train the model again"
            )


def _spec(module: nn.Module, form: Form, x: Tensor, asked: Spec | None) -> Spec:
    """Return what goes in and out, or refuse a task that asks for something else."""
    with torch.no_grad():
        outputs = form.run(module, x[:2]).shape[2]
    kind = "token" if form.tokens else "continuous"
    found = x.shape[2] if x.dim() == 3 else int(x.max()) + 1
    if form.embedding is not None:
        table = module.get_submodule(form.embedding)
        found = cast("nn.Embedding", table).num_embeddings
    readout = "last" if form.pooled else "each"
    if asked is None:
        return Spec(kind, found, "regression", outputs, readout)  # type: ignore[arg-type]
    if asked.output_size != outputs:
        raise UsageError(
            f"{shown_name(module)} has {outputs} outputs, the task asks for"
            f" {asked.output_size}; build it with as many"
        )
    if asked.readout == "each" and form.pooled:
        raise UsageError(
            f"{shown_name(module)} gives one answer per sequence, the task scores every step;"
            " return (B, T, K)"
        )
    return asked


def _with_steps(
    module: nn.Module,
    form: Form,
    spec: Spec,
    name: str,
    init_state: InitState,
    step: Step,
    x: Tensor,
) -> WholeModel:
    model = SteppedModel(module, form, spec, name, init_state, step)
    found = _checked(model, x)
    if not found.good:
        raise SeqprobeError(
            f"step of {name} is not its forward: over {found.steps} steps outputs differ by"
            f" {found.output:.1e} of the largest (allowed: {TOLERANCE[found.dtype]:g} in"
            f" {found.dtype})"
        )
    model.agreement = found
    return model


def _with_recurrence(
    module: nn.Module, form: Form, spec: Spec, name: str, x: Tensor, state: str | None
) -> WholeModel:
    """Return the model with the state of torch's recurrent modules, if they are all of it."""
    try:
        seen = recurrent_parts(module, form, x)
        if state is not None:  # what keeps a state beside the part shows in the comparison
            seen = [found for found in seen if f"{found[0]}.".startswith(f"whole.{state}.")]
        if not seen:
            raise NotApplicableError(f"{name} has no state that is known: {_how_to_find(state)}")
        paths = [path for path, _ in seen]
        if len(set(paths)) < len(paths):
            twice = next(path for path in paths if paths.count(path) > 1)
            raise NotApplicableError(
                f"'{twice}' of {name} is called {paths.count(twice)} times for one input, so that a"
                f" step is not one step of it; {_how_to_find(state)}"
            )
        direct = len(seen) == 1 and _reads_inputs(module, form, x, seen[0][1].read)
        model = RecurrentModel(module, form, spec, name, seen, direct)
        if not model.causal:
            return model
        found = _checked(model, x)
        if not found.good:
            raise NotApplicableError(
                f"{name} cannot be stepped: over {found.steps} steps its outputs differ from those"
                f" of reading at once by {found.output:.1e} of the largest, states by"
                f" {found.state:.1e} (allowed: {TOLERANCE[found.dtype]:g});"
                f" {_how_to_find(state, paths[0])}"
            )
    except SeqprobeError as error:
        if state is not None:
            if form.pooled:
                raise NotApplicableError(
                    f"'{state}' of {name} gives one output per sequence, not one per step; name a"
                    " part that gives (B, T, H)"
                ) from None
            return HookedModel(module, form, spec, name, str(error))
        return ForeignModel(module, form, spec, name, str(error))
    model.agreement = found
    return model


def _how_to_find(state: str | None, path: str = "NAME") -> str:
    if state is not None:
        return "measures of recorded states (dimension, linear, record) take it as it is"
    return (
        f"name the part whose output is the state (--state {path}, or state='{path}'), or give the"
        " module the methods init_state(batch) and step(x_t, state)"
    )


def _reads_inputs(module: nn.Module, form: Form, x: Tensor, read: object) -> bool:
    """Say whether a recurrent module reads one input (N, 1, D), or its embedding, as it is."""
    first = x[:, :1]
    if form.tokens:
        if form.embedding is None:
            return False
        first = cast("nn.Embedding", module.get_submodule(form.embedding))(first)
    return (
        isinstance(read, Tensor)
        and read.numel() == first.numel()
        and bool((read.reshape(first.shape) == first).all())
    )


def _checked(model: ForeignModel, x: Tensor) -> Agreement:
    """Compare stepping with reading at once, in double precision where the module can."""
    x = x[: min(2, len(x)), :_CHECKED]
    try:
        return _compared(float64_twin(model), x)
    except SeqprobeError:
        # It makes tensors of single precision in its forward, or a function of the user's holds the
        # module itself and not its copy.
        return _compared(model, x)


def _compared(model: nn.Module, x: Tensor) -> Agreement:
    with borrowed(model):
        return compare(cast("ForeignModel", model), x)
