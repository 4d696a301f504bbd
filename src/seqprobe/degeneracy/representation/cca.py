"""Distances from canonical correlations: mean, of principal components, and projection weighted."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from seqprobe.arrays import Recorded, as_samples
from seqprobe.capacity.spectra import count_above, quantile_dimension
from seqprobe.degeneracy.representation.distance import Distance, centred, check_pair
from seqprobe.errors import UsageError

__all__ = ["CCA", "PWCCA", "SVCCA", "directed_pwcca", "svcca"]

# Of the largest singular value. States of float32 round at 1e-7: smaller directions are rounding,
# and canonical correlations would count each as much as any other.
_PRECISION = 1e-6
_VARIANCE = 0.99  # that SVCCA keeps


class Space(NamedTuple):
    """What the units of a network span over samples: ``X = basis @ loadings``.

    Attributes
    ----------
    basis
        Orthonormal columns (m, r), the principal directions over samples.
    loadings
        (r, n): how much of each direction each unit has.
    """

    basis: np.ndarray
    loadings: np.ndarray


def _space(x: np.ndarray, variance: float = 1.0) -> Space:
    """Return the directions of activations (m, n) that hold the part `variance` of all variance."""
    q, upper = np.linalg.qr(centred(x))  # of many samples, what is left is small
    left, sizes, axes = np.linalg.svd(upper, full_matrices=False)
    left = q @ left
    r = int(count_above(sizes, np.array([_PRECISION]))[0])
    if variance < 1:
        r = min(r, quantile_dimension(sizes**2, variance))
    return Space(left[:, :r], sizes[:r, None] * axes[:r])


def _check_samples(p: Space, q: Space) -> None:
    """Refuse spaces that meet because there is no room for them not to."""
    (m, r_p), r_q = p.basis.shape, q.basis.shape[1]
    n_p, n_q = p.loadings.shape[1], q.loadings.shape[1]
    forced = r_p + r_q - (m - 1)  # centring takes one dimension
    if forced > 0:
        raise UsageError(
            f"CCA of {m} samples of {n_p} and {n_q} units, which vary in {r_p} and {r_q}"
            f" directions: {min(forced, r_p, r_q)} correlations would be 1 for any networks"
            f" (allowed: none); give more sequences, {n_p + n_q + 1} samples are always enough"
        )


def _mean_distance(p: Space, q: Space) -> float:
    """Return 1 less the mean of the min(r_x, r_y) canonical correlations."""
    _check_samples(p, q)
    rho = np.linalg.svd(p.basis.T @ q.basis, compute_uv=False)
    return max(0.0, float(1 - rho.mean()))  # a correlation may be above 1 by rounding


def directed_pwcca(x: Recorded, y: Recorded) -> float:
    """Return 1 less the canonical correlations averaged by how much of X each direction holds.

    ``1 - sum_i a_i rho_i / sum_i a_i`` with ``a_i = sum_j |<h_i, x_j>|`` over the units x_j of X
    and its canonical variates h_i. It is not symmetric: weights come from X. The registered
    ``pwcca`` is the mean of both directions.

    Parameters
    ----------
    x, y
        Activations (m, n_x), (m, n_y).

    Returns
    -------
    float
        In [0, 1]; 0 is the same.

    Raises
    ------
    UsageError
        If the numbers of samples differ, activations are not finite or never vary, or samples are
        too few for as many directions.

    Notes
    -----
    Morcos et al. 2018 (arXiv 1806.05759). Invariant to any invertible map of Y. A map of X changes
    the weights, even a rotation, because they are sums of absolute values over units: only
    permutations, signs and a common scale leave them. Where correlations coincide, their directions
    and so their weights are arbitrary within the space they span. Cost: O(m n^2 + n^3).
    """
    x, y = as_samples(x), as_samples(y)
    check_pair(x, y)
    return _weighted_distances(_space(x), _space(y))[0]


def _weighted_distances(p: Space, q: Space) -> tuple[float, float]:
    """Return the projection weighted distances, with weights of the first and of the second."""
    _check_samples(p, q)
    left, rho, right = np.linalg.svd(p.basis.T @ q.basis, full_matrices=False)
    of_p = np.abs(left.T @ p.loadings).sum(axis=1)
    of_q = np.abs(right @ q.loadings).sum(axis=1)
    first, second = (float(1 - weights @ rho / weights.sum()) for weights in (of_p, of_q))
    return max(0.0, first), max(0.0, second)


def _symmetric_distance(p: Space, q: Space) -> float:
    """Return the mean of both directions."""
    return sum(_weighted_distances(p, q)) / 2


def svcca(variance: float = _VARIANCE) -> Distance[Space]:
    """Return the CCA distance of the principal components that hold the part `variance`.

    Raises
    ------
    UsageError
        If `variance` is not a part.
    """
    if not 0 < variance <= 1:
        raise UsageError(f"variance kept is {variance} (allowed: above 0, up to 1)")
    return Distance(
        name="svcca",
        long_name=f"1 - mean canonical correlation of {variance:.6g} of the variance",
        units="1",
        compares="spaces that the largest principal components span over samples",
        invariant_to="orthogonal maps, isotropic scale" if variance < 1 else _LINEAR,
        range=(0.0, 1.0),
        is_metric=False,
        cost="O(m n^2 + n^3)",
        source="Raghu et al. 2017 (arXiv 1706.05806)",
        prepare=lambda x: _space(x, variance),
        between=_mean_distance,
    )


_LINEAR = "invertible linear maps"

# 1 - mean_i rho_i over min(n_x, n_y). It is 0 too where one space contains the other. Of unrelated
# networks it nears 1 only for m far above n: rho^2 is about n / m by chance.
CCA = Distance(
    name="cca",
    long_name="1 - mean canonical correlation",
    units="1",
    compares="spaces that the units span over samples",
    invariant_to=_LINEAR,
    range=(0.0, 1.0),
    is_metric=False,
    cost="O(m n^2 + n^3)",
    source="Hotelling 1936, as in Raghu et al. 2017 (arXiv 1706.05806)",
    prepare=_space,
    between=_mean_distance,
)

SVCCA = svcca()

# A copy under an invertible map is at 0, but the distance to a third network is not kept: weights
# are sums over units, see `directed_pwcca`.
PWCCA = Distance(
    name="pwcca",
    long_name="1 - projection weighted canonical correlation, mean of both directions",
    units="1",
    compares="spaces that the units span over samples, by how much of the units lies along them",
    invariant_to="permutations and signs of units, isotropic scale",
    range=(0.0, 1.0),
    is_metric=False,
    cost="O(m n^2 + n^3)",
    source="Morcos et al. 2018 (arXiv 1806.05759)",
    prepare=_space,
    between=_symmetric_distance,
)
