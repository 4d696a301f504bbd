"""Train the units of a job: one, or seeds together."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from seqprobe import device as devices
from seqprobe.config import from_mapping
from seqprobe.errors import DivergedError, UnreadableFileError
from seqprobe.files import sha256
from seqprobe.models import architecture
from seqprobe.studies.stopwatch import Stopwatch
from seqprobe.studies.unit import Unit, UnitFolder
from seqprobe.studies.worker import Job, Report
from seqprobe.tasks import make_task
from seqprobe.training import (
    Checkpoint,
    Progress,
    Recipe,
    TrainConfig,
    Until,
    load_checkpoint,
    read_tensors,
    train,
    train_together,
)

__all__ = ["recipe_of", "train_units"]

OnStep = Callable[[Mapping[int, Progress]], None]
Outcomes = dict[int, Checkpoint | DivergedError]

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
    names = {unit.seed: unit.name for unit in units}
    home = folders[job.units[0].name]
    for path in (home.resume, home.own_resume):
        _drop_if_damaged(path)
    device = devices.resolve(job.device)
    watch = Stopwatch(_seconds_before(folders.values()), device.type == "cpu")
    last = 0.0

    def on_step(now: Mapping[int, Progress]) -> None:
        nonlocal last
        watch.updated(len(now))
        if time.monotonic() - last >= _SECONDS_BETWEEN_REPORTS:
            last = time.monotonic()
            own = {names[s]: dataclasses.asdict(p) for s, p in now.items() if s in names}
            report({"event": "progress", "units": own})

    def on_validation(seed: int, history: list[dict[str, float]]) -> None:
        if seed in names:
            folders[names[seed]].write_metrics(history, watch.seconds)
        watch.leave_out()

    recipe = recipe_of(units[0].recipe)
    arguments: dict[str, Any] = {
        "model": recipe.model,
        "task": recipe.task,
        "model_config": recipe.model_config,
        "config": recipe.config,
        "until": recipe.until,
        "device": device,
        "resume": True,
        "on_validation": on_validation,
    }
    train_job = _train_group if len(job.units) > 1 else _train_one
    outcomes = train_job(job, arguments, on_step)
    for unit in units:
        yield unit, _ended(folders[unit.name], recipe, outcomes[unit.seed])


def _seconds_before(folders: Collection[UnitFolder]) -> float:
    """Return how long networks were trained that now go on from a resume file."""
    if not any(folder.resume.exists() or folder.own_resume.exists() for folder in folders):
        return 0.0
    return max(folder.seconds() for folder in folders)


def _train_one(job: Job, arguments: dict[str, Any], on_step: OnStep) -> Outcomes:
    """Train the unit of a job that has one."""
    (unit,) = job.units
    folder = job.unit_folders()[unit.name]
    if not folder.own_resume.exists() and not _is_complete(folder.checkpoint):
        folder.checkpoint.unlink(missing_ok=True)  # of a run that ended before its resume file
    try:
        checkpoint = train(
            path=folder.checkpoint,
            seed=unit.seed,
            on_step=lambda now: on_step({unit.seed: now}),
            **arguments,
        )
    except DivergedError as error:
        return {unit.seed: error}
    return {unit.seed: checkpoint}


def _train_group(job: Job, arguments: dict[str, Any], on_step: OnStep) -> Outcomes:
    """Train the units of a job together.

    Where a group has to start again although some of its units are done, these are trained with
    the others, as they were, but into files that do not stay.
    """
    folders = {unit.seed: job.unit_folders()[unit.name] for unit in job.units}
    resume = folders[job.units[0].seed].resume
    paths = {seed: folder.checkpoint for seed, folder in folders.items()}
    again: dict[int, Path] = {}
    if not resume.exists() and not all(map(_is_complete, paths.values())):
        done = [seed for seed, folder in folders.items() if folder.done is not None]
        again = {seed: folders[seed].path / "again.pt" for seed in done}
    try:
        for path in again.values():
            path.unlink(missing_ok=True)
        return train_together(paths=paths | again, resume_path=resume, on_step=on_step, **arguments)
    finally:
        for path in again.values():
            path.unlink(missing_ok=True)


def _is_complete(path: Path) -> bool:
    """Say whether training wrote its last checkpoint."""
    return path.exists() and load_checkpoint(path).status != "training"


def _drop_if_damaged(resume: Path) -> None:
    """Remove a resume file that cannot be read: training starts again, to the same end."""
    if resume.exists():
        try:
            read_tensors(resume)
        except UnreadableFileError:
            resume.unlink()


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
    task, until = recipe.task, recipe.until
    scores = [entry["score"] for entry in outcome.history]
    return {
        "sha256": sha256(folder.checkpoint),
        "params": outcome.params,
        "best_step": outcome.step,
        "updates": int(outcome.history[-1]["step"]),
        "stopped": outcome.stopped,
        "reached": until is None or until.met(scores, task.metric),
        "solved": outcome.solved,
        "valid": outcome.metrics["valid"],
        "test": outcome.metrics["test"],
        "metric_unit": task.metric.unit,
        "chance": outcome.chance,
        "baseline": outcome.baseline,
        "train_length": task.length,
        "sequences_per_epoch": task.epoch(),
        "libraries": outcome.libraries,
    }
