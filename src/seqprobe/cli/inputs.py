"""Several checkpoints in, one analysis: go on past one that fails, then say which and why."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from seqprobe.adapters import WEIGHT_SUFFIXES, Specimen
from seqprobe.cli.common import echo_error
from seqprobe.cli.given import Given, is_huggingface
from seqprobe.errors import (
    InterruptedRunError,
    NotApplicableError,
    SeqprobeError,
    UnreadableFileError,
    UsageError,
)
from seqprobe.studies import Study, is_study, of_study, open_study
from seqprobe.training import RESUME_SUFFIX, Checkpoint, load_checkpoint

__all__ = ["RETRAINED_SUFFIX", "Outcome", "Source", "analyse_all", "expand"]

Source = Checkpoint | Specimen  # what is analysed: ours, or made elsewhere

RETRAINED_SUFFIX = "-retrained"  # of folders with models that an analysis trained


@dataclass
class Outcome:
    """What came out of many checkpoints.

    Attributes
    ----------
    checkpoints, results
        Those that succeeded, in order.
    skipped
        ``{"checkpoint", "code", "reason"}`` of those that did not.
    """

    checkpoints: list[Any]
    results: list[Any]
    skipped: list[dict[str, Any]]

    @property
    def exit_code(self) -> int:
        """Return the gravest code of what was skipped; not applicable counts only if all is."""
        codes = {entry["code"] for entry in self.skipped}
        for error in (UnreadableFileError, SeqprobeError, UsageError):
            if error.exit_code in codes:
                return error.exit_code
        return 0 if self.results else NotApplicableError.exit_code

    def report(self) -> None:
        """Print one line per skipped checkpoint on stderr."""
        for entry in self.skipped:
            reason = entry["reason"]
            if entry.get("remark"):  # it is the rule, not an error
                click.echo(f"'{entry['checkpoint']}': {reason}", err=True)
                continue
            named = (
                reason if entry["checkpoint"] in reason else f"'{entry['checkpoint']}': {reason}"
            )
            echo_error(named)


def expand(
    paths: Sequence[str], given: Given | None = None
) -> tuple[dict[Path, bool], list[dict[str, Any]]]:
    """Return the checkpoint files of files, folders and studies, and what had to be skipped.

    Folders are searched in depth and sorted; one that holds no checkpoint is skipped with code 3.
    Of a study, its finished units are taken that reached their threshold. With a factory for
    models made elsewhere, files of weights are taken in the place of checkpoints.

    Returns
    -------
    files
        Each once, with whether results are kept beside it: of folders, if they can be written.
    skipped
        ``{"checkpoint", "code", "reason"}``.
    """
    given = given or Given()
    if given.factory is not None:
        return _weights(paths, given.factory, given.data)
    found: dict[Path, bool] = {}
    skipped = []
    for path in map(Path, paths):
        if is_huggingface(path):
            found.setdefault(path, False)
            continue
        found_study = path.suffix == ".toml" or (path.is_dir() and is_study(path))
        if found_study:
            study = open_study(path)
            path = study.folder
            inside, left_out = of_study(study)
            if left_out and inside:
                said = _left_out(study, left_out)
                skipped.append(_skip(path, NotApplicableError(said)) | {"remark": True})
        elif path.is_dir():
            inside = sorted(p for p in path.rglob("*.pt") if _is_own(p.relative_to(path)))
        else:
            found.setdefault(path, False)
            continue
        if not inside:
            reason = f"folder '{path}' holds no checkpoint (*.pt)"
            if found_study:
                reason = f"study '{path}' has no unit that counts yet; run it first"
            skipped.append(_skip(path, UnreadableFileError(reason)))
        found |= {file: os.access(file.parent, os.W_OK) for file in inside}
    return found, skipped


def _weights(
    paths: Sequence[str], factory: str, data: str | None
) -> tuple[dict[Path, bool], list[dict[str, Any]]]:
    """Return the files of weights of files and folders; the factory alone if there are none."""
    if not paths:
        return {Path(factory): False}, []
    found: dict[Path, bool] = {}
    skipped = []
    for path in map(Path, paths):
        inside = [path]
        if path.is_dir():
            there = (p for p in path.rglob("*") if p.suffix in WEIGHT_SUFFIXES)
            inside = sorted(p for p in there if data is None or p.resolve() != Path(data).resolve())
            if not inside:
                reason = f"folder '{path}' holds no weights ({', '.join(WEIGHT_SUFFIXES)})"
                skipped.append(_skip(path, UnreadableFileError(reason)))
        found |= dict.fromkeys(inside, False)
    return found, skipped


def _left_out(study: Study, left_out: dict[Path, str]) -> str:
    """Return a line about the units of a study that do not count."""
    kinds = Counter(why.partition(":")[0] for why in left_out.values())
    said = ", ".join(f"{count} {kind}" for kind, count in kinds.items())
    return (
        f"{len(left_out)} of {len(study.units)} units are left out: {said};"
        " 'seqprobe study status' names them"
    )


def _is_own(path: Path) -> bool:
    """Say whether a file in a folder is one of it: no resume file, no retrained model."""
    retrained = any(folder.endswith(RETRAINED_SUFFIX) for folder in path.parts[:-1])
    return not (path.name.endswith(RESUME_SUFFIX) or retrained)


def _skip(path: Path, error: SeqprobeError) -> dict[str, Any]:
    return {"checkpoint": str(path), "code": error.exit_code, "reason": str(error)}


def analyse_all(
    files: Iterable[Path],
    skipped: list[dict[str, Any]],
    analyse: Callable[[Any, Path, int], Any],
    read: Callable[[Path], Source] = load_checkpoint,
) -> Outcome:
    """Apply ``analyse(checkpoint, path, position)`` to every file, going on past failures."""
    outcome = Outcome([], [], skipped)
    for i, path in enumerate(files):
        try:
            checkpoint = read(path)
            result = analyse(checkpoint, path, i)
        except InterruptedRunError:
            raise
        except OSError as error:
            reason = f"'{error.filename or path}': {error.strerror or error}"
            outcome.skipped.append(_skip(path, SeqprobeError(reason)))
        except SeqprobeError as error:
            outcome.skipped.append(_skip(path, error))
        else:
            outcome.checkpoints.append(checkpoint)
            outcome.results.append(result)
    return outcome
