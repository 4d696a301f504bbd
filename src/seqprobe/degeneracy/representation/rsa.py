"""Representational similarity analysis: whether the same samples lie close together."""

from __future__ import annotations

import numpy as np
from scipy.spatial.distance import pdist

from seqprobe.degeneracy.representation.distance import Distance, centred
from seqprobe.errors import UsageError

__all__ = ["RSA"]

_EQUAL = 1e-12  # of the largest distance: what rounding leaves of distances that are all alike


def _dissimilarities(x: np.ndarray) -> np.ndarray:
    """Return the distances of all pairs of samples of (m, n), less their mean, of unit norm.

    (m (m - 1) / 2,): 4 MB of 1000 samples, 67 MB of 4096. All samples are used.
    """
    distances: np.ndarray = pdist(centred(x))
    deviations: np.ndarray = distances - distances.mean()
    if not np.abs(deviations).max() > _EQUAL * distances.max():
        raise UsageError(
            f"RSA of {len(x)} samples that are all as far from each other (allowed: distances that"
            " vary); give other sequences"
        )
    deviations /= np.linalg.norm(deviations)
    return deviations


def _rsa_distance(p: np.ndarray, q: np.ndarray) -> float:
    """Return 1 less the correlation; rounding may leave [0, 2] by a hair, which is cut."""
    return min(max(float(1 - p @ q), 0.0), 2.0)


# 1 - Pearson correlation of the upper triangles of two matrices of Euclidean distances. Memory and
# time of a pair grow with the square of m: the caller chooses how many samples.
RSA = Distance(
    name="rsa",
    long_name="1 - Pearson correlation of Euclidean distances between samples",
    units="1",
    compares="Euclidean distances between samples",
    invariant_to="orthogonal maps, isotropic scale",
    range=(0.0, 2.0),
    is_metric=False,
    cost="O(m^2), and O(m^2 n) once for each network",
    source="Kriegeskorte, Mur and Bandettini 2008 (doi 10.3389/neuro.06.004.2008)",
    prepare=_dissimilarities,
    between=_rsa_distance,
)
