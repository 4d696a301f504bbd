"""What the recurrent cells share: parameters in torch's layout and the loop over time."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable, Iterable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seqprobe.models.base import SequenceModule
from seqprobe.models.trace import Trace
from seqprobe.state import State

__all__ = ["Put", "RecurrentLayer", "affine", "product", "recurrent_layers"]

Put = Callable[[str, Tensor], None]


def product(h: Tensor, weight: Tensor) -> Tensor:
    """Return ``h @ weight`` of one network, or of S networks at once; see `affine`."""
    return torch.mm(h, weight) if h.dim() == 2 else torch.bmm(h, weight)


def affine(offset: Tensor, h: Tensor, weight: Tensor) -> Tensor:
    """Return ``offset + h @ weight`` of one network, or of S networks at once.

    Parameters
    ----------
    offset
        (B, G), or (S, B, G); broadcast where it is smaller.
    h
        (B, H), or (S, B, H).
    weight
        (H, G), or one per network, (S, H, G).
    """
    return torch.addmm(offset, h, weight) if h.dim() == 2 else torch.baddbmm(offset, h, weight)


class RecurrentLayer(SequenceModule):
    """A layer whose state is one or two vectors of H units, updated by `cell`.

    Input weights are ``weight_ih`` (G*H, D), recurrent weights ``weight_hh`` (G*H, H), with one
    ``bias`` (G*H), for G gates in torch's order. torch keeps a second, redundant bias; a sum of the
    two makes the same function. Input weights and biases start uniform in +-1/sqrt(H), as in torch;
    each recurrent block starts orthogonal.

    A cell is written for one network and for S networks at once (`seqprobe.models.together`), where
    every matrix gets a leading axis S, every vector of N parameters is (S, 1, N), and states and
    inputs are (S, B, ...): it counts axes from the last, and multiplies by `affine`.

    Parameters
    ----------
    d_in
        Number of inputs D.
    width
        Number of units H.
    gates
        Number of weight blocks G.
    """

    parts: tuple[str, ...] = ("h",)

    @property
    def fused(self) -> bool:
        """True if `forward` runs on a kernel of torch that is faster than a loop over `cell`."""
        return False

    def __init__(self, d_in: int, width: int, gates: int) -> None:
        super().__init__()
        self.width = width
        bound = 1 / math.sqrt(width)
        self.weight_ih = nn.Parameter(torch.empty(gates * width, d_in).uniform_(-bound, bound))
        self.weight_hh = nn.Parameter(torch.empty(gates * width, width))
        for block in self.weight_hh.data.split(width):
            nn.init.orthogonal_(block)
        self.bias = nn.Parameter(torch.empty(gates * width).uniform_(-bound, bound))

    @abstractmethod
    def cell(
        self, inputs_t: Tensor, state: tuple[Tensor, ...], weight: Tensor, put: Put | None
    ) -> tuple[Tensor, ...]:
        """Update the state once.

        Parameters
        ----------
        inputs_t
            ``weight_ih @ x_t + bias`` for all gates, (B, G*H) or (S, B, G*H).
        state
            The vectors named by `parts`, each (B, H) or (S, B, H); `output` reads the first.
        weight
            `recurrent_weight`, (H, G*H) or (S, H, G*H): taken once per sequence, not once per step.
        put
            Receives internals by name, or None if nobody asked.
        """

    def recurrent_weight(self) -> Tensor:
        """Return ``weight_hh`` transposed, (H, G*H), as the cell multiplies by it."""
        return self.weight_hh.mT

    def output(self, h: Tensor) -> Tensor:
        """Return what the next layer or the head reads of the first part of the state."""
        return h

    def init_state(self, batch: int) -> State:
        """Return zero vectors (B, H) for every part."""
        return {part: self._zeros(batch, self.width) for part in self.parts}

    def state_size(self, length: int) -> int:
        """Return H reals for every part, whatever the length."""
        return len(self.parts) * self.width

    def step(self, x_t: Tensor, state: State, trace: Trace | None = None) -> tuple[Tensor, State]:
        """Map (B, D) to (B, H); see `SequenceModule.step`."""
        put = None if trace is None else trace.put
        vectors = tuple(state[part] for part in self.parts)
        inputs_t = F.linear(x_t, self.weight_ih, self.bias)
        vectors = self.cell(inputs_t, vectors, self.recurrent_weight(), put)
        return self.output(vectors[0]), dict(zip(self.parts, vectors, strict=True))

    def forward(
        self, x: Tensor, state: State | None = None, trace: Trace | None = None
    ) -> tuple[Tensor, State]:
        """Map (B, T, D) to (B, T, H); see `SequenceModule.forward`."""
        start = state if state is not None else self.init_state(len(x))
        vectors = tuple(start[part] for part in self.parts)
        recorded: dict[str, list[Tensor]] = {}

        def put(name: str, value: Tensor) -> None:
            if trace is not None and trace.wants(name):
                recorded.setdefault(name, []).append(value)

        # Time-major rows are contiguous, and unbind (never x[:, t]) keeps the backward linear in T.
        inputs = F.linear(x.transpose(0, 1), self.weight_ih, self.bias)
        outputs, vectors = self.scan(inputs.unbind(0), vectors, None if trace is None else put)
        if trace is not None:
            for name, values in recorded.items():
                trace.put(name, torch.stack(values, dim=1))
        return torch.stack(outputs, dim=1), dict(zip(self.parts, vectors, strict=True))

    def scan(
        self, inputs: Iterable[Tensor], vectors: tuple[Tensor, ...], put: Put | None = None
    ) -> tuple[list[Tensor], tuple[Tensor, ...]]:
        """Run the cell over inputs, one per step; return all outputs and the last state."""
        weight = self.recurrent_weight()
        outputs = []
        for inputs_t in inputs:
            vectors = self.cell(inputs_t, vectors, weight, put)
            outputs.append(self.output(vectors[0]))
        return outputs, vectors


def recurrent_layers(module: nn.Module) -> list[RecurrentLayer]:
    """Return every recurrent layer in a module."""
    return [layer for layer in module.modules() if isinstance(layer, RecurrentLayer)]
