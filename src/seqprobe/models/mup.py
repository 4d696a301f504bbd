"""A leaky tanh network in the muP form: one number sets how much training changes its features."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from seqprobe.config import bounded
from seqprobe.errors import UsageError
from seqprobe.models.architecture import Architecture, ModelConfig, recurrent_stack
from seqprobe.models.base import SequenceModule
from seqprobe.models.recurrent import Put, RecurrentLayer, affine

__all__ = ["ARCHITECTURE", "MuPConfig", "MuPLayer"]


@dataclass(frozen=True)
class MuPConfig(ModelConfig):
    """Settings of the muP network.

    Attributes
    ----------
    gamma
        Strength of feature learning: small is lazy, large is rich. It divides the output and
        multiplies ``train.lr``, so that the outputs move equally fast at every gamma, and what the
        units do moves by gamma.
    tau
        The part of the way to its drive that a unit goes in one step.
    """

    gamma: float = bounded(1.0, 1e-6, 1e6)
    tau: float = bounded(0.1, 1e-6, 1.0)


class MuPLayer(RecurrentLayer):
    """The recurrent part of the muP form of Huang et al. 2024, arXiv 2410.03972.

    With N units, phi = tanh, J = ``weight_hh`` and U = ``weight_ih``::

        h_t = h_{t-1} + tau * (-h_{t-1} + J phi(h_{t-1}) / N + U x_t + b)
        y_t = phi(h_t) / (gamma N)

    The head is ``f_t = W y_t`` without a bias. J starts at N(0, N), U and W at N(0, 1); the rate of
    Adam is ``gamma * train.lr``. Unlike there, units have a bias b, which starts at 0. The inputs
    of the paper are few and continuous; tokens drive every unit by sqrt(E) for an embedding of size
    E, so that networks of different width are comparable only at one ``model.embedding``.

    State: ``h`` (B, H), before phi. Internals: ``pre``, the drive ``J phi(h) / N + U x + b``
    (B, H).

    Parameters
    ----------
    d_in
        Number of inputs D.
    width
        Number of units H, the N of the equations.
    gamma, tau
        See `MuPConfig`.
    """

    def __init__(self, d_in: int, width: int, gamma: float = 1.0, tau: float = 0.1) -> None:
        super().__init__(d_in, width, gates=1)
        self.gamma = gamma
        self.tau = tau
        nn.init.normal_(self.weight_ih)
        nn.init.normal_(self.weight_hh, std=math.sqrt(width))
        nn.init.zeros_(self.bias)

    def recurrent_weight(self) -> Tensor:
        """Return ``weight_hh / N`` transposed, by which phi of the state acts on the units."""
        return self.weight_hh.mT / self.width

    def output(self, h: Tensor) -> Tensor:
        """Return ``phi(h) / (gamma N)``; see `RecurrentLayer.output`."""
        return torch.tanh(h) / (self.gamma * self.width)

    def cell(
        self, inputs_t: Tensor, state: tuple[Tensor, ...], weight: Tensor, put: Put | None
    ) -> tuple[Tensor, ...]:
        """Update h once; see `RecurrentLayer.cell`."""
        pre = affine(inputs_t, torch.tanh(state[0]), weight)
        if put is not None:
            put("pre", pre)
        return (torch.lerp(state[0], pre, self.tau),)


def _build(d_in: int, config: MuPConfig) -> SequenceModule:
    if config.layers > 1:  # a second layer would read what is scaled for the head
        raise UsageError(
            f"model.layers = {config.layers} is not allowed for 'mup' (allowed: 1, the form has no"
            " other); leave model.layers out"
        )
    return _stack(d_in, config)


_stack = recurrent_stack(
    lambda d_in, config: MuPLayer(d_in, config.width, config.gamma, config.tau)
)


def _head(features: int, outputs: int) -> nn.Linear:
    """Return W, which starts at N(0, 1). A bias would be trained by gamma and not scaled by it."""
    head = nn.Linear(features, outputs, bias=False)
    nn.init.normal_(head.weight)
    return head


def _rate_scale(config: MuPConfig) -> float:
    return config.gamma


ARCHITECTURE = Architecture(
    name="mup",
    summary="tanh network in the muP form",
    config=MuPConfig,
    build=_build,
    learning_rate=3e-2,
    head=_head,
    rate_scale=_rate_scale,
)
