"""Layers one on top of the other, each reading the new h of the one below."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from seqprobe.dynamics.maps.base import StateMap
from seqprobe.dynamics.maps.operators import Operator

__all__ = ["StackMap"]


class StackMap(StateMap):
    """Cells in a row; the state is theirs, end to end.

    At a fixed point a layer reads the h that the one below holds, so that the residual of a layer
    takes the unknowns of the one below as its input. Jacobians are block lower triangular.

    Parameters
    ----------
    layers
        Maps of single layers, the first unknowns of each being its output h.
    """

    def __init__(self, layers: list[StateMap]) -> None:
        self.layers = layers
        self.size = sum(layer.size for layer in layers)
        self.unknowns = sum(layer.unknowns for layer in layers)
        self.inputs = layers[0].inputs
        boxes = [layer.box for layer in layers if layer.box is not None]
        self.box = torch.cat(boxes, dim=1) if len(boxes) == len(layers) else None

    def _states(self, x: Tensor) -> list[Tensor]:
        return list(x.split([layer.size for layer in self.layers], dim=1))

    def _unknowns(self, y: Tensor) -> list[Tensor]:
        return list(y.split([layer.unknowns for layer in self.layers], dim=1))

    def reduce(self, x: Tensor) -> Tensor:
        """Return the unknowns of all layers."""
        pairs = zip(self.layers, self._states(x), strict=True)
        return torch.cat([layer.reduce(part) for layer, part in pairs], dim=1)

    def lift(self, y: Tensor, u: Tensor) -> Tensor:
        """Return the states of all layers."""
        made = []
        for layer, part in zip(self.layers, self._unknowns(y), strict=True):
            made.append(layer.lift(part, u))
            u = part
        return torch.cat(made, dim=1)

    def step(self, x: Tensor, u: Tensor) -> Tensor:
        """Return F(x, u); see `StateMap.step`."""
        made = []
        for layer, part in zip(self.layers, self._states(x), strict=True):
            made.append(layer.step(part, u))
            u = layer.reduce(made[-1])
        return torch.cat(made, dim=1)

    def residual(self, y: Tensor, u: Tensor) -> Tensor:
        """Return the residuals of all layers; see `StateMap.residual`."""
        made = []
        for layer, part in zip(self.layers, self._unknowns(y), strict=True):
            made.append(layer.residual(part, u))
            u = part
        return torch.cat(made, dim=1)

    def linearise(self, x: Tensor, u: Tensor) -> tuple[Tensor, Operator, Operator]:
        """Return F and its Jacobians; see `StateMap.linearise`."""
        made, links = [], []
        for layer, part in zip(self.layers, self._states(x), strict=True):
            after, own, by_input = layer.linearise(part, u)
            made.append(after)
            links.append(_Link(own, by_input, layer.reduce, layer.size))
            u = layer.reduce(after)
        return torch.cat(made, dim=1), _Chain(links), _ByInput(links, self.inputs)

    def linearise_residual(self, y: Tensor, u: Tensor) -> tuple[Tensor, Operator, Operator]:
        """Return the residual and its Jacobians; see `StateMap.linearise_residual`."""
        made, links = [], []
        for layer, part in zip(self.layers, self._unknowns(y), strict=True):
            residual, own, by_input = layer.linearise_residual(part, u)
            made.append(residual)
            links.append(_Link(own, by_input, None, layer.unknowns))
            u = part
        return torch.cat(made, dim=1), _Chain(links), _FirstOnly(links)


@dataclass
class _Link:
    """One layer: its Jacobians, and which rows of what it makes are its output.

    ``output`` is None in the residual, where the layer above reads the unknowns themselves.
    """

    own: Operator
    by_input: Operator
    output: Callable[[Tensor], Tensor] | None
    size: int


@dataclass
class _Chain(Operator):
    """The Jacobian of all layers in all states."""

    links: list[_Link]

    def dense(self) -> Tensor:
        sizes = [link.size for link in self.links]
        below: Tensor | None = None
        rows = []
        for i, link in enumerate(self.links):
            own = link.own.dense()
            row = own.new_zeros(len(own), own.shape[1], sum(sizes))
            start = sum(sizes[:i])
            if below is not None:
                row += link.by_input.dense() @ below
            row[:, :, start : start + link.size] += own
            rows.append(row)
            if link.output is None:
                below = row.new_zeros(len(own), link.size, sum(sizes))
                below[:, :, start : start + link.size].diagonal(dim1=1, dim2=2).fill_(1.0)
            else:
                below = link.output(row)
        return torch.cat(rows, dim=1)

    def times(self, v: Tensor) -> Tensor:
        below: Tensor | None = None
        made = []
        for link, piece in zip(self.links, v.split([k.size for k in self.links], 1), strict=True):
            moved = link.own.times(piece)
            if below is not None:
                moved = moved + link.by_input.times(below)
            made.append(moved)
            below = piece if link.output is None else link.output(moved)
        return torch.cat(made, dim=1)


@dataclass
class _ByInput(Operator):
    """The Jacobian of all layers in the input, which reaches the upper ones through the lower."""

    links: list[_Link]
    inputs: int

    def dense(self) -> Tensor:
        first = self.links[0].by_input.dense()
        return self.times(torch.eye(self.inputs, dtype=first.dtype).expand(len(first), -1, -1))

    def times(self, v: Tensor) -> Tensor:
        made = []
        for link in self.links:
            made.append(link.by_input.times(v))
            assert link.output is not None  # a step, not a residual
            v = link.output(made[-1])
        return torch.cat(made, dim=1)


@dataclass
class _FirstOnly(Operator):
    """The Jacobian of the residual in the input, which only the first layer reads."""

    links: list[_Link]

    def dense(self) -> Tensor:
        first = self.links[0].by_input.dense()
        rest = sum(link.size for link in self.links[1:])
        return torch.cat([first, first.new_zeros(len(first), rest, first.shape[2])], dim=1)

    def times(self, v: Tensor) -> Tensor:
        first = self.links[0].by_input.times(v)
        rest = sum(link.size for link in self.links[1:])
        return torch.cat([first, first.new_zeros(len(first), rest, first.shape[2])], dim=1)
