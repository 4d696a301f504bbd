"""What a profile over lags is summarised by: peak, quantiles, threshold lengths, half-life.

Every function takes profiles G (R, K + 1), one row per bootstrap replicate, and returns (R, ...).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

__all__ = [
    "Tail",
    "fit_tail",
    "mass_quantiles",
    "mean_lag",
    "peak_lag",
    "shares",
    "structural_zero",
    "threshold_lengths",
]

_MIN_TAIL_LAGS = 8
_MIN_TAIL_R2 = 0.95
_MIN_WINS = 0.95  # of replicates in which the exponential must beat a power law
_MAX_BEND = 0.25  # of the slope, by which that of a third of the tail may differ


def shares(profile: np.ndarray) -> np.ndarray:
    """Return ``p(k) = G(k)^2 / sum_j G(j)^2``, (R, K + 1); NaN where G is zero everywhere."""
    # Divided by the peak first, so that squares of very large or small gradients stay finite.
    with np.errstate(invalid="ignore"):
        square = (profile / profile.max(axis=1, keepdims=True)) ** 2
    share: np.ndarray = square / square.sum(axis=1, keepdims=True)
    return share


def peak_lag(profile: np.ndarray) -> np.ndarray:
    """Return the lag of the largest G, (R,); NaN where G is zero everywhere."""
    return np.where(profile.max(axis=1) > 0, profile.argmax(axis=1), np.nan)


def mean_lag(profile: np.ndarray) -> np.ndarray:
    """Return ``sum_k k p(k)``, (R,)."""
    mean: np.ndarray = shares(profile) @ np.arange(profile.shape[1])
    return mean


def mass_quantiles(profile: np.ndarray, levels: np.ndarray) -> np.ndarray:
    """Return the smallest K with ``sum_{k<=K} p(k) >= q``, (R, Q)."""
    cumulative = np.cumsum(shares(profile), axis=1)[:, None, :]
    # A sum of shares ends within rounding of 1; the last lag always counts as reaching any level.
    reached = cumulative >= np.minimum(levels[:, None], cumulative[..., -1:])
    return np.where(np.isnan(cumulative[..., 0]), np.nan, reached.argmax(axis=2))


def threshold_lengths(profile: np.ndarray, thresholds: np.ndarray) -> np.ndarray:
    """Return the last lag with ``G(k) >= eps max_j G(j)``, (R, E): the last crossing."""
    peak = profile.max(axis=1)
    above = profile[:, None, :] >= thresholds[:, None] * peak[:, None, None]
    last = profile.shape[1] - 1 - above[:, :, ::-1].argmax(axis=2)
    return np.where(peak[:, None] > 0, last, np.nan)


def structural_zero(profile: np.ndarray) -> float:
    """Return the first lag from which one profile (K + 1,) is exactly 0, or NaN if it is not."""
    nonzero = np.flatnonzero(profile)
    if not len(nonzero):
        return 0.0
    return float(nonzero[-1] + 1) if nonzero[-1] + 1 < len(profile) else float("nan")


@dataclass(frozen=True)
class Tail:
    """Fits ``log G = a - k / tau`` and ``log G = a - beta log k`` on the lags after the peak.

    Attributes
    ----------
    tau
        Time constant of every replicate, (R,), in steps; infinite for one that does not fall.
    beta
        Exponent of the power law of every replicate, (R,).
    wins
        Fraction of the replicates in which the exponential leaves less unexplained.
    half_life
        ``tau ln 2``, (R,); all NaN if the exponential does not hold.
    r2
        Share of the variance of log G that the exponential explains on the first row.
    lags
        First and last lag of the fits. NaN, as all else, if there are too few.
    """

    tau: np.ndarray
    beta: np.ndarray
    wins: float
    half_life: np.ndarray
    r2: float
    lags: tuple[float, float]


def fit_tail(profile: np.ndarray, floor: float = 0.0) -> Tail:
    """Fit the decay after the peak of the first row, and of all others on the same lags.

    The exponential holds, and a half-life is given, if at least 8 consecutive lags after the peak
    lie above `floor`; the line explains 95 % of the variance of log G there; it falls by at least a
    half within them; the slope of every third of them is within a quarter of its own; and it leaves
    less unexplained than the power law in 95 % of the replicates. Lags are strongly correlated, so
    that an information criterion with their number would be far too sure; replicates over
    sequences are not.

    Parameters
    ----------
    profile
        (R, K + 1); the first row is the estimate, the others its bootstrap replicates.
    floor
        Values of G at or below this are numerical noise.
    """
    nothing, none = np.full(len(profile), np.nan), float("nan")
    first = profile[0]
    start = int(first.argmax()) + 1
    low = np.flatnonzero(first[start:] <= floor)
    stop = start + int(low[0]) if len(low) else len(first)
    if stop - start < _MIN_TAIL_LAGS or np.any(profile[:, start:stop] <= 0):
        return Tail(nothing, nothing, none, nothing, none, (none, none))
    lags = np.arange(start, stop, dtype=np.float64)
    logs = np.log(profile[:, start:stop])
    slope, residual = _line(lags, logs)
    power, power_residual = _line(np.log(lags), logs)
    spread = float(((logs[0] - logs[0].mean()) ** 2).sum())
    r2 = 1 - float(residual[0]) / spread if spread > 0 else none
    with np.errstate(divide="ignore"):
        tau = np.where(slope < 0, -1 / slope, np.inf)
    thirds = np.array_split(np.arange(len(lags)), 3)
    bends = [abs(_line(lags[third], logs[:1, third])[0][0] - slope[0]) for third in thirds]
    wins = float(np.mean(residual <= power_residual))
    holds = (
        r2 >= _MIN_TAIL_R2
        and tau[0] * np.log(2) <= len(lags)
        and max(bends) <= _MAX_BEND * abs(slope[0])
        and wins >= _MIN_WINS
    )
    half_life = tau * np.log(2) if holds else nothing
    return Tail(tau, -power, wins, half_life, r2, (float(lags[0]), float(lags[-1])))


def _line(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return slope and squared residual of the least-squares line through every row of y (R, n)."""
    x = x - x.mean()
    y = y - y.mean(axis=1, keepdims=True)
    slope = y @ x / (x @ x)
    return slope, ((y - slope[:, None] * x) ** 2).sum(axis=1)
