"""Sine-wave generation: a constant input says which frequency to produce."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from seqprobe.config import bounded
from seqprobe.errors import UsageError
from seqprobe.seeding import generator
from seqprobe.spec import Spec
from seqprobe.tasks.base import Baseline, Batch, Condition, Metric, TaskConfig, mean_square
from seqprobe.tasks.generated import GeneratedTask

__all__ = ["Sine", "SineConfig"]

_DT = 0.01  # seconds per step, so that 30 Hz has three steps per period


@dataclass(frozen=True)
class SineConfig(TaskConfig):
    """Settings of sine-wave generation.

    Attributes
    ----------
    length
        Length T of the training sequences, in steps of 0.01 s.
    frequencies
        Number of evenly spaced levels; None for any frequency in between. Levels are a finite set
        that training, validation and test share; without them no sequence occurs twice.
    low, high
        Lowest and highest frequency in Hz.
    """

    length: int = bounded(100, 2, 2**20)
    frequencies: int | None = bounded(None, 1, 10**6)
    low: float = bounded(1.0, 1e-3, 50.0)
    high: float = bounded(30.0, 1e-3, 50.0)


class Sine(GeneratedTask):
    """Input f / high at every step, target ``sin(2 pi f t)`` with t = 0.01 s times the step + 1.

    The task of Sussillo and Barak (2013) with the frequencies of Huang et al. 2024 (arXiv
    2410.03972), whose step and length are not published and chosen here. Loss and metric: mean
    squared error. Chance, answering 0: one half, less where a sequence is shorter than a period.
    Baseline: the same, because no constant answer is better.
    """

    name = "sine"
    summary = "generate a sine of the frequency that the input says"
    Config = SineConfig
    metric = Metric("mse", "squared output units", "lower")
    solved_at = 0.05
    spec = Spec("continuous", 1, "regression", 1, "each")

    def __init__(self, config: SineConfig | None = None) -> None:
        super().__init__(config)
        if self.config.low > self.config.high:
            raise UsageError(
                f"task.low = {self.config.low} is above task.high = {self.config.high}"
                " (allowed: low <= high)"
            )

    @cached_property
    def chance(self) -> float:  # type: ignore[override]  # computed here, a number elsewhere
        """Score of answering 0, from 2,000 drawn sequences."""
        batch = self.draw(generator(0, self.name, "reference"), 2000, self.length)
        return float(batch.targets.double().square().mean())

    def baseline(self) -> Baseline:
        """Return the score of answering 0."""
        return Baseline("memoryless, answers 0", self.chance)

    def draw(self, rng: np.random.Generator, size: int, length: int) -> Batch:
        """Draw frequencies; see `GeneratedTask.draw`."""
        low, high, count = self.config.low, self.config.high, self.config.frequencies
        frequency = rng.uniform(low, high, (size, 1, 1))
        if count is not None:
            frequency = rng.choice(np.linspace(low, high, count), (size, 1, 1))
        time = _DT * np.arange(1, length + 1)[None, :, None]
        y = np.sin(2 * np.pi * frequency * time)
        x = np.broadcast_to(frequency / self.config.high, y.shape)
        inputs, targets = (torch.from_numpy(values.astype(np.float32)) for values in (x, y))
        return Batch(inputs, targets)

    def conditions(self, batch: Batch) -> dict[str, Condition]:
        """Return the frequency of every sequence, in Hz."""
        return {"frequency": Condition(batch.inputs[:, 0, 0] * self.config.high, "frequency", "Hz")}

    def errors(self, outputs: Tensor, batch: Batch) -> Tensor:
        """Return the mean squared error over steps, (B,)."""
        return mean_square(outputs, batch)
