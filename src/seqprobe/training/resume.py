"""Going on after a kill: resume files, and checkpoints with nothing left to do."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from seqprobe.errors import DivergedError, UnreadableFileError, UsageError
from seqprobe.training.checkpoint import Checkpoint, load_checkpoint, read_tensors
from seqprobe.training.recipe import Recipe, check_same

__all__ = ["RESUME_SUFFIX", "finished", "restore"]

RESUME_SUFFIX = ".resume.pt"


def restore(
    path: Path,
    form: str,
    recipe: dict[str, Any],
    apply: Callable[[dict[str, Any]], None],
    otherwise: str,
) -> None:
    """Read a resume file and apply it.

    Parameters
    ----------
    path
        The file.
    form
        What its ``format`` must be.
    recipe
        What its ``recipe`` must be.
    apply
        Called with the content.
    otherwise
        What a user does about a damaged file.

    Raises
    ------
    UsageError
        If the file belongs to a run with other settings.
    UnreadableFileError
        If it is damaged or not such a file.
    """
    content = read_tensors(path)
    if content.get("format") != form:
        raise UnreadableFileError(f"'{path}' is not a resume file of seqprobe")
    try:
        check_same(content["recipe"], recipe, path)
        apply(content)
    except UsageError:
        raise
    except Exception as error:  # whatever a damaged file provokes, it is one line
        raise UnreadableFileError(
            f"'{path}' is damaged ({type(error).__name__}: {error}); {otherwise}"
        ) from None


def finished(path: Path, recipe: Recipe) -> Checkpoint:
    """Return the complete checkpoint of a run that is resumed with nothing left to do.

    Raises
    ------
    UsageError
        If it is of a run with other settings, or not complete.
    DivergedError
        If its run diverged.
    """
    checkpoint = load_checkpoint(path)
    found = {name: getattr(checkpoint, name) for name in recipe.as_dict()}
    check_same(found, recipe.as_dict(), path)
    if checkpoint.status == "diverged":
        raise DivergedError(
            f"'{path}' diverged: {checkpoint.stopped}; start again with --overwrite"
        )
    if checkpoint.status != "complete":
        raise UsageError(
            f"'{path}' is not complete and its resume file is gone; start again with --overwrite"
        )
    return checkpoint
