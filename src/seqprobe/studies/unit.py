"""A unit: one network of a study, known by everything that decides it, in a folder of its own."""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from seqprobe.errors import UnreadableFileError
from seqprobe.files import atomic

__all__ = ["State", "Unit", "UnitFolder", "read_json", "write_json"]

_FORMAT = "seqprobe.unit/1"
# What ``done.json`` and every line of ``metrics.jsonl`` say at least.
_SUMMARY = {"sha256", "params", "updates", "reached", "valid", "test", "metric_unit", "seconds"}
_METRICS = ("step", "loss", "score", "seconds")
_DIGITS = 12

# "done" is trained and analysed; "failed" waits for a retry; "started" goes on where it was.
State = str


@dataclass(frozen=True)
class Unit:
    """One network of a study.

    Attributes
    ----------
    recipe
        Everything that decides its training, as a checkpoint stores it.
    group
        The seeds that are trained together with it, its own among them.
    """

    recipe: Mapping[str, Any]
    group: tuple[int, ...]

    @cached_property
    def name(self) -> str:
        """Architecture, task, seed and the hash of all that decides the unit: its folder."""
        content = {"format": _FORMAT, "recipe": self.recipe, "group": list(self.group)}
        digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
        model, task = self.recipe["model"]["name"], self.recipe["task"]["name"]
        return f"{model}-{task}-s{self.seed}-{digest[:_DIGITS]}"

    @property
    def seed(self) -> int:
        """Seed of weights and data order."""
        seed: int = self.recipe["seed"]
        return seed

    @cached_property
    def settings(self) -> dict[str, Any]:
        """All settings by dotted key; ``architecture`` and ``task`` are the names."""
        found = {"architecture": self.recipe["model"]["name"], "task": self.recipe["task"]["name"]}
        for section in ("model", "task"):
            config = self.recipe[section]["config"]
            found |= {f"{section}.{key}": value for key, value in config.items()}
        train = dict(self.recipe["train"])
        until = train.pop("until")
        found |= {f"train.{key}": value for key, value in train.items()}
        if until is not None:
            found |= {f"train.until.{key}": value for key, value in until.items()}
        return found

    def as_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        return {"name": self.name, "recipe": self.recipe, "group": list(self.group)}

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Unit:
        """Return the unit of `as_dict`."""
        return cls(content["recipe"], tuple(content["group"]))


class UnitFolder:
    """What is on disk of a unit. Every file in it is written whole or not at all.

    ``config.json``: what the unit is. ``model.pt``: the checkpoint. ``metrics.jsonl``: one line
    per validation. ``results/``: one file per analysis. ``done.json``: how training ended.
    ``error.json``: why the unit failed.

    Parameters
    ----------
    study
        Folder of the study.
    name
        Name of the unit.
    """

    def __init__(self, study: Path, name: str) -> None:
        self.path = study / name
        self.name = name
        self.checkpoint = self.path / "model.pt"
        self.own_resume = self.path / "model.resume.pt"
        self.resume = self.path / "group.resume.pt"
        self.metrics = self.path / "metrics.jsonl"
        self.results = self.path / "results"

    def make(self, unit: Unit) -> None:
        """Make the folder, and say in it what it is."""
        self.path.mkdir(parents=True, exist_ok=True)
        if not (self.path / "config.json").exists():
            write_json(self.path / "config.json", {"format": _FORMAT, **unit.as_dict()})

    @property
    def config(self) -> dict[str, Any] | None:
        """What the unit is."""
        return read_json(self.path / "config.json")

    @property
    def done(self) -> dict[str, Any] | None:
        """How training ended; None if it has not, or what it left is not all there."""
        found = read_json(self.path / "done.json")
        whole = found is not None and found.keys() >= _SUMMARY
        return found if whole and self.checkpoint.exists() and self.metrics.exists() else None

    @property
    def error(self) -> dict[str, Any] | None:
        """Why the unit failed, or None."""
        return read_json(self.path / "error.json")

    def finish(self, summary: Mapping[str, Any]) -> None:
        """Say that training is done, whatever another process said before."""
        self.forgive()
        write_json(self.path / "done.json", summary)

    def fail(self, kind: str, message: str, trace: str = "") -> None:
        """Say why the unit failed."""
        content = {"kind": kind, "message": message, "traceback": trace}
        write_json(self.path / "error.json", content)

    def forgive(self) -> None:
        """Forget the failure, so that the unit is run again."""
        (self.path / "error.json").unlink(missing_ok=True)

    def write_metrics(self, history: list[dict[str, float]], seconds: float | None = None) -> None:
        """Write all validations so far, one JSON object per line.

        Parameters
        ----------
        history
            What the checkpoint knows of them.
        seconds
            Time of training up to the last of them; the times of the others stay as they are. It
            counts only if these are all known.
        """
        known = {0: 0.0} | self._seconds()
        if seconds is not None and all(line["step"] in known for line in history[:-1]):
            known[history[-1]["step"]] = seconds
        lines = [line | {"seconds": known.get(line["step"], math.nan)} for line in history]
        # Before the first update there is no loss; NaN is not JSON.
        plain = [{k: v if math.isfinite(v) else None for k, v in line.items()} for line in lines]
        with atomic(self.metrics) as part:
            part.write_text("".join(json.dumps(line) + "\n" for line in plain))

    def read_metrics(self) -> list[dict[str, float]]:
        """Read what `write_metrics` wrote; empty if there is nothing yet."""
        try:
            lines = [json.loads(line) for line in self.metrics.read_text().splitlines()]
            return [
                {key: math.nan if line[key] is None else float(line[key]) for key in _METRICS}
                for line in ({"seconds": None} | line for line in lines)  # older runs have none
            ]
        except FileNotFoundError:
            return []
        except (ValueError, KeyError, TypeError, OSError) as error:
            raise UnreadableFileError(
                f"'{self.metrics}' is damaged ({error}); 'seqprobe study validate --repair'"
                " removes the unit, to be run again"
            ) from None

    def seconds(self) -> float:
        """Return the time of training up to the last validation; 0 if it is not known."""
        return max(self._seconds().values(), default=0.0)

    def _seconds(self) -> dict[float, float]:
        """Return the known times of validations by their updates."""
        try:
            lines = self.read_metrics()
        except UnreadableFileError:  # it is written anew
            return {}
        return {line["step"]: line["seconds"] for line in lines if line["seconds"] >= 0}

    def state(self, results: Iterable[str] = ()) -> State:
        """Return ``todo``, ``started``, ``trained``, ``failed`` or ``done``.

        Parameters
        ----------
        results
            Names, without ending, of the files that analyses leave in `results`; with any of them
            missing a trained unit is not done.
        """
        try:
            there = {entry.name for entry in os.scandir(self.path)}
        except FileNotFoundError:
            return "todo"
        if "error.json" in there:
            return "failed"
        if "done.json" not in there or self.done is None:
            return "started" if "metrics.jsonl" in there else "todo"
        wanted = set(results)
        listed = os.scandir(self.results) if wanted and "results" in there else ()
        return "done" if wanted <= {Path(entry.name).stem for entry in listed} else "trained"


def read_json(path: Path) -> dict[str, Any] | None:
    """Return the object in a file, or None if there is no file or it holds something else."""
    try:
        content = json.loads(path.read_bytes())
    except (FileNotFoundError, ValueError):
        return None
    return content if isinstance(content, dict) else None


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write an object whole or not at all."""
    with atomic(path) as part:
        part.write_text(json.dumps(content, indent=1, sort_keys=True) + "\n")
