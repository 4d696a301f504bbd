"""Sine-wave generation: an input says which frequency to produce, all the time or before."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

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
_CUE = 5  # steps that show the frequency if there is a delay
_REFERENCE_WAVES = 2000  # from which chance is computed, to about 1 %


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
    channels
        Number N of waves with independent frequencies.
    delay
        Silent steps between a cue of 5 steps, which shows the frequencies, and the signal to start;
        0 for frequencies that are shown at every step.
    auxiliary
        N more outputs: the cosines.
    """

    length: int = bounded(100, 2, 2**20)
    frequencies: int | None = bounded(None, 1, 10**6)
    low: float = bounded(1.0, 1e-3, 50.0)
    high: float = bounded(30.0, 1e-3, 50.0)
    channels: int = bounded(1, 1, 64)
    delay: int = bounded(0, 0, 2**20)
    auxiliary: bool = False


class Sine(GeneratedTask):
    """Input f / high at every step, target ``sin(2 pi f t)`` with t = 0.01 s times the step + 1.

    With a delay D, the inputs show f / high at the first 5 steps and 0 after them; one more input
    is 0 until the onset, step 5 + D, and 1 from there on. Targets are 0 before the onset, which is
    scored, and from there on what they would be from step 0 on without a delay.

    The task of Sussillo and Barak (2013) with the frequencies of Huang et al. 2024 (arXiv
    2410.03972), whose step, length and delayed form are not published and chosen here. Loss and
    metric: mean squared error. Chance, answering 0: one half, less where a sequence is shorter than
    a period, and in proportion to the steps after the onset. Baseline: the same, because no
    constant answer is better. `longer` makes the delay longer, too, so that the silent part keeps
    its share of the score.
    """

    name = "sine"
    summary = "generate sines of the frequencies that the inputs say or said"
    Config = SineConfig
    metric = Metric("mse", "squared output units", "lower")
    solved_at = 0.05

    def __init__(self, config: SineConfig | None = None) -> None:
        super().__init__(config)
        own = self.config
        if own.low > own.high:
            raise UsageError(
                f"task.low = {own.low} is above task.high = {own.high} (allowed: low <= high)"
            )
        self.onset = _CUE + own.delay if own.delay else 0
        self.shortest = self.onset + 1
        self.check_length(self.length)
        inputs, outputs = own.channels + (own.delay > 0), own.channels * (1 + own.auxiliary)
        self.spec = Spec("continuous", inputs, "regression", outputs, "each")

    def _lengthened(self, factor: int) -> dict[str, Any]:
        return super()._lengthened(factor) | {"delay": factor * self.config.delay}

    @cached_property
    def chance(self) -> float:  # type: ignore[override]  # computed here, a number elsewhere
        """Score of answering 0, from 2,000 drawn waves."""
        size = -(-_REFERENCE_WAVES // self.config.channels)
        batch = self.draw(generator(0, self.name, "reference"), size, self.length)
        return float(batch.targets.double().square().mean())

    def baseline(self) -> Baseline:
        """Return the score of answering 0."""
        return Baseline("memoryless, answers 0", self.chance)

    def draw(self, rng: np.random.Generator, size: int, length: int) -> Batch:
        """Draw frequencies; see `GeneratedTask.draw`."""
        low, high, count = self.config.low, self.config.high, self.config.frequencies
        shape = (size, 1, self.config.channels)
        frequency = rng.uniform(low, high, shape)
        if count is not None:
            frequency = rng.choice(np.linspace(low, high, count), shape)
        time = _DT * np.arange(1, length - self.onset + 1)[None, :, None]
        phase = 2 * np.pi * frequency * time
        waves = [np.sin(phase), np.cos(phase)] if self.config.auxiliary else [np.sin(phase)]
        y = np.pad(np.concatenate(waves, axis=2), ((0, 0), (self.onset, 0), (0, 0)))
        x = np.repeat(frequency / high, length, axis=1)
        if self.config.delay:
            x[:, _CUE:] = 0
            go = np.broadcast_to(
                (np.arange(length) >= self.onset)[None, :, None], (size, length, 1)
            )
            x = np.concatenate([x, go], axis=2)
        inputs, targets = (torch.from_numpy(values.astype(np.float32)) for values in (x, y))
        return Batch(inputs, targets)

    def conditions(self, batch: Batch) -> dict[str, Condition]:
        """Return the frequencies of every sequence, in Hz."""
        count = self.config.channels
        shown = batch.inputs[:, 0, :count] * self.config.high
        if count == 1:
            return {"frequency": Condition(shown[:, 0], "frequency", "Hz")}
        return {
            f"frequency_{i}": Condition(values, f"frequency of channel {i}", "Hz")
            for i, values in enumerate(shown.unbind(1))
        }

    def errors(self, outputs: Tensor, batch: Batch) -> Tensor:
        """Return the mean squared error over outputs and steps, (B,)."""
        return mean_square(outputs, batch)
