"""The temporal convolutional network of Bai, Kolter and Koltun."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seqprobe.config import bounded
from seqprobe.models.architecture import Architecture, ModelConfig
from seqprobe.models.base import SequenceModule, Stack, StateKind
from seqprobe.models.trace import Trace
from seqprobe.state import State

__all__ = ["ARCHITECTURE", "TCNBlock", "TCNConfig"]


@dataclass(frozen=True)
class TCNConfig(ModelConfig):
    """Settings of the TCN.

    Attributes
    ----------
    width
        Channels of every level.
    layers
        Levels L; level i has dilation 2^i. The receptive field is ``1 + 2 (k - 1) (2^L - 1)``.
    kernel
        Taps k of each convolution.
    dropout
        Probability after each rectifier.
    """

    width: int = bounded(32, 1, 65536)
    layers: int = bounded(4, 1, 24)
    kernel: int = bounded(5, 1, 1024)
    dropout: float = bounded(0.0, 0.0, 0.99)


class _CausalConv(nn.Module):
    """A dilated convolution with weight norm that sees the present and the past only.

    What it remembers of the past is its last ``(k - 1) d`` inputs, (B, C, (k - 1) d).
    """

    def __init__(self, d_in: int, d_out: int, kernel: int, dilation: int) -> None:
        super().__init__()
        # The start is Conv1d's default: the N(0, 0.01) of the reference code is undone there by
        # weight norm at the first forward pass, so that the published models never had it.
        conv = nn.Conv1d(d_in, d_out, kernel)
        self.direction = nn.Parameter(conv.weight.detach().clone())
        self.gain = nn.Parameter(conv.weight.detach().norm(dim=(1, 2)))
        self.bias = nn.Parameter(conv.bias.detach().clone())  # type: ignore[union-attr]
        self.dilation = dilation
        self.past = (kernel - 1) * dilation

    def forward(self, x: Tensor, past: Tensor | None) -> tuple[Tensor, Tensor]:
        """Convolve (B, C, T) after `past` (zeros if None); return the outputs and the new past."""
        x = F.pad(x, (self.past, 0)) if past is None else torch.cat([past, x], dim=2)
        scale = self.gain / self.direction.norm(dim=(1, 2))
        weight = scale[:, None, None] * self.direction
        y = F.conv1d(x, weight, self.bias, dilation=self.dilation)
        return y, x[:, :, x.shape[2] - self.past :]


class TCNBlock(SequenceModule):
    """One level: twice [causal convolution, ReLU, dropout], plus a residual path, then ReLU.

    The residual path is the identity, or a 1x1 convolution where the widths differ, which starts at
    N(0, 0.01). Source: Bai, Kolter and Koltun 2018, arXiv 1803.01271, and their code.

    State: ``conv0`` (B, D_in, (k-1) d) and ``conv1`` (B, width, (k-1) d), the last inputs of the
    two convolutions, oldest first, zero before the sequence. Internals: ``pre0``, ``pre1``, the
    outputs of the convolutions before the rectifier (B, width).

    Parameters
    ----------
    d_in, width
        Channels in and out.
    kernel, dilation
        Taps k and their distance d.
    dropout
        Probability after each rectifier.
    """

    def __init__(
        self, d_in: int, width: int, kernel: int, dilation: int, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.conv0 = _CausalConv(d_in, width, kernel, dilation)
        self.conv1 = _CausalConv(width, width, kernel, dilation)
        self.dropout = nn.Dropout(dropout)
        self.residual = nn.Conv1d(d_in, width, 1) if d_in != width else nn.Identity()
        if isinstance(self.residual, nn.Conv1d):
            nn.init.normal_(self.residual.weight, std=0.01)
        self._channels = (d_in, width)

    @property
    def receptive_field(self) -> int:
        """Number of inputs that reach an output: ``1 + 2 (k - 1) d``."""
        return 1 + self.conv0.past + self.conv1.past

    def init_state(self, batch: int) -> State:
        """Return zero buffers (B, C, (k-1) d)."""
        return {
            f"conv{i}": self._zeros(batch, channels, self.conv0.past)
            for i, channels in enumerate(self._channels)
        }

    def state_size(self, length: int) -> int:
        """Return the size of the two buffers, whatever the length."""
        return sum(self._channels) * self.conv0.past

    def state_kinds(self) -> dict[str, StateKind]:
        """Return what each part of the state is; see `SequenceModule.state_kinds`."""
        return {"conv0": "buffer", "conv1": "buffer"}

    def forward(
        self, x: Tensor, state: State | None = None, trace: Trace | None = None
    ) -> tuple[Tensor, State]:
        """Map (B, T, D_in) to (B, T, width); see `SequenceModule.forward`."""
        y, after, pre = self._run(x, state)
        if trace is not None:
            for i, value in enumerate(pre):
                trace.put(f"pre{i}", value)
        return y, after

    def step(self, x_t: Tensor, state: State, trace: Trace | None = None) -> tuple[Tensor, State]:
        """Map (B, D_in) to (B, width); see `SequenceModule.step`."""
        y, after, pre = self._run(x_t[:, None], state)
        if trace is not None:
            for i, value in enumerate(pre):
                trace.put(f"pre{i}", value[:, 0])
        return y[:, 0], after

    def equilibrium(self, x_t: Tensor) -> tuple[State, Tensor]:
        """Return buffers full of what is held, with eigenvalues of zero: nothing is fed back."""
        y = x_t[..., None]
        state: State = {}
        for i, conv in enumerate((self.conv0, self.conv1)):
            state[f"conv{i}"] = y.expand(-1, -1, conv.past)
            y = torch.relu(conv(y, state[f"conv{i}"])[0])
        zeros = x_t.new_zeros(len(x_t), self.state_size(1))
        return state, zeros.to(zeros.dtype.to_complex())

    def _run(self, x: Tensor, state: State | None) -> tuple[Tensor, State, list[Tensor]]:
        y = channels = x.transpose(1, 2)
        after: State = {}
        pre = []
        for i, conv in enumerate((self.conv0, self.conv1)):
            z, after[f"conv{i}"] = conv(y, None if state is None else state[f"conv{i}"])
            pre.append(z.transpose(1, 2))
            y = self.dropout(torch.relu(z))
        return torch.relu(y + self.residual(channels)).transpose(1, 2), after, pre


def _build(d_in: int, config: TCNConfig) -> SequenceModule:
    sizes = [d_in] + [config.width] * (config.layers - 1)
    return Stack(
        [
            TCNBlock(size, config.width, config.kernel, 2**level, config.dropout)
            for level, size in enumerate(sizes)
        ]
    )


ARCHITECTURE = Architecture(
    name="tcn",
    summary="temporal convolutional network",
    config=TCNConfig,
    build=_build,
    learning_rate=2e-3,
)
