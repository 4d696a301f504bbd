"""A finished study as one labelled tree of arrays."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from seqprobe import provenance
from seqprobe.errors import UnreadableFileError, UsageError
from seqprobe.schema import variable
from seqprobe.studies.analyses import Analysis, result_stem
from seqprobe.studies.comparisons import comparison_group, stored_comparison
from seqprobe.studies.selection import RULE, why_left_out
from seqprobe.studies.stack import read_results, stack_results
from seqprobe.studies.study import Study
from seqprobe.studies.unit import Unit, UnitFolder
from seqprobe.studies.upkeep import status

__all__ = ["collect"]

# Numbers of ``done.json`` with what they are and their unit, empty for that of the metric.
_SCALARS = {
    "score": ("score on the test split", ""),
    "standard_error": ("standard error of the score over test sequences", ""),
    "valid_score": ("best score on the validation split", ""),
    "best_step": ("update that the weights are from", "update"),
    "updates": ("updates done when training stopped", "update"),
    "params": ("trained reals", "1"),
    "seconds": ("time of training on a shared machine; of all seeds trained together", "s"),
    "solved": ("test score meets the task's criterion", "1"),
    "chance": ("score of an answer that knows nothing of the input", ""),
    "baseline": ("test score of a baseline that does not learn what the task is about", ""),
}


def collect(study: Study) -> xr.DataTree:
    """Put all that a study found into one tree.

    Units whose training is not done, failed or did not reach its threshold are left out, and listed
    in the group ``excluded`` with the reason. Where an analysis of a unit failed, its numbers are
    NaN.

    Returns
    -------
    xarray.DataTree
        At the root, along ``run``: scores, and architecture, task, seed, hashes and every setting
        that differs as coordinates, which the groups inherit. Group ``training``: loss and score
        along (run, step). One group per analysis, named by it, along (run, ...): NaN where it does
        not apply to a model; one per comparison of all units, along networks. Nothing is padded for
        combinations that were not run; see `to_grid`.

    Raises
    ------
    UsageError
        If no unit counts yet.
    UnreadableFileError
        If a result is damaged.
    """
    included: list[tuple[Unit, dict[str, Any]]] = []
    left_out: list[tuple[Unit, str]] = []
    for found in status(study):
        why = why_left_out(found.state, found.done, found.error)
        if why or found.done is None:
            left_out.append((found.unit, why))
        else:
            included.append((found.unit, found.done))
    if not included:
        raise UsageError(
            f"study '{study.name}' has nothing to collect yet: {_counted(left_out)};"
            " see 'seqprobe study status'"
        )
    root = _root(study, included)
    groups = {"/": root, "training": _histories(study, included, root["run"])}
    for name, analysis in _named(study.analyses).items():
        stacked = _results(study, included, analysis, root["run"])
        if stacked is not None:
            groups[name] = stacked
    for analysis in study.compare:
        compared = stored_comparison(study, analysis)
        if compared is not None:
            groups[comparison_group(study, analysis)] = compared
    for group in groups.values():
        group.attrs["factors"] = root.attrs["factors"]  # `to_grid` takes any of them
    groups["training"].attrs["n_excluded"] = len(left_out)
    if left_out:
        groups["excluded"] = _excluded(left_out)
    return xr.DataTree.from_dict(groups, name=study.name)


def _counted(left_out: Sequence[tuple[Unit, str]]) -> str:
    reasons = Counter(why.partition(":")[0] for _, why in left_out)
    return ", ".join(f"{count} {reason}" for reason, count in reasons.items())


def _root(study: Study, included: Sequence[tuple[Unit, dict[str, Any]]]) -> xr.Dataset:
    flat = [
        done
        | {
            "score": done["test"]["score"],
            "standard_error": done["test"]["standard_error"],
            "valid_score": done["valid"]["score"],
            # Studies that are older do not say them.
            "chance": done.get("chance", math.nan),
            "baseline": done.get("baseline", {}).get("score", math.nan),
        }
        for _, done in included
    ]
    data = {
        name: variable(
            ("run",), np.array([entry[name] for entry in flat]), long_name, units or _unit(included)
        )
        for name, (long_name, units) in _SCALARS.items()
    }
    attrs = provenance.attrs(
        "study", {"size": study.size}, seed=0, device="cpu", dtype="see the groups"
    )
    attrs |= {
        "study": study.name,
        "factors": json.dumps(study.factors),
        "rule": RULE,
        "n_units": len(study.units),
        "n_included": len(included),
    }
    del attrs["seed"], attrs["device"], attrs["dtype"]  # they differ between groups
    return xr.Dataset(data, _coordinates(study, included), attrs)


def _unit(included: Sequence[tuple[Unit, dict[str, Any]]]) -> str:
    """Return the unit of scores; the coordinate ``metric`` says what each is."""
    return " or ".join(dict.fromkeys(done["metric_unit"] for _, done in included))


def _coordinates(
    study: Study, included: Sequence[tuple[Unit, dict[str, Any]]]
) -> dict[str, xr.Variable]:
    units = [unit for unit, _ in included]
    keys = dict.fromkeys(key for unit in units for key in unit.settings)
    differing = [
        key
        for key in keys
        if key in study.factors or len({repr(unit.settings.get(key)) for unit in units}) > 1
    ]
    columns: dict[str, tuple[Sequence[Any], str]]
    columns = {key: ([u.settings.get(key) for u in units], f"setting {key}") for key in differing}
    config = {
        section: [json.dumps(u.recipe[section]["config"], sort_keys=True) for u in units]
        for section in ("model", "task")
    }
    columns |= {
        "run": ([unit.name for unit in units], "unit"),
        "seed": ([unit.seed for unit in units], "seed of weights and data order"),
        "metric": ([done["test"]["metric"] for _, done in included], "what score means"),
        "train_length": ([done["train_length"] for _, done in included], "training length"),
        "checkpoint_sha256": ([done["sha256"] for _, done in included], "hash of the checkpoint"),
        "model_config": (config["model"], "all settings of the model"),
        "task_config": (config["task"], "all settings of the task"),
    }
    return {
        name: variable(("run",), _column(values), long_name, "1")
        for name, (values, long_name) in columns.items()
    }


def _column(values: Sequence[Any]) -> np.ndarray:
    """Return values of one kind as an array; what some runs do not have is NaN or empty."""
    kinds = {type(value) for value in values if value is not None}
    if kinds <= {int, float} and kinds:
        if kinds == {int} and None not in values:
            return np.array(values)
        return np.array([math.nan if value is None else float(value) for value in values])
    if kinds == {bool}:
        whole = None not in values
        return np.array(values) if whole else np.array(values, dtype=float)  # None becomes NaN
    return np.array(["" if value is None else str(value) for value in values], dtype=object)


def _histories(
    study: Study, included: Sequence[tuple[Unit, dict[str, Any]]], run: xr.DataArray
) -> xr.Dataset:
    """Return loss and score at every validation, NaN after a run has stopped."""
    read = [study.unit_folder(unit).read_metrics() for unit, _ in included]
    steps = sorted({int(line["step"]) for lines in read for line in lines})
    position = {step: i for i, step in enumerate(steps)}
    names = ("loss", "score", "seconds")
    values = {name: np.full((len(read), len(steps)), np.nan) for name in names}
    for row, lines in enumerate(read):
        at = [position[int(line["step"])] for line in lines]
        for name, array in values.items():
            array[row, at] = [line[name] for line in lines]
    return xr.Dataset(
        {
            "loss": variable(("run", "step"), values["loss"], "training loss", "1"),
            "score": variable(
                ("run", "step"), values["score"], "score on the validation split", _unit(included)
            ),
            "seconds": variable(
                ("run", "step"),
                values["seconds"],
                "time of updates per network (processor time on CPUs), shared if trained together",
                "s",
            ),
            "epoch": variable(
                ("run", "step"),
                np.where(np.isnan(values["score"]), np.nan, _epochs(included, steps)),
                "passes over the training data",
                "1",
            ),
            "kept_score": variable(
                ("run",),
                np.array([done["valid"]["score"] for _, done in included]),
                "best score on the validation split, of the weights that are kept",
                _unit(included),
            ),
            "stopped_at": variable(
                ("run",),
                np.array([done["updates"] for _, done in included]),
                "updates done when training stopped",
                "update",
            ),
            "threshold": variable(
                ("run",),
                np.array(
                    [unit.settings.get("train.until.threshold", math.nan) for unit, _ in included]
                ),
                "score at which training stops",
                _unit(included),
            ),
        },
        {"run": run, "step": variable(("step",), np.array(steps), "updates", "update")},
    )


def _epochs(included: Sequence[tuple[Unit, dict[str, Any]]], steps: list[int]) -> np.ndarray:
    """Return how often the training data was seen, (run, step); NaN where it has no end."""
    # Studies that are older do not say it either.
    epochs = [done.get("sequences_per_epoch") or math.nan for _, done in included]
    batches = [unit.settings["train.batch"] for unit, _ in included]
    return np.outer(np.array(batches) / np.array(epochs), steps)


def _named(analyses: Sequence[Analysis]) -> dict[str, Analysis]:
    """Return a group's name for every analysis: its own, with a hash where that does not tell."""
    names = [analysis.name for analysis in analyses]
    return {
        analysis.name if names.count(analysis.name) == 1 else analysis.stem: analysis
        for analysis in analyses
    }


def _results(
    study: Study,
    included: Sequence[tuple[Unit, dict[str, Any]]],
    analysis: Analysis,
    run: xr.DataArray,
) -> xr.Dataset | None:
    """Return the results of one analysis, or None if there is none."""

    def result(folder: UnitFolder) -> Path | None:
        stem = result_stem(folder.checkpoint, analysis)
        path = stem.with_name(f"{stem.name}.nc")
        return path if path.exists() else None

    files = [result(study.unit_folder(unit)) for unit, _ in included]
    if not any(files):
        return None
    layouts = [(unit.settings["architecture"], unit.settings["task"]) for unit, _ in included]
    results = read_results(files, layouts)
    for found, (_, done) in zip(results, included, strict=True):
        if found is not None and found.attrs.get("checkpoint_sha256") != done["sha256"]:
            raise UnreadableFileError(
                f"'{found.file}' is of another checkpoint; 'seqprobe study validate --repair'"
                " removes it"
            )
    stacked = stack_results(results, run)
    stacked.attrs["n_runs"] = sum(file is not None for file in files)
    there = np.array([file is not None for file in files])
    stacked["measured"] = variable(("run",), there, "there is a result for this run", "1")
    return stacked


def _excluded(left_out: Sequence[tuple[Unit, str]]) -> xr.Dataset:
    """Return the units that do not count, along an axis of their own."""
    texts = {
        "unit": ([unit.name for unit, _ in left_out], "unit"),
        "reason": ([why for _, why in left_out], "why it does not count"),
    }
    return xr.Dataset(
        {
            name: variable(("excluded",), np.array(values, dtype=object), long_name, "1")
            for name, (values, long_name) in texts.items()
        },
        attrs={"rule": RULE},
    )
