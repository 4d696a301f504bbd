"""Invariant circles: oscillations whose period is not a whole number of steps."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from seqprobe.dynamics.maps import StateMap

__all__ = ["Circle", "invariant_circle"]

_MOST_HARMONICS = 64
_MOST_PARTS = 4
_LAST = 32  # states that must lie on the circle
_CLOSED = 1e-5
_GOOD = 1e-3  # of the circle's size: an invariance error above is no circle


@dataclass
class Circle:
    """A closed curve ``x(phase) = Re sum_m c_m exp(2 pi i m phase)`` that the map turns.

    Attributes
    ----------
    coefficients
        c_m, (M + 1, n), complex.
    rotation
        Turns per step, in (0, 1/2].
    certificate
        Largest ``|F(x(phase)) - x(phase + rotation)|``.
    multipliers
        Moduli over one turn, the 1 along the curve first.
    """

    coefficients: Tensor
    rotation: float
    certificate: float
    multipliers: np.ndarray

    @property
    def period(self) -> float:
        """Steps per turn."""
        return 1 / self.rotation

    def at(self, phase: Tensor) -> Tensor:
        """Return the states (P, n) at phases (P,) in turns."""
        m = torch.arange(len(self.coefficients), dtype=torch.float64)
        waves = torch.exp(2j * np.pi * phase[:, None] * m)
        states: Tensor = (waves @ self.coefficients).real
        return states

    def points(self, most: int) -> Tensor:
        """Return states at equal phases, (most, n)."""
        return self.at(torch.arange(most, dtype=torch.float64) / most)

    def distance(self, x: Tensor) -> float:
        """Return the distance of a state (n,) to the curve, seen as a polygon."""
        corners = self.points(1024)
        ahead = corners.roll(-1, dims=0) - corners
        along = ((x - corners) * ahead).sum(1) / ahead.square().sum(1).clamp(min=1e-300)
        foot = corners + along.clamp(0, 1)[:, None] * ahead
        return float(torch.linalg.vector_norm(foot - x, dim=1).min())


def invariant_circle(of: StateMap, u: Tensor, path: Tensor, exponents: np.ndarray) -> Circle | None:
    """Return the circle that a trajectory (T, n) runs on, or None if it does not fit one.

    Parameters
    ----------
    of, u
        Map and input.
    path
        States after the transient.
    exponents
        Lyapunov exponents along them, leading first.
    """
    centre = path.mean(dim=0)
    size = float(torch.linalg.vector_norm(path - centre, dim=1).max())
    weights = _bump(len(path) - 1)
    rotation = _rotation(path, weights)
    if rotation is None:
        return None
    best: Circle | None = None
    for part in range(1, _MOST_PARTS + 1):  # the strongest frequency may be a harmonic
        circle = _fitted(of, u, path, weights, rotation / part)
        if best is None or circle.certificate < 0.1 * best.certificate:
            best = circle
        if best.certificate < _CLOSED * size:
            break
    assert best is not None  # there is at least one part
    corners = best.points(256)
    amplitude = float(torch.linalg.vector_norm(corners - corners.mean(dim=0), dim=1).max())
    if best.certificate > _GOOD * amplitude or amplitude < 1e-9 * size:
        return None
    # Averages see a torus, or a spiral that decays, as a circle on which the trajectory is not.
    away = max(best.distance(x) for x in path[-_LAST:])
    if away > max(_GOOD * amplitude, 10 * best.certificate):
        return None
    best.multipliers = np.concatenate([[1.0], np.exp(exponents[1:] / best.rotation)])
    return best


def _fitted(of: StateMap, u: Tensor, path: Tensor, weights: Tensor, rotation: float) -> Circle:
    """Return the circle with as many harmonics as leave the least invariance error."""
    found = []
    phase = torch.arange(512, dtype=torch.float64) / 512
    for harmonics in (4, 8, 16, 32, _MOST_HARMONICS):
        circle = Circle(_fourier(path[:-1], weights, rotation, harmonics), rotation, 0, np.ones(1))
        error = of.step(circle.at(phase), u) - circle.at(phase + rotation)
        circle.certificate = float(torch.linalg.vector_norm(error, dim=1).max())
        found.append(circle)
    return min(found, key=lambda circle: circle.certificate)


def _bump(length: int) -> Tensor:
    """Return weights (length,) that vanish smoothly at both ends and sum to 1."""
    t = (torch.arange(length, dtype=torch.float64) + 1) / (length + 1)
    weights = torch.exp(-1 / (t * (1 - t)))
    return weights / weights.sum()


def _rotation(path: Tensor, weights: Tensor) -> float | None:
    """Return turns per step from the phase in the plane of the two leading components.

    The plane of the strongest frequency is used, found from the spectrum, so that curves that cross
    themselves in other planes are told apart by the invariance error later.
    """
    centred = path - path.mean(dim=0)
    power = torch.fft.rfft(centred * torch.hann_window(len(path), dtype=path.dtype)[:, None], dim=0)
    strength = power.abs().square().sum(dim=1)
    strength[0] = 0
    peak = int(strength.argmax())
    if peak == 0:
        return None
    # Demodulate by the strongest frequency: its slow phase gives the exact one.
    t = torch.arange(len(path), dtype=torch.float64)
    axis = power[peak].conj()
    wave = (centred.to(axis.dtype) @ axis) * torch.exp(-2j * np.pi * peak / len(path) * t)
    smooth = _smooth(wave, max(4, round(2 * len(path) / peak)))
    phase = np.unwrap(torch.angle(smooth).numpy())
    slow = np.diff(phase) / (2 * np.pi)
    inner = weights.numpy()[: len(slow)]
    rotation = peak / len(path) + float((slow * inner).sum() / inner.sum())
    return rotation if 0 < rotation <= 0.5 else None


def _smooth(wave: Tensor, width: int) -> Tensor:
    """Return a running mean over `width` steps."""
    total = torch.cumsum(torch.cat([wave.new_zeros(1), wave]), dim=0)
    return (total[width:] - total[:-width]) / width


def _fourier(path: Tensor, weights: Tensor, rotation: float, harmonics: int) -> Tensor:
    """Return the coefficients c_m (M + 1, n) by weighted averages along the trajectory."""
    t = torch.arange(len(path), dtype=torch.float64)
    m = torch.arange(harmonics + 1, dtype=torch.float64)
    waves = torch.exp(-2j * np.pi * rotation * m[:, None] * t) * weights
    coefficients: Tensor = waves @ path.to(waves.dtype)
    coefficients[1:] *= 2
    return coefficients
