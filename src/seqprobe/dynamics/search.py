"""All fixed points under one input: sweeps of starts, then exploration between what was found."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from seqprobe.dynamics.maps import StateMap
from seqprobe.dynamics.solver import (
    Outcome,
    Problem,
    Roots,
    Status,
    descend,
    newton,
    newton_polish,
)

__all__ = ["Found", "search"]

PAIRS_PER_ROUND = 512
MOST_ROUNDS = 40
_BARREN_ROUNDS = 4  # without a new root, while the index sum says that one is missing
_DEEP_STARTS, _PROBES, _RELAXED = 4096, 64, 512
_STEPS_ON = 64
_SAME = 1e-6  # of the size of a state: roots nearer than that are one
_REACH = 1e3  # radii of the cloud of starts, beyond which a model without a box has left
MOST_ROOTS = 1000  # at which exploration ends

Progress = Callable[[int, int], None]


@dataclass
class Found:
    """What a search came to.

    Attributes
    ----------
    y
        Roots in unknowns, (K, m), each once.
    certificate
        ``|R^-1 r|``, the distance to the true root to first order, (K,).
    sign
        Sign of ``det(I - J)``, (K,).
    status, root, steps
        Of every start: `Status`, index of its root or -1, solver steps.
    rounds
        New roots of the sweep over the starts, of some of them followed to their attractors, and
        of every round of exploration.
    complete
        1 if the index sum is 1 and the last round was barren, 0 if not; -1 if the map has no box,
        so that the sum may be anything.
    eigenvalues
        Of the Jacobians (K, n) where a closed form gives them.
    """

    y: Tensor
    certificate: Tensor
    sign: Tensor
    status: Tensor
    root: Tensor
    steps: Tensor
    rounds: list[int] = field(default_factory=list)
    complete: int = -1
    eigenvalues: Tensor | None = None

    def reordered(self, order: Tensor) -> Found:
        """Return the same with the roots in another order (K,)."""
        place = torch.full((len(order) + 1,), -1)  # old index -> new; the last is for "none"
        place[order] = torch.arange(len(order))
        return replace(
            self,
            y=self.y[order],
            certificate=self.certificate[order],
            sign=self.sign[order],
            root=place[self.root],
        )


def search(
    state_map: StateMap,
    starts: Tensor,
    u: Tensor,
    rng: np.random.Generator,
    exhaustive: bool = False,
    on_progress: Progress | None = None,
) -> Found:
    """Find the fixed points under one input.

    Parameters
    ----------
    state_map
        The model.
    starts
        States, (S, n).
    u
        Input, (d,).
    rng
        Of the extra starts.
    exhaustive
        Add 12,288 starts drawn far around the given ones, also if nothing seems to be missing.
    on_progress
        Called with the number of starts done and their total.
    """
    hunt = _Hunt(state_map, starts, u)
    outcome = hunt.sweep(hunt.starts, on_progress)
    some = torch.linspace(0, len(starts) - 1, min(_PROBES, len(starts))).round().long()
    hunt.sweep(hunt.relaxed(starts[some]))
    hunt.explore()
    if hunt.descend(outcome):
        hunt.explore()
    if len(hunt.known) < 2:  # there are no pairs to explore between, and one root sums to 1
        hunt.sweep(_anywhere(_PROBES, hunt.starts, state_map, rng))
        hunt.explore()
    if exhaustive or (state_map.box is not None and not hunt.seems_complete()):
        far = _far_starts(hunt.starts, state_map, rng)
        hunt.descend(hunt.sweep(far))
        some = torch.from_numpy(rng.choice(len(far), _RELAXED, replace=False))
        hunt.sweep(hunt.relaxed(state_map.lift(far[some], u)))
        hunt.explore()
    return hunt.result(outcome)


def _far_starts(starts: Tensor, state_map: StateMap, rng: np.random.Generator) -> Tensor:
    """Return 4096 starts at one and at two standard deviations, and as many from the whole box."""
    shape = (_DEEP_STARTS, starts.shape[1])
    mean, spread = starts.mean(dim=0), starts.std(dim=0, correction=0).clamp(min=1e-3)
    near, far = (
        mean + scale * spread * torch.from_numpy(rng.standard_normal(shape)) for scale in (1, 2)
    )
    uniform = _anywhere(_DEEP_STARTS, starts, state_map, rng)
    return state_map.clip(torch.cat([near, far, uniform]))


def _anywhere(count: int, starts: Tensor, state_map: StateMap, rng: np.random.Generator) -> Tensor:
    """Return unknowns from the whole box, or from four standard deviations around."""
    uniform = torch.from_numpy(rng.uniform(-1, 1, (count, starts.shape[1])))
    if state_map.box is not None:
        return uniform
    spread = starts.std(dim=0, correction=0).clamp(min=1e-3)
    return starts.mean(dim=0) + 4 * spread * uniform


def _in_order(y: Tensor) -> Tensor:
    """Return the order of points that does not depend on where the search began."""
    keys = y.round(decimals=6).flip(1).T.numpy()
    return torch.from_numpy(np.lexsort([*keys])) if len(y) else torch.zeros(0, dtype=torch.long)


def _first_of_each(y: Tensor, radius: float) -> Tensor:
    """Return, for every point (K, m), the index of the first one that lies within the radius."""
    if not len(y):
        return torch.zeros(0, dtype=torch.long)
    distance = torch.cdist(y, y, compute_mode="donot_use_mm_for_euclid_dist")
    return (distance < radius).int().argmax(dim=1)


class _Hunt:
    """A search under way: what is known, and which pairs have been tried."""

    def __init__(self, state_map: StateMap, states: Tensor, u: Tensor) -> None:
        self.map = state_map
        self.starts = state_map.clip(state_map.reduce(states))
        centre = self.starts.mean(dim=0)
        distance = torch.linalg.vector_norm(self.starts - centre, dim=1)
        norm = max(float(torch.linalg.vector_norm(self.starts, dim=1).median()), 1e-3)
        spread = float(distance.mean())
        self.scale = max(spread, 1e-6 * norm) if spread > 0 else norm
        cap = 0.5 * self.scale
        radius = _REACH * max(float(distance.max()), norm)
        if state_map.box is not None:  # on its way Newton may leave it a little
            radius = max(radius, 2 * float(torch.linalg.vector_norm(state_map.box[1])))
        self.problem = Problem(state_map, u, cap, centre, radius)
        self.known = Roots(state_map.unknowns)
        self.tried: set[tuple[int, int]] = set()
        self.rounds: list[int] = []
        self.barren = False  # nothing came of the last round of exploration

    def sweep(self, starts: Tensor, on_progress: Progress | None = None) -> Outcome:
        """Take Newton steps from all starts, learning roots on the way, first from a few."""
        before = len(self.known)
        size = self.problem.block()
        edges = [0, *range(size // 2, len(starts), size), len(starts)]
        blocks = []
        for start, stop in pairwise(edges):
            if stop > start:
                blocks.append(newton(self.problem, starts[start:stop], self.known))
                self._learn(blocks[-1])
                if on_progress is not None:
                    on_progress(stop, len(starts))
        if not blocks:
            self.rounds.append(0)
            return newton(self.problem, starts, self.known)
        whole = Outcome(
            torch.cat([block.y for block in blocks]),
            torch.cat([block.status for block in blocks]),
            torch.cat([block.root for block in blocks]),
            torch.cat([block.steps for block in blocks]),
        )
        self.rounds.append(len(self.known) - before)
        return whole

    def relaxed(self, states: Tensor) -> Tensor:
        """Return the unknowns of states (S, n) some steps on, near the attractors they go to.

        Newton's method goes to the nearest root, which far from all is rarely an attractor.
        """
        for _ in range(_STEPS_ON):
            states = self.map.step(states, self.problem.u)
        y = self.map.clip(self.map.reduce(states))
        return y[~self.problem.has_left(y)]

    def descend(self, outcome: Outcome) -> int:
        """Go on from the rows where Newton stalled; return the number of new roots."""
        before = len(self.known)
        descend(self.problem, outcome, self.known)
        self._learn(outcome)
        self.rounds[-1] += len(self.known) - before
        return len(self.known) - before

    def _learn(self, outcome: Outcome) -> None:
        """Give every converged row its root, adding those that are new."""
        arrived = ((outcome.status == Status.CONVERGED) & (outcome.root < 0)).nonzero()[:, 0]
        if not len(arrived):
            return
        y = outcome.y[arrived]
        new = torch.ones(len(y), dtype=torch.bool)
        if len(self.known):
            new = self.known.nearest(y)[1] >= _SAME * self.scale
        fresh = y[new]
        first = _first_of_each(fresh, _SAME * self.scale)
        if len(fresh):
            self.known.add(self.problem, fresh[first == torch.arange(len(fresh))])
        if len(self.known):
            which, distance, _ = self.known.nearest(y)
            outcome.root[arrived] = torch.where(distance < _SAME * self.scale, which, -1)

    def seems_complete(self) -> bool:
        """Say whether the signs of det(I - J) sum to 1, as they must in a box."""
        return self.map.box is not None and int(self.known.sign.sum()) == 1

    def explore(self) -> None:
        """Start half-way between pairs of roots until that adds nothing."""
        barren = 0
        for _ in range(MOST_ROUNDS):
            middles = self._middles()
            self.barren = not len(middles)
            if self.barren:
                return
            outcome = self.sweep(middles)
            self.barren = not self.rounds[-1]
            if self.barren and (self.map.box is None or self.seems_complete()):
                return
            if len(self.known) > MOST_ROOTS:
                return
            barren = 0 if self.rounds[-1] or self.descend(outcome) else barren + 1
            if barren == _BARREN_ROUNDS:
                return

    def _middles(self) -> Tensor:
        """Return the midpoints of the nearest pairs of roots not tried yet."""
        y = self.known.y
        i, j = torch.triu_indices(len(y), len(y), 1)
        order = torch.linalg.vector_norm(y[i] - y[j], dim=1).argsort(stable=True)
        pairs = []
        for a, b in zip(i[order].tolist(), j[order].tolist(), strict=True):
            if (a, b) not in self.tried:
                pairs.append((a, b))
                if len(pairs) == PAIRS_PER_ROUND:
                    break
        self.tried.update(pairs)
        if not pairs:
            return y[:0]
        a, b = torch.tensor(pairs).T
        return 0.5 * (y[a] + y[b])

    def result(self, outcome: Outcome) -> Found:
        """Polish and certify the roots; drop those that turn out to be one, or none."""
        y, certificate = self._polished(self.known.y)
        size = torch.linalg.vector_norm(y, dim=1).clamp(min=self.scale)
        sound = (certificate < 1e-8 * size).nonzero()[:, 0]
        first = _first_of_each(y[sound], _SAME * self.scale)
        place = torch.full((len(y) + 1,), -1)  # old index -> new; the last entry is for "none"
        keep = sound[first == torch.arange(len(sound))]
        keep = keep[_in_order(y[keep])]
        place[keep] = torch.arange(len(keep))
        place[sound] = place[sound[first]]
        y, certificate = y[keep], certificate[keep]
        root = place[outcome.root]
        status = outcome.status.clone()
        status[(status == Status.CONVERGED) & (root < 0)] = int(Status.STALLED)
        sign = self.known.sign[keep]
        complete = -1
        if self.map.box is not None:
            complete = int(int(sign.sum()) == 1 and self.barren)
        return Found(y, certificate, sign, status, root, outcome.steps, self.rounds, complete)

    def _polished(self, y: Tensor) -> tuple[Tensor, Tensor]:
        if not len(y):
            return y, y.new_zeros(0)

        def residual(rows: Tensor) -> tuple[Tensor, Tensor]:
            r, jacobian, _ = self.map.linearise_residual(rows, self.problem.u)
            return r, jacobian.dense()

        size = min(64, self.problem.dense_rows())
        pieces = [newton_polish(residual, rows) for rows in y.split(size)]
        return torch.cat([p[0] for p in pieces]), torch.cat([p[1] for p in pieces])
