"""Distance between shapes: what no rotation of the units takes away."""

from __future__ import annotations

import numpy as np

from seqprobe.arrays import Recorded, as_samples
from seqprobe.degeneracy.representation.distance import Distance, centred, check_pair

__all__ = ["PROCRUSTES", "euclidean_procrustes"]

_CLOSE = 1 - 1e-6  # a cosine from which on its arccos loses more digits than the residual has


def euclidean_procrustes(x: Recorded, y: Recorded) -> float:
    """Return ``min_Q ||X - Y Q||_F`` over orthogonal Q, in units of the activations.

    Parameters
    ----------
    x, y
        Activations (m, n_x), (m, n_y); they are centred. The one with fewer units gets units that
        are 0.

    Returns
    -------
    float
        From 0, the same up to a rotation, without an upper end; grows with the scale and with the
        square root of m. A metric.

    Raises
    ------
    UsageError
        If the numbers of samples differ, or activations are not finite or never vary.

    Notes
    -----
    Schonemann 1966 (doi 10.1007/BF02289451); Williams et al. 2021 (arXiv 2110.14739). Cost:
    O(m n^2 + n^3).
    """
    x, y = as_samples(x), as_samples(y)
    check_pair(x, y)
    return _residual(centred(x), centred(y))


def _residual(x: np.ndarray, y: np.ndarray) -> float:
    """Return ``||X - Y Q||_F`` at the best Q, which is exact where X and Y nearly coincide.

    The narrower one is rotated into the space of the wider: the same as with units of 0.
    """
    narrow, wide = (x, y) if x.shape[1] <= y.shape[1] else (y, x)
    left, _, right = np.linalg.svd(narrow.T @ wide, full_matrices=False)
    return float(np.linalg.norm(wide - narrow @ (left @ right)))


def _shape(x: np.ndarray) -> np.ndarray:
    """Return activations (m, n) centred, of unit norm, with at most m columns.

    More columns than samples are rotated onto m, which changes no distance.
    """
    x = centred(x)
    if x.shape[1] > len(x):
        x = np.linalg.qr(x.T).R.T
    shape: np.ndarray = x / np.linalg.norm(x)
    return shape


def _angle(p: np.ndarray, q: np.ndarray) -> float:
    """Return ``arccos ||X^T Y||_*``; a short angle is that of a chord of length ``||X - Y Q||``."""
    cosine = np.linalg.norm(p.T @ q, "nuc")
    if cosine < _CLOSE:
        return float(np.arccos(cosine))
    return float(2 * np.arcsin(_residual(p, q) / 2))


# arccos(||X^T Y||_* / (||X||_F ||Y||_F)), the angle between the two clouds of points once one is
# rotated onto the other. Units that are 0 change nothing, so that widths may differ.
PROCRUSTES = Distance(
    name="procrustes",
    long_name="angular Procrustes distance",
    units="rad",
    compares="shapes of the clouds of samples",
    invariant_to="orthogonal maps, isotropic scale",
    range=(0.0, np.pi / 2),
    is_metric=True,
    cost="O(m n^2 + n^3)",
    source="Williams et al. 2021 (arXiv 2110.14739)",
    prepare=_shape,
    between=_angle,
)
