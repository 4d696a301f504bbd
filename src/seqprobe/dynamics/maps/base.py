"""What an analysis of dynamics needs of a model: one step as a map of vectors."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor

from seqprobe.dynamics.maps.operators import Operator

__all__ = ["StateMap"]


class StateMap(ABC):
    """One step of a model, ``x' = F(x, u)``, on flat states in float64, batched over rows.

    Fixed points are the roots of a residual in unknowns y, which may be fewer than the reals of the
    state: for gated cells the residual leaves out the gates that only set the speed. It has the
    same roots, and none where a gate saturates.

    Attributes
    ----------
    size
        Reals n of the state.
    unknowns
        Number m of unknowns of the residual.
    inputs
        Size d of the input.
    box
        Bounds (2, m) of the unknowns between which the map stays, or None if none are known.
    """

    size: int
    unknowns: int
    inputs: int
    box: Tensor | None = None

    @abstractmethod
    def step(self, x: Tensor, u: Tensor) -> Tensor:
        """Return F(x, u), (B, n), of states (B, n) and inputs (d,) or (B, d)."""

    @abstractmethod
    def linearise(self, x: Tensor, u: Tensor) -> tuple[Tensor, Operator, Operator]:
        """Return F (B, n), its Jacobian in x (B, n, n) and that in u (B, n, d)."""

    @abstractmethod
    def residual(self, y: Tensor, u: Tensor) -> Tensor:
        """Return what is zero at fixed points, (B, m), of unknowns (B, m)."""

    @abstractmethod
    def linearise_residual(self, y: Tensor, u: Tensor) -> tuple[Tensor, Operator, Operator]:
        """Return the residual (B, m), its Jacobian in y (B, m, m) and that in u (B, m, d)."""

    def reduce(self, x: Tensor) -> Tensor:
        """Return the unknowns (B, m) of states (B, n)."""
        return x

    def lift(self, y: Tensor, u: Tensor) -> Tensor:
        """Return the states (B, n) of unknowns (B, m); exact at fixed points."""
        del u
        return y

    def clip(self, y: Tensor) -> Tensor:
        """Return unknowns moved into the box, if there is one."""
        return y if self.box is None else torch.minimum(torch.maximum(y, self.box[0]), self.box[1])


def unit_box(size: int) -> Tensor:
    """Return the bounds of [-1, 1]^size."""
    return torch.tensor([[-1.0], [1.0]], dtype=torch.float64).expand(2, size)
