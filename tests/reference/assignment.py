"""Distances up to relabelling or rotation: all relabellings tried, or a slow safe iteration."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np


def relabellings(n: int, signed: bool) -> Iterator[np.ndarray]:
    """Every permutation matrix (n, n), with every choice of signs."""
    signs = list(itertools.product((1.0, -1.0), repeat=n)) if signed else [(1.0,) * n]
    for order in itertools.permutations(range(n)):
        for sign in signs:
            q = np.zeros((n, n))
            q[range(n), order] = sign
            yield q


def smallest_distance(
    a: np.ndarray,
    b: np.ndarray,
    signed: bool,
    features: tuple[np.ndarray, np.ndarray] | None = None,
) -> float:
    """sqrt(min_Q sum_g ||A_g - Q B_g Q^T||^2 + ||X_a - Q X_b||^2) over all relabellings."""
    n = a.shape[-1]
    a, b = a.reshape(-1, n, n), b.reshape(-1, n, n)
    x, y = (np.zeros((n, 1)),) * 2 if features is None else features
    return float(
        np.sqrt(
            min(
                np.square(a - q @ b @ q.T).sum() + np.square(x - q @ y).sum()
                for q in relabellings(n, signed)
            )
        )
    )


def agreement(a: np.ndarray, m: np.ndarray, along: np.ndarray, q: np.ndarray) -> float:
    """<A, Q M Q^T> + tr(along Q^T), for M and along as they are before Q."""
    return float((a * (q @ m @ q.T)).sum() + np.trace(along @ q.T))


def polar_iteration(
    a: np.ndarray, b: np.ndarray, start: np.ndarray, steps: int
) -> tuple[np.ndarray, list[float]]:
    """C <- polar(A C B^T + A^T C B + mu C) with mu = 2 ||A||_2 ||B||_2; C and f on the way."""
    mu = 2 * np.linalg.norm(a, 2) * np.linalg.norm(b, 2)
    c, values = start, [float(np.trace(a.T @ start @ b @ start.T))]
    for _ in range(steps):
        u, _, v = np.linalg.svd(a @ c @ b.T + a.T @ c @ b + mu * c)
        c = u @ v
        values.append(float(np.trace(a.T @ c @ b @ c.T)))
    return c, values


def polar_distance(a: np.ndarray, b: np.ndarray, starts: int, seed: int, steps: int) -> float:
    """Smallest ||A - C B C^T|| of the polar iteration from random orthogonal starts."""
    rng = np.random.default_rng(seed)
    best = np.inf
    for _ in range(starts):
        start = np.linalg.qr(rng.standard_normal(a.shape)).Q
        c, _ = polar_iteration(a, b, start, steps)
        best = min(best, float(np.linalg.norm(a - c @ b @ c.T)))
    return best
