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
        missing = int(runs[name].isnull().sum()) + int((runs[name] == "").sum())
        if missing:
            raise UsageError(
                f"'{name}' has no value in {missing} of {runs.sizes['run']} runs, which so have no"
                " place on its axis; choose the others, or name other coordinates in 'by'"
            )
    _check_unique(runs, by)
    plain = runs.drop_vars(["run", *(name for name in along if name not in by)])
    if len(by) == 1:
        return plain.swap_dims(run=by[0])
    grid = plain.set_index(run=list(by)).unstack("run")
    for name in by:
        grid[name].attrs = runs[name].attrs
    return grid


def _check_unique(runs: xr.Dataset, by: Sequence[str]) -> None:
    """Refuse two runs in one place, naming what tells them apart."""
    rows = list(zip(*(runs[name].values.tolist() for name in by), strict=True))
    first = {row: i for i, row in reversed(list(enumerate(rows)))}
    for i, row in enumerate(rows):
        if first[row] != i:
            pair = runs.isel(run=[first[row], i])
            differing = [
                str(n)
                for n, c in pair.coords.items()
                if c.dims == ("run",) and n not in _NAMES and len({*map(repr, c.values)}) > 1
            ]
            said = ", ".join(f"{name} = {value}" for name, value in zip(by, row, strict=True))
            raise UsageError(
                f"several runs have {said}; they differ in {', '.join(differing) or 'nothing'}:"
                " name it in 'by', or choose runs"
            )


# What tells runs apart but is no setting.
_NAMES = ("run", "checkpoint_sha256", "model_config", "task_config")
