"""Distance between the eigenvalues of two operators."""

from __future__ import annotations

import numpy as np
from scipy.optimize import linear_sum_assignment

from seqprobe.errors import UsageError

__all__ = ["eigenvalue_wasserstein"]


def eigenvalue_wasserstein(a: np.ndarray, b: np.ndarray) -> float:
    """Return the squared 2-Wasserstein distance of eigenvalues, uniform weights.

    The mean over eigenvalues of ``|lambda_i - mu_p(i)|^2`` at the best matching p. It does not see
    what eigenvectors do: operators that are conjugate by any invertible matrix are at 0, those that
    differ only in how non-normal they are too. This, not the distance of `dsa`, is what recent
    versions of the package dsa-metric return by default.

    Parameters
    ----------
    a, b
        Operators (r, r), as they are: no norm is taken out. The smaller one gets eigenvalues 0.

    Raises
    ------
    UsageError
        If one of them is not a square matrix.

    Notes
    -----
    Cost O(r^3). Source: Redman et al. 2024 (arXiv 2302.09160), who compare Koopman spectra so.
    """
    for operator in (a, b):
        if operator.ndim != 2 or operator.shape[0] != operator.shape[1]:
            raise UsageError(f"operator has shape {operator.shape} (allowed: a square matrix)")
    size = max(len(a), len(b))
    spectra = [np.linalg.eigvals(np.pad(one, (0, size - len(one)))) for one in (a, b)]
    cost = np.abs(spectra[0][:, None] - spectra[1]) ** 2
    return float(cost[linear_sum_assignment(cost)].mean())
