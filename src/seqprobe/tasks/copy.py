"""Copy memory: say ten symbols again after a long silence."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from seqprobe.config import bounded
from seqprobe.errors import UsageError
from seqprobe.seeding import generator
from seqprobe.spec import Spec
from seqprobe.tasks.base import Baseline, Batch, Metric, Split, TaskConfig
from seqprobe.tasks.generated import GeneratedTask

__all__ = ["Copy", "CopyConfig"]

_ALPHABET = 8
_CLASSES = _ALPHABET + 2  # 0 is silence, 9 asks for the answer
_EVALUATION_SIZE = 512  # sequences, shared by the delays


@dataclass(frozen=True)
class CopyConfig(TaskConfig):
    """Settings of copy memory.

    Attributes
    ----------
    delay
        Silent steps T between the symbols and their recall; sequences have T + 2 M steps.
    min_delay
        Train on delays drawn evenly from here to `delay`, one per batch, and score on all of them;
        None for one delay.
    symbols
        Number M of symbols to copy.
    encoding
        ``"scalar"``, the symbol as one number, as in the published experiments, ``"onehot"``, or
        ``"token"``, for an embedding.
    """

    delay: int = bounded(100, 1, 2**20)
    min_delay: int | None = bounded(None, 1, 2**20)
    symbols: int = bounded(10, 1, 1024)
    encoding: Literal["scalar", "onehot", "token"] = "scalar"


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
    alphabet = _ALPHABET
    chance = 1 / _ALPHABET
    solved_at = 0.99

    def __init__(self, config: CopyConfig | None = None) -> None:
        super().__init__(config)
        size = 1 if self.config.encoding == "scalar" else _CLASSES
        kind: Literal["token", "continuous"] = (
            "token" if self.config.encoding == "token" else "continuous"
        )
        self.spec = Spec(kind, size, "class", _CLASSES, "each")
        self.shortest = 2 * self.config.symbols + 1
        low, high = self.config.min_delay, self.config.delay
        if low is not None and low > high:
            raise UsageError(
                f"task.min_delay = {low} is above task.delay = {high} (allowed: 1 to {high})"
            )

    @property
    def length(self) -> int:
        """Length T + 2 M of the training sequences, the longest of them."""
        length: int = self.config.delay + 2 * self.config.symbols
        return length

    def reach(self, length: int) -> int:
        """Return T + M, the lag of every copied symbol."""
        symbols: int = self.config.symbols
        return length - symbols

    def at_delay(self, delay: int) -> Copy:
        """Return the same task at one other delay."""
        return Copy(dataclasses.replace(self.config, delay=delay, min_delay=None))

    def _lengthened(self, factor: int) -> dict[str, Any]:
        """Return the delays that make sequences `factor` times as long with as many symbols."""
        symbols = 2 * self.config.symbols
        delays = {"delay": self.config.delay, "min_delay": self.config.min_delay}
        return {
            name: None if delay is None else factor * (delay + symbols) - symbols
            for name, delay in delays.items()
        }

    def answers(self, values: Tensor) -> Tensor:
        """Return the last M steps (B, M, ...) of values (B, T, ...), where the symbols are due."""
        return values[:, -self.config.symbols :]

    def memoryless_loss(self) -> float:
        """Return the loss of a model that knows the layout and no symbol, nats per step.

        The mean over all delays, if there are several.
        """
        symbols = self.config.symbols
        first = self.config.delay if self.config.min_delay is None else self.config.min_delay
        lengths = np.arange(first, self.config.delay + 1) + 2 * symbols
        return float((symbols * math.log(_ALPHABET) / lengths).mean())

    def baseline(self) -> Baseline:
        """Return the accuracy of guessing, with the loss that goes with it."""
        loss = self.memoryless_loss()
        return Baseline(f"memoryless guess, loss {loss:.5f} nats per step", 1 / _ALPHABET)

    def batch(
        self,
        split: Split,
        size: int | None = None,
        *,
        seed: int = 0,
        index: int = 0,
        length: int | None = None,
    ) -> Batch:
        """Draw sequences, in training of a length drawn first; see `Task.batch`."""
        if split == "train" and length is None and self.config.min_delay is not None:
            rng = generator(seed, self.name, "delay", index)
            delay = rng.integers(self.config.min_delay, self.config.delay + 1)
            length = int(delay) + 2 * self.config.symbols
        return super().batch(split, size, seed=seed, index=index, length=length)

    def evaluation(self, split: Split) -> Iterator[Batch]:
        """Yield sequences of every delay in equal number, or of the one there is."""
        if self.config.min_delay is None:
            yield from super().evaluation(split)
            return
        delays = np.arange(self.config.min_delay, self.config.delay + 1)
        size = max(1, _EVALUATION_SIZE // len(delays))
        for delay in delays:
            length = int(delay) + 2 * self.config.symbols
            yield self.batch(split, size, index=int(delay), length=length)

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
        if self.config.encoding == "token":
            return Batch(x, y)
        return Batch(x[..., None].float(), y)

    def errors(self, outputs: Tensor, batch: Batch) -> Tensor:
        """Return the cross-entropy over all positions, (B,), in nats per step."""
        logits = outputs.transpose(1, 2)
        return F.cross_entropy(logits, batch.targets, reduction="none").mean(dim=1)

    def scores(self, outputs: Tensor, batch: Batch) -> Tensor:
        """Return the fraction of the copied symbols that is right, (B,)."""
        right = self.answers(outputs).argmax(dim=2) == self.answers(batch.targets)
        return right.to(outputs.dtype).mean(dim=1)
