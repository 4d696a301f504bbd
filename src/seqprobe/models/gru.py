"""Gated recurrent unit in both published forms, which differ in the reset and in the sense of z."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from seqprobe.models.architecture import Architecture, ModelConfig, recurrent_stack
from seqprobe.models.recurrent import Put, RecurrentLayer, affine, product

__all__ = ["ARCHITECTURE", "GRUConfig", "GRULayer"]

Reset = Literal["after", "before"]


@dataclass(frozen=True)
class GRUConfig(ModelConfig):
    """Settings of the GRU.

    Attributes
    ----------
    reset
        Where the reset gate acts: ``"after"`` the recurrent product (cuDNN, torch) or ``"before"``
        it (Cho et al. 2014).
    """

    reset: Reset = "after"


class GRULayer(RecurrentLayer):
    """One layer of gated recurrent units.

    With ``reset="after"`` (torch and cuDNN)::

        r, z = sigmoid(W x + U h + b)
        n = tanh(W_n x + b_n + r * (U_n h + bias_n))
        h' = (1 - z) * n + z * h

    With ``reset="before"`` (Cho et al. 2014, arXiv 1406.1078; Chung et al. 2014, arXiv
    1412.3555)::

        n = tanh(W_n x + b_n + U_n (r * h))
        h' = (1 - z) * h + z * n

    The two are not equivalent, and z has the opposite sense: a large z keeps the state in the first
    and replaces it in the second. Gates are stored in the order r, z, n.

    State: ``h`` (B, H). Internals: ``reset``, ``update``, ``candidate`` (B, H).

    Parameters
    ----------
    d_in
        Number of inputs D.
    width
        Number of units H.
    reset
        ``"after"`` or ``"before"``.
    """

    def __init__(self, d_in: int, width: int, reset: Reset = "after") -> None:
        super().__init__(d_in, width, gates=3)
        self.reset = reset
        if reset == "after":
            self.bias_n = nn.Parameter(torch.zeros(width))

    def cell(
        self, inputs_t: Tensor, state: tuple[Tensor, ...], weight: Tensor, put: Put | None
    ) -> tuple[Tensor, ...]:
        """Update h once; see `RecurrentLayer.cell`."""
        (h,) = state
        sizes = [2 * self.width, self.width]
        gates_in, candidate_in = inputs_t.split(sizes, dim=-1)
        if self.reset == "after":
            gates_rec, candidate_rec = product(h, weight).split(sizes, dim=-1)
            r, z = torch.sigmoid(gates_in + gates_rec).chunk(2, dim=-1)
            n = torch.tanh(torch.addcmul(candidate_in, r, candidate_rec + self.bias_n))
            new = torch.lerp(n, h, z)
        else:
            gates_weight, candidate_weight = weight.split(sizes, dim=-1)
            r, z = torch.sigmoid(affine(gates_in, h, gates_weight)).chunk(2, dim=-1)
            n = torch.tanh(affine(candidate_in, r * h, candidate_weight))
            new = torch.lerp(h, n, z)
        if put is not None:
            put("reset", r)
            put("update", z)
            put("candidate", n)
        return (new,)


ARCHITECTURE = Architecture(
    name="gru",
    summary="gated recurrent unit",
    config=GRUConfig,
    build=recurrent_stack(lambda d_in, config: GRULayer(d_in, config.width, config.reset)),
    learning_rate=3e-3,
)
