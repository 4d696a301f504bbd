"""Similarities of representations from their definitions, in loops and explicit matrices."""

from __future__ import annotations

import itertools

import numpy as np


def _centring(m: int) -> np.ndarray:
    """H = I - 11^T / m."""
    return np.eye(m) - np.ones((m, m)) / m


def cka(x: np.ndarray, y: np.ndarray) -> float:
    """tr(K H L H) / sqrt(tr(K H K H) tr(L H L H))."""
    h = _centring(len(x))
    k, l_ = x @ x.T, y @ y.T

    def hsic(a: np.ndarray, b: np.ndarray) -> float:
        return float(np.trace(a @ h @ b @ h))

    return float(hsic(k, l_) / np.sqrt(hsic(k, k) * hsic(l_, l_)))


def hsic_u(k: np.ndarray, l_: np.ndarray) -> float:
    """Mean of K_st (L_st + L_uv - 2 L_su) over all ordered quadruples of different samples."""
    terms = [
        k[s, t] * (l_[s, t] + l_[u, v] - 2 * l_[s, u])
        for s, t, u, v in itertools.permutations(range(len(k)), 4)
    ]
    return float(np.mean(terms))


def cka_debiased(x: np.ndarray, y: np.ndarray) -> float:
    k, l_ = x @ x.T, y @ y.T
    return float(hsic_u(k, l_) / np.sqrt(hsic_u(k, k) * hsic_u(l_, l_)))


def canonical(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Canonical correlations of n_x <= n_y units, and the variates of X, (m, n_x).

    From the eigenvectors of Sxx^-1 Sxy Syy^-1 Syx.
    """
    h = _centring(len(x))
    x, y = h @ x, h @ y
    product = np.linalg.inv(x.T @ x) @ x.T @ y @ np.linalg.inv(y.T @ y) @ y.T @ x
    squares, directions = np.linalg.eig(product)
    variates = x @ directions.real
    return np.sqrt(squares.real), variates / np.linalg.norm(variates, axis=0)


def pwcca(x: np.ndarray, y: np.ndarray) -> float:
    """Similarity with the weights of X, for n_x <= n_y."""
    rho, variates = canonical(x, y)
    weights = np.abs(variates.T @ (_centring(len(x)) @ x)).sum(axis=1)
    return float(weights @ rho / weights.sum())


def principal_components(x: np.ndarray, variance: float) -> np.ndarray:
    """Scores of the leading components that together hold the part `variance`."""
    x = _centring(len(x)) @ x
    sizes, axes = np.linalg.eigh(x.T @ x)
    sizes, axes = sizes[::-1], axes[:, ::-1]
    count = 1
    while sizes[:count].sum() < variance * sizes.sum():
        count += 1
    scores: np.ndarray = x @ axes[:, :count]
    return scores


def procrustes_of_planes(x: np.ndarray, y: np.ndarray, angles: int = 20_000) -> float:
    """Smallest ||X - Y Q|| of two clouds (m, 2), over a grid of rotations and reflections."""
    h = _centring(len(x))
    x, y = h @ x, h @ y
    best = np.inf
    for angle in np.linspace(0, 2 * np.pi, angles, endpoint=False):
        c, s = np.cos(angle), np.sin(angle)
        for q in ([[c, -s], [s, c]], [[c, s], [s, -c]]):
            best = min(best, float(np.linalg.norm(x - y @ np.array(q))))
    return best


def rsa(x: np.ndarray, y: np.ndarray) -> float:
    """Pearson correlation of the distances between samples."""
    pairs = list(itertools.combinations(range(len(x)), 2))
    of_x, of_y = ([np.linalg.norm(z[i] - z[j]) for i, j in pairs] for z in (x, y))
    return float(np.corrcoef(of_x, of_y)[0, 1])
