"""How far apart two networks are in what their units do on the same samples.

Every measure is a `Distance`: 0 is the same, larger is further. They differ in which maps of the
units they forget (`invariant_to`), from rotations (`procrustes`, `cka`, `rsa`) to any invertible
map (`cca`); what they forget is no difference to them.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from seqprobe.arrays import Recorded
from seqprobe.degeneracy.representation.cca import CCA, PWCCA, SVCCA, directed_pwcca, svcca
from seqprobe.degeneracy.representation.cka import CKA, CKA_DEBIASED
from seqprobe.degeneracy.representation.distance import Distance
from seqprobe.degeneracy.representation.procrustes import PROCRUSTES, euclidean_procrustes
from seqprobe.degeneracy.representation.rsa import RSA
from seqprobe.errors import unknown_name

__all__ = ["DISTANCES", "Distance", "directed_pwcca", "euclidean_procrustes", "pairwise", "svcca"]

_ALL: tuple[Distance[Any], ...] = (CKA, CKA_DEBIASED, PROCRUSTES, CCA, SVCCA, PWCCA, RSA)

# Every measure a user can name.
DISTANCES: dict[str, Distance[Any]] = {measure.name: measure for measure in _ALL}


def pairwise(
    xs: Sequence[Recorded], distances: Iterable[str] = tuple(DISTANCES)
) -> dict[str, np.ndarray]:
    """Return the distances of all pairs of networks, by every measure named.

    Parameters
    ----------
    xs
        Activations of N networks on the same m samples, (m, n_i) or (N, T, n_i) each, or with the
        dimensions ``trial``, ``time``, ``unit`` in any order; numbers of units may differ.
    distances
        Names from `DISTANCES`.

    Returns
    -------
    dict
        From each name to a symmetric matrix (N, N) with zeros on its diagonal, in the `units` of
        the measure.

    Raises
    ------
    UsageError
        If there is no measure of a name, or the activations do not fit, see `Distance.matrix`.

    Notes
    -----
    Cost: that of each measure's `cost` for each of the N (N - 1) / 2 pairs; what needs one network
    alone is done once for each. The pairs are not independent: resample networks, never pairs.
    """
    names = list(distances)
    for name in names:
        if name not in DISTANCES:
            raise unknown_name("distance", name, DISTANCES)
    return {name: DISTANCES[name].matrix(xs) for name in names}
