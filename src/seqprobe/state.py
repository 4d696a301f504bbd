"""The state of a model: named tensors, and the same numbers as one vector.

A ``State`` is a plain ``dict`` from names such as ``"layer0.h"`` to tensors whose first axis is the
batch. A plain dict is a pytree, so ``torch.func`` transforms take it as it is.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from seqprobe.errors import UsageError

__all__ = ["Layout", "Part", "State", "flatten", "layout", "size", "unflatten"]

State = dict[str, Tensor]


@dataclass(frozen=True)
class Part:
    """Where one named tensor lies in the flat vector.

    Attributes
    ----------
    shape
        Shape without the batch axis.
    where
        Slice of the flat vector.
    is_complex
        True if the tensor is complex; it then takes two reals per element, (re, im) in turn.
    """

    shape: tuple[int, ...]
    where: slice
    is_complex: bool


Layout = dict[str, Part]


def layout(state: Mapping[str, Tensor]) -> Layout:
    """Return the place of every part in the vector that `flatten` makes of `state`."""
    parts: Layout = {}
    start = 0
    for name, tensor in state.items():
        shape = tuple(tensor.shape[1:])
        stop = start + math.prod(shape) * (2 if tensor.is_complex() else 1)
        parts[name] = Part(shape, slice(start, stop), tensor.is_complex())
        start = stop
    return parts


def flatten(state: Mapping[str, Tensor]) -> Tensor:
    """Return the state as one real vector per batch row, (B, N); differentiable."""
    if not state:
        raise UsageError("state is empty: this model keeps nothing between steps")
    rows = []
    for tensor in state.values():
        real = torch.view_as_real(tensor) if tensor.is_complex() else tensor
        rows.append(real.flatten(1))
    return torch.cat(rows, dim=1)


def unflatten(vector: Tensor, parts: Layout) -> State:
    """Return the named tensors of a flat vector (B, N); the inverse of `flatten`."""
    state: State = {}
    for name, part in parts.items():
        piece = vector[:, part.where]
        if part.is_complex:
            pairs = piece.reshape(len(vector), *part.shape, 2)
            state[name] = torch.view_as_complex(pairs.contiguous())
        else:
            state[name] = piece.reshape(len(vector), *part.shape)
    return state


def size(state: Mapping[str, Tensor]) -> int:
    """Return the number of reals that the state keeps per batch row."""
    return sum(part.where.stop - part.where.start for part in layout(state).values())
