"""From starts to roots of a residual: Newton with known roots at hand, Levenberg-Marquardt behind.

Everything is batched over rows, in blocks whose Jacobians stay in the cache.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum

import torch
from torch import Tensor

from seqprobe.dynamics.krylov import gmres
from seqprobe.dynamics.maps import StateMap

__all__ = [
    "DENSE",
    "Outcome",
    "Problem",
    "Roots",
    "Status",
    "descend",
    "newton",
    "newton_polish",
]

ROOT_AT = 1e-24  # q = |r|^2 / 2 from which a point counts as a root; the certificate decides
DENSE = 512  # unknowns up to which Newton steps factorise the Jacobian; products do beyond
_COPIED = 128  # unknowns up to which a batch of inverses is copied together
_BLOCK_BYTES, _DENSE_BYTES = 2**22, 2**27
_NEWTON_STEPS, _LM_STEPS = 40, 30
_CHORDS = 4
_FLAT = 1e-4


class Status(IntEnum):
    """What became of a start."""

    STALLED = 0
    CONVERGED = 1
    SLOW = 2  # a minimum of the speed that is not a fixed point
    LEFT = 3  # the reachable region, or the finite numbers


@dataclass
class Problem:
    """The residual of a map under one input.

    Attributes
    ----------
    map
        Of the model.
    u
        The input, (d,).
    cap
        Largest Newton step.
    centre, radius
        Of the ball beyond which a row has left.
    """

    map: StateMap
    u: Tensor
    cap: float
    centre: Tensor
    radius: float

    def residual(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """Return r (B, m) and ``q = |r|^2 / 2`` (B,)."""
        r = self.map.residual(y, self.u)
        return r, 0.5 * r.square().sum(dim=1)

    def jacobian(self, y: Tensor) -> Tensor:
        """Return the dense Jacobians of the residual, (B, m, m)."""
        return self.map.linearise_residual(y, self.u)[1].dense()

    def newton_direction(self, y: Tensor, r: Tensor) -> Tensor:
        """Return p with R p = r, (B, m); zero where R is singular."""
        if self.map.unknowns <= DENSE:
            p = torch.linalg.solve_ex(self.jacobian(y), r)[0]
        else:
            operator = self.map.linearise_residual(y, self.u)[1]
            p = gmres(operator, r)
        return torch.where(torch.isfinite(p).all(dim=1, keepdim=True), p, 0.0)

    def block(self) -> int:
        """Return how many rows are solved together."""
        return max(32, min(1024, _BLOCK_BYTES // (8 * self.map.unknowns**2)))

    def dense_rows(self) -> int:
        """Return how many dense Jacobians fit beside each other."""
        return max(1, _DENSE_BYTES // (8 * self.map.unknowns**2))

    def rounding(self, y: Tensor) -> Tensor:
        """Return the q (B,) below which a residual is zero but for rounding."""
        least: Tensor = 0.5e-28 * y.square().sum(dim=1)
        return least.clamp(min=ROOT_AT)

    def has_left(self, y: Tensor) -> Tensor:
        """Say which rows (B,) are outside of the reachable region or not finite."""
        distance: Tensor = torch.linalg.vector_norm(y - self.centre, dim=1)
        return ~(distance <= self.radius)


class Roots:
    """Known roots with the inverses of their Jacobians, which make later steps cheap."""

    def __init__(self, unknowns: int) -> None:
        self.y = torch.empty(0, unknowns, dtype=torch.float64)
        self.sign = torch.empty(0, dtype=torch.long)  # of det(I - J)
        self._inverse = torch.empty(0, unknowns, unknowns, dtype=torch.float64)

    def __len__(self) -> int:
        return len(self.y)

    def add(self, problem: Problem, y: Tensor) -> None:
        """Add roots (K, m) that are not known yet."""
        for rows in y.split(problem.dense_rows()):
            jacobian = problem.jacobian(rows)
            inverse, info = torch.linalg.inv_ex(jacobian)
            regular = info == 0
            self.y = torch.cat([self.y, rows[regular]])
            sign = torch.linalg.slogdet(-jacobian)[0].round().long()
            self.sign = torch.cat([self.sign, sign[regular]])
            self._inverse = torch.cat([self._inverse, inverse[regular]])

    def chord(self, which: Tensor, r: Tensor) -> Tensor:
        """Return ``R_k^-1 r`` (B, m) with the Jacobians of the roots `which` (B,)."""
        if self.y.shape[1] > _COPIED:  # large matrices are not copied
            moved = torch.empty_like(r)
            for k in which.unique().tolist():
                rows = which == k
                moved[rows] = r[rows] @ self._inverse[k].t()
            return moved
        return torch.bmm(self._inverse[which], r[..., None])[..., 0]

    def nearest(self, y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the nearest root (B,), its distance and that of the second nearest."""
        distance = torch.cdist(y, self.y, compute_mode="donot_use_mm_for_euclid_dist")
        if len(self) == 1:
            return torch.zeros(len(y), dtype=torch.long), distance[:, 0], distance[:, 0] * torch.inf
        two, which = distance.topk(2, dim=1, largest=False)
        return which[:, 0], two[:, 0], two[:, 1]

    def claim(self, y: Tensor, r: Tensor) -> tuple[Tensor, Tensor]:
        """Say which rows (B,) certainly converge to a known root, and to which.

        They lie much nearer to it than to any other, and its Jacobian predicts where the root is.
        """
        if not len(self):
            return torch.zeros(len(y), dtype=torch.bool), torch.zeros(len(y), dtype=torch.long)
        which, first, second = self.nearest(y)
        near = first < 0.3 * second
        rows = near.nonzero()[:, 0]
        predicted = y[rows] - self.chord(which[rows], r[rows])
        missed = torch.linalg.vector_norm(predicted - self.y[which[rows]], dim=1)
        near[rows] = missed < 0.1 * first[rows]
        return near, which


@dataclass
class Outcome:
    """Where the rows of a block ended.

    Attributes
    ----------
    y
        Points, (B, m).
    status
        `Status` of each, (B,).
    root
        Known root that a row was assigned to before it got there, (B,); -1 for none.
    steps
        Newton and Levenberg-Marquardt steps taken, (B,).
    """

    y: Tensor
    status: Tensor
    root: Tensor
    steps: Tensor


def newton(problem: Problem, starts: Tensor, known: Roots) -> Outcome:
    """Take damped Newton steps from one block of unknowns (B, m), after chords where they help.

    Rows for which that does not work come back as stalled.
    """
    n = len(starts)
    out = Outcome(
        starts.clone(),
        torch.full((n,), int(Status.STALLED)),
        torch.full((n,), -1),
        torch.zeros(n, dtype=torch.long),
    )
    y, (r, q) = starts, problem.residual(starts)
    if len(known):
        y, r, q = _chords(problem, y, r, q, known)
    _newton(problem, y, r, q, known, out)
    return out


def _chords(
    problem: Problem, y: Tensor, r: Tensor, q: Tensor, known: Roots
) -> tuple[Tensor, Tensor, Tensor]:
    """Step with the Jacobian of the nearest root while that quarters q: no factorisation."""
    y, r, q = y.clone(), r.clone(), q.clone()
    rows = torch.arange(len(y))
    for _ in range(_CHORDS):
        which = known.nearest(y[rows])[0]
        tried = y[rows] - known.chord(which, r[rows])
        r_tried, q_tried = problem.residual(tried)
        better = 4 * q_tried < q[rows]
        rows = rows[better]
        if not len(rows):
            break
        y[rows], r[rows], q[rows] = tried[better], r_tried[better], q_tried[better]
    return y, r, q


def _settle(
    problem: Problem, out: Outcome, rows: Tensor, y: Tensor, r: Tensor, q: Tensor, known: Roots
) -> Tensor:
    """Write down the rows that are done and say which are, (B,)."""
    done = q < problem.rounding(y)
    out.status[rows[done]] = int(Status.CONVERGED)
    left = problem.has_left(y) & ~done
    out.status[rows[left]] = int(Status.LEFT)
    claimed, which = known.claim(y, r)
    claimed &= ~done & ~left
    out.status[rows[claimed]] = int(Status.CONVERGED)
    out.root[rows[claimed]] = which[claimed]
    out.y[rows] = y
    return done | left | claimed


def _newton(problem: Problem, y: Tensor, r: Tensor, q: Tensor, known: Roots, out: Outcome) -> None:
    rows = torch.arange(len(y))
    bad = torch.zeros(len(y), dtype=torch.long)
    for _ in range(_NEWTON_STEPS):
        done = _settle(problem, out, rows, y, r, q, known)
        go = ~(done | (bad >= 3))
        rows, y, r, q, bad = rows[go], y[go], r[go], q[go], bad[go]
        if not len(rows):
            return
        p = problem.newton_direction(y, r)
        p = _capped(problem, y, p, q)
        y_new, r_new, q_new = _backtrack(problem, y, p, q)
        none = ~(q_new < q)
        bad = torch.where(none, 3, torch.where(q_new > 0.7 * q, bad + 1, 0))
        y = torch.where(none[:, None], y, y_new)
        r = torch.where(none[:, None], r, r_new)
        q = torch.where(none, q, q_new)
        out.steps[rows] += 1


def _capped(problem: Problem, y: Tensor, p: Tensor, q: Tensor) -> Tensor:
    """Return steps no longer than the cap, or in full where that is nearly all there is to do.

    Far roots of maps without a box lie beyond what short steps reach; where the map is almost
    linear, one full step goes there.
    """
    length = torch.linalg.vector_norm(p, dim=1)
    short: Tensor = p * (problem.cap / length).clamp(max=1.0)[:, None].nan_to_num()
    if problem.map.box is not None:
        return short
    far = (length > problem.cap).nonzero()[:, 0]
    if len(far):
        good = problem.residual(y[far] - p[far])[1] < 1e-2 * q[far]
        short[far[good]] = p[far[good]]
    return short


def _backtrack(problem: Problem, y: Tensor, p: Tensor, q: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Shorten the steps that do not decrease q, up to five times."""
    y_new = y - p
    r_new, q_new = problem.residual(y_new)
    scale = 1.0
    for _ in range(5):
        worse = (~(q_new < q)).nonzero()[:, 0]
        if not len(worse):
            break
        scale *= 0.35
        y_new[worse] = y[worse] - scale * p[worse]
        r_new[worse], q_new[worse] = problem.residual(y_new[worse])
    return y_new, r_new, q_new


def descend(problem: Problem, out: Outcome, known: Roots) -> None:
    """Go on from the stalled rows of `out` by Levenberg-Marquardt, damped as by Nielsen 1999."""
    for rows in (
        (out.status == Status.STALLED)
        .nonzero()[:, 0]
        .split(min(problem.block(), problem.dense_rows()))
    ):
        _levenberg_marquardt(problem, rows, known, out)


def _levenberg_marquardt(problem: Problem, rows: Tensor, known: Roots, out: Outcome) -> None:
    if not len(rows):  # a model that is differentiated by torch.func cannot take no rows
        return
    y = out.y[rows]
    r, q = problem.residual(y)
    damping, growth = torch.full_like(q, 1e-2), torch.full_like(q, 2.0)
    for _ in range(_LM_STEPS):
        done = _settle(problem, out, rows, y, r, q, known)
        jacobian = problem.jacobian(y)
        g = (jacobian.mT @ r[..., None])[..., 0]
        # At a root g is of the size of r; where q is least and not zero it vanishes beside r.
        flat = ((g.abs().amax(dim=1) < _FLAT * (2 * q).sqrt()) | (damping > 1e8)) & ~done
        out.status[rows[flat]] = int(Status.SLOW)
        go = ~(done | flat)
        rows, y, r, q, damping, growth = (t[go] for t in (rows, y, r, q, damping, growth))
        if not len(rows):
            return
        p, predicted = _damped_step(jacobian[go], r, g[go], damping)
        r_new, q_new = problem.residual(y + p)
        better = q_new < q
        gain = (q - q_new) / predicted
        eased = damping * (1 - (2 * gain - 1) ** 3).clamp(0.05, 1.0)
        damping = torch.where(better, eased, damping * growth)
        growth = torch.where(better, 2.0, 2 * growth)
        y = torch.where(better[:, None], y + p, y)
        r = torch.where(better[:, None], r_new, r)
        q = torch.where(better, q_new, q)
        out.steps[rows] += 1
    out.y[rows] = y


def _damped_step(jacobian: Tensor, r: Tensor, g: Tensor, damping: Tensor) -> tuple[Tensor, Tensor]:
    """Return the Levenberg-Marquardt step (B, m) and the decrease of q that it predicts (B,)."""
    normal = jacobian.mT @ jacobian
    normal.diagonal(dim1=1, dim2=2).add_(damping[:, None])
    factor = torch.linalg.cholesky_ex(normal)[0]
    p = -torch.cholesky_solve(g[..., None], factor)[..., 0]
    p = torch.where(torch.isfinite(p).all(dim=1, keepdim=True), p, 0.0)
    return p, (0.5 * (p * (damping[:, None] * p - g)).sum(dim=1)).clamp(min=1e-300)


def newton_polish(
    residual: Callable[[Tensor], tuple[Tensor, Tensor]], y: Tensor, steps: int = 3
) -> tuple[Tensor, Tensor]:
    """Take full Newton steps while they shrink the residual.

    Parameters
    ----------
    residual
        Returns r (B, m) and its dense Jacobian (B, m, m).
    y
        Points, (B, m).
    steps
        Largest number of steps.

    Returns
    -------
    tuple of Tensor
        The best points (B, m) and the certificate ``|R^-1 r|`` there (B,).
    """
    r, jacobian = residual(y)
    p = torch.linalg.solve_ex(jacobian, r)[0]
    for _ in range(steps):
        y_new = y - p
        r_new, jacobian_new = residual(y_new)
        p_new = torch.linalg.solve_ex(jacobian_new, r_new)[0]
        better = torch.linalg.vector_norm(r_new, dim=1) < torch.linalg.vector_norm(r, dim=1)
        if not bool(better.any()):
            break
        y = torch.where(better[:, None], y_new, y)
        p = torch.where(better[:, None], p_new, p)
        r = torch.where(better[:, None], r_new, r)
    certificate = torch.linalg.vector_norm(p, dim=1)
    return y, torch.where(torch.isfinite(certificate), certificate, torch.inf)
