"""Intrinsic dimension from the distances to the two nearest neighbours."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.spatial.distance import cdist

from seqprobe.errors import UsageError
from seqprobe.seeding import generator

__all__ = ["Neighbours", "correlation_time", "slope_dimension", "thinned", "two_neighbours"]

_CANDIDATES = 6  # for the two nearest neighbours
_DISCARDED = 0.1  # of the points, those with the largest ratios


class Neighbours(NamedTuple):
    """Ratios of the distances to the second and the first neighbour.

    Attributes
    ----------
    ratios
        ``mu = r_2 / r_1`` of every point with distinct neighbours.
    of
        Which sequence each of these points belongs to.
    duplicates
        Part of the points that were left out because another has the same place.
    """

    ratios: np.ndarray
    of: np.ndarray
    duplicates: float


def two_neighbours(points: np.ndarray, of: np.ndarray) -> Neighbours:
    """Return the ratios of distances for points (n, d) of the sequences `of` (n,).

    Points that coincide count once: a state that is visited again says nothing of a dimension.
    """
    distinct, first = np.unique(points, axis=0, return_index=True)
    duplicates = 1 - len(distinct) / len(points)
    if len(distinct) < 3:
        return Neighbours(np.empty(0), np.empty(0, dtype=int), duplicates)
    nearest = _two_smallest_distances(distinct - distinct.mean(axis=0))
    # Rounding may leave places that differ without a distance between them.
    apart = nearest[:, 0] > 1e-12 * np.abs(points).max()
    return Neighbours(nearest[apart, 1] / nearest[apart, 0], of[first][apart], duplicates)


def _two_smallest_distances(points: np.ndarray) -> np.ndarray:
    """Return the distances (n, 2) to the two nearest other points.

    Candidates come from a matrix product, which is fast and rounds; their distances are exact.
    Where neighbours are so close that rounding may hide them, all distances are.
    """
    squares = np.square(points).sum(axis=1)
    rough = squares[:, None] + squares - 2 * points @ points.T
    np.fill_diagonal(rough, np.inf)
    count = min(_CANDIDATES, len(points) - 1)
    candidates = np.argpartition(rough, count - 1, axis=1)[:, :count]
    distances = np.stack(
        [np.linalg.norm(points[column] - points, axis=1) for column in candidates.T], axis=1
    )
    nearest: np.ndarray = np.sort(distances, axis=1)[:, :2]
    close = np.flatnonzero(nearest[:, 1] ** 2 < 1e-6 * squares.max())
    for piece in np.array_split(close, max(1, len(close) // 64)):
        exact = cdist(points[piece], points)
        exact[np.arange(len(piece)), piece] = np.inf
        nearest[piece] = np.sort(np.partition(exact, 1, axis=1)[:, :2], axis=1)
    return nearest


def slope_dimension(ratios: np.ndarray) -> float:
    """Return the slope through the origin of ``-ln(1 - F(mu))`` on ``ln mu``.

    F is the empirical distribution; the tenth of the points with the largest ratios is left out.
    NaN from fewer than 20 points, or where half of them have two neighbours at one distance, as on
    a lattice (counts), where the slope is that of rounding.

    Notes
    -----
    Facco et al. 2017 (doi 10.1038/s41598-017-11873-y). Biased low in more than about ten
    dimensions.
    """
    if len(ratios) < 20:
        return float("nan")
    logs = np.log(np.sort(ratios))
    if np.median(logs) < 1e-9:
        return float("nan")
    kept = int(len(logs) * (1 - _DISCARDED))
    heights = -np.log1p(-np.arange(1, kept + 1) / len(logs))
    return float(logs[:kept] @ heights / (logs[:kept] @ logs[:kept]))


def correlation_time(z: np.ndarray) -> int:
    """Return the integrated autocorrelation time of states (N, T, d), in steps, at least 1.

    ``1 + 2 sum_k rho(k)`` of the autocorrelation of the whole vector, summed while it is above
    0.05: samples that far apart count as independent.
    """
    centred = z - z.mean(axis=(0, 1))
    length = z.shape[1]
    power = np.square(np.abs(np.fft.rfft(centred, 2 * length, axis=1))).sum(axis=(0, 2))
    covariance = np.fft.irfft(power)[:length] / np.arange(length, 0, -1)
    if not covariance[0] > 0:
        return 1
    rho = covariance[1:] / covariance[0]
    below = np.flatnonzero(rho < 0.05)
    end = below[0] if len(below) else len(rho)
    return int(max(1, min(length, round(1 + 2 * float(rho[:end].sum())))))


def thinned(z: np.ndarray, every: int, most: int) -> tuple[np.ndarray, np.ndarray]:
    """Return every so manieth state of (N, T, d) as points (n, d), and which sequence each is of.

    Counted back from the last step, because the first states are those of few inputs. Of more than
    `most` points so many are drawn.
    """
    if every < 1:
        raise UsageError(f"every = {every} does not thin states out (allowed: 1 or more)")
    kept = z[:, (z.shape[1] - 1) % every :: every]
    count = kept.shape[0] * kept.shape[1]
    points = kept.reshape(count, -1)
    of = np.repeat(np.arange(len(z)), kept.shape[1])
    picked = np.arange(count)
    if count > most:
        picked = np.sort(generator(0, "points").choice(count, most, replace=False))
    return points[picked], of[picked]
