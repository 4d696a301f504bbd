"""Long short-term memory, with peepholes and coupled gates as options."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from seqprobe.models.architecture import Architecture, ModelConfig, recurrent_stack
from seqprobe.models.recurrent import Put, RecurrentLayer, affine
from seqprobe.models.trace import Trace
from seqprobe.state import State

__all__ = ["ARCHITECTURE", "LSTMConfig", "LSTMLayer"]


@dataclass(frozen=True)
class LSTMConfig(ModelConfig):
    """Settings of the LSTM.

    Attributes
    ----------
    peephole
        Let the gates see the cell (Gers and Schmidhuber 2000).
    cifg
        Couple the gates, ``i = 1 - f`` (Greff et al. 2017, arXiv 1503.04069).
    """

    peephole: bool = False
    cifg: bool = False


class LSTMLayer(RecurrentLayer):
    """One layer of long short-term memory (Hochreiter and Schmidhuber 1997; Gers et al. 2000).

    In formulas::

        i, f, o = sigmoid(W x + U h + b)     g = tanh(W_g x + U_g h + b_g)
        c' = f * c + i * g                   h' = o * tanh(c')

    Gates are stored in torch's order i, f, g, o; the bias of f starts 1 higher. Peepholes add
    ``p_i * c``, ``p_f * c`` and ``p_o * c'`` before the sigmoid. With ``cifg`` the input gate is
    ``1 - f`` and has no weights of its own (order f, g, o).

    The plain form runs on torch's fused kernel unless internals are asked for; both paths give the
    same numbers.

    State: ``h``, ``c`` (B, H). Internals: ``input``, ``forget``, ``candidate``, ``output``, ``c``
    (B, H).

    Parameters
    ----------
    d_in
        Number of inputs D.
    width
        Number of units H.
    peephole, cifg
        See `LSTMConfig`.
    """

    parts = ("h", "c")

    def __init__(self, d_in: int, width: int, peephole: bool = False, cifg: bool = False) -> None:
        super().__init__(d_in, width, gates=3 if cifg else 4)
        self.cifg = cifg
        gates = [] if not peephole else ["f", "o"] if cifg else ["i", "f", "o"]
        self.peephole = nn.ParameterDict({gate: torch.zeros(width) for gate in gates})
        forget = 0 if cifg else 1
        with torch.no_grad():
            self.bias[forget * width : (forget + 1) * width] += 1

    def cell(
        self, inputs_t: Tensor, state: tuple[Tensor, ...], weight: Tensor, put: Put | None
    ) -> tuple[Tensor, ...]:
        """Update h and c once; see `RecurrentLayer.cell`."""
        h, c = state
        blocks = affine(inputs_t, h, weight).chunk(3 if self.cifg else 4, dim=-1)
        *_, f, g, o = blocks
        f = torch.sigmoid(self._peep("f", f, c))
        i = 1 - f if self.cifg else torch.sigmoid(self._peep("i", blocks[0], c))
        g = torch.tanh(g)
        c = f * c + i * g
        o = torch.sigmoid(self._peep("o", o, c))
        if put is not None:
            for name, value in zip(
                ("input", "forget", "candidate", "output", "c"), (i, f, g, o, c), strict=True
            ):
                put(name, value)
        return o * torch.tanh(c), c

    @property
    def fused(self) -> bool:
        """True for the plain form, which torch has a kernel for."""
        return not (self.cifg or self.peephole)

    def _peep(self, gate: str, pre: Tensor, c: Tensor) -> Tensor:
        return torch.addcmul(pre, self.peephole[gate], c) if gate in self.peephole else pre

    def forward(
        self, x: Tensor, state: State | None = None, trace: Trace | None = None
    ) -> tuple[Tensor, State]:
        """Map (B, T, D) to (B, T, H); see `SequenceModule.forward`."""
        if trace is not None or not self.fused:
            return super().forward(x, state, trace)
        start = state if state is not None else self.init_state(len(x))
        weights = [self.weight_ih, self.weight_hh, self.bias, torch.zeros_like(self.bias)]
        y, h, c = torch.lstm(
            x,
            [start["h"][None], start["c"][None]],
            weights,
            has_biases=True,
            num_layers=1,
            dropout=0.0,
            train=self.training,
            bidirectional=False,
            batch_first=True,
        )
        return y, {"h": h[0], "c": c[0]}


ARCHITECTURE = Architecture(
    name="lstm",
    summary="long short-term memory",
    config=LSTMConfig,
    build=recurrent_stack(
        lambda d_in, config: LSTMLayer(d_in, config.width, config.peephole, config.cifg)
    ),
    learning_rate=3e-3,
)
