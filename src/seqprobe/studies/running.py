"""Run a study: what is missing is done, what fails is kept, what is interrupted goes on later."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol

import filelock

from seqprobe.errors import SeqprobeError
from seqprobe.studies.pool import on_this_machine
from seqprobe.studies.study import Study
from seqprobe.studies.unit import Unit
from seqprobe.studies.worker import Job

__all__ = ["Engine", "Standing", "cores", "run"]

_SECONDS_TO_WAIT_FOR_OTHERS = 2.0
_LOOKS = 5


class Engine(Protocol):
    """What works on jobs: `pool.Crew`, or the workers of a Dask cluster."""

    def submit(self, job: Job) -> None:
        """Put a job at the end of the queue again."""

    def next_event(self, seconds: float) -> tuple[Job, dict[str, Any]] | None:
        """Return what a worker says; see `pool.Crew.next_event`."""


@dataclass
class Standing:
    """How far a run is.

    Attributes
    ----------
    total
        Units that the run is to bring to an end.
    done, failed
        Units that have ended, by name; with the reason if they failed.
    elsewhere
        Units that another run is at.
    running
        The last report of every unit in work, by name.
    """

    total: int
    done: set[str] = field(default_factory=set)
    failed: dict[str, str] = field(default_factory=dict)
    elsewhere: set[str] = field(default_factory=set)
    running: dict[str, dict[str, Any]] = field(default_factory=dict)

    @property
    def progress(self) -> float:
        """Units that have ended, with the share of those in work."""
        trained = [r for r in self.running.values() if "step" in r]
        shares: float = sum(r["step"] / max(1, r["steps"]) for r in trained)
        return min(len(self.done) + len(self.failed) + shares, self.total)


def cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def run(
    study: Study,
    units: tuple[Unit, ...] | None = None,
    *,
    engine: Callable[[list[Job]], AbstractContextManager[Engine]] | None = None,
    jobs: int | None = None,
    device: str = "cpu",
    on_change: Callable[[Standing], None] = lambda standing: None,
) -> Standing:
    """Train and analyse what is missing of a study.

    Failed units are left alone; `retry` makes them run again. The folder is the truth: a run that
    is killed at any moment loses what its units did since their last validation, and the next run
    ends with the same checkpoints. Two runs of one study share the work: a unit that another
    process is at is looked at again later.

    Parameters
    ----------
    study
        What to run.
    units
        Some of its units; None for all.
    engine
        Where to work; None for this machine.
    jobs
        Processes on this machine, each with one thread; None for one per core.
    device
        Where a process computes.
    on_change
        Called with the present standing, several times per second.

    Returns
    -------
    Standing
        How it ended; ``done`` includes what was done before.
    """
    chosen = study.units if units is None else units
    study.write()
    names = {unit.name for unit in chosen}
    standing = Standing(total=len(names))
    todo = []
    for group in study.jobs:
        wanted = [unit for unit in group if unit.name in names]
        if wanted and not _settle(study, wanted, standing):
            todo.append(Job(study.folder, group, study.analyses, device))
    on_change(standing)
    if todo:
        crew = on_this_machine(todo, jobs or cores()) if engine is None else engine(todo)
        with crew as workers:
            Foreman(study, names, standing, workers).follow(len(todo), on_change)
    return standing


class Foreman:
    """Follows what workers say until every job has ended.

    Parameters
    ----------
    study
        What is run.
    names
        The units that count; a job may have more.
    standing
        Kept up to date.
    crew
        The workers, who have the jobs already.
    """

    def __init__(self, study: Study, names: set[str], standing: Standing, crew: Engine) -> None:
        self.study, self.names, self.standing, self.crew = study, names, standing, crew
        self.later: list[tuple[float, Job]] = []
        self.looks: Counter[str] = Counter()

    def follow(self, open_jobs: int, on_change: Callable[[Standing], None]) -> None:
        """Listen until so many jobs have ended."""
        while open_jobs:
            event = self.crew.next_event(0.5)
            if self.later and self.later[0][0] <= time.monotonic():
                self.crew.submit(self.later.pop(0)[1])
            if event is not None and self.has_ended(*event):
                open_jobs -= 1
            on_change(self.standing)

    def has_ended(self, job: Job, message: dict[str, Any]) -> bool:
        """Take a message in; say whether there is nothing left to do for its job."""
        standing, kind = self.standing, message["event"]
        if kind == "progress":
            # Messages of a cluster may be late.
            live = {n: r for n, r in message["units"].items() if n not in standing.done}
            standing.running.update(live)
            return False
        ours = [unit for unit in job.units if unit.name in self.names]
        for unit in job.units:
            standing.running.pop(unit.name, None)
        if kind == "busy" or (kind == "died" and not _bury(self.study, job, message)):
            standing.elsewhere |= {unit.name for unit in ours}
            return self.look_again(job)
        standing.elsewhere -= {unit.name for unit in ours}
        if _settle(self.study, ours, standing):
            return True
        if kind == "died":  # the rest of its group has not failed
            return self.look_again(job)
        # A shared folder may show later what another machine has written.
        self.looks[job.units[0].name] += 1
        if self.looks[job.units[0].name] <= _LOOKS:
            return self.look_again(job)
        for unit in ours:
            if unit.name not in standing.done:
                standing.failed.setdefault(unit.name, "ended without a result in its folder")
        return True

    def look_again(self, job: Job) -> bool:
        """Hand a job out again after a while."""
        self.later.append((time.monotonic() + _SECONDS_TO_WAIT_FOR_OTHERS, job))
        return False


def _settle(study: Study, units: list[Unit], standing: Standing) -> bool:
    """Note which units have ended; say whether all of them have."""
    for unit in units:
        state = study.state(unit)
        if state == "done":
            standing.done.add(unit.name)
        elif state == "failed":
            error = study.unit_folder(unit).error or {}
            standing.failed[unit.name] = str(error.get("message", "error.json is damaged"))
    return all(unit.name in standing.done or unit.name in standing.failed for unit in units)


def _bury(study: Study, job: Job, message: dict[str, Any]) -> bool:
    """Write down what a dead worker could not; False if another run is at the job by now.

    If it died in training, all units of the group that were in training have failed; if it died in
    an analysis, the unit that was asked.
    """
    folders = {unit.name: study.unit_folder(unit) for unit in job.units}
    try:
        for unit in job.units:
            folders[unit.name].path.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(folders[job.units[0].name].path / "lock", blocking=False):
            left = [u for u in job.units if study.state(u) not in ("done", "failed")]
            training = [unit for unit in left if folders[unit.name].done is None]
            for unit in training or left[:1]:
                folders[unit.name].make(unit)
                folders[unit.name].fail("died", message["reason"], message["words"])
    except filelock.Timeout:
        return False
    except OSError as error:
        raise SeqprobeError(
            f"cannot write into '{study.folder}': {error.strerror or error};"
            " nothing is lost: mend that, and the same command goes on"
        ) from None
    return True
