"""What is known of a point once it is found: distance to the truth, spectrum, stability."""

from __future__ import annotations

from enum import IntEnum

import numpy as np
import torch
import torch.nn.functional as F
from scipy.sparse.linalg import ArpackError, ArpackNoConvergence, LinearOperator, eigs
from torch import Tensor

from seqprobe.dynamics.maps import StateMap
from seqprobe.dynamics.maps.operators import Operator

__all__ = [
    "Stability",
    "eigenpairs",
    "leading_eigenvalues",
    "least_singular_values",
    "smallest_singular_value",
    "spectra",
    "stability",
]

DENSE_SPECTRUM = 512  # reals of the state up to which all eigenvalues are computed
DENSE_INVERSE = 4096  # up to which single Jacobians are formed for more than their spectrum
LEADING = 32  # as many of largest modulus are beyond
MARGIN = 1e-3


class Stability(IntEnum):
    """What a fixed point is to its neighbourhood."""

    STABLE = 0
    SADDLE = 1
    REPELLER = 2
    MARGINAL = (
        3  # a modulus within 1e-3 of 1: the count of unstable dimensions is not to be trusted
    )


def spectra(of: StateMap, x: Tensor, u: Tensor) -> Tensor:
    """Return the eigenvalues of the Jacobians at states (K, n) by falling modulus, (K, modes).

    All of them up to 512 reals, beyond that the 32 of largest modulus (Arnoldi), or all if more
    than those are unstable.
    """
    eigenvalues = []
    for rows in x.split(32 if of.size <= DENSE_SPECTRUM else 1):
        _, jacobian, _ = of.linearise(rows, u)
        if of.size <= DENSE_SPECTRUM:
            found = eigenpairs(jacobian.dense())[0]
        else:
            found = leading_eigenvalues(jacobian, of.size)[None]
            if float(found.abs().min()) >= 1 and of.size <= DENSE_INVERSE:
                found = eigenpairs(jacobian.dense())[0]  # more than those are unstable
        order = found.abs().argsort(dim=1, descending=True, stable=True)
        eigenvalues.append(found.gather(1, order))
    most = max(found.shape[1] for found in eigenvalues)
    padded = [F.pad(found, (0, most - found.shape[1]), value=torch.nan) for found in eigenvalues]
    return torch.cat(padded)


def least_singular_values(of: StateMap, x: Tensor, u: Tensor) -> Tensor:
    """Return the least singular value of J - I at states (K, n), (K,); NaN above 4096 reals."""
    if of.size > DENSE_INVERSE:
        return x.new_full((len(x),), torch.nan)
    found = []
    for rows in x.split(32 if of.size <= DENSE_SPECTRUM else 1):
        less = of.linearise(rows, u)[1].dense()
        less.diagonal(dim1=1, dim2=2).sub_(1.0)
        found.append(smallest_singular_value(less))
    return torch.cat(found)


def eigenpairs(matrices: Tensor, vectors: bool = False) -> tuple[Tensor, Tensor]:
    """Return eigenvalues (K, n) of matrices (K, n, n), and right eigenvectors if asked for.

    LAPACK may give up on many equal eigenvalues; a matrix for which it does is moved by 1e-14 of
    its norm, in a direction that is the same every time.
    """
    try:
        if vectors:
            values, right = torch.linalg.eig(matrices)
            return values, right
        return torch.linalg.eigvals(matrices), matrices[:, :0]
    except torch.linalg.LinAlgError:  # type: ignore[attr-defined]
        if len(matrices) > 1:
            pairs = [eigenpairs(matrix[None], vectors) for matrix in matrices]
            return torch.cat([pair[0] for pair in pairs]), torch.cat([pair[1] for pair in pairs])
    noise = np.random.default_rng(0).standard_normal(matrices.shape[1:])
    size = 1e-14 * torch.linalg.matrix_norm(matrices) / len(noise) ** 0.5
    values, right = torch.linalg.eig(matrices + size * torch.from_numpy(noise))
    return values, right if vectors else matrices[:, :0]


def leading_eigenvalues(jacobian: Operator, size: int, count: int = LEADING) -> Tensor:
    """Return the eigenvalues of largest modulus of one Jacobian by Arnoldi iteration."""

    def product(v: np.ndarray) -> np.ndarray:
        moved = jacobian.times(torch.from_numpy(v.reshape(1, size, 1)))
        found: np.ndarray = moved.numpy().ravel()
        return found

    operator = LinearOperator((size, size), matvec=product, dtype=np.float64)
    start = np.ones(size)  # the same numbers every time
    try:
        found = eigs(
            operator, min(count, size - 2), which="LM", v0=start, return_eigenvectors=False
        )
    except (ArpackError, ArpackNoConvergence):  # as of a Jacobian that is zero
        return eigenpairs(jacobian.dense())[0][0]
    return torch.from_numpy(found)


def smallest_singular_value(matrices: Tensor) -> Tensor:
    """Return the least singular value of each matrix (K, n, n), to 1e-4 of it; 0 if singular.

    It is one over the norm of the inverse, by subspace iteration: several directions at once,
    because singular values lie close together.
    """
    inverse, info = torch.linalg.inv_ex(matrices)
    singular = (info != 0) | ~torch.isfinite(inverse).all(dim=(1, 2))
    inverse[singular] = torch.eye(matrices.shape[1], dtype=matrices.dtype)
    width = min(8, matrices.shape[1])
    start = np.random.default_rng(0).standard_normal((matrices.shape[1], width))
    v = torch.from_numpy(start).expand(len(matrices), -1, -1)
    norm = torch.zeros(len(matrices), dtype=matrices.dtype)
    for _ in range(300):
        moved = inverse @ torch.linalg.qr(v)[0]
        new = torch.linalg.eigvalsh(moved.mT @ moved)[:, -1].sqrt()
        if bool(((new - norm).abs() <= 1e-6 * new).all()):
            break
        norm, v = new, inverse.mT @ moved
    return torch.where(singular, 0.0, 1 / norm)


def stability(
    eigenvalues: np.ndarray, size: int, exact: bool = False
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the number of unstable dimensions, the margin to |lambda| = 1, and `Stability`.

    Eigenvalues (K, modes) known by a formula (`exact`) leave nothing marginal.
    """
    modulus = np.abs(eigenvalues)
    unstable = (modulus > 1).sum(axis=1)
    margin = np.nanmin(np.abs(modulus - 1), axis=1, initial=np.inf)
    kind = np.full(len(modulus), int(Stability.SADDLE))
    kind[unstable == 0] = int(Stability.STABLE)
    kind[unstable == size] = int(Stability.REPELLER)
    if not exact:
        kind[margin < MARGIN] = int(Stability.MARGINAL)
    return unstable, margin, kind
