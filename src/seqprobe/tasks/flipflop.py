"""The N-bit flip-flop: hold the sign of the last pulse of every channel."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from seqprobe.config import bounded
from seqprobe.errors import UsageError
from seqprobe.spec import Spec
from seqprobe.tasks.base import Baseline, Batch, Metric, TaskConfig, mean_square
from seqprobe.tasks.delayed import check_delay, held_back
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
    delay
        The outputs show the memory of so many steps ago; steps before are not scored.
    auxiliary
        One more output: the product of all memories, which is their parity.
    """

    length: int = bounded(64, 1, 2**20)
    bits: int = bounded(3, 1, 64)
    pulse: float = bounded(0.2, 0.0, 1.0)
    delay: int = bounded(0, 0, 2**20)
    auxiliary: bool = False


class FlipFlop(GeneratedTask):
    """N inputs in {-1, 0, +1} and N outputs: the last pulse of each channel.

    Variants differ in how often pulses come: 0.2 per channel and step here, 0.5 in
    fixed-point-finder, 0.02 in the Computation-through-Dynamics Benchmark.
    Every channel has a pulse at t = 0, as in Golub and Sussillo's fixed-point-finder (2018), so
    that the target is +1 or -1 at every step and answering 0 scores exactly 1, the chance level.
    The task is Sussillo and Barak's (2013); that it can be made harder by channels, by a delay and
    by an auxiliary output is Huang et al.'s (2024, arXiv 2410.03972), who do not say which output
    that is here. Loss and metric: mean squared error. Baseline: answer with the pulse where there
    is one and 0 where there is none, the parity with the product of the pulses. With a delay the
    present input says nothing of the answer, and the baseline answers 0.
    """

    name = "flipflop"
    summary = "hold the sign of the last pulse, N bits"
    Config = FlipFlopConfig
    metric = Metric("mse", "squared output units", "lower")
    chance = 1.0
    solved_at = 1e-3

    def __init__(self, config: FlipFlopConfig | None = None) -> None:
        super().__init__(config)
        bits, auxiliary = self.config.bits, self.config.auxiliary
        if auxiliary and bits == 1:
            raise UsageError(
                "task.auxiliary = True says nothing new of one memory"
                " (allowed with it: task.bits of 2 or more)"
            )
        check_delay(self.length, self.config.delay)
        self.spec = Spec("continuous", bits, "regression", bits + auxiliary, "each")

    def check_length(self, length: int) -> None:
        """Refuse a length that ends before the first answer."""
        super().check_length(length)
        check_delay(length, self.config.delay)

    def baseline(self) -> Baseline:
        """Return the score of repeating the present input, or with a delay that of answering 0."""
        if self.config.delay:
            return Baseline("memoryless, answers 0", self.chance)
        bits, pulse = self.config.bits, self.config.pulse
        silent = (1 - pulse) * (self.length - 1) / self.length
        if self.config.auxiliary:
            unknown = (1 - pulse**bits) * (self.length - 1) / self.length
            silent = (bits * silent + unknown) / (bits + 1)
        return Baseline("memoryless, repeats the present input", silent)

    def draw(self, rng: np.random.Generator, size: int, length: int) -> Batch:
        """Draw pulses; see `GeneratedTask.draw`."""
        shape = (size, length, self.config.bits)
        pulses = np.where(rng.random(shape) < self.config.pulse, rng.choice([-1, 1], shape), 0)
        pulses[:, 0] = rng.choice([-1, 1], (size, self.config.bits))
        times = np.where(pulses != 0, np.arange(length)[None, :, None], 0)
        last = np.maximum.accumulate(times, axis=1)
        held = np.take_along_axis(pulses, last, axis=1)
        if self.config.auxiliary:
            held = np.concatenate([held, held.prod(axis=2, keepdims=True)], axis=2)
        x, y = (torch.from_numpy(values.astype(np.float32)) for values in (pulses, held))
        return Batch(x, *held_back(y, self.config.delay)) if self.config.delay else Batch(x, y)

    def errors(self, outputs: Tensor, batch: Batch) -> Tensor:
        """Return the mean squared error over outputs and scored steps, (B,)."""
        return mean_square(outputs, batch)
