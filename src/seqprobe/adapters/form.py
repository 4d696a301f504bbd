"""What goes into a module and what comes out of it: found by trying, then kept."""

from __future__ import annotations

import inspect
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seqprobe.adapters.intercept import calls, replaced
from seqprobe.errors import NotApplicableError, SeqprobeError, UsageError
from seqprobe.models.access import other_values

__all__ = ["HOW_TO_WRAP", "Form", "Layout", "find_form"]

# Axes of inputs and outputs: batch, time, and features (d or k). Without a t it is one answer per
# sequence; without a k it is one number.
Layout = Literal["btd", "tbd", "bdt"]
_OUTPUTS = ("btk", "tbk", "bkt", "bt", "tb", "bk", "b")
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
        Order of the axes of what it reads.
    """

    inputs: Layout = "btd"
    outputs: str = "btk"
    tokens: bool = False
    embedding: str | None = None
    head: str | None = None
    head_reads: Layout = "btd"

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
                    f"{type(module).__name__} takes tokens, and no single nn.Embedding reads them,"
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
            f"forward of {type(module).__name__} fails on inputs of shape {tuple(x.shape)}"
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
            f"forward of {type(module).__name__} takes ({names}), and is given inputs alone;"
            f" {HOW_TO_WRAP}, and gives the rest itself"
        ) from None


def find_form(module: nn.Module, x: Tensor) -> Form:
    """Find out how a module is called, by calling it.

    Rows of a batch must not depend on each other: that tells (B, T, D) from (T, B, D).

    Parameters
    ----------
    module
        In evaluation mode; it runs without gradients.
    x
        Inputs (N, T, D) of reals, or tokens (N, T).

    Raises
    ------
    NotApplicableError
        If its result is no tensor, has another number of steps, or rows depend on each other.
    SeqprobeError
        If it fails however it is called; the message is that of (B, T, D).
    """
    check_signature(module)
    x = _probe(x)
    layouts: tuple[Layout, ...] = ("btd", "tbd", "bdt") if x.dim() == 3 else ("btd", "tbd")
    first: SeqprobeError | None = None
    with torch.no_grad():
        for layout in layouts:
            try:
                outputs = _outputs(module, Form(layout), x)
                form = Form(layout, outputs, tokens=not x.is_floating_point())
                _check_rows(module, form, x)
            except SeqprobeError as error:
                first = first or error
            else:
                return _with_ends(module, form, x)
    assert first is not None  # one layout was tried at least
    raise first


def _probe(x: Tensor) -> Tensor:
    """Return a few rows, their number unlike any other size, each unlike the others."""
    if x.dim() not in (2, 3) or 0 in x.shape:
        raise UsageError(
            f"inputs have shape {tuple(x.shape)} (allowed: (N, T, D), or tokens (N, T))"
        )
    used = {*x.shape[1:], x.shape[1] - 1}
    count = next(n for n in (3, 4, 5, 6, 7) if n not in used)
    return x[torch.arange(count, device=x.device) % len(x)]


def _outputs(module: nn.Module, form: Form, x: Tensor) -> str:
    """Return the order of the axes of the output, from two lengths where both are possible."""
    fitting = _fitting(plain_output(_call(module, form.arranged(x))), x)
    if x.shape[1] > 2 and len(fitting) > 1:
        shorter = x[:, :-1]
        with suppress(SeqprobeError):  # it may take one length only; the first guess stands
            fitting &= _fitting(plain_output(_call(module, form.arranged(shorter))), shorter)
    if not fitting:
        shape = tuple(plain_output(_call(module, form.arranged(x))).shape)
        raise NotApplicableError(
            f"output of {type(module).__name__} has shape {shape} for {len(x)} sequences of"
            f" {x.shape[1]} steps (allowed: (B, T, K), or (B, K) for one answer per sequence);"
            f" {HOW_TO_WRAP}"
        )
    return next(name for name in _OUTPUTS if name in fitting)


def _fitting(y: Tensor, x: Tensor) -> set[str]:
    sizes = {"b": x.shape[0], "t": x.shape[1]}
    return {
        name
        for name in _OUTPUTS
        if len(name) == y.dim()
        and all(sizes.get(axis, size) == size for axis, size in zip(name, y.shape, strict=True))
    }


def _check_rows(module: nn.Module, form: Form, x: Tensor) -> None:
    """Refuse a module in which a row of the batch depends on another."""
    y = form.run(module, x)
    for moved, watched in ((0, slice(1, None)), (len(x) - 1, slice(0, len(x) - 1))):
        other = x.clone()
        other[moved] = _redrawn(x, moved)
        change = (form.run(module, other) - y)[watched].abs().amax()
        scale = y.abs().amax().clamp(min=1e-6)
        if not bool(change <= _TOLERANCE * scale) and bool(torch.isfinite(change)):
            raise NotApplicableError(
                f"sequences of a batch depend on each other in {type(module).__name__}: changing"
                f" one moved another's output by {float(change):.1e}; {HOW_TO_WRAP}, each row by"
                " itself"
            )


def _redrawn(x: Tensor, row: int) -> Tensor:
    """Return a row of unlike values: a shift of all alike could cancel in a norm or a mean."""
    if not x.is_floating_point():
        return other_values(x, x[row])
    rng = torch.Generator().manual_seed(row)
    noise = torch.randn(x[row].shape, generator=rng).to(x.device, x.dtype)
    return x[row] + x.abs().amax().clamp(min=1.0) * noise


def _with_ends(module: nn.Module, form: Form, x: Tensor) -> Form:
    """Add what reads the tokens and what makes the output, where they can be told."""
    with calls(module, nn.Embedding, nn.Linear, nn.Conv1d) as seen:
        result = plain_output(_call(module, form.arranged(x)))
    tables = {
        path
        for path, call in seen
        if isinstance(module.get_submodule(path), nn.Embedding) and _same(call.read, x, form)
    }
    head, read = next(
        (
            (path, call.read)
            for path, call in reversed(seen)
            if not isinstance(module.get_submodule(path), nn.Embedding)
            and isinstance(call.result, Tensor)
            # A view, as a transposed or squeezed output is, lies at the same place in memory.
            and call.result.data_ptr() == result.data_ptr()
            and call.result.numel() == result.numel()
        ),
        (None, None),
    )
    order: Layout = "btd"
    if head is not None and isinstance(module.get_submodule(head), nn.Conv1d):
        order = "bdt"
    elif isinstance(read, Tensor) and read.shape[0] != len(x):
        order = "tbd"
    embedding = next(iter(tables)) if form.tokens and len(tables) == 1 else None
    found = Form(form.inputs, form.outputs, form.tokens, embedding, head, order)
    if embedding is not None:
        # A mask made of the tokens, as for padding, would be another one if vectors are put in.
        vectors = module.get_submodule(embedding)(x)
        if not torch.equal(found.run(module, vectors), found.run(module, x)):
            found = replace(found, embedding=None)
    return found


def _same(read: object, x: Tensor, form: Form) -> bool:
    given = form.arranged(x)
    return isinstance(read, Tensor) and read.shape == given.shape and bool((read == given).all())
