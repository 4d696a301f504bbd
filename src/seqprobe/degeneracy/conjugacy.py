"""How near two linear systems are up to an orthogonal change of coordinates."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import linear_sum_assignment

from seqprobe.degeneracy.ascent import Search
from seqprobe.degeneracy.modes import matched_modes
from seqprobe.errors import UsageError

__all__ = ["STARTS", "Conjugacy", "conjugacy", "from_symmetric_parts", "lower_bound"]

STARTS = ("symmetric parts", "eigenvectors", "inputs", "identity", "modes", "random")
_STEPS = 80  # of all starts; then the best ones go on to the end
_FINALISTS = 24
_ROUNDING = 1e-12
_HOPS = 16  # from the best minimum to a neighbouring one, as long as that is better


@dataclass(frozen=True)
class Conjugacy:
    """The best orthogonal change of coordinates between two operators, and how good it is.

    Attributes
    ----------
    rotation
        C (r, r), orthogonal.
    distance
        ``||A - C B C^T||``, with the input matrices if there are any.
    lower
        No orthogonal matrix gives a smaller distance; see `lower_bound`.
    start
        Which of `STARTS` led to it.
    """

    rotation: np.ndarray
    distance: float
    lower: float
    start: str


def conjugacy(
    a: np.ndarray,
    b: np.ndarray,
    inputs: tuple[np.ndarray, np.ndarray] | None = None,
    *,
    restarts: int = 96,
    seed: int = 0,
) -> Conjugacy:
    """Minimise ``||A - C B C^T||_F`` over the orthogonal matrices C.

    The problem has many local minima. Starts are: the eigenvectors of the symmetric parts, with
    signs from the skew parts, which is exact for conjugate operators of simple spectrum; matched
    eigenvectors of A and B; the Procrustes rotation of controllability matrices, if there are
    inputs; the identity; and, as many as asked for, assignments of modes that no exchange improves
    (`seqprobe.degeneracy.modes`) and random rotations and reflections. All are refined by gradient
    ascent on O(r) (`seqprobe.degeneracy.ascent`), the best ones to the end; from the best minimum
    the search goes on to neighbouring ones while they are better.

    Parameters
    ----------
    a, b
        Operators (r, r). They are not changed.
    inputs
        Input matrices (r, D) of both; ``||B_a - C B_b||^2`` is then added to the square of the
        distance.
    restarts
        Number of random starts: two thirds assignments of modes, one third rotations.
    seed
        Of the random starts; the same arguments give the same result.

    Returns
    -------
    Conjugacy
        The smallest distance found. That it is the smallest there is, is not certain unless it
        equals the lower bound.

    Raises
    ------
    UsageError
        If the operators are not square matrices of one size with finite entries.

    Notes
    -----
    Cost: 50 ms at r = 8, 100 ms at r = 12, 150 to 250 ms at r = 16, 1 s at r = 32, on one thread.

    References
    ----------
    Ostrow, Eisen, Kozachkov, Fiete 2023, arXiv 2306.10168 (the distance). Barzilai and Borwein
    1988 (the steps).
    """
    _check(a, b, inputs)
    size = float(np.linalg.norm(a) * np.linalg.norm(b))
    drive = np.zeros_like(a) if inputs is None else inputs[0] @ inputs[1].T
    size += float(np.linalg.norm(drive))
    points, names = _starts(a, b, inputs, drive, restarts, np.random.default_rng(seed))
    search = Search(a, b, drive, max(size, 1e-300))
    values, points = search.ascend(points, _STEPS)
    order = np.argsort(-values, kind="stable")[:_FINALISTS]
    values, points = search.ascend(points[order])
    # Distances, because values cancel where the distance is zero.
    distances = _distances(a, b, inputs, points)
    best = int(np.argmin(distances))
    rotation, name = points[best], names[order[best]]
    for _ in range(_HOPS):
        hopped = search.hop(rotation)
        if hopped is None:
            break
        rotation = hopped
    ends = np.stack([rotation, search.polish(rotation)])
    distances = _distances(a, b, inputs, ends)
    rotation, distance = ends[int(np.argmin(distances))], float(distances.min())
    lower = lower_bound(a, b)
    if lower <= distance + _ROUNDING * size:  # by rounding, where both are exact
        lower = min(lower, distance)
    return Conjugacy(rotation, distance, lower, name)


def lower_bound(a: np.ndarray, b: np.ndarray) -> float:
    """Return a distance that no orthogonal change of coordinates goes below.

    Symmetric and skew parts stay what they are under an orthogonal change of coordinates, and each
    is at least as far from the other's as their sorted spectra (Hoffman and Wielandt 1953):
    ``sqrt(|eig(A_s) - eig(B_s)|^2 + |eig(i A_k) - eig(i B_k)|^2)``. Exact if both are symmetric.

    Parameters
    ----------
    a, b
        Operators (r, r).
    """
    gaps = [np.linalg.eigvalsh(a + a.T) - np.linalg.eigvalsh(b + b.T)]
    gaps.append(np.linalg.eigvalsh(1j * (a - a.T)) - np.linalg.eigvalsh(1j * (b - b.T)))
    return float(np.linalg.norm(np.concatenate(gaps)) / 2)


def _check(a: np.ndarray, b: np.ndarray, inputs: tuple[np.ndarray, np.ndarray] | None) -> None:
    if a.shape != b.shape or a.ndim != 2 or a.shape[0] != a.shape[1]:
        raise UsageError(
            f"operators have shapes {a.shape} and {b.shape} (allowed: two square matrices of one"
            " size); use the same rank for both"
        )
    if inputs is not None and not inputs[0].shape == inputs[1].shape == (
        len(a),
        *inputs[0].shape[1:],
    ):
        raise UsageError(
            f"input matrices have shapes {inputs[0].shape} and {inputs[1].shape}"
            f" (allowed: two of shape ({len(a)}, D))"
        )
    if not all(np.isfinite(matrix).all() for matrix in (a, b, *(inputs or ()))):
        raise UsageError("operators hold NaN or inf; check the states that they were fitted to")


def _polar(matrix: np.ndarray) -> np.ndarray:
    """Return the nearest orthogonal matrix."""
    u, _, v = np.linalg.svd(matrix)
    nearest: np.ndarray = u @ v
    return nearest


def _starts(
    a: np.ndarray,
    b: np.ndarray,
    inputs: tuple[np.ndarray, np.ndarray] | None,
    drive: np.ndarray,
    restarts: int,
    rng: np.random.Generator,
) -> tuple[np.ndarray, list[str]]:
    """Return the starting points (K, r, r) and where each comes from."""
    made = {
        "symmetric parts": from_symmetric_parts(a, b),
        "eigenvectors": _from_eigenvectors(a, b),
        "identity": np.eye(len(a)),
    }
    if inputs is not None:
        made["inputs"] = _from_inputs(a, b, *inputs)
    modes = matched_modes(a, b, drive, restarts - restarts // 3, rng)
    q, upper = np.linalg.qr(rng.standard_normal((restarts // 3, *a.shape)))
    signs = np.where(np.diagonal(upper, axis1=1, axis2=2) < 0, -1.0, 1.0)
    random = q * signs[:, None, :]  # which makes them uniform over O(r)
    names = [*made, *["modes"] * len(modes), *["random"] * len(random)]
    return np.concatenate([np.stack(list(made.values())), modes, random]), names


def from_symmetric_parts(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Match eigenvectors of the symmetric parts by size, their signs by the skew parts."""
    _, u = np.linalg.eigh(a + a.T)
    _, v = np.linalg.eigh(b + b.T)
    agreement = (u.T @ (a - a.T) @ u) * (v.T @ (b - b.T) @ v)
    _, vectors = np.linalg.eigh(agreement)
    signs = np.where(vectors[:, -1] < 0, -1.0, 1.0)
    start: np.ndarray = (u * signs) @ v.T
    return start


def _from_eigenvectors(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Match eigenvectors by their eigenvalues and take the nearest rotation."""
    (x, u), (y, v) = np.linalg.eig(a), np.linalg.eig(b)
    rows, columns = linear_sum_assignment(np.abs(x[:, None] - y) ** 2)
    return _polar(np.real(u[:, rows] @ np.linalg.pinv(v[:, columns])))


def _from_inputs(
    a: np.ndarray, b: np.ndarray, drive_a: np.ndarray, drive_b: np.ndarray
) -> np.ndarray:
    """Rotate what the inputs reach within r steps (controllability matrices) onto each other."""
    reached = []
    for operator, drive in ((a, drive_a), (b, drive_b)):
        blocks = [drive]
        for _ in range(len(a) - 1):
            blocks.append(operator @ blocks[-1])
        reached.append(np.hstack([block / max(np.linalg.norm(block), 1e-300) for block in blocks]))
    return _polar(reached[0] @ reached[1].T)


def _distances(
    a: np.ndarray,
    b: np.ndarray,
    inputs: tuple[np.ndarray, np.ndarray] | None,
    points: np.ndarray,
) -> np.ndarray:
    """Return the distance at every point, (K,)."""
    squared = np.square(a - points @ b @ np.swapaxes(points, 1, 2)).sum(axis=(1, 2))
    if inputs is not None:
        squared += np.square(inputs[0] - points @ inputs[1]).sum(axis=(1, 2))
    distances: np.ndarray = np.sqrt(squared)
    return distances
