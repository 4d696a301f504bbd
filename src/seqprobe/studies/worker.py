"""What one process does for a study: train the units of a job, and analyse them.

``python -m seqprobe.studies.worker`` reads jobs from stdin and writes what happens to stdout, one
JSON object per line. Everything that matters is in the folders of the units: a worker can be killed
at any moment, and the next one goes on from there.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

import filelock

from seqprobe.errors import (
    DivergedError,
    InterruptedRunError,
    NotApplicableError,
    SeqprobeError,
)
from seqprobe.studies.analyses import Analysis
from seqprobe.studies.unit import Unit, UnitFolder

__all__ = ["Job", "Report", "serve", "work"]

# Receives {"event": ..., ...}.
Report = Callable[[dict[str, Any]], None]


@dataclass(frozen=True)
class Job:
    """Units that are trained together, and what is asked of each.

    Attributes
    ----------
    folder
        Of the study.
    units
        They differ in their seed alone.
    analyses
        What is asked of every unit.
    device
        Where to compute.
    """

    folder: Path
    units: tuple[Unit, ...]
    analyses: tuple[Analysis, ...]
    device: str = "cpu"

    def as_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        return {
            "kind": "units",
            "folder": str(self.folder),
            "units": [unit.as_dict() for unit in self.units],
            "analyses": [analysis.as_dict() for analysis in self.analyses],
            "device": self.device,
        }

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Job:
        """Return the job of `as_dict`."""
        return cls(
            Path(content["folder"]),
            tuple(Unit.from_dict(unit) for unit in content["units"]),
            tuple(map(Analysis.from_dict, content["analyses"])),
            content["device"],
        )

    def unit_folders(self) -> dict[str, UnitFolder]:
        """Return the folders of the units by name."""
        return {unit.name: UnitFolder(self.folder, unit.name) for unit in self.units}


def work(job: Job, report: Report) -> bool:
    """Do what is missing of a job.

    A failure of a unit is written into its folder; nothing is raised for it.

    Parameters
    ----------
    job
        The units.
    report
        Receives ``{"event": "progress", "units": {name: {"step", "steps", "loss", "score"}}}``, or
        ``{"analysis"}`` of a unit, now and then.

    Returns
    -------
    bool
        False if another process is at it; nothing was done then.
    """
    folders = job.unit_folders()
    home = folders[job.units[0].name]
    home.path.mkdir(parents=True, exist_ok=True)
    lock = filelock.FileLock(home.path / "lock")
    try:
        lock.acquire(blocking=False)
    except filelock.Timeout:
        return False
    try:
        for unit in job.units:
            folders[unit.name].make(unit)
            for part in folders[unit.name].path.rglob("*.part"):  # of a process that was killed
                part.unlink()
        _train(job, folders, report)
        for name, folder in folders.items():
            if folder.done is not None and folder.error is None:
                _analyse(job, name, folder, report)
    finally:
        lock.release()
    return True


def _train(job: Job, folders: Mapping[str, UnitFolder], report: Report) -> None:
    """Train the units that are neither done nor failed, together if the plan says so."""
    missing = [
        unit
        for unit in job.units
        if folders[unit.name].done is None and folders[unit.name].error is None
    ]
    if not missing:
        return
    start = time.monotonic()
    try:
        # Here, because a queue of units that are done needs no torch.
        from seqprobe.studies.training import train_units

        for unit, outcome in train_units(job, missing, report):
            folder = folders[unit.name]
            if isinstance(outcome, DivergedError):
                folder.fail("diverged", str(outcome))
            else:
                folder.finish(outcome | {"seconds": round(time.monotonic() - start, 3)})
    except InterruptedRunError:
        raise
    except SeqprobeError as error:
        _fail(missing, folders, "refused", error)
    except Exception as error:
        _fail(missing, folders, "crashed", error)


def _fail(
    units: list[Unit], folders: Mapping[str, UnitFolder], kind: str, error: Exception
) -> None:
    for unit in units:
        folder = folders[unit.name]
        if folder.done is None:
            message = str(error) if kind == "refused" else f"{type(error).__name__}: {error}"
            folder.fail(kind, message, traceback.format_exc())


def _analyse(job: Job, name: str, folder: UnitFolder, report: Report) -> None:
    """Ask of a trained unit what has not been asked yet."""
    from seqprobe.studies.results import analyse, answered

    for analysis in job.analyses:
        if answered(folder.checkpoint, analysis):
            continue
        report({"event": "progress", "units": {name: {"analysis": analysis.name}}})
        try:
            analyse(folder.checkpoint, analysis, job.device)
        except NotApplicableError:
            continue  # the reason is kept where the result would be
        except SeqprobeError as error:
            folder.fail("analysis", f"{analysis.name}: {error}", traceback.format_exc())
        except Exception as error:
            message = f"{analysis.name}: {type(error).__name__}: {error}"
            folder.fail("crashed", message, traceback.format_exc())


def serve(jobs: TextIO, out: TextIO) -> None:
    """Work on jobs, one JSON object per line, until there are no more."""

    def report(message: dict[str, Any]) -> None:
        try:
            out.write(json.dumps(message) + "\n")
            out.flush()
        except BrokenPipeError:
            # The parent is gone, and this process with it: not an error of the unit it is at, which
            # the next run goes on with from what is on disk.
            os._exit(1)

    report({"event": "ready"})
    for line in jobs:
        content = json.loads(line)
        if content["kind"] == "analysis":
            report({"event": "finished"} | _analyse_alone(content))
        else:
            finished = work(Job.from_dict(content), report)
            report({"event": "finished" if finished else "busy"})


def _analyse_alone(content: Mapping[str, Any]) -> dict[str, Any]:
    """Analyse one checkpoint; return why that cannot be."""
    from seqprobe.studies.batch import AnalysisJob
    from seqprobe.studies.results import analyse

    job = AnalysisJob.from_dict(content)
    try:
        analyse(job.checkpoint, job.analysis, job.device)
    except SeqprobeError as error:
        return {"code": error.exit_code, "reason": str(error)}
    return {}


def main() -> None:
    """Serve the process that started this one, and end with it."""
    # Whatever a library prints must not end up between the messages.
    messages = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's; it ends us
    import torch

    from seqprobe.device import tune_malloc

    tune_malloc()
    torch.set_num_threads(1)
    serve(sys.stdin, messages)


if __name__ == "__main__":
    main()
