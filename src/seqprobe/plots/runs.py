"""Which runs of a result belong together: same architecture, same settings, other seeds."""

from __future__ import annotations

import json
from pathlib import PurePath
from typing import Any, Literal, NamedTuple

import numpy as np
import xarray as xr

from seqprobe.errors import UsageError

__all__ = ["Group", "groups", "single", "singles", "values"]


# What a collected study calls the same thing.
_IN_STUDIES = {"model": "architecture", "train_seed": "seed"}


class Group(NamedTuple):
    """Runs that differ in their seed alone.

    Attributes
    ----------
    name
        Architecture or task.
    label
        The name, with the settings that tell it from groups of the same name.
    variant
        Position among the groups of the same name.
    runs
        Their results along ``run``.
    """

    name: str
    label: str
    variant: int
    runs: xr.Dataset


def values(result: xr.Dataset, key: str) -> list[str]:
    """Return what every run says of itself, from the coordinate or the shared attribute."""
    n = result.sizes.get("run", 1)
    for name in (key, _IN_STUDIES.get(key)):
        if name in result.coords:
            return [str(value) for value in np.atleast_1d(result[name].values)]
    return [str(result.attrs.get(key, ""))] * n


def groups(
    result: xr.Dataset, key: Literal["model", "task"], without: str | None = None
) -> list[Group]:
    """Return the runs by task, or by architecture with all its settings, its task and training.

    Parameters
    ----------
    result
        One result, or several along ``run``.
    key
        What to tell apart.
    without
        A setting that does not tell groups apart, such as ``"task.delay"``.
    """
    runs = result if "run" in result.dims else result.expand_dims("run")
    names = values(result, key)
    settings = _settings(result, key)
    if without is not None:
        for own in settings:
            own.pop(without.partition(".")[2], None)
    distinct: list[tuple[str, dict[str, Any]]] = []
    members: list[list[int]] = []
    for i, identity in enumerate(zip(names, settings, strict=True)):
        if identity not in distinct:
            distinct.append(identity)
            members.append([])
        members[distinct.index(identity)].append(i)
    found = []
    for (name, own), rows in zip(distinct, members, strict=True):
        same = [other for other_name, other in distinct if other_name == name]
        differing = [k for k in own if any(other.get(k) != own[k] for other in same)]
        shown = [k for k in differing if own[k] is not None and k != "vocabulary"]
        between = ", " if key == "task" else " "
        label = between.join([name, *(f"{k}={own[k]}" for k in shown)]).replace("$", r"\$")
        found.append(Group(name, label, same.index(own), runs.isel(run=rows)))
    return found


def _settings(result: xr.Dataset, key: Literal["model", "task"]) -> list[dict[str, Any]]:
    """Return the settings that tell groups apart, one mapping per run."""
    tasks = [json.loads(text or "{}") for text in values(result, "task_config")]
    if key == "task":
        return tasks
    models = [json.loads(text or "{}") for text in values(result, "model_config")]
    rows = zip(values(result, "task"), tasks, models, _training(result), strict=True)
    return [{"task": name, **task, **model, **train} for name, task, model, train in rows]


def _training(result: xr.Dataset) -> list[dict[str, Any]]:
    """Return the settings of training that differ between the runs of a study."""
    names = [str(n) for n, c in result.coords.items() if str(n).startswith("train.") and c.ndim]
    columns = {name.removeprefix("train."): result[name].values.tolist() for name in names}
    return [
        {name: values[i] for name, values in columns.items() if values[i] == values[i]}
        for i in range(result.sizes.get("run", 1))
    ]


def singles(result: xr.Dataset) -> list[tuple[str, xr.Dataset]]:
    """Return every run by itself, with a label and without what other runs padded it with.

    A label is the architecture and the task, with the file's name where that does not tell.
    """
    runs = result if "run" in result.dims else result.expand_dims("run")
    plain = [
        " ".join(word for word in pair if word)
        for pair in zip(values(runs, "task"), values(runs, "model"), strict=True)
    ]
    paths = values(runs, "run") if "run" in runs.coords else plain
    short = [f"{label}, {PurePath(path).stem}" for label, path in zip(plain, paths, strict=True)]
    labels = [
        label
        if plain.count(label) == 1
        else brief
        if short.count(brief) == 1
        else f"{label}, {'/'.join(PurePath(path).parts[-2:])}"
        for label, brief, path in zip(plain, short, paths, strict=True)
    ]
    return [(label, _trimmed(runs.isel(run=i))) for i, label in enumerate(labels)]


def single(result: xr.Dataset) -> xr.Dataset:
    """Return the one run of a result.

    Raises
    ------
    UsageError
        If there are several.
    """
    runs = singles(result)
    if len(runs) != 1:
        raise UsageError(
            f"result holds {len(runs)} runs, and this draws one (use result.isel(run=0), or the"
            " function whose name ends in _figure)"
        )
    return runs[0][1]


def _trimmed(run: xr.Dataset) -> xr.Dataset:
    """Drop what is NaN in every variable, along every dimension."""
    keep = {}
    for dim in run.dims:
        if dim in run.coords and not run[dim].attrs.get("long_name", "").endswith(" number"):
            continue  # it has labels of its own; only what padding numbered is dropped
        along = [
            v for v in run.data_vars.values() if dim in v.dims and v.dtype.kind in "fc" and v.size
        ]
        if along:
            there = [v.notnull().any([d for d in v.dims if d != dim]).values for v in along]
            keep[dim] = np.flatnonzero(np.any(there, axis=0))
    return run.isel(keep)
