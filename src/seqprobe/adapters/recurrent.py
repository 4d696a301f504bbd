"""A module that computes with torch's recurrent modules: their state is found and put in."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, cast

import torch
from torch import Tensor, nn

from seqprobe.adapters.foreign import ForeignModel
from seqprobe.adapters.form import Form
from seqprobe.adapters.intercept import Call, calls, replaced
from seqprobe.adapters.torch_rnn import from_torch
from seqprobe.errors import NotApplicableError
from seqprobe.models import SequenceModule, Trace
from seqprobe.models.base import Stack, scanned
from seqprobe.spec import Spec
from seqprobe.state import State

__all__ = ["RECURRENT", "RecurrentModel", "recurrent_parts"]

RECURRENT = (nn.RNNBase, nn.RNNCellBase)


def recurrent_parts(module: nn.Module, form: Form, x: Tensor) -> list[tuple[str, Call]]:
    """Return the calls of torch's recurrent modules that one step (N, 1, D) makes, in order."""
    with calls(module, *RECURRENT) as seen, torch.no_grad():
        form.run(module, x[:, :1])
    return seen


class RecurrentModel(ForeignModel):
    """A module whose state is that of the recurrent modules of torch inside it.

    One step is the user's own forward on a sequence of one step, in which every recurrent module
    starts from the given state in place of what it is passed. That is the same function as reading
    the whole sequence if all else acts on each step by itself; `seqprobe.wrap` checks it.

    State: ``layer<i>.h`` and ``layer<i>.c`` as in `from_torch`, with the path of the module before
    it if there are several. Internals: those of the same layers of ours, under the same prefix.

    Parameters
    ----------
    module, form, spec, name
        As in `ForeignModel`.
    seen
        The calls that one step makes, see `recurrent_parts`.
    direct
        True if the only recurrent module reads the inputs, or their embedding, as they are.
    """

    stepwise = True

    def __init__(
        self,
        module: nn.Module,
        form: Form,
        spec: Spec,
        name: str,
        seen: list[tuple[str, Call]],
        direct: bool,
    ) -> None:
        both_ways = f"{name} reads its sequences in both directions and has no step"
        super().__init__(module, form, spec, name, f"{both_ways}; use a causal model")
        self.paths = [path for path, _ in seen]
        for path in self.paths:
            _check_hooks(path, self._part(path))
        self._built: tuple[object, list[Stack]] = (None, [])
        self.causal = all(core.causal for core in self._stacks())
        self._direct = direct
        starts = [_given_state(self._part(path), call) for path, call in seen]
        self._learned = [
            start is not None and any(bool(part.any()) for part in start) for start in starts
        ]

    def _stacks(self) -> list[Stack]:
        """Return our layers of every recurrent module, made anew when its weights have changed.

        torch's two biases are summed in the precision of the module, so that a copy in double
        precision cannot use the sums of the original.
        """
        parts = [self._part(path) for path in self.paths]
        key = [
            (weight.dtype, weight.device, weight.data_ptr(), weight._version)
            for part in parts
            for weight in part.parameters()
        ]
        if self._built[0] != key:
            built = [from_torch(part).eval() for part in parts]
            for core in built:
                for weight in core.parameters():
                    weight.requires_grad = False  # requires_grad_ refuses inside of torch.func
            self._built = (key, built)
        return self._built[1]

    def _part(self, path: str) -> nn.Module:
        return self.module.get_submodule(path)

    def _prefix(self, path: str) -> str:
        return f"{path}." if len(self.paths) > 1 else ""

    def state_module(self) -> SequenceModule | None:
        """Return the layers that compute the same, if they read what `embed` returns."""
        return self._stacks()[0] if self._direct else None

    def init_state(self, batch: int) -> State:
        """Return the state before the first input: what the module itself starts from."""
        if not self.causal:
            raise self._stateless()
        if not any(self._learned):
            return self._zero_state(batch)
        x = self.blank(batch, 1)
        state = self._zero_state(batch)
        for path, call in recurrent_parts(self.module, self.form, x):
            found = _given_state(self._part(path), call)
            if found is not None and path in self.paths:
                state |= self._named(path, found)
        return state

    def _zero_state(self, batch: int) -> State:
        state: State = {}
        for path, core in zip(self.paths, self._stacks(), strict=True):
            for part, tensor in core.init_state(batch).items():
                state[self._prefix(path) + part] = tensor
        return state

    def _named(self, path: str, found: tuple[Tensor, ...]) -> State:
        """Return torch's h, or (h, c), each (L, B, H), by name, layer by layer."""
        prefix = self._prefix(path)
        return {
            f"{prefix}layer{i}.{part}": of_layer
            for i in range(len(found[0]))
            for part, of_layer in zip("hc", (tensor[i] for tensor in found), strict=False)
        }

    def state_size(self, length: int) -> int:
        """Return the number of reals of all recurrent modules, whatever the length."""
        if not self.causal:
            raise self._stateless()
        return sum(core.state_size(length) for core in self._stacks())

    def forward(
        self, x: Tensor, state: State | None = None, trace: Trace | None = None
    ) -> tuple[Tensor, State]:
        """Map (B, T, D) or tokens (B, T) to (B, T, K) and the state; see `SequenceModule.forward`.

        From the start, and without internals, it is the user's forward as it is.
        """
        if not self.causal:
            return super().forward(x, state, trace)
        if state is not None or trace is not None:
            return self._scanned(x, self.init_state(len(x)) if state is None else state, trace)
        with calls(self.module, *RECURRENT) as seen:
            y = self.outputs(x)
        last = dict(seen)  # of a cell that is called at every step, the last call
        after: State = {}
        for path in self.paths:
            after |= self._named(path, _returned_state(self._part(path), last[path]))
        return y, after

    def _scanned(self, x: Tensor, state: State, trace: Trace | None) -> tuple[Tensor, State]:
        y, state = scanned(self, x, state, trace)
        if self.form.pooled:
            y = torch.cat([torch.zeros_like(y[:, :-1]), y[:, -1:]], dim=1)
        return y, state

    def step(self, x_t: Tensor, state: State, trace: Trace | None = None) -> tuple[Tensor, State]:
        """Map (B, D) or tokens (B,) to (B, K) and the next state; see `SequenceModule.step`."""
        if not self.causal:
            raise self._stateless()
        after: State = {}
        with self._stepping(state, after, trace):
            y = self.form.run(self.module, x_t[:, None])
        missing = state.keys() - after.keys()
        if missing:
            raise NotApplicableError(
                f"a step of {self.name} does not reach the part that keeps '{min(missing)}'; name"
                " the part to look into (--state NAME, or seqprobe.wrap(module, batch, state=NAME))"
            )
        return y[:, 0], {name: after[name] for name in state}

    @contextmanager
    def _stepping(self, state: State, after: State, trace: Trace | None) -> Iterator[None]:
        by: dict[str, Callable[..., Any]] = {}
        for path, core in zip(self.paths, self._stacks(), strict=True):
            by[path] = self._one_step(path, core, state, after, trace)
        with replaced(self.module, by):
            yield

    def _one_step(
        self, path: str, core: Stack, state: State, after: State, trace: Trace | None
    ) -> Callable[..., Any]:
        """Return a forward of one recurrent module for one step from the given state."""
        part, prefix = self._part(path), self._prefix(path)
        before = {n.removeprefix(prefix): s for n, s in state.items() if n.startswith(prefix)}
        scope = trace.scope(path) if trace is not None and prefix else trace

        def forward(input: Any, hx: Any = None) -> Any:  # noqa: A002  # torch's name of it
            del hx  # what the user starts from, in place of which there is the state
            if not isinstance(input, Tensor):
                raise NotApplicableError(
                    f"'{path}' of {self.name} reads packed sequences, which have no step; give it"
                    " padded ones (B, T, D)"
                )
            if input.dim() == 3 and input.shape[1 if _batch_first(part) else 0] != 1:
                raise NotApplicableError(
                    f"'{path}' of {self.name} makes several steps for one input; name the part to"
                    " look into (--state NAME, or seqprobe.wrap(module, batch, state=NAME))"
                )
            x_t = input if input.dim() == 2 else input.squeeze(1 if _batch_first(part) else 0)
            h, made = core.step(x_t, before, scope)
            after.update({prefix + name: tensor for name, tensor in made.items()})
            return _as_torch(part, h, made, len(core.layers))

        return forward


def _check_hooks(path: str, part: nn.Module) -> None:
    """Refuse weights that are made anew before every call: they may be those of the last one."""
    makers = ("WeightNorm", "SpectralNorm")
    made = [type(h).__name__ for h in part._forward_pre_hooks.values()]
    wrong = [name for name in made if name in makers]
    if wrong:
        raise NotApplicableError(
            f"'{path}' has weights that a hook ({wrong[0]}) makes at every call; use"
            " torch.nn.utils.parametrizations instead"
        )


def _batch_first(part: nn.Module) -> bool:
    return bool(getattr(part, "batch_first", True))


def _as_torch(part: nn.Module, h: Tensor, made: State, layers: int) -> Any:
    """Return what torch's module would: (y, state), or the state of a cell."""
    names = ("h", "c") if isinstance(part, nn.LSTM | nn.LSTMCell) else ("h",)
    if isinstance(part, nn.RNNCellBase):
        found = tuple(made[f"layer0.{name}"] for name in names)
    else:
        found = tuple(
            torch.stack([made[f"layer{i}.{name}"] for i in range(layers)]) for name in names
        )
    state = found if len(found) > 1 else found[0]
    if isinstance(part, nn.RNNCellBase):
        return state
    return h.unsqueeze(1 if _batch_first(part) else 0), state


def _given_state(part: nn.Module, call: Call) -> tuple[Tensor, ...] | None:
    """Return the state that a recurrent module was started from, each part (L, B, H)."""
    given = call.args[1] if len(call.args) > 1 else call.kwargs.get("hx")
    return None if given is None else _layered(part, given)


def _returned_state(part: nn.Module, call: Call) -> tuple[Tensor, ...]:
    is_cell = isinstance(part, nn.RNNCellBase)
    return _layered(part, call.result if is_cell else call.result[1])


def _layered(part: nn.Module, found: Any) -> tuple[Tensor, ...]:
    tensors = cast("tuple[Tensor, ...]", found if isinstance(found, tuple | list) else (found,))
    return tuple(t[None] if isinstance(part, nn.RNNCellBase) else t for t in tensors)
