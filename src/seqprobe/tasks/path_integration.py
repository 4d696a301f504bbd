"""Path integration: where one is, from where one started and how one moved."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from seqprobe.config import bounded
from seqprobe.seeding import generator
from seqprobe.spec import Spec
from seqprobe.tasks.base import Baseline, Batch, Metric, TaskConfig, mean_square
from seqprobe.tasks.delayed import check_delay, held_back
from seqprobe.tasks.generated import GeneratedTask

__all__ = ["PathIntegration", "PathIntegrationConfig"]

_WALL = 5.0  # positions lie in [-5, 5] along every axis
_SPEED = 0.5  # largest step
_TURN = 0.3  # standard deviation of a turn per step and angle, in radians
_REFERENCE_STEPS = 400_000  # from which chance and baseline are computed, to about 1 %


@dataclass(frozen=True)
class PathIntegrationConfig(TaskConfig):
    """Settings of path integration.

    Attributes
    ----------
    length
        Length T of the training sequences.
    dimensions
        Number d of axes, 2 or 3.
    channels
        Number N of agents that move independently.
    delay
        The outputs show the position of so many steps ago; steps before are not scored.
    auxiliary
        N more outputs: the distances of the agents from where they started.
    """

    length: int = bounded(100, 1, 2**20)
    dimensions: Literal[2, 3] = 2
    channels: int = bounded(1, 1, 64)
    delay: int = bounded(0, 0, 2**20)
    auxiliary: bool = False


class PathIntegration(GeneratedTask):
    """``p_t = p_start + sum_{s <= t} v_s e_s`` for a heading e and a speed v, in [-5, 5]^d.

    An agent has 2 d inputs: the azimuth over pi, in [-1, 1], with d = 3 the elevation over pi / 2,
    the speed over 0.5, and the start over 5, at t = 0 only. Headings are
    ``(cos a cos b, sin a cos b, sin b)`` for azimuth a and elevation b, which is 0 with d = 2. The
    outputs are the positions of all agents one after the other, then with `auxiliary` N distances
    from the start over ``2 sqrt(d)``, which lie in [0, 5].

    The task of Huang et al. 2024 (arXiv 2410.03972), who publish the inputs and the box and not the
    movement, which is chosen here: starts are uniform; angles make Gaussian random walks of 0.3 rad
    per step, and a heading that passes a pole goes on at its other side; speeds are uniform in
    [0, 0.5] and independent. A step that would leave the box is made with the heading mirrored at
    that wall, and it is the mirrored heading that is shown. The start is an input, because a task
    does not know a model's state.

    Loss and metric: mean squared error. Chance: the best constant, with a variance of 25/3 or a
    little less per axis. Baseline: the best linear answer from the present input, which knows the
    start at t = 0 alone. Both are computed from 400,000 drawn steps.
    """

    name = "path-integration"
    summary = "position from a start, headings and speeds, in a square or a cube"
    Config = PathIntegrationConfig
    metric = Metric("mse", "squared output units", "lower")
    solved_at = 0.05

    def __init__(self, config: PathIntegrationConfig | None = None) -> None:
        super().__init__(config)
        own = self.config
        check_delay(self.length, own.delay)
        inputs = 2 * own.dimensions * own.channels
        outputs = (own.dimensions + own.auxiliary) * own.channels
        self.spec = Spec("continuous", inputs, "regression", outputs, "each")

    def check_length(self, length: int) -> None:
        """Refuse a length that ends before the first answer."""
        super().check_length(length)
        check_delay(length, self.config.delay)

    @cached_property
    def _reference(self) -> tuple[float, float]:
        """Return the scores of the best constant and of the best linear answer from the input."""
        alone = PathIntegration(dataclasses.replace(self.config, channels=1))  # agents are alike
        rng = generator(0, self.name, "reference")
        batch = alone.draw(rng, max(200, _REFERENCE_STEPS // self.length), self.length)
        scored = slice(self.config.delay, None)
        x = batch.inputs[:, scored].flatten(0, 1).double()
        y = batch.targets[:, scored].flatten(0, 1).double()
        x, y = x - x.mean(0), y - y.mean(0)
        # With a delay the starts are over before anything is scored: the inverse is of lower rank.
        fit = torch.linalg.pinv(x.T @ x, hermitian=True) @ (x.T @ y)
        return y.square().mean().item(), (y - x @ fit).square().mean().item()

    @property
    def chance(self) -> float:  # type: ignore[override]  # computed here, a number elsewhere
        """Score of the best constant answer."""
        return self._reference[0]

    def baseline(self) -> Baseline:
        """Return the score of the best linear answer from the present input."""
        return Baseline("memoryless, best linear answer", self._reference[1])

    def draw(self, rng: np.random.Generator, size: int, length: int) -> Batch:
        """Draw starts, turns and speeds; see `GeneratedTask.draw`."""
        axes, shape = self.config.dimensions, (size, self.config.channels)
        walk = _walk(rng, shape, length, axes)
        angles = [walk.azimuth / np.pi, walk.elevation / (np.pi / 2)][: axes - 1]
        x = np.zeros((length, *shape, 2 * axes), dtype=np.float32)
        x[..., :axes] = np.stack([*angles, walk.speed / _SPEED], axis=-1)
        x[0, ..., axes:] = walk.start / _WALL
        answers = [walk.position.reshape(length, size, -1)]
        if self.config.auxiliary:
            distance = np.linalg.norm(walk.position - walk.start, axis=-1)
            answers.append(distance / (2 * np.sqrt(axes)))
        y = np.concatenate(answers, axis=2).astype(np.float32)
        inputs, targets = (
            torch.from_numpy(np.ascontiguousarray(values.swapaxes(0, 1)))
            for values in (x.reshape(length, size, -1), y)
        )
        if not self.config.delay:
            return Batch(inputs, targets)
        return Batch(inputs, *held_back(targets, self.config.delay))

    def errors(self, outputs: Tensor, batch: Batch) -> Tensor:
        """Return the mean squared error over outputs and scored steps, (B,)."""
        return mean_square(outputs, batch)


class _Walk(NamedTuple):
    """Starts (B, N, d), and of every step (T, B, N) what was done and (..., d) where it ended."""

    start: np.ndarray
    azimuth: np.ndarray
    elevation: np.ndarray
    speed: np.ndarray
    position: np.ndarray


def _walk(rng: np.random.Generator, shape: tuple[int, int], length: int, axes: int) -> _Walk:
    start = rng.uniform(-_WALL, _WALL, (*shape, axes))
    speed = rng.uniform(0, _SPEED, (length, *shape))
    azimuth = rng.uniform(-np.pi, np.pi, shape)
    azimuth = azimuth + np.cumsum(rng.normal(0, _TURN, (length, *shape)), axis=0)
    elevation = np.zeros_like(azimuth)
    if axes == 3:
        elevation += np.arcsin(rng.uniform(-1, 1, shape))
        elevation += np.cumsum(rng.normal(0, _TURN, (length, *shape)), axis=0)
    across = np.cos(elevation)
    heading = np.stack(
        [np.cos(azimuth) * across, np.sin(azimuth) * across, np.sin(elevation)], axis=-1
    )
    position = np.empty((length, *shape, axes))
    # The law of a walk does not change if it is mirrored, so a wall mirrors all that comes after.
    mirror, now = np.ones((*shape, axes)), start
    for t in range(length):
        step = speed[t, ..., None] * heading[t, ..., :axes]
        mirror = np.where(np.abs(now + mirror * step) > _WALL, -mirror, mirror)
        now = position[t] = now + mirror * step
        heading[t, ..., :axes] *= mirror
    east, north, up = np.moveaxis(heading, -1, 0)
    level = np.hypot(east, north)
    return _Walk(start, np.arctan2(north, east), np.arctan2(up, level), speed, position)
