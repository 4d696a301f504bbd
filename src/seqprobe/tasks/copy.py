"""Copy memory: say ten symbols again after a long silence."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from seqprobe.config import bounded
from seqprobe.spec import Spec
from seqprobe.tasks.base import Baseline, Batch, Metric, TaskConfig
from seqprobe.tasks.generated import GeneratedTask

__all__ = ["Copy", "CopyConfig"]

_ALPHABET = 8
_CLASSES = _ALPHABET + 2  # 0 is silence, 9 asks for the answer


@dataclass(frozen=True)
class CopyConfig(TaskConfig):
    """Settings of copy memory.

    Attributes
    ----------
    delay
        Silent steps T between the symbols and their recall; sequences have T + 2 M steps.
    symbols
        Number M of symbols to copy.
    encoding
        ``"scalar"``, the symbol as one number, as in the published experiments, or ``"onehot"``.
    """

    delay: int = bounded(100, 1, 2**20)
    symbols: int = bounded(10, 1, 1024)
    encoding: Literal["scalar", "onehot"] = "scalar"


class Copy(GeneratedTask):
    """Copy memory in the layout of Bai et al. 2018 (arXiv 1803.01271).

    Input: M symbols from 1..8, T - 1 zeros, M + 1 nines. Target: T + M zeros, then the M symbols.
    Symbol i is asked for T + M steps after it was shown. Loss: cross-entropy in nats over all
    positions and 10 classes. Metric: accuracy on the M copied symbols only, because over all
    positions a model that knows nothing scores 0.99. Chance: 1/8. Baseline: a memoryless model
    that knows the layout scores 1/8 and has a loss of M ln 8 / (T + 2 M).
    """

    name = "copy"
    summary = "say ten symbols again after a delay"
    Config = CopyConfig
    metric = Metric("accuracy", "fraction of copied symbols", "higher")
    chance = 1 / _ALPHABET
    solved_at = 0.99

    def __init__(self, config: CopyConfig | None = None) -> None:
        super().__init__(config)
        size = _CLASSES if self.config.encoding == "onehot" else 1
        self.spec = Spec("continuous", size, "class", _CLASSES, "each")
        self.shortest = 2 * self.config.symbols + 1

    @property
    def length(self) -> int:
        """Length T + 2 M of the training sequences."""
        length: int = self.config.delay + 2 * self.config.symbols
        return length

    def reach(self, length: int) -> int:
        """Return T + M, the lag of every copied symbol."""
        symbols: int = self.config.symbols
        return length - symbols

    def memoryless_loss(self) -> float:
        """Return the loss of a model that knows the layout and no symbol, nats per step."""
        loss: float = self.config.symbols * math.log(_ALPHABET) / self.length
        return loss

    def baseline(self) -> Baseline:
        """Return the accuracy of guessing, with the loss that goes with it."""
        loss = self.memoryless_loss()
        return Baseline(f"memoryless guess, loss {loss:.5f} nats per step", 1 / _ALPHABET)

    def draw(self, rng: np.random.Generator, size: int, length: int) -> Batch:
        """Draw symbols; a `length` other than the training length changes the delay."""
        count = self.config.symbols
        symbols = torch.from_numpy(rng.integers(1, _ALPHABET + 1, (size, count)))
        x = torch.zeros(size, length, dtype=torch.int64)
        x[:, :count] = symbols
        x[:, -(count + 1) :] = _CLASSES - 1
        y = torch.zeros_like(x)
        y[:, -count:] = symbols
        if self.config.encoding == "onehot":
            return Batch(F.one_hot(x, _CLASSES).float(), y)
        return Batch(x[..., None].float(), y)

    def errors(self, outputs: Tensor, batch: Batch) -> Tensor:
        """Return the cross-entropy over all positions, (B,), in nats per step."""
        logits = outputs.transpose(1, 2)
        return F.cross_entropy(logits, batch.targets, reduction="none").mean(dim=1)

    def scores(self, outputs: Tensor, batch: Batch) -> Tensor:
        """Return the fraction of the copied symbols that is right, (B,)."""
        count = self.config.symbols
        right = outputs[:, -count:].argmax(dim=2) == batch.targets[:, -count:]
        return right.to(outputs.dtype).mean(dim=1)
