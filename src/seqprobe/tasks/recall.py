"""Delayed recall of symbols: a stream in, the same stream D steps later out."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from seqprobe.config import bounded
from seqprobe.spec import Spec
from seqprobe.tasks.base import Baseline, Batch, Metric, TaskConfig, masked_mean
from seqprobe.tasks.delayed import Delayed

__all__ = ["Recall", "RecallConfig"]


@dataclass(frozen=True)
class RecallConfig(TaskConfig):
    """Settings of delayed recall of symbols.

    Attributes
    ----------
    length
        Length T of the training sequences.
    delay
        Number of steps D between a symbol and its recall.
    symbols
        Number K of symbols.
    """

    length: int = bounded(64, 1, 2**20)
    delay: int = bounded(10, 0, 2**20)
    symbols: int = bounded(8, 2, 4096)


class Recall(Delayed):
    """``y_t = x_{t-D}`` for tokens drawn independently and evenly from K symbols.

    What `Delay` is for numbers: a stationary memory whose length is known. Loss: cross-entropy in
    nats over t >= D. Metric: accuracy over t >= D. Chance and baseline: 1/K, because tokens are
    independent.
    """

    name = "recall"
    summary = "delayed recall of a symbol, y_t = x_(t-D)"
    Config = RecallConfig
    metric = Metric("accuracy", "fraction of symbols", "higher")
    solved_at = 0.99

    def __init__(self, config: RecallConfig | None = None) -> None:
        super().__init__(config)
        size = self.config.symbols
        self.spec = Spec("token", size, "class", size, "each")
        self.alphabet = size
        self.chance = 1 / size

    def at_delay(self, delay: int) -> Recall:
        """Return the same task at another delay, with as many answers per sequence."""
        answers = self.config.length - self.config.delay
        return Recall(dataclasses.replace(self.config, delay=delay, length=delay + answers))

    def answers(self, values: Tensor) -> Tensor:
        """Return the steps (B, T - D, ...) of values (B, T, ...) at which a symbol is due."""
        return values[:, self.config.delay :]

    def baseline(self) -> Baseline:
        """Return the accuracy of guessing."""
        return Baseline("guess", self.chance)

    def draw(self, rng: np.random.Generator, size: int, length: int) -> Batch:
        """Draw symbols; see `GeneratedTask.draw`."""
        x = torch.from_numpy(rng.integers(0, self.config.symbols, (size, length)))
        return self.delayed(x)

    def errors(self, outputs: Tensor, batch: Batch) -> Tensor:
        """Return the cross-entropy over t >= D, (B,), in nats per symbol."""
        nll = F.cross_entropy(outputs.transpose(1, 2), batch.targets, reduction="none")
        return masked_mean(nll, batch.mask)

    def scores(self, outputs: Tensor, batch: Batch) -> Tensor:
        """Return the fraction of symbols that is right, (B,)."""
        right = self.answers(outputs).argmax(dim=2) == self.answers(batch.targets)
        return right.to(outputs.dtype).mean(dim=1)
