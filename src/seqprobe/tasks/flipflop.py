"""The N-bit flip-flop: hold the sign of the last pulse of every channel."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from seqprobe.config import bounded
from seqprobe.spec import Spec
from seqprobe.tasks.base import Baseline, Batch, Metric, TaskConfig, mean_square
from seqprobe.tasks.generated import GeneratedTask

__all__ = ["FlipFlop", "FlipFlopConfig"]


@dataclass(frozen=True)
class FlipFlopConfig(TaskConfig):
    """Settings of the flip-flop.

    Attributes
    ----------
    length
        Length T of the training sequences.
    bits
        Number N of channels.
    pulse
        Probability of a pulse, of either sign, per channel and step.
    """

    length: int = bounded(64, 1, 2**20)
    bits: int = bounded(3, 1, 64)
    pulse: float = bounded(0.2, 0.0, 1.0)


class FlipFlop(GeneratedTask):
    """N inputs in {-1, 0, +1} and N outputs: the last pulse of each channel.

    Variants differ in how often pulses come: 0.2 per channel and step here, 0.5 in
    fixed-point-finder, 0.02 in the Computation-through-Dynamics Benchmark.
    Every channel has a pulse at t = 0, as in Golub and Sussillo's fixed-point-finder (2018), so
    that the target is +1 or -1 at every step and answering 0 scores exactly 1, the chance level.
    The task is Sussillo and Barak's (2013). Loss and metric: mean squared error. Baseline: answer
    with the pulse where there is one and 0 where there is none.
    """

    name = "flipflop"
    summary = "hold the sign of the last pulse, N bits"
    Config = FlipFlopConfig
    metric = Metric("mse", "squared output units", "lower")
    chance = 1.0
    solved_at = 1e-3

    def __init__(self, config: FlipFlopConfig | None = None) -> None:
        super().__init__(config)
        self.spec = Spec("continuous", self.config.bits, "regression", self.config.bits, "each")

    def baseline(self) -> Baseline:
        """Return the score of repeating the present input."""
        silent = (1 - self.config.pulse) * (self.length - 1) / self.length
        return Baseline("memoryless, repeats the present input", silent)

    def draw(self, rng: np.random.Generator, size: int, length: int) -> Batch:
        """Draw pulses; see `GeneratedTask.draw`."""
        shape = (size, length, self.config.bits)
        pulses = np.where(rng.random(shape) < self.config.pulse, rng.choice([-1, 1], shape), 0)
        pulses[:, 0] = rng.choice([-1, 1], (size, self.config.bits))
        times = np.where(pulses != 0, np.arange(length)[None, :, None], 0)
        last = np.maximum.accumulate(times, axis=1)
        held = np.take_along_axis(pulses, last, axis=1)
        x, y = (torch.from_numpy(values.astype(np.float32)) for values in (pulses, held))
        return Batch(x, y)

    def errors(self, outputs: Tensor, batch: Batch) -> Tensor:
        """Return the mean squared error over channels and steps, (B,)."""
        return mean_square(outputs, batch)
