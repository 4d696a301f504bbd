"""Fixed points along a line of inputs: branches, and the folds where they end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from seqprobe.dynamics.certify import spectra, stability
from seqprobe.dynamics.describe import describe
from seqprobe.dynamics.drive import constant_input
from seqprobe.dynamics.fixed_points import fixed_points
from seqprobe.dynamics.maps import StateMap, state_map
from seqprobe.dynamics.readout import readout
from seqprobe.errors import UsageError
from seqprobe.schema import variable

__all__ = ["input_sweep"]

_NEWTON_STEPS = 8
_SAME = 1e-6
_SEARCHES = 5  # inputs along the line at which branches are searched for
_SMALLEST = 2.0**-16  # part of a step below which a branch counts as ended


def input_sweep(
    model: object,
    starts: Tensor,
    begin: Tensor,
    end: Tensor,
    *,
    n_steps: int = 100,
    seed: int = 0,
    on_progress: Callable[[int, int], None] | None = None,
) -> xr.Dataset:
    """Follow the fixed points from one input to another, and locate the folds in between.

    Searches at five inputs give the branches; each is continued along the line ``u(s) = begin + s
    (end - begin)`` by the tangent and Newton's method. Where one ends, the fold is solved for:
    ``r = 0`` together with a singular Jacobian. From there the branch on the other side of the fold
    is followed back, so that only closed loops of branches between two searches are not found.

    Parameters
    ----------
    model
        See `fixed_points`.
    starts
        States (S, n) for the searches.
    begin, end
        Inputs (d,).
    n_steps
        Steps of equal size from s = 0 to s = 1.
    seed
        See `fixed_points`.
    on_progress
        Called with the number of searches done and their total.

    Returns
    -------
    xarray.Dataset
        Over (step, branch): ``x`` (with state), NaN where a branch does not exist; ``n_unstable``
        (-1 there), ``leading`` modulus of the eigenvalues, ``index`` (0 there); ``readout`` (with
        output) if the model has a head. Over ``step``: ``s``, ``u`` (with channel),
        ``n_branches``, ``index_sum``. Over ``branch``: ``fold_begin`` and ``fold_end``, s of the
        folds where it begins and ends, NaN where it reaches the end of the line, or where no fold
        was found (a kink of rectified units is none); ``fold_x_begin``, ``fold_x_end``, and
        ``fold_readout_begin``, ``fold_readout_end``. ``open_ends``: branches that begin or end on
        the way without a fold, 0 if all is well.

    Raises
    ------
    UsageError
        If inputs or starts have the wrong size, or are equal.

    Notes
    -----
    Branches are lost and won in pairs, so that ``index_sum`` stays what it was; where it does not,
    a branch was missed. Folds: minimally augmented system (Govaerts 2000), with the
    derivative of the singular value by automatic differentiation.
    """
    of = state_map(model)
    u0, u1 = constant_input(of, begin), constant_input(of, end)
    if u0.dim() != 1 or u1.dim() != 1 or bool((u0 == u1).all()):
        raise UsageError("begin and end must be two different inputs of shape (d,)")
    if n_steps < 1:
        raise UsageError(f"{n_steps} steps were asked for (allowed: 1 or more)")
    line = _Line(of, u0, u1, n_steps)
    places = sorted({round(n_steps * k / (_SEARCHES - 1)) for k in range(_SEARCHES)})
    for done, i in enumerate(places):
        points = fixed_points(model, starts, input=line.u(i / n_steps), seed=seed)
        with torch.no_grad():
            if points.sizes["fixed_point"]:
                line.scale = max(line.scale, float(np.linalg.norm(points["x"], axis=1).max()))
            line.follow(of.reduce(torch.from_numpy(points["x"].values)), i)
        if on_progress is not None:
            on_progress(done + 1, len(places))
    with torch.no_grad():
        line.turn()
    return _result(model, of, line, seed)


@dataclass
class _Line:
    """The line of inputs with the branches along it, each (steps + 1, m), NaN where absent."""

    of: StateMap
    u0: Tensor
    u1: Tensor
    n_steps: int
    scale: float = 1.0
    branches: list[Tensor] = field(default_factory=list)
    folds: list[list[tuple[float, Tensor]]] = field(default_factory=list)

    def u(self, s: float | Tensor) -> Tensor:
        """Return the input at s."""
        return self.u0 + s * (self.u1 - self.u0)

    def follow(self, y: Tensor, at: int) -> None:
        """Follow roots (K, m) of one step in both directions; those on known branches are known."""
        known = [branch[at] for branch in self.branches]
        fresh = [row for row in y if not _is_among(row, known, self.scale)]
        if not fresh:
            return
        y = torch.stack(fresh)
        paths = y.new_full((len(y), self.n_steps + 1, y.shape[1]), torch.nan)
        paths[:, at] = y
        self._walk(paths, list(range(at, self.n_steps + 1)))
        self._walk(paths, list(range(at, -1, -1)))
        self.branches += list(paths)

    def _walk(self, paths: Tensor, order: list[int]) -> None:
        """Fill in the steps of `order` from its first, path by path until it ends."""
        alive = torch.arange(len(paths))
        y = paths[:, order[0]]
        step = (1 if order[-1] > order[0] else -1) / self.n_steps
        for i in order[1:]:
            if not len(alive):
                break
            before = y
            y, ok = self._advance(y, i / self.n_steps, step)
            for k in (~ok).nonzero()[:, 0].tolist():  # smaller steps may still get there
                row, s = self._approach(before[k], i / self.n_steps - step, step)
                if abs(s - i / self.n_steps) < 1e-12 and not _is_among(
                    row, list(y[ok]), self.scale
                ):
                    y[k], ok[k] = row, True
            for k in ok.nonzero()[:, 0].tolist():  # a path on a known branch has jumped
                ok[k] = not _is_among(y[k], [b[i] for b in self.branches], self.scale)
            y, alive = y[ok], alive[ok]
            paths[alive, i] = y

    def _advance(self, y: Tensor, s: float, step: float) -> tuple[Tensor, Tensor]:
        """Return the roots at s from those a step before, and which exist (K,)."""
        before = y
        _, jacobian, by_input = self.of.linearise_residual(y, self.u(s - step))
        push = by_input.times((step * (self.u1 - self.u0))[:, None].expand(len(y), -1, 1))
        tangent = torch.linalg.solve_ex(jacobian.dense(), -push)[0][..., 0]
        long = torch.linalg.vector_norm(tangent, dim=1) > 0.1 * self.scale
        tangent = torch.where((long | ~torch.isfinite(tangent).all(1))[:, None], 0.0, tangent)
        predicted = y = y + tangent
        y, settled = self._newton(y, s, _NEWTON_STEPS)
        # What Newton's method adds to the tangent tells a jump from a step.
        added = torch.linalg.vector_norm(y - predicted, dim=1)
        near = added < 0.5 * torch.linalg.vector_norm(tangent, dim=1) + 1e-3 * self.scale
        moved = torch.linalg.vector_norm(y - before, dim=1)
        ok = settled & near & (moved < 0.3 * self.scale)
        # Two branches that meet on one root: the one that had farther to go has jumped.
        distance = torch.cdist(y, y, compute_mode="donot_use_mm_for_euclid_dist")
        same = (distance < _SAME * self.scale) & ok[:, None] & ok[None]
        best = torch.where(same, moved[None], torch.inf).argmin(dim=1)
        return y, ok & (best == torch.arange(len(y)))

    def _newton(self, y: Tensor, s: float, steps: int) -> tuple[Tensor, Tensor]:
        """Take full Newton steps at s from unknowns (K, m); say which become roots."""
        for _ in range(steps):
            r, jacobian, _ = self.of.linearise_residual(y, self.u(s))
            y = y - torch.linalg.solve_ex(jacobian.dense(), r)[0]
        r = self.of.residual(y, self.u(s))
        return y, torch.linalg.vector_norm(r, dim=1) < 1e-10 * self.scale

    def turn(self) -> None:
        """Find the folds of all branches, and the branches on their other sides."""
        for branch in self.branches:  # which grows on the way
            there = torch.isfinite(branch).all(dim=1).nonzero()[:, 0].tolist()
            found = []
            for i, edge in ((there[0], 0), (there[-1], self.n_steps)):
                s, y = np.nan, torch.full_like(branch[i], torch.nan)
                if i != edge:
                    s, y = self.fold(branch[i], i / self.n_steps, -1 if edge == 0 else 1)
                if np.isfinite(s):
                    self._mirror(branch[i], y, i)
                found.append((s, y))
            self.folds.append(found)

    def _mirror(self, y: Tensor, fold: Tensor, at: int) -> None:
        """Follow the branch that meets this one at the fold, from the last step before it."""
        s = at / self.n_steps
        other, settled = self._newton((2 * fold - y)[None], s, 2 * _NEWTON_STEPS)
        near = torch.linalg.vector_norm(other[0] - fold) < 0.3 * self.scale
        if bool(near) and bool(settled[0]):
            self.follow(other, at)

    def fold(self, y: Tensor, s: float, direction: int) -> tuple[float, Tensor]:
        """Return s and the unknowns (m,) of the fold before the next step; NaN if there is none.

        Newton on ``r = 0``, ``g = 0`` for the last unknown g of the bordered system ``[R b; c' 0]
        [v; g] = [0; 1]``, which vanishes exactly where R is singular.
        """
        next_step = s + direction / self.n_steps
        y, s = self._approach(y, s, direction / self.n_steps)
        at = torch.cat([y, y.new_tensor([s])])
        left, _, right = torch.linalg.svd(self._jacobian(at))
        b, c = left[:, -1], right[-1]
        for _ in range(30):
            with torch.enable_grad():
                point = at.detach().requires_grad_()
                g = self._singular(point, b, c)
                if not g.requires_grad:  # a kink of rectified units, where slopes are constant
                    break
                slope = torch.autograd.grad(g, point)[0]
            r, jacobian, by_input = self.of.linearise_residual(at[None, :-1], self.u(at[-1]))
            along = by_input.times((self.u1 - self.u0)[None, :, None])[0]
            system = torch.cat([torch.cat([jacobian.dense()[0], along], dim=1), slope[None]])
            change = torch.linalg.solve_ex(system, torch.cat([r[0], g.detach()[None]]))[0]
            length = float(torch.linalg.vector_norm(change))
            if not np.isfinite(length):
                break
            at = at - change * min(1.0, 0.05 * self.scale / max(length, 1e-300))
            if length < 1e-12 * self.scale:
                low, high = sorted((s, next_step))
                slack = 0.1 / self.n_steps
                if low - slack <= float(at[-1]) <= high + slack:
                    return float(at[-1]), at[:-1]
                break
        return np.nan, torch.full_like(y, torch.nan)

    def _approach(self, y: Tensor, s: float, step: float) -> tuple[Tensor, float]:
        """Go on along a branch to s + step in as small steps as it takes; return where it ends."""
        end, part = s + step, 0.5 * step
        while abs(end - s) > 1e-12 and abs(part) > _SMALLEST * abs(step):
            ahead = part if abs(part) < abs(end - s) else end - s
            tried, ok = self._advance(y[None], s + ahead, ahead)
            if bool(ok[0]):
                y, s = tried[0], s + ahead
            else:
                part /= 2
        return y, s

    def _jacobian(self, at: Tensor) -> Tensor:
        """Return R (m, m) at the unknowns and the s of `at` (m + 1,)."""
        operator = self.of.linearise_residual(at[None, :-1], self.u(at[-1]))[1]
        return operator.dense()[0]

    def _singular(self, at: Tensor, b: Tensor, c: Tensor) -> Tensor:
        """Return g, which is zero where R is singular; differentiable."""
        top = torch.cat([self._jacobian(at), b[:, None]], dim=1)
        bordered = torch.cat([top, torch.cat([c, c.new_zeros(1)])[None]])
        unit = torch.zeros_like(bordered[0])
        unit[-1] = 1.0
        solved: Tensor = torch.linalg.solve(bordered, unit)
        return solved[-1]


def _is_among(row: Tensor, known: list[Tensor], scale: float) -> bool:
    return any(float(torch.linalg.vector_norm(row - k)) < _SAME * scale for k in known)


def _result(model: object, of: StateMap, line: _Line, seed: int) -> xr.Dataset:
    """Return the branches as labelled variables."""
    steps, count = line.n_steps + 1, len(line.branches)
    s = np.linspace(0, 1, steps)
    x = np.full((steps, count, of.size), np.nan)
    unstable, index = np.full((steps, count), -1), np.zeros((steps, count), dtype=int)
    leading = np.full((steps, count), np.nan)
    head = readout(model, of)
    said: list[tuple[int, np.ndarray, np.ndarray]] = []
    with torch.no_grad():
        for i in range(steps):
            u = line.u(s[i])
            there = [k for k, b in enumerate(line.branches) if bool(torch.isfinite(b[i]).all())]
            if not there:
                continue
            y = torch.stack([line.branches[k][i] for k in there])
            states = of.lift(y, u)
            x[i, there] = states.numpy()
            eigenvalues = spectra(of, states, u)
            unstable[i, there] = stability(eigenvalues.numpy(), of.size)[0]
            leading[i, there] = eigenvalues.abs()[:, 0].numpy()
            residual_jacobian = of.linearise_residual(y, u)[1].dense()
            index[i, there] = torch.linalg.slogdet(-residual_jacobian)[0].numpy()
            if head is not None:
                said.append((i, np.array(there), head(states, u).numpy()))
        folds = [
            [(at, of.lift(y[None], line.u(at))[0].numpy()) for at, y in pair] for pair in line.folds
        ]
    data = _labelled(line, s, x, unstable, leading, index, folds)
    if said and head is not None:
        for i, name in enumerate(("begin", "end")):
            at_fold = torch.from_numpy(data[f"fold_x_{name}"].values)
            u = torch.stack([line.u(pair[i][0]) for pair in folds])
            with torch.no_grad():
                y_fold = head(at_fold, u).numpy()
            data[f"fold_readout_{name}"] = variable(
                ("branch", "output"), y_fold, f"output of the fold at its {name}", "1"
            )
        y_all = np.full((steps, count, said[0][2].shape[1]), np.nan)
        for i, rows, values in said:
            y_all[i, rows] = values
        data["readout"] = variable(("step", "branch", "output"), y_all, "output", "1")
    attrs = describe("input_sweep", model, {"n_steps": line.n_steps}, seed)
    return xr.Dataset(data, attrs=attrs)


def _open_ends(x: np.ndarray, folds: list[list[tuple[float, np.ndarray]]]) -> int:
    """Return how many branches begin or end on the way without a fold."""
    there = np.isfinite(x).all(axis=2)
    begins, ends = ~there[0], ~there[-1]
    missing = np.array([[np.isnan(s) for s, _ in pair] for pair in folds]).reshape(-1, 2)
    return int((begins & missing[:, 0]).sum() + (ends & missing[:, 1]).sum())


def _labelled(
    line: _Line,
    s: np.ndarray,
    x: np.ndarray,
    unstable: np.ndarray,
    leading: np.ndarray,
    index: np.ndarray,
    folds: list[list[tuple[float, np.ndarray]]],
) -> dict[str, xr.Variable]:
    both, along = ("step", "branch"), ("step",)
    inputs = torch.stack([line.u(value) for value in s]).numpy()
    data = {
        "s": variable(along, s, "position on the line of inputs", "1"),
        "u": variable((*along, "channel"), inputs, "input", "1"),
        "x": variable((*both, "state"), x, "fixed point", "1"),
        "n_unstable": variable(both, unstable, "unstable dimensions, -1 for no point", "1"),
        "leading": variable(both, leading, "largest modulus of an eigenvalue", "1"),
        "index": variable(both, index, "sign of det(I - J), 0 for no point", "1"),
        "n_branches": variable(along, (index != 0).sum(axis=1), "fixed points", "1"),
        "index_sum": variable(along, index.sum(axis=1), "sum of the indices", "1"),
        "open_ends": variable((), _open_ends(x, folds), "ends of branches without a fold", "ends"),
    }
    for i, name in enumerate(("begin", "end")):
        where = np.array([pair[i][0] for pair in folds], dtype=float)
        points = np.array([pair[i][1] for pair in folds]).reshape(len(folds), x.shape[2])
        data[f"fold_{name}"] = variable(("branch",), where, f"s of the fold at its {name}", "1")
        data[f"fold_x_{name}"] = variable(
            ("branch", "state"), points, f"fixed point of the fold at its {name}", "1"
        )
    return data
