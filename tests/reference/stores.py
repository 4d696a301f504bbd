"""Memories whose capacity is known exactly: leaks, ring buffers, associative matrices."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seqprobe.models import SequenceModule, Trace
from seqprobe.spec import Spec
from seqprobe.state import State


class Scanned(SequenceModule):
    """A module whose sequence form is the scan of its step."""

    def forward(
        self, x: Tensor, state: State | None = None, trace: Trace | None = None
    ) -> tuple[Tensor, State]:
        state = self.init_state(len(x)) if state is None else state
        outputs = []
        for x_t in x.unbind(1):
            y_t, state = self.step(x_t, state)
            outputs.append(y_t)
        return torch.stack(outputs, dim=1), state


class Leak(Scanned):
    """h_t = alpha h_{t-1} + x_t for every channel; the output is the newest input, or the state."""

    def __init__(self, alpha: float, width: int, sees_state: bool = False) -> None:
        super().__init__()
        self.alpha = nn.Parameter(torch.tensor(alpha, dtype=torch.float64))
        self.width, self.sees_state = width, sees_state
        self.spec = Spec("continuous", width, "regression", width)

    def init_state(self, batch: int) -> State:
        return {"h": torch.zeros(batch, self.width, dtype=torch.float64)}

    def state_size(self, length: int) -> int:
        return self.width

    def step(self, x_t: Tensor, state: State, trace: Trace | None = None) -> tuple[Tensor, State]:
        h = self.alpha * state["h"] + x_t
        return (h if self.sees_state else x_t), {"h": h}


class SymbolBuffer(Scanned):
    """Says what came D steps ago; its cells hold symbol / (K - 1)."""

    def __init__(self, delay: int, symbols: int) -> None:
        super().__init__()
        self.delay, self.symbols = delay, symbols
        self.sharpness = nn.Parameter(torch.tensor(50.0))

    def init_state(self, batch: int) -> State:
        return {"cells": torch.zeros(batch, self.delay)}

    def state_size(self, length: int) -> int:
        return self.delay

    def step(self, x_t: Tensor, state: State, trace: Trace | None = None) -> tuple[Tensor, State]:
        cells = state["cells"]
        said = (cells[:, 0] * (self.symbols - 1)).round().long().clamp(0, self.symbols - 1)
        logits = self.sharpness * F.one_hot(said, self.symbols)
        newest = x_t[:, None] / (self.symbols - 1)
        return logits, {"cells": torch.cat([cells[:, 1:], newest], dim=1)}


class FirstSymbols(nn.Module):
    """Selective copying with room for the first C symbols; it knows nothing of the others."""

    def __init__(self, room: int, alphabet: int) -> None:
        super().__init__()
        self.room, self.alphabet = room, alphabet

    def forward(self, tokens: Tensor) -> Tensor:
        logits = torch.zeros(*tokens.shape, self.alphabet)
        for row, line in zip(tokens, logits, strict=True):
            symbols = row[(row > 0) & (row <= self.alphabet)] - 1
            asked = (row == self.alphabet + 1).nonzero().flatten()
            for step, symbol in list(zip(asked, symbols, strict=False))[: self.room]:
                line[step, symbol] = 1e4
        return logits

    def state_size(self, length: int) -> int:
        return self.room


class MatrixOperator(nn.Module):
    """y = M x for a lower triangular matrix of one channel."""

    def __init__(self, matrix: Tensor) -> None:
        super().__init__()
        self.matrix = nn.Parameter(matrix)

    def forward(self, x: Tensor) -> Tensor:
        length = x.shape[1]
        return self.matrix[:length, :length] @ x


def associative_accuracy(
    d: int, pairs: int, labels: int, rng: np.random.Generator, *, rule: str, orthonormal: bool
) -> float:
    """Store pairs of keys and codes of labels in a d x d matrix, and name the nearest code."""
    codes = rng.choice([-1.0, 1.0], (labels, d))
    keys = rng.choice([-1.0, 1.0], (pairs, d)) / np.sqrt(d)
    if orthonormal:
        keys = np.linalg.qr(rng.standard_normal((d, pairs)))[0].T
    chosen = rng.integers(0, labels, pairs)
    store = np.zeros((d, d))
    for key, label in zip(keys, chosen, strict=True):
        missing = codes[label] - (store @ key if rule == "delta" else 0)
        store += np.outer(missing, key) / (key @ key)
    said = (keys @ store.T @ codes.T).argmax(axis=1)
    return float((said == chosen).mean())
