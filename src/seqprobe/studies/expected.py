"""Does a study say again what it said before? ``expected.toml`` against what was found."""

from __future__ import annotations

import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import xarray as xr

from seqprobe.config import bounded, flatten, from_mapping
from seqprobe.errors import UnreadableFileError, UsageError, suggestion, unknown_name
from seqprobe.studies.collection import collect
from seqprobe.studies.study import Study

__all__ = ["EXPECTED_FILE", "Verdict", "check"]

EXPECTED_FILE = "expected.toml"
_ROWS = ("run", "ensemble")  # what a value is of: one network, or all networks of a setting
Statistic = Literal["median", "mean", "min", "max"]


@dataclass(frozen=True)
class Expectation:
    """One value that a study is to have.

    Attributes
    ----------
    claim
        In words.
    variable
        ``"score"``, or ``"memory.profile/peak_lag"`` for a variable of an analysis; of a
        comparison, a variable along ``ensemble``, ``"degeneracy/dpif_mean"``.
    value, tolerance
        What is expected, and by how much the value found may differ.
    count
        Count the numbers of a run that equal this, in place of taking its one number.
    statistic
        Over the runs.
    seeds
        Least number of different seeds among the runs.
    size
        ``"full"`` or ``"smoke"``.
    """

    claim: str
    variable: str
    value: float
    tolerance: float = bounded(None, 0.0)
    count: float | None = None
    statistic: Statistic = "median"
    seeds: int = bounded(1, 1, 10**6)
    size: Literal["full", "smoke"] = "full"


@dataclass(frozen=True)
class Verdict:
    """What came of an expectation.

    Attributes
    ----------
    claim, expected, tolerance
        As the file says.
    found
        NaN if there is nothing to compare.
    n_runs, n_seeds
        What the value is from.
    agrees
        Whether it is within the tolerance, from enough seeds.
    reason
        Why not, if it does not agree.
    """

    claim: str
    expected: float
    tolerance: float
    found: float
    n_runs: int
    n_seeds: int
    agrees: bool
    reason: str


def check(study: Study) -> list[Verdict]:
    """Compare a study with the ``expected.toml`` beside its file.

    Every ``[[expect]]`` names a claim, a variable, the value and its tolerance, and may choose runs
    (``where``, coordinates with values) and places along other dimensions (``at``).

    Raises
    ------
    UnreadableFileError
        If there is no such file, or it is not TOML.
    UsageError
        If it expects nothing of this size, or names what the study does not have.
    """
    path = study.source.parent / EXPECTED_FILE
    entries = [entry for entry in _read(path) if entry[0].size == study.size]
    if not entries:
        raise UsageError(f"'{path}' expects nothing of size '{study.size}'")
    tree = collect(study)
    return [_judge(expected, where, at, tree) for expected, where, at in entries]


def _read(path: Path) -> list[tuple[Expectation, dict[str, Any], dict[str, Any]]]:
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UnreadableFileError(f"'{path}' does not exist; write what you expect") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UnreadableFileError(f"'{path}' is not a TOML file: {error}") from None
    for key in content:
        if key != "expect":
            raise UsageError(
                f"unknown key '{key}' in '{path}'{suggestion(key, ['expect'])} (allowed: expect)"
            )
    listed = content.get("expect", [])
    if not isinstance(listed, list) or not all(isinstance(entry, dict) for entry in listed):
        raise UsageError(f"'{path}': expectations stand under [[expect]]")
    entries = []
    for entry in listed:
        own = dict(entry)
        where, at = own.pop("where", {}), own.pop("at", {})
        if not isinstance(where, dict) or not isinstance(at, dict):
            raise UsageError(f"'{path}': 'where' and 'at' are tables, as in where.seed = 0")
        missing = {"claim", "variable", "value", "tolerance"} - own.keys()
        if missing:
            raise UsageError(f"[[expect]] in '{path}' has no '{min(missing)}'; give it")
        entries.append((from_mapping(Expectation, own, "expect"), flatten(where), at))
    return entries


def _judge(
    expected: Expectation, where: Mapping[str, Any], at: Mapping[str, Any], tree: xr.DataTree
) -> Verdict:
    values = _variable(expected.variable, tree)
    rows = next(dim for dim in _ROWS if dim in values.dims)
    chosen = np.ones(values.sizes[rows], dtype=bool)
    for key, wanted in where.items():
        if key not in values.coords or values[key].dims != (rows,):
            known = [str(n) for n, c in values.coords.items() if c.dims == (rows,)]
            raise unknown_name("coordinate", key, known)
        chosen &= np.isin(values[key].values, wanted)
    runs = values.isel({rows: np.flatnonzero(chosen)})
    for dim, label in at.items():
        runs = runs.isel({dim: _position(runs, dim, label)})
    if expected.count is not None:
        inner = [dim for dim in runs.dims if dim != rows]
        # Of a run without the analysis there is nothing to count, which is not a count of none.
        runs = (runs == expected.count).sum(inner).where(runs.notnull().any(inner))
    if runs.dims != (rows,):
        rest = ", ".join(str(dim) for dim in runs.dims if dim != rows)
        raise UsageError(
            f"'{expected.variable}' is a number per {rest}; choose one with 'at', or 'count' those"
            " that equal something"
        )
    numbers = runs.values.astype(float)
    there = np.isfinite(numbers)
    n_runs, seeds = int(there.sum()), len(there)
    if rows == "run":
        seeds = len(set(runs["seed"].values[there].tolist()))
    elif there.any():  # each value is of all networks of an ensemble
        n_runs = int(runs["n_networks"].values[there].sum())
        seeds = int(runs["n_networks"].values[there].min())
    found = float(getattr(np, expected.statistic)(numbers[there])) if there.any() else math.nan
    reason = ""
    if not there.any():
        reason = "no run has it"
    elif seeds < expected.seeds:
        reason = f"{seeds} seeds, {expected.seeds} are needed"
    elif abs(found - expected.value) > expected.tolerance:
        reason = f"off by {abs(found - expected.value):.3g}"
    return Verdict(
        *(expected.claim, expected.value, expected.tolerance, found),
        *(n_runs, seeds, not reason, reason),
    )


def _position(runs: xr.DataArray, dim: str, label: Any) -> int:
    """Return where a label stands along a dimension; positions where it has no labels."""
    if dim in runs.dims and dim != "run":
        labels = runs[dim].values if dim in runs.coords else np.arange(runs.sizes[dim])
        numbers = labels.dtype.kind in "fiu" and isinstance(label, (int, float))
        same = np.isclose(labels, label) if numbers else labels == label
        found = np.flatnonzero(same)
        if len(found):
            return int(found[0])
    raise UsageError(f"'{runs.name}' has no {dim} = {label!r}")


def _variable(name: str, tree: xr.DataTree) -> xr.DataArray:
    group, _, last = name.rpartition("/")
    if group and group not in tree.children:
        raise unknown_name("analysis in this study", group, tree.children)
    dataset = tree[group].to_dataset() if group else tree.to_dataset()
    if last not in dataset.data_vars:
        raise unknown_name("variable", last, map(str, dataset.data_vars))
    if not set(_ROWS) & set(dataset[last].dims) or dataset[last].dtype.kind not in "fiub":
        raise UsageError(f"'{name}' is not a number per run, or per ensemble of networks")
    return dataset[last]
