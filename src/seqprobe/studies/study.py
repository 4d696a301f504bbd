"""A study: the units of a plan, in a folder."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import filelock

from seqprobe.errors import UnreadableFileError, UsageError, suggestion
from seqprobe.files import make_folder, sha256
from seqprobe.provenance import code_sha256
from seqprobe.studies.analyses import Analysis, measures, result_stem
from seqprobe.studies.plan import LEARNING_CURVES, PLAN_FILE, Plan, find_plan, read_plan
from seqprobe.studies.unit import Unit, UnitFolder, read_json, write_json

__all__ = ["STUDY_FILE", "Skipped", "Study", "is_study", "open_study"]

STUDY_FILE = "plan.json"
_FORMAT = "seqprobe.study/1"


@dataclass(frozen=True)
class Skipped:
    """A combination of settings that cannot be, and why."""

    settings: Mapping[str, Any]
    reason: str

    def __str__(self) -> str:
        """Return settings and reason on one line."""
        said = " ".join(f"{key}={value}" for key, value in self.settings.items())
        return f"skipped: {said}: {self.reason}"

    def as_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        return {"settings": self.settings, "reason": self.reason}


@dataclass(frozen=True)
class Study:
    """The units of a plan, in a folder.

    Attributes
    ----------
    name
        Of the plan.
    size
        ``"full"`` or ``"smoke"``.
    source
        The study file.
    folder
        Where the units are.
    units
        All of them; those of a group stand together.
    skipped
        Combinations that cannot be.
    analyses
        What is asked of every unit.
    compare
        Comparisons of all units.
    draw
        What is drawn at the end.
    factors
        Settings that the plan varies, as units name them; architecture and task come first.
    key
        Hash of what the study was made from.
    """

    name: str
    size: str
    source: Path
    folder: Path
    units: tuple[Unit, ...]
    skipped: tuple[Skipped, ...]
    analyses: tuple[Analysis, ...]
    compare: tuple[Analysis, ...]
    draw: tuple[str, ...]
    factors: tuple[str, ...]
    key: str

    @cached_property
    def jobs(self) -> tuple[tuple[Unit, ...], ...]:
        """Units that are trained together."""
        found: dict[Any, list[Unit]] = {}
        for unit in self.units:
            without_seed = repr(sorted(unit.settings.items()))
            found.setdefault((without_seed, unit.group), []).append(unit)
        return tuple(map(tuple, found.values()))

    def configurations(self) -> dict[tuple[Any, ...], list[Unit]]:
        """Return units that differ in their seed alone, by the values of `factors`."""
        found: dict[tuple[Any, ...], list[Unit]] = {}
        for unit in self.units:
            values = tuple(unit.settings.get(key) for key in self.factors)
            found.setdefault(values, []).append(unit)
        return found

    def unit_folder(self, unit: Unit) -> UnitFolder:
        """Return what is on disk of a unit."""
        return UnitFolder(self.folder, unit.name)

    def result_stems(self) -> tuple[str, ...]:
        """Return the names, without ending, of the files that analyses leave with every unit."""
        return tuple(result_stem(Path("model.pt"), analysis).name for analysis in self.analyses)

    def state(self, unit: Unit) -> str:
        """Return ``todo``, ``started``, ``trained``, ``failed`` or ``done``."""
        return self.unit_folder(unit).state(self.result_stems())

    def drawn(self, analysis: Analysis) -> Analysis:
        """Return which analysis of the study a drawing means: this one, or the only one so named.

        Raises
        ------
        UsageError
            If there is none, or there are several.
        """
        same = [own for own in self.analyses if own.name == analysis.name]
        found = [own for own in same if own == analysis] or same
        if len(found) != 1:
            named = ", ".join(own.name for own in self.analyses) or "none"
            how = "is several of" if found else "is not among"
            raise UsageError(
                f"draw: '{analysis.name}' {how} the analyses of '{self.source}' ({named});"
                " write it as it stands there"
            )
        return found[0]

    def write(self) -> None:
        """Write the units into the folder, for commands that need not work them out again."""
        make_folder(self.folder)
        with self.lock():
            self._write()

    def lock(self) -> filelock.FileLock:
        """Return the lock of the files that the whole study shares; another run waits for it."""
        return filelock.FileLock(self.folder / ".lock")

    def _write(self) -> None:
        write_json(
            self.folder / STUDY_FILE,
            {
                "format": _FORMAT,
                "name": self.name,
                "size": self.size,
                "source": str(self.source),
                "key": self.key,
                "units": [unit.as_dict() for unit in self.units],
                "skipped": [skipped.as_dict() for skipped in self.skipped],
                "analyses": [analysis.as_dict() for analysis in self.analyses],
                "compare": [analysis.as_dict() for analysis in self.compare],
                "draw": list(self.draw),
                "factors": list(self.factors),
            },
        )


def is_study(folder: Path) -> bool:
    """Say whether a folder holds a study file, or the units of one."""
    return (folder / STUDY_FILE).is_file() or (folder / PLAN_FILE).is_file()


def open_study(
    path: str | os.PathLike[str],
    size: str | None = None,
    folder: str | os.PathLike[str] | None = None,
) -> Study:
    """Return the study of a file.

    Parameters
    ----------
    path
        ``study.toml``, the folder that holds it, or the folder of a study that has been run.
    size
        ``"full"``, which None means, or ``"smoke"``.
    folder
        Where the units are; None for ``runs/<name>``, or ``runs/<name>-smoke``, in the present
        working directory.

    Raises
    ------
    UnreadableFileError
        If the file is missing or not TOML, or data of a task are missing.
    UsageError
        For a key that means nothing, with the nearest that does, or a value that is not allowed.
    """
    path = Path(path)
    if (path / STUDY_FILE).is_file() and not (path / PLAN_FILE).is_file():
        study = _read(path, _content(path))
        if (size or study.size) != study.size or Path(folder or path).resolve() != path.resolve():
            raise UsageError(
                f"'{path}' holds the units of size '{study.size}'; name the study file to have"
                " another size or folder"
            )
        return study
    size = size or "full"
    plan, file = read_plan(path, size), find_plan(path)
    home = Path("runs", plan.name if size == "full" else f"{plan.name}-{size}")
    home = home if folder is None else Path(folder)
    key = _key(file, size)
    if (home / STUDY_FILE).is_file():
        content = _content(home)
        if content.get("key") == key:
            return dataclasses.replace(_read(home, content), source=file.resolve())
    return _make(plan, file.resolve(), size, home, key)


def _key(file: Path, size: str) -> str:
    """Return a hash of what decides the units: the study file, files that it names, the code."""
    content = file.read_bytes()
    words = set(re.split(r"[\s\"'=,]+", content.decode()))
    named = sorted(word for word in words if word and Path(word).is_file())
    parts = [code_sha256(), size, content.decode(), *(f"{word} {sha256(word)}" for word in named)]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def _make(plan: Plan, file: Path, size: str, home: Path, key: str) -> Study:
    # Only here torch is needed: what has been planned once is read.
    from seqprobe.studies.combinations import make_units

    units, skipped = make_units(plan, file)
    parse = measures().parse if plan.analyses or plan.draw else None
    analyses = tuple(parse(line) for line in plan.analyses) if parse else ()
    compare = tuple(map(measures().parse_comparison, plan.compare))
    if len({analysis.stem for analysis in (*analyses, *compare)}) < len(analyses) + len(compare):
        raise UsageError(f"'{file}' names an analysis twice; leave one of them out")
    study = Study(
        *(plan.name, size, file, home, units, skipped),
        *(analyses, compare, plan.draw, plan.factors(), key),
    )
    for what in plan.draw:
        if what.endswith(".py"):
            if not (file.parent / what).is_file():
                raise UsageError(f"draw: '{file.parent / what}' does not exist; check the name")
        elif what in {analysis.name for analysis in compare}:
            continue
        elif what != LEARNING_CURVES and parse is not None:
            if " " not in what and suggestion(what, [LEARNING_CURVES]):
                raise UsageError(f"draw: '{what}' is nothing; did you mean '{LEARNING_CURVES}'?")
            study.drawn(parse(what))
    return study


def _content(folder: Path) -> dict[str, Any]:
    content = read_json(folder / STUDY_FILE)
    if content is None or content.get("format") != _FORMAT:
        raise UnreadableFileError(
            f"'{folder / STUDY_FILE}' is not the plan of a study; name its study.toml instead"
        )
    return content


def _read(folder: Path, content: Mapping[str, Any]) -> Study:
    try:
        return Study(
            name=content["name"],
            size=content["size"],
            source=Path(content["source"]),
            folder=folder,
            units=tuple(Unit.from_dict(unit) for unit in content["units"]),
            skipped=tuple(Skipped(s["settings"], s["reason"]) for s in content["skipped"]),
            analyses=tuple(map(Analysis.from_dict, content["analyses"])),
            compare=tuple(map(Analysis.from_dict, content.get("compare", []))),
            draw=tuple(content["draw"]),
            factors=tuple(content["factors"]),
            key=content["key"],
        )
    except (KeyError, TypeError) as error:
        raise UnreadableFileError(
            f"'{folder / STUDY_FILE}' is damaged or of another version"
            f" ({type(error).__name__}: {error}); name the study.toml instead"
        ) from None
