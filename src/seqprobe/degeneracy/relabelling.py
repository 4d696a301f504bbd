"""How near two networks are once the units of one are relabelled: a quadratic assignment."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.optimize import linear_sum_assignment

from seqprobe.degeneracy.conjugacy import from_symmetric_parts, lower_bound
from seqprobe.degeneracy.exchange import apply_exchange, best_exchanges, exchange_gains
from seqprobe.errors import UsageError

__all__ = ["Group", "Relabelling", "relabel", "relabelled", "sorted_bound"]

Group = Literal["perm", "signed_perm"]

_ALL = 50_000  # relabellings, all of which are tried
_ITERATIONS = 30
_TIGHT = 1e-2  # length of a step, in units of a permutation matrix's, that ends Frank-Wolfe
_EXCHANGED = 12  # of the results, the best ones, that exchanges are tried on
_UNEVEN = 3.0  # spread of the logarithm of random starts far from the barycentre
_MOST_EXCHANGES = 1000
_GAIN = 1e-12  # of the norms: what an exchange must gain to be one


@dataclass(frozen=True)
class Relabelling:
    """The best relabelling found between two networks.

    Attributes
    ----------
    perm
        (n,): unit i of the first is unit ``perm[i]`` of the second.
    sign
        (n,): +1, or -1 where it is its negative.
    distance
        What is left: ``||A_g - s s' B_g[perm][:, perm]||`` over all blocks, and features.
    lower
        No relabelling gives less.
    """

    perm: np.ndarray
    sign: np.ndarray
    distance: float
    lower: float


@dataclass(frozen=True)
class Problem:
    """Maximise ``sum_g <A_g, Q B_g Q^T> + <L, Q>`` over (signed) permutation matrices Q (n, n)."""

    a: np.ndarray  # (G, n, n)
    b: np.ndarray
    linear: np.ndarray  # (n, n)
    signed: bool

    def gradient(self, q: np.ndarray) -> np.ndarray:
        """Return the gradient at every Q (K, n, n)."""
        total = np.broadcast_to(self.linear, q.shape).copy()
        for a, b in zip(self.a, self.b, strict=True):
            total += a @ q @ b.T + a.T @ q @ b
        return total

    def assign(self, scores: np.ndarray) -> np.ndarray:
        """Return the (signed) permutation matrix of the largest product with scores (n, n)."""
        rows, columns = linear_sum_assignment(
            np.abs(scores) if self.signed else scores, maximize=True
        )
        made = np.zeros_like(scores)
        chosen = scores[rows, columns]
        made[rows, columns] = np.where(chosen < 0, -1.0, 1.0) if self.signed else 1.0
        return made


def relabel(
    a: np.ndarray,
    b: np.ndarray,
    group: Group = "perm",
    features: tuple[np.ndarray, np.ndarray] | None = None,
    *,
    restarts: int = 10,
    seed: int = 0,
) -> Relabelling:
    """Minimise ``sum_g ||A_g - Q B_g Q^T||^2 + ||X_a - Q X_b||^2`` over relabellings Q of units.

    Frank-Wolfe on the relaxed problem (FAQ) from several starts: the barycentre, the matched
    eigenvectors of the symmetric parts (exact for copies of simple spectrum), and random points;
    each result is rounded to a permutation, and the best ones are improved until no exchange of two
    units, nor a change of one's sign, gains anything. The problem is NP-hard: the distance is an
    upper bound, and `Relabelling.lower` says how far it could be off. Of up to seven units (six
    with signs) all relabellings are tried.

    Parameters
    ----------
    a, b
        Recurrent matrices (n, n), or those of all gates (G, n, n), which are relabelled alike.
    group
        ``"perm"``, or ``"signed_perm"`` for units whose sign may change with all their weights, as
        those of tanh networks.
    features
        Further weights of the units, (n, F) of both: rows of input weights and biases, columns of
        the readout.
    restarts
        Number of random starts.
    seed
        Of the random starts.

    Returns
    -------
    Relabelling
        The smallest distance found.

    Raises
    ------
    UsageError
        If shapes differ or entries are not finite.

    Notes
    -----
    Cost O((restarts + 2) (n^3 + assignment)): 30 ms at n = 64 with 10 restarts, on one thread.

    References
    ----------
    Vogelstein et al. 2015, arXiv 1112.5507 (FAQ). The signed group and the joint treatment of
    gates are not in it.
    """
    a, b = _blocks(a), _blocks(b)
    _check(a, b, features)
    linear = np.zeros(a.shape[1:]) if features is None else features[0] @ features[1].T
    problem = Problem(a, b, linear, group == "signed_perm")
    if _count(problem) <= _ALL:
        ends = [_exhaustive(problem)]
    else:
        points = _frank_wolfe(problem, _starts(problem, restarts, np.random.default_rng(seed)))
        distances = np.array([_distance(a, b, features, q) for q in points])
        best = np.argsort(distances, kind="stable")[:_EXCHANGED]
        ends = [_exchange(problem, points[k]) for k in best]
    distances = np.array([_distance(a, b, features, q) for q in ends])
    q = ends[int(np.argmin(distances))]
    distance = float(distances.min())
    bounds = np.array([_lower(one, other, group) for one, other in zip(a, b, strict=True)])
    perm = np.abs(q).argmax(axis=1)
    lower = float(np.linalg.norm(bounds))
    if lower <= distance + _GAIN * np.linalg.norm(a):  # by rounding, where both are exact
        lower = min(lower, distance)
    return Relabelling(perm, q[np.arange(len(q)), perm], distance, lower)


def relabelled(b: np.ndarray, perm: np.ndarray, sign: np.ndarray) -> np.ndarray:
    """Return matrices (..., n, n) with units in another order and with other signs."""
    moved: np.ndarray = b[..., perm[:, None], perm] * (sign[:, None] * sign)
    return moved


def sorted_bound(a: np.ndarray, b: np.ndarray, group: Group) -> float:
    """Return a distance that no relabelling of (n, n) matrices goes below: that of sorted entries.

    Relabelling moves entries within the diagonal and off it. Changes of sign come in pairs on the
    diagonal, so that they leave it.
    """
    off = ~np.eye(len(a), dtype=bool)
    of_a, of_b = a[off], b[off]
    if group == "signed_perm":
        of_a, of_b = np.abs(of_a), np.abs(of_b)
    gaps = [np.sort(of_a) - np.sort(of_b), np.sort(np.diag(a)) - np.sort(np.diag(b))]
    return float(np.linalg.norm(np.concatenate(gaps)))


def _lower(a: np.ndarray, b: np.ndarray, group: Group) -> float:
    return max(lower_bound(a, b), sorted_bound(a, b, group))


def _blocks(matrices: np.ndarray) -> np.ndarray:
    values = np.asarray(matrices, dtype=np.float64)
    return values[None] if values.ndim == 2 else values


def _check(a: np.ndarray, b: np.ndarray, features: tuple[np.ndarray, np.ndarray] | None) -> None:
    if a.shape != b.shape or a.ndim != 3 or a.shape[1] != a.shape[2]:
        raise UsageError(
            f"recurrent matrices have shapes {a.shape[-2:]} and {b.shape[-2:]} with {len(a)} and"
            f" {len(b)} blocks (allowed: equal ones, (n, n)); units of networks of different sizes"
            " cannot be matched"
        )
    if features is not None and not (
        features[0].shape == features[1].shape and len(features[0]) == a.shape[1]
    ):
        raise UsageError(
            f"features have shapes {features[0].shape} and {features[1].shape}"
            f" (allowed: two of ({a.shape[1]}, F))"
        )
    if not all(np.isfinite(values).all() for values in (a, b, *(features or ()))):
        raise UsageError("weights hold NaN or inf; leave this network out")


def _distance(
    a: np.ndarray,
    b: np.ndarray,
    features: tuple[np.ndarray, np.ndarray] | None,
    q: np.ndarray,
) -> float:
    perm = np.abs(q).argmax(axis=1)
    sign = q[np.arange(len(q)), perm]
    squared = np.square(a - relabelled(b, perm, sign)).sum()
    if features is not None:
        squared += np.square(features[0] - sign[:, None] * features[1][perm]).sum()
    return float(np.sqrt(squared))


def _count(problem: Problem) -> int:
    """Return how many relabellings there are."""
    n = len(problem.linear)
    return math.factorial(n) * (2**n if problem.signed else 1)


def _exhaustive(problem: Problem) -> np.ndarray:
    """Return the best of all relabellings."""
    n = len(problem.linear)
    perms = np.array(list(itertools.permutations(range(n))))
    choices = itertools.product((1.0, -1.0), repeat=n if problem.signed else 0)
    best, found = -np.inf, np.eye(n)
    for chosen in choices:
        sign = np.array(chosen) if problem.signed else np.ones(n)
        flips = sign[:, None] * sign
        values = (problem.linear[np.arange(n), perms] * sign).sum(axis=1)
        for a, b in zip(problem.a, problem.b, strict=True):
            values = values + np.einsum(
                "ij,kij->k", a * flips, b[perms[:, :, None], perms[:, None]]
            )
        k = int(values.argmax())
        if values[k] > best:
            best, found = values[k], np.eye(n)[perms[k]] * sign[:, None]
    return found


def _starts(problem: Problem, restarts: int, rng: np.random.Generator) -> np.ndarray:
    """Return starting points (K, n, n) in the hull of the (signed) permutation matrices."""
    n = len(problem.linear)
    even = np.full((n, n), 1 / n)
    matched = from_symmetric_parts(problem.a.sum(axis=0), problem.b.sum(axis=0))
    if problem.signed:
        # The barycentre is 0, where only a linear term says where to go; signs at random instead.
        signs = rng.choice([-1.0, 1.0], (2, restarts + 1, n))
        even = even * signs[0, :, :, None] * signs[1, :, None, :]
        noise = even * rng.random(even.shape)
        mixed = even / 2 + noise / 2
        return np.concatenate([matched[None] / np.abs(matched).sum(axis=1).max(), mixed])
    mixed = [even, problem.assign(np.abs(matched)) / 2 + even / 2]
    for k in range(restarts):  # in turn near the barycentre and far from it, towards a corner
        if k % 2:
            mixed.append(_doubly_stochastic(np.exp(_UNEVEN * rng.standard_normal((n, n)))))
        else:
            mixed.append(even / 2 + _doubly_stochastic(rng.random((n, n))) / 2)
    return np.stack(mixed)


def _doubly_stochastic(values: np.ndarray) -> np.ndarray:
    """Return positive values scaled until rows and columns add up to 1 (Sinkhorn)."""
    for _ in range(50):
        values = values / values.sum(axis=1, keepdims=True)
        values = values / values.sum(axis=0, keepdims=True)
    return values


def _frank_wolfe(problem: Problem, points: np.ndarray) -> np.ndarray:
    """Return a (signed) permutation matrix for every start."""
    points = points.copy()
    open_ = np.arange(len(points))
    for _ in range(_ITERATIONS):
        present = points[open_]
        gradient = problem.gradient(present)
        step = np.stack([problem.assign(scores) for scores in gradient]) - present
        slope = (gradient * step).sum(axis=(1, 2))
        # f(x + t d) = f(x) + t <gradient, d> + t^2 sum_g <A d B^T, d>
        bent = (problem.gradient(step) - problem.linear) * step
        curvature = bent.sum(axis=(1, 2)) / 2
        concave = curvature < 0
        length = np.where(concave, slope / np.where(concave, -2 * curvature, 1), 1.0).clip(0, 1)
        points[open_] = present + length[:, None, None] * step
        moved = length * np.sqrt(np.square(step).sum(axis=(1, 2)) / (2 * len(problem.linear)))
        open_ = open_[moved > _TIGHT]
        if not len(open_):
            break
    return np.stack([problem.assign(point) for point in points])


def _exchange(problem: Problem, q: np.ndarray) -> np.ndarray:
    """Exchange units, and signs, as long as that gains something: best improvement first."""
    least = _GAIN * max(float(np.linalg.norm(problem.a) * np.linalg.norm(problem.b)), 1e-300)
    for _ in range(_MOST_EXCHANGES):
        flips, swaps = gains(problem, q)
        (exchange,), (gain,) = best_exchanges(flips, swaps, 1)
        if gain <= least:
            break
        q = apply_exchange(q, exchange)
    return q


def gains(problem: Problem, q: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return what changes of sign (n,) and exchanges (S, n, n) gain, see `exchange_gains`."""
    flips: np.ndarray | float = 0.0
    swaps: np.ndarray | float = 0.0
    for i, (a, b) in enumerate(zip(problem.a, problem.b, strict=True)):
        along = problem.linear @ q.T if i == 0 else None
        turned = (q @ b @ q.T)[None]
        found = exchange_gains(a, turned, None if along is None else along[None], problem.signed)
        flips, swaps = flips + found[0][0], swaps + found[1][0]
    return np.asarray(flips), np.asarray(swaps)
