"""Diagonal state space layers: one recurrence, evaluated as a convolution."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seqprobe.config import bounded
from seqprobe.errors import UsageError
from seqprobe.models.architecture import Architecture, ModelConfig
from seqprobe.models.base import SequenceModule, Stack
from seqprobe.models.ops.fft_conv import causal_fft_conv
from seqprobe.models.trace import Trace
from seqprobe.state import State

__all__ = ["ARCHITECTURE", "S4DBlock", "S4DConfig"]

Start = Literal["lin", "inv"]


@dataclass(frozen=True)
class S4DConfig(ModelConfig):
    """Settings of S4D.

    Attributes
    ----------
    layers
        Number of blocks.
    modes
        State size N per channel: N / 2 complex modes, each with its conjugate.
    start
        Poles at the start: ``"lin"``, ``-1/2 + i pi n``, or ``"inv"``,
        ``-1/2 + i (N/pi) (N/(2n+1) - 1)``.
    dropout
        Probability after the non-linearity.
    """

    layers: int = bounded(2, 1, 1024)
    modes: int = bounded(32, 2, 65536)
    start: Start = "lin"
    dropout: float = bounded(0.0, 0.0, 0.99)


class S4DBlock(SequenceModule):
    """``x + GLU(GELU(S4D(LN x)))``, one diagonal system per channel.

    Per channel, with poles lambda_n, step Delta and zero-order hold::

        z_t = exp(Delta lambda) z_{t-1} + (exp(Delta lambda) - 1) / lambda * u_t
        y_t = 2 Re(sum_n C_n z_{t,n}) + D u_t

    A whole sequence is a convolution with the kernel ``2 Re(sum_n C_n B_n exp(Delta lambda_n k))``,
    by FFT; outputs before a changed input therefore agree to rounding, not to the bit. Delta starts
    log-uniform in [0.001, 0.1]. Source: Gu, Gupta, Goel and Re 2022, arXiv 2206.11893; the norm
    comes first here, as in later stacks.

    State: ``modes`` (B, width, N/2), complex. Internals: ``ssm``, the output y (B, width).

    Parameters
    ----------
    width
        Number of channels.
    modes, start, dropout
        See `S4DConfig`.
    """

    exact_causality = False

    def __init__(self, width: int, modes: int, start: Start = "lin", dropout: float = 0.0) -> None:
        super().__init__()
        if modes % 2:
            raise UsageError(f"model.modes = {modes} is odd (allowed: even, for conjugate pairs)")
        half = modes // 2
        self.shape = (width, half)
        self.norm = nn.LayerNorm(width)
        low, high = math.log(1e-3), math.log(1e-1)
        self.log_step = nn.Parameter(torch.empty(width).uniform_(low, high))
        n = torch.arange(half).float()
        imaginary = math.pi * n
        if start == "inv":
            imaginary = modes / math.pi * (modes / (2 * n + 1) - 1)
        self.log_decay = nn.Parameter(torch.full(self.shape, math.log(0.5)))
        self.frequency = nn.Parameter(imaginary.repeat(width, 1))
        self.readout = nn.Parameter(torch.randn(*self.shape, 2) * math.sqrt(0.5))
        self.skip = nn.Parameter(torch.randn(width))
        self.out = nn.Linear(width, 2 * width)
        self.dropout = nn.Dropout(dropout)

    def init_state(self, batch: int) -> State:
        """Return zero modes (B, width, N/2), complex."""
        return {"modes": torch.view_as_complex(self._zeros(batch, *self.shape, 2))}

    def state_size(self, length: int) -> int:
        """Return N reals per channel: two for every complex mode."""
        return 2 * math.prod(self.shape)

    def forward(
        self, x: Tensor, state: State | None = None, trace: Trace | None = None
    ) -> tuple[Tensor, State]:
        """Map (B, T, width) to (B, T, width); see `SequenceModule.forward`."""
        u = self.norm(x).transpose(1, 2)  # (B, width, T)
        log_pole, drive, readout = self.system()
        powers = torch.exp(log_pole[..., None] * self._steps(u.shape[2]))  # (width, N/2, T)
        kernel = 2 * ((readout * drive)[:, None] @ powers).real[:, 0]
        y = causal_fft_conv(u, kernel)
        end = torch.einsum("bht,hnt->bhn", u.to(powers.dtype), drive[..., None] * powers.flip(2))
        if state is not None:
            pole = torch.exp(log_pole)
            # What is left of the old state t steps on: C exp(Delta lambda (t + 1)) z.
            left = (state["modes"] * readout * pole).transpose(0, 1) @ powers
            y = y + 2 * left.real.transpose(0, 1)
            end = end + state["modes"] * pole * powers[..., -1]
        y = (y + self.skip[:, None] * u).transpose(1, 2)
        if trace is not None:
            trace.put("ssm", y)
        return x + self._mix(y), {"modes": end}

    def step(self, x_t: Tensor, state: State, trace: Trace | None = None) -> tuple[Tensor, State]:
        """Map (B, width) to (B, width); see `SequenceModule.step`."""
        u = self.norm(x_t)
        log_pole, drive, readout = self.system()
        modes = torch.exp(log_pole) * state["modes"] + drive * u[..., None]
        y = 2 * (modes * readout).sum(dim=2).real + self.skip * u
        if trace is not None:
            trace.put("ssm", y)
        return x_t + self._mix(y), {"modes": modes}

    def equilibrium(self, x_t: Tensor) -> tuple[State, Tensor]:
        """Return the modes ``-u / lambda`` and the poles; see `SequenceModule.equilibrium`."""
        log_pole, drive, _ = self.system()
        modes = drive / -torch.expm1(log_pole) * self.norm(x_t)[..., None]
        pole = torch.exp(log_pole)
        pairs = torch.stack([pole, pole.conj()], dim=-1).flatten()
        return {"modes": modes}, pairs.expand(len(x_t), -1)

    def system(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return ``Delta lambda``, the discrete input weight, and C, all (width, N/2) complex."""
        pole = torch.complex(-torch.exp(self.log_decay), self.frequency)
        log_pole = pole * torch.exp(self.log_step)[:, None]
        return log_pole, torch.expm1(log_pole) / pole, torch.view_as_complex(self.readout)

    def _steps(self, length: int) -> Tensor:
        return torch.arange(length, dtype=self.skip.dtype, device=self.skip.device)

    def _mix(self, y: Tensor) -> Tensor:
        return F.glu(self.out(self.dropout(F.gelu(y))), dim=-1)


def _build(d_in: int, config: S4DConfig) -> SequenceModule:
    del d_in  # the assembly projects inputs to the width of a residual core
    blocks: list[SequenceModule] = [
        S4DBlock(config.width, config.modes, config.start, config.dropout)
        for _ in range(config.layers)
    ]
    return Stack(blocks, norm=nn.LayerNorm(config.width))


ARCHITECTURE = Architecture(
    name="s4d",
    summary="diagonal state space model",
    config=S4DConfig,
    build=_build,
    learning_rate=3e-3,
    residual=True,
)
