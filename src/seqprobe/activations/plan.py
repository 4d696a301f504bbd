"""What is recorded at every step: which tensors, under which names, in which form."""

from __future__ import annotations

import fnmatch
import json
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from seqprobe.errors import UsageError, suggestion
from seqprobe.models import StateKind, Trace, WholeModel
from seqprobe.models.access import first_output, kept_reals
from seqprobe.state import State

__all__ = ["GROUPS", "Column", "Step", "plan", "steps"]

GROUPS = ("states", "gates", "outputs")


class Step(NamedTuple):
    """What a step returns: output (B, K), state, and internals by name."""

    output: Tensor
    state: State
    internals: Trace


@dataclass(frozen=True)
class Column:
    """One variable that gets a row at every step.

    Attributes
    ----------
    name
        Layer and part, such as ``"layer0.h"``, or ``"outputs"``.
    group
        One of `GROUPS`.
    dim
        Name of the last dimension; None if a row is one number.
    size
        Numbers in a row.
    dtype
        Of the file.
    attrs
        Of the variable.
    read
        Maps a step to its rows (B, size), or (B,).
    """

    name: str
    group: str
    dim: str | None
    size: int
    dtype: np.dtype[Any]
    attrs: dict[str, str]
    read: Callable[[Step], Tensor]

    @property
    def bytes(self) -> int:
        """Size of a row in the file."""
        return self.size * self.dtype.itemsize


_FORMS = {
    "fixed": "the state after the step",
    "cache": "the entry that the step adds; the state at a step is all entries up to it",
    "buffer": "the newest column; the state at a step is as many last ones as 'columns' says",
    "gate": "the value in the step",
    "attention": "the weights on all steps so far, zero on later ones",
}


def plan(
    model: WholeModel,
    x: Tensor,
    what: Sequence[str],
    dtype: np.dtype[Any],
    unit: str,
    every: int = 1,
) -> list[Column]:
    """Return the columns that were asked for.

    Parameters
    ----------
    model
        A causal model.
    x
        Inputs (B, T, D) or tokens (B, T) to try it on; T is the length of the recording.
    what
        Groups, or names and shell patterns of single tensors.
    dtype
        Of all reals.
    unit
        Physical unit of the outputs.
    every
        How many steps lie between recorded ones; caches and buffers are then not whole.

    Raises
    ------
    UsageError
        If a name is not one of the model's.
    """
    first, second = _two_steps(model, x[:1])
    columns = [
        *_of_states(model.state_kinds(), first.state, second.state, dtype, every),
        *_of_gates(first, second, x.shape[1], dtype),
        *_of_outputs(model, dtype, unit),
    ]
    chosen = [column for column in columns if any(_is(column, word) for word in what)]
    for word in what:
        if word not in GROUPS and not any(_is(column, word) for column in columns):
            allowed = list(dict.fromkeys([*GROUPS, *(column.name for column in columns)]))
            raise UsageError(
                f"model has no part '{word}'{suggestion(word, allowed)}"
                f" (allowed: {', '.join(allowed)})"
            )
    return _with_unit_dimensions(chosen)


def _is(column: Column, word: str) -> bool:
    return word == column.group or fnmatch.fnmatchcase(column.name, word)


def _with_unit_dimensions(columns: list[Column]) -> list[Column]:
    """Name the dimension of states and gates: ``unit``, and ``unit_<size>`` for other sizes."""
    sizes = [column.size for column in columns if column.dim == "unit"]
    named = []
    for column in columns:
        if column.dim == "unit" and column.size != sizes[0]:
            column = replace(column, dim=f"unit_{column.size}")
        named.append(column)
    return named


def steps(model: WholeModel, x: Tensor, names: Sequence[str]) -> Iterator[Step]:
    """Yield what a model does at every step of (B, T, D) or tokens (B, T), one after the other.

    Parameters
    ----------
    model
        A causal model. One whose states are known of whole sequences only reads all of them first.
    x
        Inputs.
    names
        Patterns of the internals that are wanted.
    """
    if not model.stepwise:
        y = first_output(model, x)
        states = model.streamed(x) if kept_reals(model, 1) > 0 else None
        for t in range(x.shape[1]):
            yield Step(y[:, t], {} if states is None else {"state": states[:, t]}, Trace())
        return
    state = model.init_state(len(x))
    for t in range(x.shape[1]):  # nothing is differentiated: indexing costs nothing
        trace = Trace(*names) if names else None
        output, state = model.step(x[:, t], state, trace)
        yield Step(output, state, Trace() if trace is None else trace)


def _two_steps(model: WholeModel, x: Tensor) -> tuple[Step, Step]:
    x = torch.cat([x, x], dim=1)[:, :2] if model.stepwise and x.shape[1] == 1 else x
    made = steps(model, x[:, :2] if model.stepwise else x, ["*"])
    first = next(made)
    return first, next(made, first)


def _reals(tensor: Tensor) -> Tensor:
    """Return (B, n) reals, complex numbers as (re, im) in turn."""
    return (torch.view_as_real(tensor) if tensor.is_complex() else tensor).flatten(1)


def _column(
    name: str, group: str, form: str, row: Tensor, dtype: np.dtype[Any], read: Any
) -> Column:
    """Return the column of a state or gate whose rows look like `row`."""
    shape = [*row.shape[1:], *([2] if row.is_complex() else [])]
    layer, _, part = name.rpartition(".")
    attrs = {
        "long_name": f"{part} of {layer}" if layer else part,
        "units": "1",
        "group": group,
        "layer": layer,
        "part": part,
        "form": _FORMS[form],
        "shape": json.dumps(shape),
        "complex": str(row.is_complex()).lower(),
    }
    return Column(name, group, "unit", math.prod(shape), dtype, attrs, read)


_NEWEST: dict[StateKind, Callable[[Tensor], Tensor]] = {
    "fixed": lambda state: state,
    "cache": lambda state: state[:, :, -1],
    "buffer": lambda state: state[..., -1],
}


def _of_states(
    kinds: dict[str, StateKind],
    first: State,
    second: State,
    dtype: np.dtype[Any],
    every: int,
) -> list[Column]:
    columns = []
    for name, tensor in second.items():
        kind = kinds.get(name, "fixed")
        if not tensor.numel() or not first[name].numel():
            continue  # a buffer of no steps
        newest = _NEWEST[kind]

        def read(step: Step, name: str = name, newest: Any = newest) -> Tensor:
            return _reals(newest(step.state[name]))

        column = _column(name, "states", kind, newest(tensor), dtype, read)
        if kind == "buffer":
            column.attrs["columns"] = str(tensor.shape[-1])
        if kind != "fixed" and every > 1:
            column.attrs["form"] += f"; only one in {every} is here"
        columns.append(column)
    return columns


def _of_gates(one: Step, two: Step, length: int, dtype: np.dtype[Any]) -> list[Column]:
    columns = []
    first, second, first_state = one.internals, two.internals, one.state
    for name in first:
        if name in first_state:
            continue  # a layer may show a part of its state among its internals
        grows = first[name].shape != second[name].shape

        def read(step: Step, name: str = name, grows: bool = grows) -> Tensor:
            values = step.internals[name]
            if grows:
                values = torch.nn.functional.pad(values, (0, length - values.shape[-1]))
            return _reals(values)

        row = first[name]
        if grows:  # attention weights (B, heads, keys) get one more key with every step
            row = row.new_zeros(*row.shape[:-1], length)
        form = "attention" if grows else "gate"
        columns.append(_column(name, "gates", form, row, dtype, read))
    return columns


def _of_outputs(model: WholeModel, dtype: np.dtype[Any], unit: str) -> list[Column]:
    kind, size = model.spec.output_kind, model.spec.output_size
    said = {
        "class": ("logits of the classes", "1"),
        "binary": ("logits", "1"),
        "regression": ("output", unit),
        "density": ("parameters of the density of the target", "1"),
    }[kind]
    attrs = {"long_name": said[0], "units": said[1], "group": "outputs"}
    columns = [Column("outputs", "outputs", "output", size, dtype, attrs, lambda step: step.output)]
    if kind == "class":
        attrs = {"long_name": "most probable class", "units": "1", "group": "outputs"}
        columns.append(
            Column(
                "predictions",
                "outputs",
                None,
                1,
                np.dtype(np.int32),
                attrs,
                lambda step: step.output.argmax(dim=1),
            )
        )
    if kind == "binary":
        attrs = {"long_name": "more probable than not", "units": "1", "group": "outputs"}
        columns.append(
            Column(
                "predictions",
                "outputs",
                "output",
                size,
                np.dtype(np.int8),
                attrs,
                lambda step: step.output > 0,
            )
        )
    return columns
