"""Several checkpoints in, one analysis: go on past one that fails, then say which and why."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import xarray as xr

from seqprobe.errors import (
    NotApplicableError,
    SeqprobeError,
    UnreadableFileError,
    UsageError,
)
from seqprobe.training import Checkpoint, load_checkpoint

__all__ = ["Outcome", "analyse_all", "expand"]


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

    checkpoints: list[Checkpoint]
    results: list[xr.Dataset]
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
            named = (
                reason if entry["checkpoint"] in reason else f"'{entry['checkpoint']}': {reason}"
            )
            click.echo(f"seqprobe: error: {named}", err=True)


def expand(paths: Sequence[str]) -> list[Path]:
    """Return the checkpoint files of a list of files and folders, each once, folders sorted.

    Raises
    ------
    UnreadableFileError
        If a folder holds no checkpoint.
    """
    found: dict[Path, None] = {}
    for path in map(Path, paths):
        if not path.is_dir():
            found[path] = None
            continue
        inside = sorted(p for p in path.rglob("*.pt") if not p.name.endswith(".resume.pt"))
        if not inside:
            raise UnreadableFileError(f"folder '{path}' holds no checkpoint (*.pt)")
        found |= dict.fromkeys(inside)
    return list(found)


def analyse_all(paths: Sequence[Path], analyse: Callable[[Checkpoint, int], xr.Dataset]) -> Outcome:
    """Apply ``analyse(checkpoint, position)`` to every file, going on past one that fails."""
    outcome = Outcome([], [], [])
    for i, path in enumerate(paths):
        try:
            checkpoint = load_checkpoint(path)
            result = analyse(checkpoint, i)
        except SeqprobeError as error:
            outcome.skipped.append(
                {"checkpoint": str(path), "code": error.exit_code, "reason": str(error)}
            )
        else:
            outcome.checkpoints.append(checkpoint)
            outcome.results.append(result)
    return outcome
