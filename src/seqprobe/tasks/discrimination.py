"""Delayed discrimination: say whether the second pulse was larger than the first."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from seqprobe.config import bounded
from seqprobe.errors import UsageError
from seqprobe.spec import Spec
from seqprobe.tasks.base import Baseline, Batch, Condition, Metric, TaskConfig, mean_square
from seqprobe.tasks.generated import GeneratedTask

__all__ = ["Discrimination", "DiscriminationConfig"]

_LOW, _HIGH = 2.0, 10.0  # of f1 and f2
_ONSET = 5  # silent steps before the first pulse
_WIDTH = 5  # steps of a pulse
_RESPONSE = 10  # steps of the answer
_RANGE = (_HIGH - _LOW) / _HIGH  # width of the law of a scaled pulse


@dataclass(frozen=True)
class DiscriminationConfig(TaskConfig):
    """Settings of delayed discrimination; trials have 25 steps and the longest delay.

    Attributes
    ----------
    channels
        Number N of pairs of pulses, drawn independently.
    min_delay, max_delay
        Silent steps between the two pulses are drawn evenly from this range, one number per trial.
    auxiliary
        N more outputs: how far the pulses are apart.
    """

    channels: int = bounded(1, 1, 64)
    min_delay: int = bounded(5, 0, 2**20)
    max_delay: int = bounded(20, 1, 2**20)
    auxiliary: bool = False


class Discrimination(GeneratedTask):
    """Two pulses f1, f2 per channel, a delay between them; target ``sign(f2 - f1)`` after them.

    f1 and f2 are uniform in [2, 10], and inputs are these over 10. Huang et al. 2024 (arXiv
    2410.03972) publish the range of pulses and delays and not the layout of a trial, which is
    chosen here: 5 silent steps, f1 for 5 steps, the delay, f2 for 5 steps, 10 steps of answer, and
    silence until all trials have 25 + max_delay steps. The answer alone is scored. With `auxiliary`
    N further outputs are ``|f2 - f1| / 10``, scaled as the inputs are.

    Loss and metric: mean squared error. Chance is the best constant, 0 for the sign and the mean
    for the distance: 1 and ``w^2 / 18``, where w = 0.8 is the range of inputs. Baseline: all that
    f2 says without memory of f1, ``(2 f2 - 12) / 8`` for the sign: 2/3 and ``w^2 / 20``. `longer`
    multiplies both delays and leaves pulses and answers as they are.
    """

    name = "discrimination"
    summary = "is the second pulse larger than the first, after a delay"
    Config = DiscriminationConfig
    metric = Metric("mse", "squared output units", "lower")
    solved_at = 0.01

    def __init__(self, config: DiscriminationConfig | None = None) -> None:
        super().__init__(config)
        own = self.config
        if own.min_delay > own.max_delay:
            raise UsageError(
                f"task.min_delay = {own.min_delay} is above task.max_delay = {own.max_delay}"
                f" (allowed: 0 to {own.max_delay})"
            )
        outputs = own.channels * (1 + own.auxiliary)
        self.spec = Spec("continuous", own.channels, "regression", outputs, "each")
        self.chance = (1 + _RANGE**2 / 18) / 2 if own.auxiliary else 1.0

    @property
    def length(self) -> int:
        """Length T of a trial."""
        longest: int = self.config.max_delay
        return _ONSET + 2 * _WIDTH + longest + _RESPONSE

    def check_length(self, length: int) -> None:
        """Refuse any length but that of a trial."""
        if length != self.length:
            raise UsageError(
                f"trials of '{self.name}' have {self.length} steps, not {length}"
                f" (allowed: {self.length}; other trials by task.max_delay)"
            )

    def _lengthened(self, factor: int) -> dict[str, Any]:
        own = self.config
        return {"min_delay": factor * own.min_delay, "max_delay": factor * own.max_delay}

    def reach(self, length: int) -> int:
        """Return how far back the end of f1 is when the answer begins, at the longest delay."""
        del length
        longest: int = self.config.max_delay
        return longest + _WIDTH + 1

    def baseline(self) -> Baseline:
        """Return the score of the best answer from f2 alone."""
        score = (2 / 3 + _RANGE**2 / 20) / 2 if self.config.auxiliary else 2 / 3
        return Baseline("forgets f1, best answer from f2", score)

    def draw(self, rng: np.random.Generator, size: int, length: int) -> Batch:
        """Draw pulses and delays; see `GeneratedTask.draw`."""
        own = self.config
        pulses = rng.uniform(_LOW, _HIGH, (2, size, 1, own.channels)) / _HIGH
        first, second = pulses.astype(np.float32)
        delay = rng.integers(own.min_delay, own.max_delay + 1, (size, 1))
        time = np.arange(length)
        after = time - (_ONSET + _WIDTH + delay)  # (B, T), steps since the second pulse began
        shown = (time >= _ONSET) & (time < _ONSET + _WIDTH)
        again = (after >= 0) & (after < _WIDTH)
        mask = (after >= _WIDTH) & (after < _WIDTH + _RESPONSE)
        x = first * shown[None, :, None] + second * again[..., None]
        # Two equal numbers are rare, and +1: a target of 0 would change the chance level.
        answers = [np.where(second >= first, np.float32(1), np.float32(-1))]
        if own.auxiliary:
            answers.append(np.abs(second - first))
        y = np.concatenate(answers, axis=2) * mask[..., None]
        return Batch(*map(torch.from_numpy, (x, y, mask)))

    def conditions(self, batch: Batch) -> dict[str, Condition]:
        """Return the pulses of every channel and the delay."""
        assert batch.mask is not None  # only the answer is scored
        response = batch.mask.int().argmax(dim=1)
        delay = response - (_ONSET + 2 * _WIDTH)
        rows = torch.arange(len(response), device=response.device)
        f1, f2 = batch.inputs[:, _ONSET], batch.inputs[rows, response - 1]
        found = {"delay": Condition(delay, "delay between the pulses", "steps")}
        for name, values in (("f1", f1), ("f2", f2)):
            for i, column in enumerate((_HIGH * values).unbind(1)):
                key = name if self.config.channels == 1 else f"{name}_{i}"
                found[key] = Condition(column, f"pulse {key.replace('_', ' of channel ')}", "1")
        return found

    def errors(self, outputs: Tensor, batch: Batch) -> Tensor:
        """Return the mean squared error over outputs and steps of the answer, (B,)."""
        return mean_square(outputs, batch)
