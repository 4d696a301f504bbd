"""Linear systems of many unknowns, solved by products alone."""

from __future__ import annotations

import torch
from torch import Tensor

from seqprobe.dynamics.maps.operators import Operator

__all__ = ["gmres"]

_CHECKED = 6  # products between two looks at the residual


def gmres(operator: Operator, b: Tensor, tolerance: float = 1e-2, largest: int = 120) -> Tensor:
    """Return x with ``|b - A x| <= tolerance |b|`` for every row (B, m), by GMRES.

    All rows share the number of steps: the slowest decides. Jacobians of recurrent residuals are
    minus the identity plus a few strong directions, so that tens of products do.

    Parameters
    ----------
    operator
        A, one matrix for every row.
    b
        Right sides, (B, m).
    tolerance
        Relative residual at which to stop.
    largest
        Largest number of products; rows that need more keep their best answer.

    Notes
    -----
    Source: Saad and Schultz 1986. Cost: k products and O(k^2 m) per row for k steps.
    """
    norm = torch.linalg.vector_norm(b, dim=1)
    basis = b.new_empty(len(b), largest + 1, b.shape[1])
    basis[:, 0] = b / norm.clamp(min=1e-300)[:, None]
    hessenberg = b.new_zeros(len(b), largest + 1, largest)
    right = b.new_zeros(len(b), largest + 1, 1)
    right[:, 0, 0] = norm
    for k in range(largest):
        w = operator.times(basis[:, k, :, None])[..., 0]
        span = basis[:, : k + 1]
        for _ in range(2):  # a second pass keeps the basis orthogonal to rounding
            overlap = span @ w[..., None]
            hessenberg[:, : k + 1, k] += overlap[..., 0]
            w = w - (overlap.mT @ span)[:, 0]
        length = torch.linalg.vector_norm(w, dim=1)
        hessenberg[:, k + 1, k] = length
        basis[:, k + 1] = w / length.clamp(min=1e-300)[:, None]
        if (k + 1) % _CHECKED and k + 1 < largest:
            continue
        block = hessenberg[:, : k + 2, : k + 1]
        z = torch.linalg.lstsq(block, right[:, : k + 2]).solution
        missed = torch.linalg.vector_norm(right[:, : k + 2] - block @ z, dim=1)[:, 0]
        if bool((missed <= tolerance * norm).all()):
            break
    solution: Tensor = (z.mT @ basis[:, : k + 1])[:, 0]
    return solution
