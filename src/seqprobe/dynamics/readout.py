"""What a model says in a state: its outputs, and how they move with the state."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import torch
from torch import Tensor

from seqprobe.dynamics.maps import StateMap
from seqprobe.models import Model, WholeModel
from seqprobe.models.access import float64_twin
from seqprobe.models.base import Stack
from seqprobe.models.recurrent import RecurrentLayer
from seqprobe.state import layout, unflatten

__all__ = ["Readout", "readout"]

Readout = Callable[[Tensor, Tensor], Tensor]


def readout(model: object, of: StateMap) -> Readout | None:
    """Return a function of states (B, n) and inputs (d,) that gives the outputs (B, K).

    For recurrent stacks it is the head on the present h of the last layer. For other models, whose
    outputs are not a function of the state alone, it is the output of the next step. Both agree at
    a fixed point. None for a module without a head.
    """
    if not isinstance(model, WholeModel):
        return None
    twin = cast("WholeModel", float64_twin(model).eval().requires_grad_(False))
    core = twin.core if isinstance(twin, Model) else None
    if isinstance(core, Stack) and isinstance(core.layers[-1], RecurrentLayer):
        top, norm, head = core.layers[-1], core.norm, cast("Model", twin).head
        below = of.size - top.state_size(1)  # the last layer's parts stand last, h first

        def of_state(x: Tensor, u: Tensor) -> Tensor:
            del u
            y: Tensor = head(norm(top.output(x[:, below : below + top.width])))
            return y

        return of_state
    parts = layout(twin.init_state(1))

    def of_next_step(x: Tensor, u: Tensor) -> Tensor:
        rows = u.expand(len(x), -1) if u.dim() == 1 else u
        return twin.step(rows, unflatten(x, parts))[0]

    return of_next_step


def readout_jacobian(of: Readout, x: Tensor, u: Tensor) -> Tensor:
    """Return the Jacobians of the outputs in the state, (B, K, n)."""
    with torch.enable_grad():
        rows = x.detach().requires_grad_()
        y = of(rows, u)
        columns = [
            torch.autograd.grad(y[:, k].sum(), rows, retain_graph=True)[0]
            for k in range(y.shape[1])
        ]
    return torch.stack(columns, dim=1)
