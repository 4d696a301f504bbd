"""Matching the modes of two operators: an assignment with signs in the bases of symmetric parts.

In the eigenbases of their symmetric parts two operators differ by little more than the order and
the signs of their modes. Local minima of the distance over all rotations lie near assignments, so
that a search over assignments finds better starts than random rotations, and leads from one local
minimum to the next.
"""

from __future__ import annotations

import numpy as np

from seqprobe.degeneracy.exchange import apply_exchange, best_exchanges, exchange_gains

__all__ = ["matched_modes", "neighbours"]

_SWEEPS = 60
_DISORDER = 1.0  # ranks by which modes are moved, at most, in a random order to start from


def matched_modes(
    a: np.ndarray, b: np.ndarray, drive: np.ndarray, count: int, rng: np.random.Generator
) -> np.ndarray:
    """Return rotations (count, r, r) that no exchange of two modes, or of a sign, improves.

    Parameters
    ----------
    a, b
        Operators (r, r).
    drive
        Linear term L of the objective ``tr(A^T C B C^T) + tr(L^T C)``.
    count
        How many, each from a random order near that by size, with random signs.
    rng
        Where they come from.
    """
    r = len(a)
    u, v = _modes(a), _modes(b)
    a, b, drive = u.T @ a @ u, v.T @ b @ v, u.T @ drive @ v
    points = np.zeros((count, r, r))
    for point in points:
        order = np.argsort(np.arange(r) + rng.standard_normal(r) * _DISORDER * rng.random())
        point[np.arange(r), order] = rng.choice([-1.0, 1.0], r)
    open_ = np.arange(count)
    for _ in range(_SWEEPS):
        present = points[open_]
        turned = present @ b @ np.swapaxes(present, 1, 2)
        flips, swaps = exchange_gains(a, turned, drive @ np.swapaxes(present, 1, 2), signed=True)
        going = []
        for k, flip, swap in zip(open_, flips, swaps, strict=True):
            (exchange,), (gain,) = best_exchanges(flip, swap, 1)
            if gain > 1e-12:
                points[k] = apply_exchange(points[k], exchange)
                going.append(k)
        open_ = np.array(going, dtype=int)
        if not going:
            break
    found: np.ndarray = u @ points @ v.T
    return found


def neighbours(
    a: np.ndarray, b: np.ndarray, drive: np.ndarray, rotation: np.ndarray, count: int
) -> np.ndarray:
    """Return the rotations (count, r, r) one exchange of modes away that lose least.

    Parameters
    ----------
    a, b, drive
        See `matched_modes`.
    rotation
        Where to start, (r, r).
    count
        How many, or fewer if there are not so many.
    """
    u = _modes(a)
    start = u.T @ rotation
    turned, along = start @ b @ start.T, u.T @ drive @ start.T
    flips, swaps = exchange_gains(u.T @ a @ u, turned[None], along[None], signed=True)
    exchanges, _ = best_exchanges(flips[0], swaps[0], count)
    found: np.ndarray = u @ np.stack([apply_exchange(start, one) for one in exchanges])
    return found


def _modes(operator: np.ndarray) -> np.ndarray:
    """Return the eigenvectors of the symmetric part, in the order of its eigenvalues."""
    vectors: np.ndarray = np.linalg.eigh(operator + operator.T)[1]
    return vectors
