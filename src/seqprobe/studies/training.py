"""Train the units of a job: seeds together where the plan says so, or one at a time."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from seqprobe import device as devices
from seqprobe.config import from_mapping
from seqprobe.errors import DivergedError
from seqprobe.files import sha256
from seqprobe.models import architecture
from seqprobe.studies.unit import Unit, UnitFolder
from seqprobe.studies.worker import Job, Report
from seqprobe.tasks import make_task
from seqprobe.training import (
    Checkpoint,
    Progress,
    Recipe,
    TrainConfig,
    Until,
    train,
    train_together,
)

__all__ = ["recipe_of", "train_units"]

_SECONDS_BETWEEN_REPORTS = 0.5


def train_units(
    job: Job, units: list[Unit], report: Report
) -> Iterator[tuple[Unit, dict[str, Any] | DivergedError]]:
    """Train units of a job and yield each with how it ended.

    Parameters
    ----------
    job
        All units that are trained together.
    units
        Those that are missing.
    report
        Receives progress every half second.
    """
    folders = job.unit_folders()
    by_seed = {unit.seed: unit for unit in units}
    last = 0.0

    def on_step(now: Mapping[int, Progress]) -> None:
        nonlocal last
        if time.monotonic() - last < _SECONDS_BETWEEN_REPORTS:
            return
        last = time.monotonic()
        for seed, progress in now.items():
            if seed in by_seed:
                name = by_seed[seed].name
                report({"event": "progress", "unit": name} | dataclasses.asdict(progress))

    def on_validation(seed: int, history: list[dict[str, float]]) -> None:
        if seed in by_seed:
            folders[by_seed[seed].name].write_metrics(history)

    recipe = recipe_of(units[0].recipe)
    arguments: dict[str, Any] = {
        "model": recipe.model,
        "task": recipe.task,
        "model_config": recipe.model_config,
        "config": recipe.config,
        "until": recipe.until,
        "device": devices.resolve(job.device),
        "resume": True,
        "on_validation": on_validation,
    }
    if len(job.units) > 1:
        outcomes = train_together(
            paths={unit.seed: folders[unit.name].checkpoint for unit in job.units},
            resume_path=folders[job.units[0].name].resume,
            on_step=on_step,
            **arguments,
        )
        for unit in units:
            yield unit, _ended(folders[unit.name], recipe, outcomes[unit.seed])
        return
    for unit in units:
        try:
            checkpoint = train(
                path=folders[unit.name].checkpoint,
                seed=unit.seed,
                on_step=_of_one(unit.seed, on_step),
                **arguments,
            )
        except DivergedError as error:
            yield unit, error
        else:
            yield unit, _ended(folders[unit.name], recipe, checkpoint)


def _of_one(
    seed: int, on_step: Callable[[Mapping[int, Progress]], None]
) -> Callable[[Progress], None]:
    return lambda now: on_step({seed: now})


def recipe_of(content: Mapping[str, Any]) -> Recipe:
    """Return the recipe of `Recipe.as_dict`.

    Raises
    ------
    UsageError
        If this version of seqprobe does not know a name or a setting in it.
    """
    settings = dict(content["train"])
    until = settings.pop("until")
    name = content["model"]["name"]
    return Recipe(
        model=name,
        model_config=from_mapping(architecture(name).config, content["model"]["config"], "model"),
        task=make_task(content["task"]["name"], content["task"]["config"]),
        config=from_mapping(TrainConfig, settings, "train"),
        until=None if until is None else from_mapping(Until, until, "train"),
        seed=content["seed"],
    )


def _ended(
    folder: UnitFolder, recipe: Recipe, outcome: Checkpoint | DivergedError
) -> dict[str, Any] | DivergedError:
    """Return what ``done.json`` says of a unit."""
    if isinstance(outcome, DivergedError):
        return outcome
    folder.write_metrics(outcome.history)  # a kill may have come between the last two files
    metric, until = recipe.task.metric, recipe.until
    scores = [entry["score"] for entry in outcome.history]
    return {
        "sha256": sha256(folder.checkpoint),
        "params": outcome.params,
        "best_step": outcome.step,
        "updates": int(outcome.history[-1]["step"]),
        "stopped": outcome.stopped,
        "reached": until is None or until.met(scores, metric),
        "solved": outcome.solved,
        "valid": outcome.metrics["valid"],
        "test": outcome.metrics["test"],
        "metric_unit": metric.unit,
        "train_length": recipe.task.length,
        "libraries": outcome.libraries,
    }
