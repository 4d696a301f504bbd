"""Estimates with bootstrap intervals over sequences, as labelled variables."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import xarray as xr
from scipy.special import stdtrit  # scipy.stats takes a second to import

from seqprobe.schema import variable

__all__ = [
    "CI",
    "INTERVAL",
    "Z",
    "ci_coordinate",
    "estimate",
    "jackknife",
    "lag_grid",
    "percentile",
    "recentred",
    "resample",
]

CI = (2.5, 97.5)
Z = 1.959963984540054  # of a two-sided 95 %
_REPLICATES = 1000
INTERVAL = f"95 % percentile, {_REPLICATES} bootstrap replicates over sequences"


def resample(n: int, rng: np.random.Generator) -> np.ndarray:
    """Return weights (R, n) of n sequences: even in the first row, bootstrap replicates after it.

    One sequence cannot be resampled and gives the first row alone.
    """
    even = np.full((1, n), 1 / n)
    if n == 1:
        return even
    return np.concatenate([even, rng.multinomial(n, even[0], _REPLICATES) / n])


def percentile(replicates: np.ndarray, q: float) -> np.ndarray:
    """Return a percentile that is a value of the sample, so that a lag stays a lag."""
    return np.asarray(np.percentile(replicates, q, axis=0, method="inverted_cdf"))


def recentred(values: np.ndarray) -> np.ndarray:
    """Return estimates with replicates (R, ...) shifted so that their mean is the estimate.

    A replicate of a statistic that noise can only raise (a squared correlation, an information) has
    that bias once more than the estimate has; what it tells is the spread.
    """
    if len(values) == 1:
        return values
    shifted = values[1:] + (values[0] - values[1:].mean(axis=0))
    return np.concatenate([values[:1], shifted])


def estimate(
    name: str, dims: tuple[str, ...], values: np.ndarray, long_name: str, units: str
) -> dict[str, xr.Variable]:
    """Return the estimate (row 0) and its 95 % interval from the replicates (the other rows)."""
    if len(values) > 1:
        bounds = np.stack([percentile(values[1:], q) for q in CI])
    else:
        bounds = np.full((2, *values.shape[1:]), np.nan)
    return {
        name: variable(dims, values[0], long_name, units),
        f"{name}_ci": variable(
            ("ci_bound", *dims), bounds, f"95 % interval of: {long_name}", units
        ),
    }


def ci_coordinate() -> xr.Variable:
    """Return the coordinate of the two bounds."""
    return variable(("ci_bound",), np.array(CI), "percentile of the interval", "percent")


def jackknife(
    measure: Callable[[np.ndarray], np.ndarray], n: int, folds: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return a measure of n units, and the half-width of its 95 % interval by Student's t.

    `measure` takes the numbers of the units it may use; it is repeated without one of `folds`
    groups of neighbouring units at a time.
    """
    every = np.arange(n)
    left_out = np.stack([measure(np.setdiff1d(every, f)) for f in np.array_split(every, folds)])
    spread = np.square(left_out - left_out.mean(axis=0)).sum(axis=0)
    half: np.ndarray = np.sqrt((folds - 1) / folds * spread) * stdtrit(folds - 1, 0.975)
    return measure(every), half


def lag_grid(max_lag: int, *extra: int | None) -> list[int]:
    """Return lags from 0 to `max_lag`: each of the first few, then about ten per decade.

    `extra` lags, and their neighbours, are put in where they fit.
    """
    grid = {0, max_lag, *range(min(max_lag, 6))}
    grid |= {round(10 ** (i / 10)) for i in range(200) if 10 ** (i / 10) <= max_lag}
    for lag in extra:
        if lag is not None:
            grid |= {lag - 1, lag, lag + 1}
    return sorted(lag for lag in grid if 0 <= lag <= max_lag)
