"""Selective state spaces: a diagonal recurrence that its input opens and closes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seqprobe.config import bounded
from seqprobe.models.architecture import Architecture, ModelConfig
from seqprobe.models.base import SequenceModule, Stack, StateKind
from seqprobe.models.ops.selective_scan import (
    chunked_selective_scan,
    selective_scan,
    selective_step,
)
from seqprobe.models.trace import Trace
from seqprobe.state import State

__all__ = ["ARCHITECTURE", "MambaBlock", "MambaConfig"]

Scan = Literal["loop", "chunked"]


@dataclass(frozen=True)
class MambaConfig(ModelConfig):
    """Settings of Mamba.

    Attributes
    ----------
    layers
        Number of blocks.
    expansion
        Inner width E in widths.
    modes
        State size N per inner channel.
    kernel
        Taps of the depthwise convolution.
    scan
        ``"loop"``, fastest on a CPU, or ``"chunked"``; the same numbers.
    """

    layers: int = bounded(2, 1, 1024)
    expansion: int = bounded(2, 1, 64)
    modes: int = bounded(16, 1, 65536)
    kernel: int = bounded(4, 1, 1024)
    scan: Scan = "loop"


class MambaBlock(SequenceModule):
    """``x + Mamba(RMSNorm x)``.

    Inside, with inner width P = E * width and rank R = ceil(width / 16)::

        x, z = split(W_in u)                     x = SiLU(causal depthwise conv(x))
        d, B, C = split(W_x x)                   Delta = softplus(W_d d + b_d)
        h_t = exp(Delta_t A) h_{t-1} + (Delta_t x_t) B_t        A = -exp(A_log)
        y_t = h_t C_t + D x_t                    out = W_out(y * SiLU(z))

    A_log starts at log(1..N), b_d so that Delta is log-uniform in [0.001, 0.1]. Source: Gu and Dao
    2023, arXiv 2312.00752.

    State: ``ssm`` (B, P, N); ``conv`` (B, P, k-1), the last inputs of the convolution, oldest
    first. Internals: ``delta`` (B, P), ``input`` and ``output``, which are B and C (B, N).

    Parameters
    ----------
    width
        Model dimension.
    expansion, modes, kernel, scan
        See `MambaConfig`.
    """

    def __init__(
        self, width: int, expansion: int = 2, modes: int = 16, kernel: int = 4, scan: Scan = "loop"
    ) -> None:
        super().__init__()
        self.inner, self.modes, self.rank = expansion * width, modes, math.ceil(width / 16)
        self.scan = scan
        self.norm = nn.RMSNorm(width, eps=1e-5)
        self.inp = nn.Linear(width, 2 * self.inner, bias=False)
        self.conv = nn.Conv1d(self.inner, self.inner, kernel, groups=self.inner)
        self.select = nn.Linear(self.inner, self.rank + 2 * modes, bias=False)
        self.step_size = nn.Linear(self.rank, self.inner)
        bound = self.rank**-0.5
        nn.init.uniform_(self.step_size.weight, -bound, bound)
        delta = torch.exp(torch.empty(self.inner).uniform_(math.log(1e-3), math.log(1e-1)))
        with torch.no_grad():
            self.step_size.bias.copy_(delta + torch.log(-torch.expm1(-delta)))
        poles = torch.arange(1, modes + 1).float()
        self.log_decay = nn.Parameter(poles.log().repeat(self.inner, 1))
        self.skip = nn.Parameter(torch.ones(self.inner))
        self.out = nn.Linear(self.inner, width, bias=False)

    @property
    def past(self) -> int:
        """Number of inputs that the convolution keeps."""
        return self.conv.kernel_size[0] - 1

    def init_state(self, batch: int) -> State:
        """Return a zero state and zero past inputs."""
        return {
            "ssm": self._zeros(batch, self.inner, self.modes),
            "conv": self._zeros(batch, self.inner, self.past),
        }

    def state_size(self, length: int) -> int:
        """Return ``P N + P (k - 1)``, whatever the length."""
        return self.inner * (self.modes + self.past)

    def state_kinds(self) -> dict[str, StateKind]:
        """Return what each part of the state is; see `SequenceModule.state_kinds`."""
        return {"conv": "buffer"}

    def forward(
        self, x: Tensor, state: State | None = None, trace: Trace | None = None
    ) -> tuple[Tensor, State]:
        """Map (B, T, width) to (B, T, width); see `SequenceModule.forward`."""
        state = self.init_state(len(x)) if state is None else state
        u, gate = self.inp(self.norm(x)).chunk(2, dim=2)
        window = torch.cat([state["conv"], u.transpose(1, 2)], dim=2)
        u = F.silu(self.conv(window)).transpose(1, 2)
        delta, b, c = self._select(u, trace)
        scan = selective_scan if self.scan == "loop" else chunked_selective_scan
        y, h = scan(state["ssm"], u, delta, -torch.exp(self.log_decay), b, c)
        y = self.out((y + self.skip * u) * F.silu(gate))
        return x + y, {"ssm": h, "conv": window[:, :, window.shape[2] - self.past :]}

    def step(self, x_t: Tensor, state: State, trace: Trace | None = None) -> tuple[Tensor, State]:
        """Map (B, width) to (B, width); see `SequenceModule.step`."""
        u, gate = self.inp(self.norm(x_t)).chunk(2, dim=1)
        window = torch.cat([state["conv"], u[..., None]], dim=2)
        u = F.silu(self.conv(window))[..., 0]
        delta, b, c = self._select(u, trace)
        y, h = selective_step(state["ssm"], u, delta, -torch.exp(self.log_decay), b, c)
        y = self.out((y + self.skip * u) * F.silu(gate))
        return x_t + y, {"ssm": h, "conv": window[:, :, 1:]}

    def equilibrium(self, x_t: Tensor) -> tuple[State, Tensor]:
        """Return ``Delta u B / (1 - exp(Delta A))``; see `SequenceModule.equilibrium`.

        The buffer of the convolution holds the input and adds eigenvalues of zero.
        """
        u, _ = self.inp(self.norm(x_t)).chunk(2, dim=1)
        window = u[..., None].expand(-1, -1, self.past + 1)
        u = F.silu(self.conv(window))[..., 0]
        delta, b, _ = self._select(u, None)
        log_decay = delta[..., None] * -torch.exp(self.log_decay)
        ssm = (delta * u)[..., None] * b[:, None] / -torch.expm1(log_decay)
        decay = torch.exp(log_decay).flatten(1)
        eigenvalues = F.pad(decay, (0, self.inner * self.past))
        return {"ssm": ssm, "conv": window[:, :, 1:]}, eigenvalues.to(
            eigenvalues.dtype.to_complex()
        )

    def _select(self, u: Tensor, trace: Trace | None) -> tuple[Tensor, Tensor, Tensor]:
        """Return Delta, B and C of inputs (..., P)."""
        low, b, c = self.select(u).split([self.rank, self.modes, self.modes], dim=-1)
        delta = F.softplus(self.step_size(low))
        if trace is not None:
            trace.put("delta", delta)
            trace.put("input", b)
            trace.put("output", c)
        return delta, b, c


def _build(d_in: int, config: MambaConfig) -> SequenceModule:
    del d_in  # the assembly projects inputs to the width of a residual core
    blocks: list[SequenceModule] = [
        MambaBlock(config.width, config.expansion, config.modes, config.kernel, config.scan)
        for _ in range(config.layers)
    ]
    return Stack(blocks, norm=nn.RMSNorm(config.width, eps=1e-5))


ARCHITECTURE = Architecture(
    name="mamba",
    summary="selective state space model",
    config=MambaConfig,
    build=_build,
    learning_rate=2e-3,
    residual=True,
)
