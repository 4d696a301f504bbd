"""Gated recurrent units, solved without the update gate, which only sets the speed."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from seqprobe.dynamics.maps.base import StateMap, unit_box
from seqprobe.dynamics.maps.operators import Operator, RowScaled

__all__ = ["GRUBeforeMap", "GRUMap"]


class GRUMap(StateMap):
    """``h' = (1 - z) m(h) + z h`` with the reset after the recurrent product.

    ``h' - h = (1 - z) (m(h) - h)``, so that fixed points solve ``m(h) = h``. The full residual has
    false roots wherever z is 1 to rounding; this one has none, and none outside of [-1, 1].

    Parameters
    ----------
    w, v, b
        Recurrent weights (3n, n), input weights (3n, d), bias (3n,); blocks in the order r, z, n.
    b_n
        Bias (n,) inside of the product with the reset gate.
    """

    def __init__(self, w: Tensor, v: Tensor, b: Tensor, b_n: Tensor) -> None:
        self.w, self.v, self.b, self.b_n = w, v, b, b_n
        self.size = self.unknowns = w.shape[1]
        self.inputs = v.shape[1]
        self.box = unit_box(self.size)

    def _candidate(self, h: Tensor, u: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return m, the reset gate and the recurrent part p, all (B, n)."""
        n = self.size
        drive = F.linear(u, self.v, self.b)
        r = torch.sigmoid(torch.addmm(drive[..., :n], h, self.w[:n].t()))
        p = torch.addmm(self.b_n, h, self.w[2 * n :].t())
        return torch.tanh(torch.addcmul(drive[..., 2 * n :], r, p)), r, p

    def _update(self, h: Tensor, u: Tensor) -> Tensor:
        n = self.size
        drive = F.linear(u, self.v[n : 2 * n], self.b[n : 2 * n])
        return torch.sigmoid(torch.addmm(drive, h, self.w[n : 2 * n].t()))

    def step(self, x: Tensor, u: Tensor) -> Tensor:
        """Return F(x, u); see `StateMap.step`."""
        m, _, _ = self._candidate(x, u)
        return torch.lerp(m, x, self._update(x, u))

    def linearise(self, x: Tensor, u: Tensor) -> tuple[Tensor, RowScaled, RowScaled]:
        """Return F and its Jacobians; see `StateMap.linearise`."""
        m, r, p = self._candidate(x, u)
        z = self._update(x, u)
        slope = (1 - z) * (1 - m * m)
        by_reset, by_update = slope * p * r * (1 - r), (x - m) * z * (1 - z)
        w_r, w_z, w_n = self.w.split(self.size)
        v_r, v_z, v_n = self.v.split(self.size)
        return (
            torch.lerp(m, x, z),
            RowScaled([(slope * r, w_n), (by_reset, w_r), (by_update, w_z)], z),
            RowScaled([(slope, v_n), (by_reset, v_r), (by_update, v_z)]),
        )

    def residual(self, y: Tensor, u: Tensor) -> Tensor:
        """Return ``m(y) - y``; see `StateMap.residual`."""
        return self._candidate(y, u)[0] - y

    def linearise_residual(self, y: Tensor, u: Tensor) -> tuple[Tensor, RowScaled, RowScaled]:
        """Return the residual and its Jacobians; see `StateMap.linearise_residual`."""
        m, r, p = self._candidate(y, u)
        slope = 1 - m * m
        by_reset = slope * p * r * (1 - r)
        n = self.size
        return (
            m - y,
            RowScaled([(slope * r, self.w[2 * n :]), (by_reset, self.w[:n])], -1.0),
            RowScaled([(slope, self.v[2 * n :]), (by_reset, self.v[:n])]),
        )


class GRUBeforeMap(StateMap):
    """``h' = (1 - z) h + z n(h)`` with the reset before the product (Cho et al. 2014).

    Fixed points solve ``n(h) = tanh(W_n (r * h) + V_n u + b_n) = h``.

    Parameters
    ----------
    w, v, b
        As for `GRUMap`.
    """

    def __init__(self, w: Tensor, v: Tensor, b: Tensor) -> None:
        self.w, self.v, self.b = w, v, b
        self.size = self.unknowns = w.shape[1]
        self.inputs = v.shape[1]
        self.box = unit_box(self.size)

    def _gates(self, h: Tensor, u: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the candidate, the reset and the update gate, all (B, n)."""
        w_r, w_z, w_n = self.w.split(self.size)
        in_r, in_z, in_n = F.linear(u, self.v, self.b).split(self.size, dim=-1)
        r = torch.sigmoid(torch.addmm(in_r, h, w_r.t()))
        z = torch.sigmoid(torch.addmm(in_z, h, w_z.t()))
        return torch.tanh(torch.addmm(in_n, r * h, w_n.t())), r, z

    def step(self, x: Tensor, u: Tensor) -> Tensor:
        """Return F(x, u); see `StateMap.step`."""
        n, _, z = self._gates(x, u)
        return torch.lerp(x, n, z)

    def linearise(self, x: Tensor, u: Tensor) -> tuple[Tensor, Operator, Operator]:
        """Return F and its Jacobians; see `StateMap.linearise`."""
        n, r, z = self._gates(x, u)
        by_update = (n - x) * z * (1 - z)
        w_r, w_z, w_n = self.w.split(self.size)
        v_r, v_z, v_n = self.v.split(self.size)
        slope, by_reset = z * (1 - n * n), x * r * (1 - r)
        return (
            torch.lerp(x, n, z),
            _Through(
                slope, w_n, RowScaled([(by_reset, w_r)], r), RowScaled([(by_update, w_z)], 1 - z)
            ),
            _Through(
                slope,
                w_n,
                RowScaled([(by_reset, v_r)]),
                RowScaled([(slope, v_n), (by_update, v_z)]),
            ),
        )

    def residual(self, y: Tensor, u: Tensor) -> Tensor:
        """Return ``n(y) - y``; see `StateMap.residual`."""
        return self._gates(y, u)[0] - y

    def linearise_residual(self, y: Tensor, u: Tensor) -> tuple[Tensor, Operator, Operator]:
        """Return the residual and its Jacobians; see `StateMap.linearise_residual`."""
        n, r, _ = self._gates(y, u)
        w_r, _, w_n = self.w.split(self.size)
        v_r, _, v_n = self.v.split(self.size)
        slope, by_reset = 1 - n * n, y * r * (1 - r)
        none = torch.zeros_like(slope)
        return (
            n - y,
            _Through(slope, w_n, RowScaled([(by_reset, w_r)], r), RowScaled([(none, w_r)], -1.0)),
            _Through(slope, w_n, RowScaled([(by_reset, v_r)]), RowScaled([(slope, v_n)])),
        )


@dataclass
class _Through(Operator):
    """``D(slope) W inner + direct``: what goes through the reset and then the recurrent weights."""

    slope: Tensor
    w: Tensor
    inner: RowScaled
    direct: RowScaled

    def dense(self) -> Tensor:
        return self.direct.dense() + self.slope[:, :, None] * (self.w @ self.inner.dense())

    def times(self, v: Tensor) -> Tensor:
        return self.direct.times(v) + RowScaled([(self.slope, self.w)]).times(self.inner.times(v))
