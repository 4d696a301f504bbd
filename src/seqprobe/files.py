"""Files are written to a ``.part`` beside their place and renamed; nobody reads half a file."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from seqprobe.errors import UsageError

__all__ = ["atomic", "check_output", "make_folder", "sha256"]


def check_output(path: str | os.PathLike[str], suffixes: tuple[str, ...] = ()) -> Path:
    """Refuse an output path that cannot be written, before any work is done.

    Parameters
    ----------
    path
        Where a file is to be written.
    suffixes
        Allowed file name endings, such as ``(".pdf", ".png")``; empty allows all.

    Returns
    -------
    Path
        The same path.

    Raises
    ------
    UsageError
        If the folder does not exist, the path is a folder, or the ending is not allowed.
    """
    path = Path(path)
    if path.is_dir():
        raise UsageError(f"cannot write '{path}': it is a folder; give a file name")
    if not path.parent.is_dir():
        raise UsageError(
            f"cannot write '{path}': folder '{path.parent}' does not exist; create it first"
        )
    if not os.access(path.parent, os.W_OK):
        raise UsageError(f"cannot write '{path}': no permission to write in '{path.parent}'")
    if suffixes and path.suffix.lower() not in suffixes:
        raise UsageError(
            f"cannot write '{path}': unknown file type '{path.suffix}'"
            f" (allowed: {', '.join(suffixes)})"
        )
    return path


def make_folder(path: str | os.PathLike[str]) -> Path:
    """Return a folder, made if it is not there.

    Raises
    ------
    UsageError
        If it cannot be made, or nothing can be written into it.
    """
    path = Path(path)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"cannot make folder '{path}': {error.strerror}; name another") from None
    if not os.access(path, os.W_OK):
        raise UsageError(f"no permission to write in folder '{path}'; name another")
    return path


@contextmanager
def atomic(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a ``.part`` path that becomes `path` if the block succeeds and vanishes if it fails."""
    path = check_output(path)
    part = path.with_name(path.name + ".part")
    try:
        yield part
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def sha256(path: str | os.PathLike[str]) -> str:
    """Return the hexadecimal sha256 of a file's bytes."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
