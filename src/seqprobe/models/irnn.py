"""A rectified network that starts as an integrator."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from seqprobe.config import bounded
from seqprobe.models.architecture import Architecture, ModelConfig, recurrent_stack
from seqprobe.models.rnn import RNNLayer

__all__ = ["ARCHITECTURE", "IRNNConfig", "IRNNLayer"]

_INPUT_STD = 0.001


@dataclass(frozen=True)
class IRNNConfig(ModelConfig):
    """Settings of the rectified network.

    Attributes
    ----------
    scale
        Recurrent weights start at this times the identity; 1 integrates, less forgets.
    """

    scale: float = bounded(1.0, 0.0, 10.0)


class IRNNLayer(RNNLayer):
    """One layer of ``h_t = relu(W_ih x_t + W_hh h_{t-1} + b)`` with W_hh starting at the identity.

    Input weights start at N(0, 0.001), the bias at 0. Source: Le, Jaitly and Hinton 2015, arXiv
    1504.00941.

    State: ``h`` (B, H). Internals: ``pre``, the pre-activation (B, H).

    Parameters
    ----------
    d_in
        Number of inputs D.
    width
        Number of units H.
    scale
        See `IRNNConfig`.
    """

    nonlinearity = "relu"

    def __init__(self, d_in: int, width: int, scale: float = 1.0) -> None:
        super().__init__(d_in, width)
        nn.init.normal_(self.weight_ih, std=_INPUT_STD)
        nn.init.zeros_(self.bias)
        with torch.no_grad():
            nn.init.eye_(self.weight_hh).mul_(scale)


ARCHITECTURE = Architecture(
    name="irnn",
    summary="rectified network, identity start",
    config=IRNNConfig,
    build=recurrent_stack(lambda d_in, config: IRNNLayer(d_in, config.width, config.scale)),
    learning_rate=1e-3,
)
