"""Centred kernel alignment with the linear kernel, biased and debiased."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from seqprobe.degeneracy.representation.distance import Distance, centred
from seqprobe.errors import UsageError

__all__ = ["CKA", "CKA_DEBIASED"]

_FEWEST = 4  # samples of the U-statistic: it divides by m - 3
_NOTHING = 1e-12  # of the squared kernel: what rounding leaves of one without structure


class Kernel(NamedTuple):
    """A kernel K of unit norm, of which the smaller form is kept.

    Attributes
    ----------
    values
        Centred activations X (m, n) with ``K = X X^T`` if there are fewer units than samples, else
        the Gram matrix K (m, m) itself.
    is_gram
        Which of them.
    """

    values: np.ndarray
    is_gram: bool


def _kernel(x: np.ndarray) -> Kernel:
    """Return ``H X X^T H / ||H X X^T H||_F`` of activations (m, n)."""
    x = centred(x)
    if x.shape[1] < len(x):
        return Kernel(x / math.sqrt(np.linalg.norm(x.T @ x)), False)
    gram = x @ x.T
    return Kernel(gram / np.linalg.norm(gram), True)


def _product(p: Kernel, q: Kernel) -> float:
    """Return ``tr(K L)`` of two kernels in whichever form."""
    if p.is_gram and q.is_gram:
        return float(np.vdot(p.values, q.values))
    if p.is_gram:
        return float(np.vdot(q.values, p.values @ q.values))
    if q.is_gram:
        return _product(q, p)
    return float(np.square(p.values.T @ q.values).sum())


def _cka_distance(p: Kernel, q: Kernel) -> float:
    """Return ``1 - <K, L>``; rounding may leave [0, 1] by a hair, which is cut."""
    return min(max(1 - _product(p, q), 0.0), 1.0)


class DebiasedKernel(NamedTuple):
    """A kernel of unit self-similarity under the U-statistic.

    Attributes
    ----------
    kernel
        Activations, scaled, or the U-centred Gram matrix, whose diagonal is 0.
    diagonal
        Of ``X X^T``, (m,); 0 for a Gram matrix.
    """

    kernel: Kernel
    diagonal: np.ndarray


def _debiased_kernel(x: np.ndarray) -> DebiasedKernel:
    """Return activations (m, n) with the scale that makes their U-statistic with themselves 1."""
    x = centred(x)
    m = len(x)
    if m < _FEWEST:
        raise UsageError(
            f"debiased CKA of {m} samples (allowed: {_FEWEST} or more); give more sequences"
        )
    if x.shape[1] < m:
        kernel, diagonal = Kernel(x, False), np.square(x).sum(axis=1)
        square = float(np.square(x.T @ x).sum())
    else:
        gram = x @ x.T
        square = float(np.square(gram).sum())
        kernel, diagonal = Kernel(_u_centred(gram), True), np.zeros(m)
    norm = _u_product(DebiasedKernel(kernel, diagonal), DebiasedKernel(kernel, diagonal))
    if not norm > _NOTHING * square:
        raise UsageError(
            f"debiased CKA of {m} samples that are all as far from each other (allowed: distances"
            " that vary); give other sequences"
        )
    scale = math.sqrt(norm) if kernel.is_gram else norm**0.25
    return DebiasedKernel(Kernel(kernel.values / scale, kernel.is_gram), diagonal / math.sqrt(norm))


def _u_centred(gram: np.ndarray) -> np.ndarray:
    """Return a centred Gram matrix without its diagonal and what adds up over rows and columns.

    Such matrices are orthogonal to all ``a_i + a_j``, so that a product with one of them is the
    U-statistic without further terms (Szekely and Rizzo 2014, arXiv 1310.2926).
    """
    m = len(gram)
    hollow = gram.copy()
    np.fill_diagonal(hollow, 0.0)
    rows = hollow.sum(axis=0) / (m - 2)
    hollow += rows.sum() / (m - 1) - rows - rows[:, None]
    np.fill_diagonal(hollow, 0.0)
    return hollow


def _u_product(p: DebiasedKernel, q: DebiasedKernel) -> float:
    """Return ``m (m - 3)`` times the unbiased HSIC, equation 5 of Song et al.

    Of two centred activations, rows of ``X X^T`` add to 0, so that all but the product of the
    kernels needs their diagonals alone. With a U-centred Gram matrix the product is all.
    """
    product = _product(p.kernel, q.kernel)
    if p.kernel.is_gram or q.kernel.is_gram:
        return product
    m = len(p.diagonal)
    ends = p.diagonal.sum() * q.diagonal.sum() / ((m - 1) * (m - 2))
    return float(product - m / (m - 2) * (p.diagonal @ q.diagonal) + ends)


def _debiased_distance(p: DebiasedKernel, q: DebiasedKernel) -> float:
    """Return 1 less the debiased CKA; rounding may leave [0, 2] by a hair, which is cut."""
    return min(max(1 - _u_product(p, q), 0.0), 2.0)


# 1 - ||X^T Y||_F^2 / (||X^T X||_F ||Y^T Y||_F). O(m n^2) from activations, O(m^2) from two Gram
# matrices. Biased towards 0 where samples are few: unrelated networks with m < n are far from 1.
CKA = Distance(
    name="cka",
    long_name="1 - linear CKA",
    units="1",
    compares="similarities of samples (linear kernels)",
    invariant_to="orthogonal maps, isotropic scale",
    range=(0.0, 1.0),
    is_metric=False,
    cost="O(m n^2), O(m^2) if n >= m",
    source="Kornblith et al. 2019 (arXiv 1905.00414)",
    prepare=_kernel,
    between=_cka_distance,
)

# The same with the U-statistic of HSIC: of unrelated networks 1 in the mean at any number of
# samples, and above 1 as often as below.
CKA_DEBIASED = Distance(
    name="cka_debiased",
    long_name="1 - debiased linear CKA",
    units="1",
    compares="similarities of samples (linear kernels)",
    invariant_to="orthogonal maps, isotropic scale",
    range=(0.0, 2.0),
    is_metric=False,
    cost="O(m n^2), O(m^2) if n >= m",
    source="Song et al. 2012, as in Nguyen et al. 2021 (arXiv 2010.15327)",
    prepare=_debiased_kernel,
    between=_debiased_distance,
)
