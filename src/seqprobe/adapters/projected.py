"""Long short-term memory that passes on a projection of its output, as torch can compute it."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seqprobe.models.base import SequenceModule, scanned
from seqprobe.models.trace import Trace
from seqprobe.state import State

__all__ = ["ProjectedLSTMLayer"]

_INTERNALS = ("input", "forget", "candidate", "output", "c")


class ProjectedLSTMLayer(SequenceModule):
    """One layer of long short-term memory with a recurrent projection.

    In formulas::

        i, f, o = sigmoid(W x + U h + b)     g = tanh(W_g x + U_g h + b_g)
        c' = f * c + i * g                   h' = W_hr (o * tanh(c'))

    The H units see P numbers of each other, P < H. Source: Sak, Senior and Beaufays 2014, arXiv
    1402.1128, without its peepholes and its second, non-recurrent projection; it is what
    ``torch.nn.LSTM(proj_size=P)`` computes. It is no `RecurrentLayer`: h has another size than c,
    and its entries are mixtures of units, so that units have no weights of their own to read it by.

    The whole sequence runs on torch's fused kernel unless internals are asked for; both paths give
    the same numbers.

    State: ``h`` (B, P), ``c`` (B, H). Internals: ``input``, ``forget``, ``candidate``, ``output``,
    ``c`` (B, H).

    Parameters
    ----------
    d_in
        Number of inputs D.
    width
        Number of units H.
    projection
        Number of outputs P.
    """

    def __init__(self, d_in: int, width: int, projection: int) -> None:
        super().__init__()
        self.width = width
        self.projection = projection
        bound = 1 / math.sqrt(width)

        def uniform(*shape: int) -> nn.Parameter:
            return nn.Parameter(torch.empty(shape).uniform_(-bound, bound))

        self.weight_ih = uniform(4 * width, d_in)
        self.weight_hh = uniform(4 * width, projection)
        self.weight_hr = uniform(projection, width)
        self.bias = uniform(4 * width)

    def init_state(self, batch: int) -> State:
        """Return zero vectors h (B, P) and c (B, H)."""
        return {"h": self._zeros(batch, self.projection), "c": self._zeros(batch, self.width)}

    def state_size(self, length: int) -> int:
        """Return P + H reals, whatever the length."""
        return self.projection + self.width

    def step(self, x_t: Tensor, state: State, trace: Trace | None = None) -> tuple[Tensor, State]:
        """Map (B, D) to (B, P); see `SequenceModule.step`."""
        pre = F.linear(x_t, self.weight_ih, self.bias) + F.linear(state["h"], self.weight_hh)
        i, f, g, o = pre.chunk(4, dim=1)
        i, f, g, o = torch.sigmoid(i), torch.sigmoid(f), torch.tanh(g), torch.sigmoid(o)
        c = f * state["c"] + i * g
        if trace is not None:
            for name, value in zip(_INTERNALS, (i, f, g, o, c), strict=True):
                trace.put(name, value)
        h = F.linear(o * torch.tanh(c), self.weight_hr)
        return h, {"h": h, "c": c}

    def forward(
        self, x: Tensor, state: State | None = None, trace: Trace | None = None
    ) -> tuple[Tensor, State]:
        """Map (B, T, D) to (B, T, P); see `SequenceModule.forward`."""
        state = state if state is not None else self.init_state(len(x))
        if trace is not None:
            return scanned(self, x, state, trace)
        no_bias = torch.zeros_like(self.bias)  # torch adds a second one
        y, h, c = torch.lstm(
            x,
            [state["h"][None], state["c"][None]],
            [self.weight_ih, self.weight_hh, self.bias, no_bias, self.weight_hr],
            has_biases=True,
            num_layers=1,
            dropout=0.0,
            train=self.training,
            bidirectional=False,
            batch_first=True,
        )
        return y, {"h": h[0], "c": c[0]}
