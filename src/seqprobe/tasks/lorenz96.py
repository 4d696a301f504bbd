"""Lorenz-96: the next state of a chaotic ring."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from seqprobe.config import bounded
from seqprobe.seeding import generator
from seqprobe.spec import Spec
from seqprobe.tasks.base import Baseline, Batch, Metric, TaskConfig, mean_square
from seqprobe.tasks.generated import GeneratedTask

__all__ = ["Lorenz96", "Lorenz96Config", "integrate"]

_FINE = 0.16  # largest step of the integration times the forcing: 0.02 at a forcing of 8
_COARSE = 0.4  # the same where only the attractor is looked for
_BURN_IN = 10.0  # time units from a random state to the attractor; volumes shrink by e^-N in one
_REFERENCE_VALUES = 4000  # sites of all trials at one time, from which the standard comes
_REFERENCE_TIMES = 100  # at intervals of 0.2 time units
_SOLVED = 0.1  # of the error of persistence


@dataclass(frozen=True)
class Lorenz96Config(TaskConfig):
    """Settings of Lorenz-96.

    Attributes
    ----------
    length
        Length T of the training sequences.
    channels
        Number N of sites on the ring, at least 4.
    forcing
        The forcing F; at 8 rings of 5 sites or more are chaotic.
    dt
        Time units per step.
    delay
        Predict the state 1 + delay steps ahead.
    auxiliary
        One more output: the energy of that state.
    """

    length: int = bounded(100, 1, 2**20)
    channels: int = bounded(8, 4, 1024)
    forcing: float = bounded(8.0, 2.0, 64.0)
    dt: float = bounded(0.02, 1e-4, 1.0)
    delay: int = bounded(0, 0, 2**20)
    auxiliary: bool = False


class Lorenz96(GeneratedTask):
    """``dx_i/dt = (x_{i+1} - x_{i-2}) x_{i-1} - x_i + F`` on a ring; target: the state one step on.

    Lorenz 1996 ("Predictability: a problem partly solved"), as Huang et al. 2024 (arXiv 2410.03972)
    use it for next-step prediction; their sites, step and length are not published and chosen here.
    Trials start on the attractor, 10 time units after a random state. Runge-Kutta of fourth order
    in steps of at most 0.16 / F. Inputs and targets have the mean of the attractor taken off and
    are divided by its standard deviation, which are one number each for all sites. With `auxiliary`
    one more output is the energy ``sum_i x_i^2 / (2 N)``, standardised by its own.

    Loss and metric: mean squared error. Chance, answering the mean: 1. Baseline: persistence,
    answering with the present state, from 16,000 drawn sites or more. The task counts as solved at
    a tenth of that or of chance, whichever is less.
    """

    name = "lorenz96"
    summary = "next state of the chaotic Lorenz-96 ring"
    Config = Lorenz96Config
    metric = Metric("mse", "fraction of variance", "lower")
    chance = 1.0
    next_step = True

    def __init__(self, config: Lorenz96Config | None = None) -> None:
        super().__init__(config)
        size = self.config.channels
        self.spec = Spec("continuous", size, "regression", size + self.config.auxiliary, "each")

    @property
    def solved_at(self) -> float:  # type: ignore[override]  # computed here, a number elsewhere
        """A tenth of the error of persistence, or of chance where that is less."""
        return _SOLVED * min(self._persistence, self.chance)

    @cached_property
    def _persistence(self) -> float:
        rng = generator(0, self.name, "persistence")
        states = self.states(rng, max(200, 16_000 // self.config.channels), 11)
        ahead = self._outputs(states[:, 1 + self.config.delay :])
        now = self._outputs(states[:, : ahead.shape[1]])
        return float(np.square(ahead - now).mean())

    def baseline(self) -> Baseline:
        """Return the score of answering with the present state."""
        return Baseline("persistence, answers the present state", self._persistence)

    def draw(self, rng: np.random.Generator, size: int, length: int) -> Batch:
        """Draw trajectories; see `GeneratedTask.draw`."""
        states = self.states(rng, size, length)
        x = self._outputs(states[:, :length])[..., : self.config.channels]
        y = self._outputs(states[:, 1 + self.config.delay :])
        inputs, targets = (torch.from_numpy(values.astype(np.float32)) for values in (x, y))
        return Batch(inputs, targets)

    def errors(self, outputs: Tensor, batch: Batch) -> Tensor:
        """Return the mean squared error over outputs and steps, (B,)."""
        return mean_square(outputs, batch)

    def states(self, rng: np.random.Generator, size: int, length: int) -> np.ndarray:
        """Return states (B, length + 1 + delay, N) on the attractor."""
        own = self.config
        states = _on_attractor(rng, own.channels, own.forcing, size)
        count = length + own.delay
        substeps = math.ceil(own.dt * own.forcing / _FINE)
        path = integrate(states, own.forcing, own.dt, count, substeps)
        return np.ascontiguousarray(path.transpose(2, 0, 1))

    def _outputs(self, states: np.ndarray) -> np.ndarray:
        """Return states (B, T, N), with `auxiliary` their energy after them, standardised."""
        standard = _standard(self.config.channels, self.config.forcing)
        scaled = (states - standard.mean) / standard.std
        if not self.config.auxiliary:
            return scaled
        energy = (_energy(states, axis=2) - standard.energy_mean) / standard.energy_std
        return np.concatenate([scaled, energy[..., None]], axis=2)


class _Standard(NamedTuple):
    """What inputs and targets are standardised by."""

    mean: float
    std: float
    energy_mean: float
    energy_std: float


def integrate(
    states: np.ndarray, forcing: float, dt: float, count: int, substeps: int
) -> np.ndarray:
    """Return states (N, B) and the `count` after them, dt apart, (count + 1, N, B).

    Runge-Kutta of fourth order, `substeps` for every dt.
    """
    path = np.empty((count + 1, *states.shape))
    path[0] = now = states
    h = dt / substeps
    for step in range(1, count + 1):
        for _ in range(substeps):
            one = _slope(now, forcing)
            two = _slope(now + h / 2 * one, forcing)
            three = _slope(now + h / 2 * two, forcing)
            four = _slope(now + h * three, forcing)
            now = now + h / 6 * (one + 2 * (two + three) + four)
        path[step] = now
    return path


def _slope(states: np.ndarray, forcing: float) -> np.ndarray:
    """Return dx/dt of states (N, B); sites come first so that neighbours are slices."""
    ring = np.concatenate([states[-2:], states, states[:1]])
    slope: np.ndarray = (ring[3:] - ring[:-3]) * ring[1:-2] - states + forcing
    return slope


def _energy(states: np.ndarray, axis: int) -> np.ndarray:
    energy: np.ndarray = np.square(states).mean(axis=axis) / 2
    return energy


def _on_attractor(rng: np.random.Generator, sites: int, forcing: float, size: int) -> np.ndarray:
    """Return states (N, B), a burn-in after random ones of about the right spread."""
    start = forcing * (0.25 + 0.5 * rng.standard_normal((sites, size)))
    substeps = math.ceil(_BURN_IN * forcing / _COARSE)
    there: np.ndarray = integrate(start, forcing, _BURN_IN, 1, substeps)[-1]
    return there


@lru_cache(maxsize=64)
def _standard(sites: int, forcing: float) -> _Standard:
    """Return mean and standard deviation of the sites and of the energy, to about 1 %."""
    rng = generator(0, Lorenz96.name, "standard")
    states = _on_attractor(rng, sites, forcing, max(100, _REFERENCE_VALUES // sites))
    substeps = math.ceil(0.2 * forcing / _COARSE)
    path = integrate(states, forcing, 0.2, _REFERENCE_TIMES, substeps)
    energy = _energy(path, axis=1)
    return _Standard(*(float(v) for v in (path.mean(), path.std(), energy.mean(), energy.std())))
