"""A leakless integrator: keep the running sum of sparse inputs."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from seqprobe.config import bounded
from seqprobe.seeding import generator
from seqprobe.spec import Spec
from seqprobe.tasks.base import Baseline, Batch, Metric, TaskConfig, mean_square
from seqprobe.tasks.generated import GeneratedTask

__all__ = ["Integrator", "IntegratorConfig"]

_REFERENCE_STEPS = 1_600_000  # from which chance and baseline are computed, to about 1 %


@dataclass(frozen=True)
class IntegratorConfig(TaskConfig):
    """Settings of the integrator.

    Attributes
    ----------
    length
        Length T of the training sequences.
    pulse
        Probability of an input per step.
    size
        Standard deviation of an input.
    limit
        The sum is clipped to [-limit, limit].
    """

    length: int = bounded(80, 1, 2**20)
    pulse: float = bounded(0.15, 1e-6, 1.0)
    size: float = bounded(0.4, 1e-6, 1e6)
    limit: float = bounded(1.5, 1e-6, 1e6)


class Integrator(GeneratedTask):
    """``y_t = clip(sum_{s <= t} x_s, -limit, limit)``.

    x_t is N(0, size^2) with probability `pulse` and 0 otherwise. Loss and metric: mean squared
    error. Chance: answering 0, the variance of the target. Baseline: the best linear answer from
    the present input. Both are computed from 1.6 million drawn steps. A network that solves it
    holds a line of slow or fixed points (Seung 1996).
    """

    name = "integrator"
    summary = "running sum of sparse inputs, clipped"
    Config = IntegratorConfig
    metric = Metric("mse", "squared output units", "lower")
    solved_at = 5e-3
    spec = Spec("continuous", 1, "regression", 1, "each")

    @cached_property
    def _reference(self) -> tuple[float, float]:
        """Return the scores of answering 0 and of the best linear answer from the input."""
        rng = generator(0, self.name, "reference")
        batch = self.draw(rng, max(200, _REFERENCE_STEPS // self.length), self.length)
        x, y = batch.inputs.double(), batch.targets.double()
        constant = y.square().mean()
        explained = (x * y).mean().square() / x.square().mean()
        return constant.item(), (constant - explained).item()

    @property
    def chance(self) -> float:  # type: ignore[override]  # computed here, a number elsewhere
        """Score of answering 0."""
        return self._reference[0]

    def baseline(self) -> Baseline:
        """Return the score of the best linear answer from the present input."""
        return Baseline("memoryless, best linear answer", self._reference[1])

    def draw(self, rng: np.random.Generator, size: int, length: int) -> Batch:
        """Draw inputs; see `GeneratedTask.draw`."""
        shape = (size, length, 1)
        x = rng.normal(0, self.config.size, shape) * (rng.random(shape) < self.config.pulse)
        y = np.clip(np.cumsum(x, axis=1), -self.config.limit, self.config.limit)
        inputs, targets = (torch.from_numpy(values.astype(np.float32)) for values in (x, y))
        return Batch(inputs, targets)

    def errors(self, outputs: Tensor, batch: Batch) -> Tensor:
        """Return the mean squared error over steps, (B,)."""
        return mean_square(outputs, batch)
