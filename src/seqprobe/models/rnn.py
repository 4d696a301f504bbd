"""Elman's recurrent network with a tanh."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from seqprobe.models.architecture import Architecture, ModelConfig, recurrent_stack
from seqprobe.models.recurrent import Put, RecurrentLayer, affine

__all__ = ["ARCHITECTURE", "RNNConfig", "RNNLayer"]


Start = Literal["orthogonal", "uniform"]


@dataclass(frozen=True)
class RNNConfig(ModelConfig):
    """Settings of the tanh network.

    Attributes
    ----------
    start
        Recurrent weights start ``"orthogonal"``, or ``"uniform"`` in +-1/sqrt(H), as in torch.
    """

    start: Start = "orthogonal"


class RNNLayer(RecurrentLayer):
    """One layer of ``h_t = tanh(W_ih x_t + W_hh h_{t-1} + b)`` (Elman 1990).

    State: ``h`` (B, H). Internals: ``pre``, the pre-activation (B, H).

    Parameters
    ----------
    d_in
        Number of inputs D.
    width
        Number of units H.
    start
        See `RNNConfig`.
    """

    nonlinearity: Literal["tanh", "relu"] = "tanh"

    def __init__(self, d_in: int, width: int, start: Start = "orthogonal") -> None:
        super().__init__(d_in, width, gates=1)
        if start == "uniform":
            bound = 1 / math.sqrt(width)
            nn.init.uniform_(self.weight_hh, -bound, bound)

    def activation(self, pre: Tensor) -> Tensor:
        """Return the new state of a pre-activation."""
        return torch.tanh(pre) if self.nonlinearity == "tanh" else torch.relu(pre)

    def cell(
        self, inputs_t: Tensor, state: tuple[Tensor, ...], weight: Tensor, put: Put | None
    ) -> tuple[Tensor, ...]:
        """Update h once; see `RecurrentLayer.cell`."""
        pre = affine(inputs_t, state[0], weight)
        if put is not None:
            put("pre", pre)
        return (self.activation(pre),)


ARCHITECTURE = Architecture(
    name="rnn",
    summary="Elman network with tanh",
    config=RNNConfig,
    build=recurrent_stack(lambda d_in, config: RNNLayer(d_in, config.width, config.start)),
    learning_rate=1e-3,
)
