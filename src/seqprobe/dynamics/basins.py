"""Where states go when the input is held: the attractor of each."""

from __future__ import annotations

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from seqprobe.dynamics.describe import describe
from seqprobe.dynamics.drive import flat_states
from seqprobe.dynamics.maps import StateMap, state_map
from seqprobe.errors import UsageError
from seqprobe.schema import variable

__all__ = ["basins", "one_input", "settle"]

_LOOK_EVERY = 20
_THERE = 1e-5  # of the size of the attractors


def basins(
    model: object, points: xr.Dataset, states: Tensor, *, max_steps: int = 4000
) -> xr.Dataset:
    """Count how many states end at each stable fixed point when the input is held.

    Parameters
    ----------
    model
        The one that `points` was made from.
    points
        Result of `fixed_points` for one input.
    states
        (S, n); those of `sample_states` with ``noise=0`` are the states that trajectories visit.
    max_steps
        Steps after which a state that has not arrived counts as unresolved.

    Returns
    -------
    xarray.Dataset
        ``basin`` (fixed_point): states that came within 1e-5 of the attractors' size to a point
        without unstable dimensions, marginal ones included; ``attractor`` (start): the point, or
        -1; ``unresolved``: their number.

    Raises
    ------
    UsageError
        If states have the wrong size or `points` are of several inputs.

    Notes
    -----
    A model with a closed form has one attractor, and all states count for it without being run.
    """
    of = state_map(model)
    x = flat_states(of, states)
    u = one_input(points)
    stable = np.flatnonzero(points["n_unstable"].values == 0)
    targets = torch.from_numpy(points["x"].values[stable])
    if points.attrs.get("method") == "closed form":
        reached = np.zeros(len(x), dtype=int)  # everything comes there, if slowly
    else:
        with torch.no_grad():
            reached = settle(of, x, u, targets, max_steps).numpy()
    attractor = np.where(reached >= 0, stable[reached] if len(stable) else -1, -1)
    count = np.bincount(attractor[attractor >= 0], minlength=points.sizes["fixed_point"])
    attrs = describe("basins", model, {"max_steps": max_steps})
    data = {
        "basin": variable(("fixed_point",), count, "states that end here", "states"),
        "attractor": variable(("start",), attractor, "attractor reached, -1 for none", "1"),
        "unresolved": variable((), int((attractor < 0).sum()), "states that did not settle", "1"),
    }
    return xr.Dataset(data, attrs=attrs)


def one_input(points: xr.Dataset) -> Tensor:
    """Return the input of all points, (d,).

    Raises
    ------
    UsageError
        If there are several.
    """
    if points.sizes["input"] != 1:
        raise UsageError(
            f"fixed points are of {points.sizes['input']} inputs (allowed: one; select them by"
            " input_index)"
        )
    u = points["u"].values
    return torch.from_numpy(u[0]) if len(u) else torch.zeros(u.shape[1], dtype=torch.float64)


def settle(of: StateMap, x: Tensor, u: Tensor, targets: Tensor, max_steps: int) -> Tensor:
    """Iterate states (B, n) until each is at a target (K, n); return which, (B,), -1 for none."""
    reached = torch.full((len(x),), -1)
    if not len(targets):
        return reached
    radius = _THERE * max(float(torch.linalg.vector_norm(targets, dim=1).median()), 1e-3)
    rows = torch.arange(len(x))
    for start in range(0, max_steps, _LOOK_EVERY):
        for _ in range(min(_LOOK_EVERY, max_steps - start)):
            x = of.step(x, u)
        distance, which = torch.cdist(x, targets).min(dim=1)
        there = distance < radius
        reached[rows[there]] = which[there]
        go = ~there & torch.isfinite(x).all(dim=1)
        rows, x = rows[go], x[go]
        if not len(rows):
            break
    return reached
