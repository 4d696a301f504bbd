"""What goes into a module and what comes out of it: found by trying, then kept."""

from __future__ import annotations

import inspect
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seqprobe.adapters.intercept import calls, replaced
from seqprobe.errors import NotApplicableError, SeqprobeError, UsageError
from seqprobe.models.access import other_values

__all__ = ["HOW_TO_WRAP", "Form", "Layout", "find_form", "plain_output", "shown_name"]

# Axes of inputs and outputs: batch, time, and features (d or k). Without a t it is one answer per
# sequence; without a k it is one number.
Layout = Literal["btd", "tbd", "bdt"]
_OUTPUTS = ("btk", "tbk", "bkt", "bt", "tb", "bk", "b")
_ROWS = 64  # of tokens on which vectors are compared with them
_TOLERANCE = 1e-4  # of the largest output: rows computed together or apart, in single precision

HOW_TO_WRAP = (
    "write a module whose forward(x) takes (B, T, D), or tokens (B, T), and returns (B, T, K)"
)


@dataclass(frozen=True)
class Form:
    """How a module is called, and how its result is read.

    Attributes
    ----------
    inputs, outputs
        Order of the axes.
    tokens
        True if it reads integers (B, T).
    embedding
        Path of the table that turns them into vectors, or None.
    head
        Path of the linear map that makes the output, or None.
    head_reads
        Order of the axes of what it reads; ``"flat"`` for (B T, H), ``"turned"`` for (T B, H).
    """

    inputs: Layout = "btd"
    outputs: str = "btk"
    tokens: bool = False
    embedding: str | None = None
    head: str | None = None
    head_reads: str = "btd"

    @property
    def pooled(self) -> bool:
        """True if there is one output per sequence, that after its last step."""
        return "t" not in self.outputs

    def run(self, module: nn.Module, x: Tensor) -> Tensor:
        """Return the output (B, T, K) for (B, T, D) or tokens (B, T).

        Of a module with one output per sequence, that stands at the last step; those before, which
        shorter sequences would give, are zero.
        """
        if self.tokens and x.is_floating_point():
            if self.embedding is None:
                raise NotApplicableError(
                    f"{shown_name(module)} takes tokens, and no single nn.Embedding reads them,"
                    " so there is nothing to differentiate by; use a measure without gradients"
                    " (total-effect, substitution, context)"
                )
            symbols = torch.zeros(x.shape[:2], dtype=torch.long, device=x.device)
            vectors = x.transpose(0, 1) if self.inputs == "tbd" else x
            with replaced(module, {self.embedding: lambda tokens: vectors}):
                return self.read(_call(module, self.arranged(symbols)), x)
        return self.read(_call(module, self.arranged(x)), x)

    def arranged(self, x: Tensor) -> Tensor:
        """Return (B, T, D) or tokens (B, T) in the order that the module takes."""
        if self.inputs == "tbd":
            return x.transpose(0, 1)
        return x.mT if self.inputs == "bdt" else x

    def before_head(self, module: nn.Module, x: Tensor) -> Tensor:
        """Return what the head reads, (B, T, H)."""
        assert self.head is not None  # the caller asks first
        head = module.get_submodule(self.head)
        with calls(module, type(head)) as seen:
            self.run(module, x)
        read: Tensor = next(call.read for path, call in reversed(seen) if path == self.head)
        steps = (x.shape[0], x.shape[1])
        if self.head_reads == "flat":
            return read.reshape(*steps, -1)
        if self.head_reads == "turned":
            return read.reshape(*steps[::-1], -1).transpose(0, 1)
        return {"btd": read, "bdt": read.mT, "tbd": read.transpose(0, 1)}[self.head_reads]

    def read(self, result: Any, x: Tensor) -> Tensor:
        """Return what a module returned as (B, T, K)."""
        y = plain_output(result)
        if y.dim() != len(self.outputs):
            raise SeqprobeError(
                f"output has shape {tuple(y.shape)} here and had {len(self.outputs)} axes when the"
                " model was wrapped; return the same axes for all lengths and batch sizes"
            )
        if self.pooled:
            y = y[:, None] if self.outputs == "b" else y
            return F.pad(y[:, None], (0, 0, x.shape[1] - 1, 0))
        if self.outputs in ("bt", "tb"):
            y = y[..., None]
        if self.outputs in ("tbk", "tb"):
            return y.transpose(0, 1)
        return y.mT if self.outputs == "bkt" else y


def shown_name(module: nn.Module) -> str:
    """Return the name of the user's class, also of a part of it."""
    return type(getattr(module, "whole", module)).__name__


def plain_output(result: Any) -> Tensor:
    """Return the tensor that a forward returned, alone or first in a tuple.

    Raises
    ------
    NotApplicableError
        If it is something else; the line says how to wrap it.
    """
    while isinstance(result, tuple | list) and result:
        if hasattr(result, "batch_sizes"):
            raise NotApplicableError(
                "forward returns a packed sequence; unpack it (pad_packed_sequence) and return"
                " (B, T, K)"
            )
        result = result[0]
    if not isinstance(result, Tensor):
        kind = type(result).__name__
        keys = ", ".join(map(repr, list(result)[:3])) if isinstance(result, dict) else ""
        raise NotApplicableError(
            f"forward returns a {kind}{f' ({keys})' if keys else ''}, not a tensor (allowed: a"
            f" tensor, or a tuple that begins with one); {HOW_TO_WRAP}"
        )
    return result


def _call(module: nn.Module, x: Tensor) -> Any:
    """Run a user's forward; what goes wrong in it is one line."""
    try:
        return module(x)
    except SeqprobeError:
        raise
    except Exception as error:
        reason = " ".join(str(error).split()) or "no message"
        raise SeqprobeError(
            f"forward of {shown_name(module)} fails on inputs of shape {tuple(x.shape)}"
            f" ({str(x.dtype).removeprefix('torch.')}): {type(error).__name__}: {reason[:300]}"
        ) from error


def check_signature(module: nn.Module) -> None:
    """Refuse a forward that needs more than one argument."""
    try:
        signature = inspect.signature(module.forward)
    except (TypeError, ValueError):  # a compiled one says nothing of itself
        return
    try:
        signature.bind(None)
    except TypeError:
        names = ", ".join(signature.parameters)
        raise NotApplicableError(
            f"forward of {shown_name(module)} takes ({names}), and is given inputs alone;"
            f" {HOW_TO_WRAP}, and gives the rest itself"
        ) from None


def find_form(module: nn.Module, x: Tensor) -> Form:
    """Find out how a module is called, by calling it.

    Rows of a batch must not depend on each other: that tells (B, T, D) from (T, B, D). Lengths
    unlike the number of features tell it from (B, D, T).

    Parameters
    ----------
    module
        In evaluation mode; it runs without gradients.
    x
        Inputs (N, T, D) of reals, or tokens (N, T).

    Raises
    ------
    NotApplicableError
        If its result is no tensor, has another number of steps, rows depend on each other, or two
        calls on the same inputs differ.
    SeqprobeError
        If it fails however it is called; the message is that of (B, T, D).
    """
    check_signature(module)
    _check_input(x)
    layouts: tuple[Layout, ...] = ("btd", "tbd", "bdt") if x.dim() == 3 else ("btd", "tbd")
    first: SeqprobeError | None = None
    with torch.no_grad():
        for layout in layouts:
            try:
                form, probe = _outputs(module, layout, x)
                _check_same(module, form, probe)
                _check_rows(module, form, probe)
            except SeqprobeError as error:
                first = first or error
            else:
                return _with_ends(module, form, probe, x)
    assert first is not None  # one layout was tried at least
    raise first


def _check_input(x: Tensor) -> None:
    if x.dim() not in (2, 3) or 0 in x.shape or (x.dim() == 2) == x.is_floating_point():
        raise UsageError(
            f"inputs have shape {tuple(x.shape)} (allowed: (N, T, D) reals, or (N, T) integer"
            " tokens)"
        )
    if not bool(torch.isfinite(x).all()):
        raise UsageError("inputs hold values that are not finite (allowed: numbers)")


def _probes(x: Tensor) -> list[Tensor]:
    """Return a few rows in several lengths, all sizes unlike each other; the given length last."""
    length, features = x.shape[1], x.shape[2] if x.dim() == 3 else 0
    count = next(n for n in (3, 4, 5, 6, 7, 8, 9) if n not in (length, features))
    rows = x[torch.arange(count, device=x.device) % len(x)]
    twice = torch.cat([rows, rows], dim=1) if length > 1 else torch.cat([rows] * 12, dim=1)
    lengths = [n for n in (length + 1, length + 2, length + 3) if n not in (features, count)]
    longer = [twice[:, :n] for n in lengths[:1] if n <= twice.shape[1]]
    shorter = [rows[:, :n] for n in (length - 1,) if n > 1 and n not in (features, count)]
    return [*longer, *shorter, rows]


def _outputs(module: nn.Module, layout: Layout, x: Tensor) -> tuple[Form, Tensor]:
    """Return how the output is laid out, and inputs that the module takes, the longest first."""
    form = Form(layout, tokens=not x.is_floating_point())
    fitting, taken = set(_OUTPUTS), []
    refused: SeqprobeError | None = None
    for probe in _probes(x):  # some take one length only, or none above one
        try:
            y = plain_output(_call(module, form.arranged(probe)))
        except SeqprobeError as error:
            refused = error
            continue
        fitting &= _fitting(y, probe)
        taken.append(probe)
        if not fitting:
            raise NotApplicableError(
                f"output of {shown_name(module)} has shape {tuple(y.shape)} for {len(probe)}"
                f" sequences of {probe.shape[1]} steps (allowed: (B, T, K), or (B, K) for one"
                f" answer per sequence); {HOW_TO_WRAP}"
            )
    if not taken:
        assert refused is not None  # nothing ran, so something failed
        raise refused
    if all(probe.dim() == 3 and probe.shape[1] == probe.shape[2] for probe in taken):
        raise NotApplicableError(
            f"{shown_name(module)} takes {x.shape[1]} steps of {x.shape[2]} inputs and no other"
            f" length, so that (B, T, D) and (B, D, T) cannot be told apart; {HOW_TO_WRAP}"
        )
    outputs = next(name for name in _OUTPUTS if name in fitting)
    return replace(form, outputs=outputs), taken[0]


def _fitting(y: Tensor, x: Tensor) -> set[str]:
    sizes = {"b": x.shape[0], "t": x.shape[1]}
    return {
        name
        for name in _OUTPUTS
        if len(name) == y.dim()
        and all(sizes.get(axis, size) == size for axis, size in zip(name, y.shape, strict=True))
    }


def _check_same(module: nn.Module, form: Form, x: Tensor) -> None:
    """Refuse a module that answers otherwise when asked again."""
    first, second = form.run(module, x), form.run(module, x)
    if not torch.equal(first.nan_to_num(), second.nan_to_num()):
        apart = float((first - second).abs().amax())
        raise NotApplicableError(
            f"two calls of {shown_name(module)} on the same inputs differ by {apart:.1e}: it draws"
            " noise in evaluation, or keeps a state between calls; start every forward anew"
        )


def _check_rows(module: nn.Module, form: Form, x: Tensor) -> None:
    """Refuse a module in which a row of the batch depends on another."""
    y = form.run(module, x)
    for moved, watched in ((0, slice(1, None)), (len(x) - 1, slice(0, len(x) - 1))):
        other = x.clone()
        other[moved] = other_values(x, x[moved])
        change = (form.run(module, other) - y)[watched].abs().amax()
        scale = y.abs().amax().clamp(min=1e-6)
        if not bool(change <= _TOLERANCE * scale) and bool(torch.isfinite(change)):
            raise NotApplicableError(
                f"sequences of a batch depend on each other in {shown_name(module)}: changing one"
                f" moved another's output by {float(change):.1e}; {HOW_TO_WRAP}, each row by itself"
            )


def _with_ends(module: nn.Module, form: Form, probe: Tensor, x: Tensor) -> Form:
    """Add what reads the tokens and what makes the output, where they can be told."""
    with calls(module, nn.Embedding, nn.Linear, nn.Conv1d) as seen:
        result = plain_output(_call(module, form.arranged(probe)))
    tables = {
        path
        for path, call in seen
        if isinstance(module.get_submodule(path), nn.Embedding)
        and _same(call.read, form.arranged(probe))
    }
    if form.tokens and len(tables) == 1:
        found = replace(form, embedding=next(iter(tables)))
        # A mask made of the tokens, as for padding, would be another one if vectors are put in.
        if _embeds(module, found, x):
            form = found
    head = next(
        (
            path
            for path, call in reversed(seen)
            if not isinstance(module.get_submodule(path), nn.Embedding)
            and isinstance(call.result, Tensor)
            # A view, as a transposed or squeezed output is, lies at the same place in memory.
            and call.result.data_ptr() == result.data_ptr()
            and call.result.numel() == result.numel()
        ),
        None,
    )
    orders = ("btd", "bdt", "tbd", "flat", "turned") if head and not form.pooled else ()
    for order in orders:
        made = replace(form, head=head, head_reads=order)
        if _reproduces(module, made, probe):
            return made
    return form


def _reproduces(module: nn.Module, form: Form, x: Tensor) -> bool:
    """Say whether the head makes the output of what it is thought to read."""
    head = module.get_submodule(str(form.head))
    try:
        features = form.before_head(module, x)
        convolution = isinstance(head, nn.Conv1d)
        y = head(features.mT).mT if convolution else head(features)
    except RuntimeError:  # sizes that do not fit are an answer
        return False
    wanted = form.run(module, x)
    return y.shape == wanted.shape and bool(torch.allclose(y, wanted, rtol=1e-4, atol=1e-5))


def _embeds(module: nn.Module, form: Form, x: Tensor) -> bool:
    """Say whether vectors in the place of tokens make the same outputs, for every token."""
    table = module.get_submodule(str(form.embedding))
    assert isinstance(table, nn.Embedding)
    symbols = torch.arange(table.num_embeddings, device=x.device)
    rows = min(_ROWS, -(-len(symbols) // x.shape[1]))
    every = symbols.repeat(-(-rows * x.shape[1] // len(symbols)))[: rows * x.shape[1]]
    tokens = torch.cat([x[:_ROWS], every.reshape(rows, x.shape[1])])
    return torch.equal(form.run(module, table(tokens)), form.run(module, tokens))


def _same(read: object, given: Tensor) -> bool:
    return isinstance(read, Tensor) and read.shape == given.shape and bool((read == given).all())
