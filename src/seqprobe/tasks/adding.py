"""The adding problem: remember two marked numbers and say their sum."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from seqprobe.config import bounded
from seqprobe.spec import Spec
from seqprobe.tasks.base import Baseline, Batch, Metric, TaskConfig
from seqprobe.tasks.generated import GeneratedTask

__all__ = ["Adding", "AddingConfig"]


@dataclass(frozen=True)
class AddingConfig(TaskConfig):
    """Settings of the adding problem.

    Attributes
    ----------
    length
        Length T of the sequences, at least 2.
    """

    length: int = bounded(200, 2, 2**20)


class Adding(GeneratedTask):
    """Inputs (u_t, m_t): u uniform in [0, 1], m marks two steps; target: the sum of these two u.

    The two positions are drawn without replacement from the whole sequence, as in the code of Bai
    et al. 2018 (arXiv 1803.01271); the problem is Hochreiter and Schmidhuber's (1997). Loss and
    metric: mean squared error of the last output. Chance, answering 1: 1/6. Baseline: remembering
    one of the two numbers and adding 1/2 leaves 1/12.
    """

    name = "adding"
    summary = "sum of two marked numbers at the end"
    Config = AddingConfig
    metric = Metric("mse", "squared output units", "lower")
    chance = 1 / 6
    solved_at = 1e-3
    spec = Spec("continuous", 2, "regression", 1, "last")
    shortest = 2

    def baseline(self) -> Baseline:
        """Return the score of remembering one number of the two."""
        return Baseline("remembers one of the two numbers", 1 / 12)

    def draw(self, rng: np.random.Generator, size: int, length: int) -> Batch:
        """Draw numbers and marks; see `GeneratedTask.draw`."""
        numbers = rng.uniform(0, 1, (size, length)).astype(np.float32)
        first = rng.integers(length, size=size)
        second = (first + rng.integers(1, length, size=size)) % length  # any other step
        marks = np.zeros_like(numbers)
        rows = np.arange(size)
        marks[rows, first] = marks[rows, second] = 1
        total = (numbers * marks).sum(axis=1, keepdims=True)
        return Batch(torch.from_numpy(np.stack([numbers, marks], 2)), torch.from_numpy(total))

    def errors(self, outputs: Tensor, batch: Batch) -> Tensor:
        """Return the squared error of the last output, (B,)."""
        return (outputs[:, -1] - batch.targets).square().mean(dim=1)
