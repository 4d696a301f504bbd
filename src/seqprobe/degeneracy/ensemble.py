"""Statistics of an ensemble: networks are independent, their pairs are not."""

from __future__ import annotations

import numpy as np

from seqprobe.errors import UsageError
from seqprobe.memory.estimates import CI
from seqprobe.seeding import generator

__all__ = ["INTERVAL", "check_ensemble", "mean_over_networks", "mean_over_pairs", "spread"]

_REPLICATES = 2000
_FEWEST = 3  # networks of which a bootstrap says anything
INTERVAL = f"95 % percentile, {_REPLICATES} bootstrap replicates over networks"


def check_ensemble(n: int, what: str = "networks") -> None:
    """Refuse an ensemble that has no pairs."""
    if n < 2:
        raise UsageError(f"{n} {what} cannot differ from each other (allowed: 2 or more)")


def _counts(n: int, seed: int) -> np.ndarray:
    """Return how often each of n networks is drawn, (R, n)."""
    rng = generator(seed, "degeneracy", "bootstrap")
    return rng.multinomial(n, np.full(n, 1 / n), _REPLICATES).astype(np.float64)


def mean_over_pairs(distances: np.ndarray, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean distance of pairs with its interval, by resampling networks.

    A network that is drawn several times is not paired with itself: a replicate weighs the pair
    (i, j) by the product of both counts. Pairs that are NaN are left out.

    Parameters
    ----------
    distances
        (N, N, ...), of which the pairs i < j count.
    seed
        Of the bootstrap.

    Returns
    -------
    mean
        (...).
    interval
        (2, ...), 95 %; NaN for fewer than three networks.
    """
    n = len(distances)
    first, second = np.triu_indices(n, 1)
    values = distances[first, second]
    there = np.isfinite(values)
    filled = np.where(there, values, 0.0)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.asarray(filled.sum(axis=0) / there.sum(axis=0))
        if n < _FEWEST:
            return mean, np.full((2, *mean.shape), np.nan)
        counts = _counts(n, seed)
        weights = counts[:, first] * counts[:, second]
        flat = filled.reshape(len(values), -1), there.reshape(len(values), -1).astype(np.float64)
        replicates = (weights @ flat[0]) / (weights @ flat[1])
    return mean, _interval(replicates, mean.shape)


def mean_over_networks(values: np.ndarray, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean of values (N, ...) with its interval; see `mean_over_pairs`."""
    there = np.isfinite(values)
    filled = np.where(there, values, 0.0).reshape(len(values), -1)
    known = there.reshape(len(values), -1).astype(np.float64)
    shape = values.shape[1:]
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = (filled.sum(axis=0) / known.sum(axis=0)).reshape(shape)
        if len(values) < _FEWEST:
            return mean, np.full((2, *shape), np.nan)
        counts = _counts(len(values), seed)
        replicates = (counts @ filled) / (counts @ known)
    return mean, _interval(replicates, shape)


def spread(values: np.ndarray, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return the standard deviation of values (N, ...) over networks with its interval.

    Divided by N, not N - 1, as sigma_OOD is defined. NaN of a single network.
    """
    shape, n = values.shape[1:], len(values)
    found = np.asarray(values.std(axis=0)) if n > 1 else np.full(shape, np.nan)
    if n < _FEWEST:
        return found, np.full((2, *shape), np.nan)
    counts, flat = _counts(n, seed) / n, values.reshape(n, -1)
    middle = flat.mean(axis=0)  # variances of differences from it do not cancel
    moments = counts @ (flat - middle), counts @ (flat - middle) ** 2
    return found, _interval(np.sqrt(np.maximum(moments[1] - moments[0] ** 2, 0.0)), shape)


def _interval(replicates: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Return the bounds (2, ...) of replicates (R, n); NaN where no replicate had anything."""
    bounds = np.full((2, replicates.shape[1]), np.nan)
    there = np.isfinite(replicates).any(axis=0)
    bounds[:, there] = np.nanpercentile(replicates[:, there], CI, axis=0)
    return bounds.reshape(2, *shape)
