"""How well the linear systems at the fixed points predict where states go."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from seqprobe.dynamics.basins import one_input
from seqprobe.dynamics.describe import describe
from seqprobe.dynamics.drive import flat_states
from seqprobe.dynamics.linearise import jacobians
from seqprobe.dynamics.maps import state_map
from seqprobe.errors import UsageError
from seqprobe.schema import variable

__all__ = ["linear_prediction"]

_ASSIGNMENTS = ("nearest", "attractor", "reassigned")


def linear_prediction(
    model: object,
    points: xr.Dataset,
    states: Tensor,
    *,
    horizons: Sequence[int] = (1, 2, 5, 10, 20),
) -> xr.Dataset:
    """Predict k steps ahead by ``x_k + J_k (x - x_k)`` and compare with the true flow.

    Parameters
    ----------
    model
        The one that `points` was made from.
    points
        Result of `fixed_points` for one input.
    states
        Where to predict from, (S, n), such as `sample_states` with ``noise=0``.
    horizons
        Steps ahead.

    Returns
    -------
    xarray.Dataset
        ``R2`` (assignment, step): one minus the squared error over the variance of the true states,
        summed over reals. Assignments: ``nearest``, the fixed point nearest to the start, kept;
        ``attractor``, the nearest stable one, kept; ``reassigned``, the nearest one at every step,
        which makes a switching linear system. ``saddle_share``: states nearest to an unstable
        point, whose linear model diverges.

    Raises
    ------
    UsageError
        If there are no fixed points, or states have the wrong size.

    Notes
    -----
    Report several horizons: where a saddle is nearest, a model that holds for one step is off by
    orders of magnitude after twenty.
    """
    of = state_map(model)
    x0 = flat_states(of, states)
    u = one_input(points)
    fixed = torch.from_numpy(points["x"].values)
    if not len(fixed):
        raise UsageError("there are no fixed points to linearise at")
    if not horizons or min(horizons) < 1:
        raise UsageError(f"horizons are {list(horizons)} (allowed: 1 or more)")
    j = jacobians(of, points)
    stable = points["n_unstable"].values == 0
    nearest = torch.cdist(x0, fixed).argmin(dim=1)
    choices: dict[str, Tensor | None] = {"nearest": nearest, "reassigned": None}
    if stable.any():
        index = torch.from_numpy(np.flatnonzero(stable))
        choices["attractor"] = index[torch.cdist(x0, fixed[index]).argmin(dim=1)]
    wanted = sorted(set(horizons))
    r2 = np.full((len(_ASSIGNMENTS), len(wanted)), np.nan)
    with torch.no_grad():
        for row, name in enumerate(_ASSIGNMENTS):
            if name not in choices:
                continue
            true, guess = x0, x0
            for k in range(1, wanted[-1] + 1):
                which = choices[name]
                which = torch.cdist(guess, fixed).argmin(dim=1) if which is None else which
                true = of.step(true, u)
                guess = fixed[which] + _moved(j, which, guess - fixed[which])
                if k in wanted:
                    error = (guess - true).square().sum() / (true - true.mean(0)).square().sum()
                    r2[row, wanted.index(k)] = 1 - float(error)
    data = {
        "R2": variable(("assignment", "step"), r2, "explained variance", "1"),
        "saddle_share": variable(
            (), float((~stable)[nearest.numpy()].mean()), "states nearest to an unstable point", "1"
        ),
    }
    coords = {
        "assignment": variable(("assignment",), np.array(_ASSIGNMENTS), "linear model used", "1"),
        "step": variable(("step",), np.array(wanted), "steps ahead", "steps"),
    }
    attrs = describe("linear_prediction", model, {"n_states": len(x0)})
    return xr.Dataset(data, coords, attrs)


def _moved(jacobians: Tensor, which: Tensor, away: Tensor) -> Tensor:
    """Return J_k d for every row without copying a Jacobian per row."""
    moved = torch.empty_like(away)
    for k in which.unique().tolist():
        rows = which == k
        moved[rows] = away[rows] @ jacobians[k].T
    return moved
