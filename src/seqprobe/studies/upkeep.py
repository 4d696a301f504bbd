"""Look after a study: where it stands, what failed, whether its files are whole."""

from __future__ import annotations

import os
import re
import shutil
from dataclasses import dataclass
from typing import Any

import filelock

from seqprobe.errors import SeqprobeError
from seqprobe.files import sha256
from seqprobe.studies.study import Study
from seqprobe.studies.unit import Unit, UnitFolder

__all__ = ["Damage", "Status", "retry", "status", "strangers", "validate"]


@dataclass(frozen=True)
class Status:
    """Where a unit stands.

    Attributes
    ----------
    unit
        Which.
    state
        ``todo``, ``started`` (interrupted), ``running``, ``trained`` (analyses are missing),
        ``failed`` or ``done``.
    done
        How training ended, if it did.
    error
        Why the unit failed, if it did.
    """

    unit: Unit
    state: str
    done: dict[str, Any] | None
    error: dict[str, Any] | None


@dataclass(frozen=True)
class Damage:
    """A unit whose files are not what they should be, and how."""

    unit: Unit
    reason: str


def status(study: Study) -> list[Status]:
    """Return where every unit stands. Cost: a few file reads per unit."""
    stems = study.result_stems()
    heads = {unit.name: job[0] for job in study.jobs for unit in job}
    found = []
    for unit in study.units:
        folder = study.unit_folder(unit)
        state = folder.state(stems)
        if state in ("started", "trained", "todo") and _in_work(study, heads[unit.name]):
            state = "running"
        done = folder.done if state in ("done", "trained", "running", "failed") else None
        found.append(Status(unit, state, done, folder.error if state == "failed" else None))
    return found


def strangers(study: Study) -> int:
    """Return how many folders belong to units that are not in the plan any more."""
    own = {unit.name for unit in study.units}
    looks_like_one = re.compile(r".+-s\d+-[0-9a-f]{12}")
    found = [entry.name for entry in os.scandir(study.folder)]
    return sum(name not in own and looks_like_one.fullmatch(name) is not None for name in found)


def _in_work(study: Study, head: Unit) -> bool:
    """Say whether some process is at the group that this unit is the first of."""
    path = study.unit_folder(head).path / "lock"
    if not path.exists():
        return False
    lock = filelock.FileLock(path)
    try:
        lock.acquire(blocking=False)
    except filelock.Timeout:
        return True
    lock.release()
    return False


def retry(study: Study, units: tuple[Unit, ...] | None = None) -> list[Unit]:
    """Forget failures, so that the next run does these units again, from where they were.

    A unit that diverged starts from the beginning and, with the same settings, diverges again.

    Returns
    -------
    list of Unit
        The units that had failed.
    """
    found = []
    for unit in study.units if units is None else units:
        folder = study.unit_folder(unit)
        error = folder.error
        if folder.state() != "failed":
            continue
        if error is not None and error.get("kind") == "diverged":
            folder.checkpoint.unlink(missing_ok=True)
        folder.forgive()
        found.append(unit)
    return found


def validate(study: Study, repair: bool = False) -> list[Damage]:
    """Read every file of every finished unit.

    Parameters
    ----------
    study
        Which.
    repair
        Remove damaged units, so that the next run makes them again.

    Returns
    -------
    list of Damage
        Units whose checkpoint, settings, metrics or results are damaged or are of something else.
    """
    found = []
    for unit in study.units:
        folder = study.unit_folder(unit)
        ended = any((folder.path / name).exists() for name in ("done.json", "error.json"))
        if not ended:
            continue
        reason = _damage(unit, folder)
        if reason is not None:
            found.append(Damage(unit, reason))
            if repair:
                shutil.rmtree(folder.path)
    return found


_LOST = "done.json, model.pt or metrics.jsonl is missing or damaged"


def _damage(unit: Unit, folder: UnitFolder) -> str | None:
    from seqprobe import schema
    from seqprobe.training import load_checkpoint

    config = folder.config or {}
    if not {"recipe", "group"} <= config.keys() or Unit.from_dict(config).name != folder.name:
        return "config.json is missing, damaged or of another unit"
    done = folder.done
    if done is None:
        return None if folder.error is not None else _LOST
    try:
        checkpoint = load_checkpoint(folder.checkpoint)
        if sha256(folder.checkpoint) != done.get("sha256"):
            return "model.pt is not the file that training wrote"
        recipe = {key: getattr(checkpoint, key) for key in unit.recipe}
        if recipe != unit.recipe:
            return "model.pt was made with other settings"
        if len(folder.read_metrics()) != len(checkpoint.history):
            return "metrics.jsonl is not the history of model.pt"
        for result in sorted(folder.results.glob("*.nc")):
            if schema.read(result).attrs.get("checkpoint_sha256") != done["sha256"]:
                return f"{result.name} is of another checkpoint"
    except SeqprobeError as error:
        return str(error)
    except OSError as error:
        return f"'{error.filename}': {error.strerror}"
    return None
