"""Delayed recall: say again what came in D steps ago."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from seqprobe.config import bounded
from seqprobe.spec import Spec
from seqprobe.tasks.base import Baseline, Batch, Metric, TaskConfig, mean_square
from seqprobe.tasks.delayed import Delayed

__all__ = ["Delay", "DelayConfig"]


@dataclass(frozen=True)
class DelayConfig(TaskConfig):
    """Settings of delayed recall.

    Attributes
    ----------
    length
        Length T of the training sequences.
    delay
        Number of steps D between an input and its recall.
    """

    length: int = bounded(96, 1, 2**20)
    delay: int = bounded(20, 0, 2**20)


class Delay(Delayed):
    """``y_t = x_{t-D}`` for inputs drawn independently and uniformly from [-1, 1].

    Loss: mean squared error over t >= D. Metric: the same divided by the variance of the target,
    1/3. Chance, answering 0: 1. Baseline: the best predictor without memory of D steps is the mean
    of the input law, 0, because inputs are independent; its score is 1 exactly.
    """

    name = "delay"
    summary = "delayed recall of a random number, y_t = x_(t-D)"
    Config = DelayConfig
    metric = Metric("nmse", "fraction of target variance", "lower")
    chance = 1.0
    solved_at = 0.003
    spec = Spec("continuous", 1, "regression", 1, "each")

    _variance = 1 / 3

    def baseline(self) -> Baseline:
        """Return the score of the best answer that remembers nothing."""
        return Baseline("best memoryless answer, the mean", 1.0)

    def draw(self, rng: np.random.Generator, size: int, length: int) -> Batch:
        """Draw uniform inputs; see `GeneratedTask.draw`."""
        x = torch.from_numpy(rng.uniform(-1, 1, (size, length, 1)).astype(np.float32))
        return self.delayed(x)

    def errors(self, outputs: Tensor, batch: Batch) -> Tensor:
        """Return the mean squared error over the variance of the target, (B,)."""
        return mean_square(outputs, batch) / self._variance
