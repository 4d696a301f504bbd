"""How fast states move on a plane through state space."""

from __future__ import annotations

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from seqprobe.dynamics.describe import describe
from seqprobe.dynamics.drive import constant_input, flat_states
from seqprobe.dynamics.maps import state_map
from seqprobe.errors import UsageError
from seqprobe.schema import variable

__all__ = ["speed_map"]

_MARGIN = 0.15


def speed_map(
    model: object,
    states: Tensor,
    *,
    input: Tensor | None = None,  # noqa: A002  # what it is
    grid: int = 100,
) -> xr.Dataset:
    """Return the speed on the plane of the two leading principal components of some states.

    Parameters
    ----------
    model
        See `fixed_points`.
    states
        (S, n), S at least 3; see `sample_states`.
    input
        Constant input (d,), zero if None.
    grid
        Number of points per side.

    Returns
    -------
    xarray.Dataset
        ``speed`` (row, column) = |F(x) - x|, full length and not its part within the plane;
        ``flow`` (row, column, component): its part within the plane; ``horizontal`` (column) and
        ``vertical`` (row): coordinates; ``axes`` (component, state) and ``centre`` (state) of the
        plane; ``plane_share``: its share of the variance of the states. States of bounded cells
        that lie outside of their box are evaluated all the same.

    Raises
    ------
    UsageError
        If there are too few states, or sizes do not fit.
    """
    of = state_map(model)
    x = flat_states(of, states)
    u = constant_input(of, input)
    if len(x) < 3 or of.size < 2 or u.dim() != 1:
        raise UsageError(
            f"{len(x)} states of {of.size} reals span no plane (allowed: 3 or more states of 2 or"
            " more reals, one input)"
        )
    if grid < 2:
        raise UsageError(f"grid is {grid} (allowed: 2 or more)")
    centre = x.mean(dim=0)
    _, values, axes = torch.linalg.svd(x - centre, full_matrices=False)
    axes = axes[:2]
    placed = (x - centre) @ axes.T
    low, high = placed.amin(dim=0), placed.amax(dim=0)
    low, high = low - _MARGIN * (high - low), high + _MARGIN * (high - low)
    horizontal, vertical = (
        torch.linspace(float(a), float(b), grid, dtype=torch.float64)
        for a, b in zip(low, high, strict=True)
    )
    rows, columns = torch.meshgrid(vertical, horizontal, indexing="ij")
    corners = centre + torch.stack([columns, rows], dim=2).reshape(-1, 2) @ axes
    with torch.no_grad():
        velocity = torch.cat([of.step(part, u) - part for part in corners.split(4096)])
    share = float(values[:2].square().sum() / values.square().sum())
    shape = (grid, grid)
    plane = ("row", "column")
    data = {
        "speed": variable(
            plane,
            torch.linalg.vector_norm(velocity, dim=1).reshape(shape).numpy(),
            "speed",
            "1/step",
        ),
        "flow": variable(
            (*plane, "component"),
            (velocity @ axes.T).reshape(*shape, 2).numpy(),
            "velocity within the plane",
            "1/step",
        ),
        "horizontal": variable(("column",), horizontal.numpy(), "principal component 1", "1"),
        "vertical": variable(("row",), vertical.numpy(), "principal component 2", "1"),
        "axes": variable(("component", "state"), axes.numpy(), "principal axes", "1"),
        "centre": variable(("state",), centre.numpy(), "mean state", "1"),
        "plane_share": variable((), np.float64(share), "share of the variance", "1"),
    }
    attrs = describe("speed_map", model, {"grid": grid})
    return xr.Dataset(data, attrs=attrs)
