"""What an exchange of two units, or a change of one's sign, gains in a quadratic assignment."""

from __future__ import annotations

import numpy as np

__all__ = ["SIGNS", "Exchange", "apply_exchange", "best_exchanges", "exchange_gains"]

# Signs that two exchanged units may take: the first alone where signs are fixed.
SIGNS = ((1, 1), (1, -1), (-1, 1), (-1, -1))

# Units i and j, and their signs; i == j is a change of sign.
Exchange = tuple[int, int, int, int]


def exchange_gains(
    a: np.ndarray, m: np.ndarray, along: np.ndarray | None, signed: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Return by how much ``<A, M> + tr(along)`` grows if units of M change places or signs.

    M is ``P B P^T`` for the present assignment P, and ``along`` is ``L P^T`` for a linear term
    ``<L, P>``. Exchanging i and j with signs s and t makes row i of P ``s P_j``, row j ``t P_i``.

    Parameters
    ----------
    a
        (n, n).
    m
        (K, n, n), for K assignments.
    along
        (K, n, n), or None.
    signed
        Whether signs may change.

    Returns
    -------
    flips
        (K, n): of a change of sign; zeros (K, 0) if signs are fixed.
    swaps
        (K, S, n, n): of an exchange of i < j with the signs `SIGNS`; -inf elsewhere.

    Notes
    -----
    Cost O(K n^3) in matrix products, O(K n^2) for the rest.
    """
    n = len(a)
    product = a * m
    a_i, m_i, own = np.diag(a)[:, None], _diagonal(m)[:, None, :], _diagonal(product)
    touched = product.sum(axis=2) + product.sum(axis=1) - 2 * own  # by i, without (i, i)
    straight, crossed = a * m, a * np.swapaxes(m, 1, 2)
    # Row and column i of A with row and column j of M, without the entries among i and j.
    others = a @ np.swapaxes(m, 1, 2) + a.T @ m
    others -= a_i * (m + np.swapaxes(m, 1, 2)) + (a + a.T) * m_i
    before = touched[:, :, None] + touched[:, None, :] - straight - np.swapaxes(straight, 1, 2)
    before += own[:, :, None] + own[:, None, :]
    diagonal = a_i * m_i
    diagonal = diagonal + np.swapaxes(diagonal, 1, 2)
    pair = crossed + np.swapaxes(crossed, 1, 2)
    if along is not None:
        before = before + _diagonal(along)[:, :, None] + _diagonal(along)[:, None, :]
        others = others + along
    later = np.swapaxes(others, 1, 2)
    chosen = SIGNS if signed else SIGNS[:1]
    swaps = np.stack(
        [s * others + t * later + s * t * pair + diagonal - before for s, t in chosen], 1
    )
    swaps[:, :, *np.tril_indices(n)] = -np.inf
    if not signed:
        return np.zeros((len(m), 0)), swaps
    linear = 0 if along is None else _diagonal(along)
    return -2 * (touched + linear), swaps


def _diagonal(matrices: np.ndarray) -> np.ndarray:
    return np.diagonal(matrices, axis1=-2, axis2=-1)


def best_exchanges(
    flips: np.ndarray, swaps: np.ndarray, count: int
) -> tuple[list[Exchange], np.ndarray]:
    """Return the exchanges of one assignment that gain most, and what they gain.

    Parameters
    ----------
    flips, swaps
        A row of what `exchange_gains` returns: (n,) and (S, n, n).
    count
        How many.
    """
    n = swaps.shape[-1]
    gains = np.concatenate([flips, swaps.reshape(-1)])
    if count == 1:
        order = np.array([int(gains.argmax())])
    else:
        order = np.argsort(-gains, kind="stable")[:count]
        order = order[np.isfinite(gains[order])]
    found: list[Exchange] = []
    for place in order.tolist():
        if place < len(flips):
            found.append((place, place, -1, -1))
            continue
        which, cell = divmod(place - len(flips), n * n)
        found.append((*divmod(cell, n), *SIGNS[which]))
    return found, gains[order]


def apply_exchange(rows: np.ndarray, exchange: Exchange) -> np.ndarray:
    """Return a matrix whose rows are exchanged, as `exchange_gains` describes it."""
    i, j, s, t = exchange
    made = rows.copy()
    made[i], made[j] = s * rows[j], t * rows[i]
    return made
