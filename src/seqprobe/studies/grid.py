"""From one row per run to one axis per setting."""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np
import xarray as xr

from seqprobe.errors import UsageError, unknown_name

__all__ = ["to_grid"]


def to_grid(runs: xr.Dataset, by: Sequence[str] | None = None) -> xr.Dataset:
    """Give every varied setting an axis of its own.

    Parameters
    ----------
    runs
        A group of a collected study, along ``run``.
    by
        Coordinates along ``run`` that become axes; None for those that the study varied and have
        more than one value, and the seed.

    Returns
    -------
    xarray.Dataset
        Without ``run``; NaN where a combination was not run.

    Raises
    ------
    UsageError
        If a name is no coordinate along ``run``, or two runs agree in all of them.
    """
    along = [str(n) for n, c in runs.coords.items() if c.dims == ("run",) and n != "run"]
    if by is None:
        factors = [f for f in json.loads(runs.attrs.get("factors", "[]")) if f in along]
        by = [f for f in factors if len(np.unique(runs[f].values)) > 1]
        by = [*by, *(["seed"] if "seed" in along else [])]
    for name in by:
        if name not in along:
            raise unknown_name("coordinate", name, along)
    rows = list(zip(*(runs[name].values.tolist() for name in by), strict=True))
    if len(set(rows)) < len(rows):
        double = next(row for row in rows if rows.count(row) > 1)
        said = ", ".join(f"{n} = {v}" for n, v in zip(by, double, strict=True))
        raise UsageError(f"several runs have {said}; name more coordinates in 'by'")
    plain = runs.drop_vars(["run", *(name for name in along if name not in by)])
    kept = {name: runs[name].attrs for name in by}
    grid = plain.set_index(run=list(by)) if len(by) > 1 else plain.swap_dims(run=by[0])
    if len(by) > 1:
        grid = grid.unstack("run")
    for name, attrs in kept.items():
        grid[name].attrs = attrs
    return grid
