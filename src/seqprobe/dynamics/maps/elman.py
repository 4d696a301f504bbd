"""Elman, rectified and leaky units."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from seqprobe.dynamics.maps.base import StateMap, unit_box
from seqprobe.dynamics.maps.operators import RowScaled

__all__ = ["ElmanMap"]

_ACTIVATIONS = {"tanh": torch.tanh, "relu": torch.relu, "leaky_relu": F.leaky_relu}


class ElmanMap(StateMap):
    """``h' = (1 - a) h + a phi(W h + V u + b)``, or phi of the whole; Elman units have a = 1.

    With phi inside of the leak, fixed points solve ``phi(W h + V u + b) = h`` whatever the rates a.

    Parameters
    ----------
    w, v, b
        Recurrent weights (n, n), input weights (n, d), bias (n,), in float64.
    activation
        ``"tanh"``, ``"relu"`` or ``"leaky_relu"``.
    rate
        a (n,), or None for 1.
    outside
        True if phi acts on the new state and not on the drive.
    """

    def __init__(
        self,
        w: Tensor,
        v: Tensor,
        b: Tensor,
        activation: Literal["tanh", "relu", "leaky_relu"] = "tanh",
        rate: Tensor | None = None,
        outside: bool = False,
    ) -> None:
        self.w, self.v, self.b = w, v, b
        self.activation, self.rate, self.outside = activation, rate, outside
        self.size = self.unknowns = len(w)
        self.inputs = v.shape[1]
        self.box = unit_box(self.size) if activation == "tanh" else None

    def _active(self, x: Tensor, u: Tensor) -> Tensor:
        """Return phi of the drive, or of the new state, (B, n)."""
        pre = torch.addmm(F.linear(u, self.v, self.b), x, self.w.t())
        if self.outside and self.rate is not None:
            pre = torch.lerp(x, pre, self.rate)
        return _ACTIVATIONS[self.activation](pre)

    def _slope(self, f: Tensor) -> Tensor:
        """Return the derivative of phi where its value is f."""
        if self.activation == "tanh":
            return 1 - f * f
        below = 0.01 if self.activation == "leaky_relu" else 0.0
        return torch.where(f > 0, torch.ones_like(f), below)

    def step(self, x: Tensor, u: Tensor) -> Tensor:
        """Return F(x, u); see `StateMap.step`."""
        f = self._active(x, u)
        return f if self.rate is None or self.outside else torch.lerp(x, f, self.rate)

    def linearise(self, x: Tensor, u: Tensor) -> tuple[Tensor, RowScaled, RowScaled]:
        """Return F and its Jacobians; see `StateMap.linearise`."""
        f = self._active(x, u)
        slope = self._slope(f)
        if self.rate is None:
            return f, RowScaled([(slope, self.w)]), RowScaled([(slope, self.v)])
        scaled = slope * self.rate
        kept = slope * (1 - self.rate) if self.outside else (1 - self.rate).expand_as(f)
        after = f if self.outside else torch.lerp(x, f, self.rate)
        return after, RowScaled([(scaled, self.w)], kept), RowScaled([(scaled, self.v)])

    def residual(self, y: Tensor, u: Tensor) -> Tensor:
        """Return ``phi - y``; see `StateMap.residual`."""
        return self._active(y, u) - y

    def linearise_residual(self, y: Tensor, u: Tensor) -> tuple[Tensor, RowScaled, RowScaled]:
        """Return the residual and its Jacobians; see `StateMap.linearise_residual`."""
        if self.outside:
            f, jacobian, by_input = self.linearise(y, u)
            return f - y, jacobian.minus_identity(), by_input
        f = self._active(y, u)
        slope = self._slope(f)
        return f - y, RowScaled([(slope, self.w)], -1.0), RowScaled([(slope, self.v)])
