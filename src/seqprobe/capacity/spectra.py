"""What a list of singular values or variances counts as: sizes and dimensions."""

from __future__ import annotations

import numpy as np

__all__ = ["count_above", "entropy_size", "participation_ratio", "quantile_dimension"]


def count_above(sigma: np.ndarray, tolerances: np.ndarray) -> np.ndarray:
    """Return how many singular values exceed each tolerance times the largest, (tolerance,)."""
    largest = np.max(sigma, initial=0.0)
    if not largest > 0:
        return np.zeros(len(tolerances), dtype=int)
    counts: np.ndarray = (sigma > tolerances[:, None] * largest).sum(axis=1)
    return counts


def entropy_size(sigma: np.ndarray) -> float:
    """Return ``exp(-sum p ln p)`` with ``p = sigma / sum(sigma)``; 0 if all are 0.

    The effective rank of Roy and Vetterli (EUSIPCO 2007), and the entropy form of the effective
    state size.
    """
    total = sigma.sum()
    if not total > 0:
        return 0.0
    p = sigma[sigma > 0] / total
    return float(np.exp(-(p * np.log(p)).sum()))


def participation_ratio(variances: np.ndarray) -> float:
    """Return ``(sum lambda)^2 / sum lambda^2`` of the eigenvalues of a covariance."""
    squares = np.square(variances).sum()
    return float(variances.sum() ** 2 / squares) if squares > 0 else 0.0


def quantile_dimension(variances: np.ndarray, q: float) -> int:
    """Return the smallest number of leading directions that hold the part `q` of all variance."""
    cumulated = np.cumsum(np.sort(variances)[::-1])
    if not cumulated[-1] > 0:
        return 0
    # A hair less than q, so that exact ties count as reached.
    return int(np.searchsorted(cumulated, (q - 1e-12) * cumulated[-1])) + 1
