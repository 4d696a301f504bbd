"""Long short-term memory, solved for h alone."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from seqprobe.dynamics.maps.base import StateMap, unit_box
from seqprobe.dynamics.maps.operators import Blocks, RowScaled

__all__ = ["LSTMMap"]


class _Gates(NamedTuple):
    """Gates and candidate, (B, k); ``stay`` is 1 - f, computed as sigmoid(-a_f)."""

    i: Tensor
    f: Tensor
    stay: Tensor
    g: Tensor
    o: Tensor


class LSTMMap(StateMap):
    """``c' = f c + i g``, ``h' = o tanh(c')``, with the state x = [h, c].

    At a fixed point ``c = i g / (1 - f)``, a function of h, so that fixed points solve ``o
    tanh(c(h)) = h`` in half the unknowns. ``1 - f`` is computed as ``sigmoid(-a_f)``, which is not
    zero where f rounds to 1. With coupled gates (``cifg``) ``i = 1 - f`` and ``c = g``.

    Parameters
    ----------
    w, v, b
        Recurrent weights (Gk, k), input weights (Gk, d) and bias (Gk,), blocks in the order i, f,
        g, o, or f, g, o with coupled gates.
    cifg
        True for coupled gates.
    """

    def __init__(self, w: Tensor, v: Tensor, b: Tensor, cifg: bool = False) -> None:
        self.w, self.v, self.b, self.cifg = w, v, b, cifg
        self.unknowns = w.shape[1]
        self.size = 2 * self.unknowns
        self.inputs = v.shape[1]
        self.box = unit_box(self.unknowns)

    def _gates(self, h: Tensor, u: Tensor) -> _Gates:
        pre = torch.addmm(F.linear(u, self.v, self.b), h, self.w.t())
        *first, a_f, a_g, a_o = pre.chunk(3 if self.cifg else 4, dim=1)
        stay = torch.sigmoid(-a_f)
        i = stay if self.cifg else torch.sigmoid(first[0])
        return _Gates(i, torch.sigmoid(a_f), stay, torch.tanh(a_g), torch.sigmoid(a_o))

    def _cell(self, gates: _Gates) -> Tensor:
        """Return c(h), the cell that stays."""
        return gates.g if self.cifg else gates.i * gates.g / gates.stay

    def _weights(self, of: Tensor) -> tuple[Tensor, ...]:
        """Return the blocks for i, f, g, o; with coupled gates i moves against f."""
        blocks = of.split(self.unknowns)
        return (-blocks[0], *blocks) if self.cifg else blocks

    def reduce(self, x: Tensor) -> Tensor:
        """Return h."""
        return x[:, : self.unknowns]

    def lift(self, y: Tensor, u: Tensor) -> Tensor:
        """Return [o tanh(c), c] with c = c(y)."""
        gates = self._gates(y, u)
        c = self._cell(gates)
        return torch.cat([gates.o * torch.tanh(c), c], dim=1)

    def step(self, x: Tensor, u: Tensor) -> Tensor:
        """Return F(x, u); see `StateMap.step`."""
        h, c = x.chunk(2, dim=1)
        gates = self._gates(h, u)
        c = gates.f * c + gates.i * gates.g
        return torch.cat([gates.o * torch.tanh(c), c], dim=1)

    def linearise(self, x: Tensor, u: Tensor) -> tuple[Tensor, Blocks, Blocks]:
        """Return F and its Jacobians; see `StateMap.linearise`."""
        h, c = x.chunk(2, dim=1)
        i, f, stay, g, o = self._gates(h, u)
        after = f * c + i * g
        t = torch.tanh(after)
        e = o * (1 - t * t)
        to_cell = (g * i * (1 - i if not self.cifg else f), c * f * stay, i * (1 - g * g))
        to_output = o * (1 - o) * t

        def rows(of: Tensor) -> tuple[RowScaled, RowScaled]:
            *inner, last = self._weights(of)
            cell = list(zip(to_cell, inner, strict=True))
            hidden = [(e * d, block) for d, block in cell]
            return RowScaled([*hidden, (to_output, last)]), RowScaled(cell)

        h_by_h, c_by_h = rows(self.w)
        h_by_u, c_by_u = rows(self.v)
        return (
            torch.cat([o * t, after], dim=1),
            Blocks([[h_by_h, e * f], [c_by_h, f]]),
            Blocks([[h_by_u], [c_by_u]]),
        )

    def residual(self, y: Tensor, u: Tensor) -> Tensor:
        """Return ``o tanh(c(y)) - y``; see `StateMap.residual`."""
        gates = self._gates(y, u)
        return gates.o * torch.tanh(self._cell(gates)) - y

    def linearise_residual(self, y: Tensor, u: Tensor) -> tuple[Tensor, RowScaled, RowScaled]:
        """Return the residual and its Jacobians; see `StateMap.linearise_residual`."""
        gates = self._gates(y, u)
        i, f, stay, g, o = gates
        c = self._cell(gates)
        t = torch.tanh(c)
        e = o * (1 - t * t)
        by_g = e * (1 - g * g)
        last = o * (1 - o) * t
        factors = [by_g, last]
        if not self.cifg:
            factors = [e * c * (1 - i), e * c * f, by_g * i / stay, last]  # g i / (1-f) is c
        blocks = slice(4 - len(factors), 4)
        return (
            o * t - y,
            RowScaled(list(zip(factors, self._weights(self.w)[blocks], strict=True)), -1.0),
            RowScaled(list(zip(factors, self._weights(self.v)[blocks], strict=True))),
        )
