"""Run a study: what is missing is done, what fails is kept, what is interrupted goes on later."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol

from seqprobe.studies.pool import on_this_machine
from seqprobe.studies.study import Study
from seqprobe.studies.unit import Unit
from seqprobe.studies.worker import Job

__all__ = ["Engine", "Standing", "cores", "run"]

_SECONDS_TO_WAIT_FOR_OTHERS = 2.0


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
    seconds
        Since the start.
    """

    total: int
    done: set[str] = field(default_factory=set)
    failed: dict[str, str] = field(default_factory=dict)
    elsewhere: set[str] = field(default_factory=set)
    running: dict[str, dict[str, Any]] = field(default_factory=dict)
    started: float = field(default_factory=time.monotonic)

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
        _drive(study, len(todo), names, crew, standing, on_change)
    return standing


def _drive(
    study: Study,
    open_jobs: int,
    names: set[str],
    engine: AbstractContextManager[Engine],
    standing: Standing,
    on_change: Callable[[Standing], None],
) -> None:
    """Follow the events of an engine until every job has ended."""
    again: list[tuple[float, Job]] = []
    with engine as crew:
        while open_jobs:
            event = crew.next_event(0.5)
            if again and again[0][0] <= time.monotonic():
                crew.submit(again.pop(0)[1])
            if event is not None:
                job, message = event
                ours = [unit for unit in job.units if unit.name in names]
                if message["event"] == "progress":
                    if message["unit"] not in standing.done:  # messages of a cluster may be late
                        standing.running[message["unit"]] = message
                elif message["event"] == "busy":
                    standing.elsewhere |= {unit.name for unit in ours}
                    again.append((time.monotonic() + _SECONDS_TO_WAIT_FOR_OTHERS, job))
                else:
                    if message["event"] == "died":
                        _bury(study, job, message)
                    open_jobs -= 1
                    _settle(study, ours, standing)
                    standing.elsewhere -= {unit.name for unit in ours}
                    for unit in job.units:
                        standing.running.pop(unit.name, None)
            on_change(standing)


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


def _bury(study: Study, job: Job, message: dict[str, Any]) -> None:
    """Write down what a dead worker could not: that its units failed."""
    for unit in job.units:
        folder = study.unit_folder(unit)
        if study.state(unit) not in ("done", "failed"):
            folder.fail("died", message["reason"], message["words"])
