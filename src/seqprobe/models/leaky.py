"""Leaky units with a time constant of their own, trained with the weights."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seqprobe.models.architecture import Architecture, ModelConfig, recurrent_stack
from seqprobe.models.recurrent import Put, RecurrentLayer, affine

__all__ = ["ARCHITECTURE", "LeakyConfig", "LeakyLayer"]

Form = Literal["inside", "outside"]
Activation = Literal["tanh", "relu", "leaky_relu"]

_ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "tanh": torch.tanh,
    "relu": torch.relu,
    "leaky_relu": F.leaky_relu,
}


@dataclass(frozen=True)
class LeakyConfig(ModelConfig):
    """Settings of the leaky network.

    Attributes
    ----------
    form
        Whether the non-linearity acts on the drive (``"inside"``) or on the new state
        (``"outside"``).
    activation
        The non-linearity.
    self_loops
        Keep the diagonal of the recurrent weights. Without it the time constant alone decides how
        long a unit holds on to itself.
    """

    form: Form = "inside"
    activation: Activation = "tanh"
    self_loops: bool = False


class LeakyLayer(RecurrentLayer):
    """One layer of leaky units with trainable time constants tau.

    With a = W_ih x_t + W_hh h_{t-1} + b and tau >= 1 in steps::

        inside:   h_t = (1 - 1/tau) * h_{t-1} + phi(a) / tau
        outside:  h_t = phi((1 - 1/tau) * h_{t-1} + a / tau)

    tau starts uniform in [1, 2], one per unit. Sources: the continuous-time network of the
    neuroscience tasks (inside); Khajehabdollahi et al. 2024, ICLR, arXiv 2309.12927 (outside, with
    a leaky rectifier and no self-loops). Unlike there, tau is ``1 + softplus(excess)`` and not
    clamped at 1, where its gradient would be zero and a unit that once came there could not leave;
    and the state starts at zero and not at random, so that evaluation is deterministic.

    State: ``h`` (B, H). Internals: ``pre``, the drive a (B, H).

    Parameters
    ----------
    d_in
        Number of inputs D.
    width
        Number of units H.
    form, activation, self_loops
        See `LeakyConfig`.
    """

    def __init__(
        self,
        d_in: int,
        width: int,
        form: Form = "inside",
        activation: Activation = "tanh",
        self_loops: bool = False,
    ) -> None:
        super().__init__(d_in, width, gates=1)
        self.form = form
        self.nonlinearity = activation
        self.activation = _ACTIVATIONS[activation]
        self.self_loops = self_loops
        above = torch.rand(width).clamp(min=1e-3)
        self.excess = nn.Parameter(above + torch.log(-torch.expm1(-above)))  # softplus backwards

    @property
    def time_constants(self) -> Tensor:
        """Time constants in steps, (H,), at least 1."""
        return 1 + F.softplus(self.excess)

    def recurrent_weight(self) -> Tensor:
        """Return ``weight_hh`` transposed, without its diagonal unless self-loops are kept."""
        weight = self.weight_hh.mT
        if self.self_loops:
            return weight
        return weight - weight.diagonal(dim1=-2, dim2=-1).diag_embed()

    def cell(
        self, inputs_t: Tensor, state: tuple[Tensor, ...], weight: Tensor, put: Put | None
    ) -> tuple[Tensor, ...]:
        """Update h once; see `RecurrentLayer.cell`."""
        rate = 1 / self.time_constants
        pre = affine(inputs_t, state[0], weight)
        if put is not None:
            put("pre", pre)
        if self.form == "inside":
            return (torch.lerp(state[0], self.activation(pre), rate),)
        return (self.activation(torch.lerp(state[0], pre, rate)),)


ARCHITECTURE = Architecture(
    name="leaky",
    summary="leaky units with trainable time constants",
    config=LeakyConfig,
    build=recurrent_stack(
        lambda d_in, config: LeakyLayer(
            d_in, config.width, config.form, config.activation, config.self_loops
        )
    ),
    learning_rate=2e-3,
)
