"""Data on this machine: the folder, and files that are checked before they are used."""

from __future__ import annotations

import gzip
import hashlib
import os
import zlib
from functools import lru_cache
from pathlib import Path

from seqprobe.data.catalog import DataFile, Dataset
from seqprobe.errors import UnreadableFileError

__all__ = ["folder", "missing", "problem", "read"]


def folder() -> Path:
    """Return the data folder: ``SEQPROBE_DATA``, or a cache folder of the user."""
    chosen = os.environ.get("SEQPROBE_DATA")
    if chosen:
        return Path(chosen)
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "seqprobe" / "data"


def missing(entry: Dataset) -> list[DataFile]:
    """Return the files of a data set that are not in the data folder."""
    return [file for file in entry.files if not (folder() / file.path).is_file()]


def read(entry: Dataset) -> dict[str, bytes]:
    """Return the checked content of every file of a data set, unpacked, by file name.

    Raises
    ------
    UnreadableFileError
        If a file is missing or its content is not what was published.
    """
    if missing(entry):
        raise UnreadableFileError(
            f"data set '{entry.name}' is not in '{folder()}':"
            f" '{missing(entry)[0].path}' is missing;"
            f" run 'seqprobe data fetch {entry.name}', or set SEQPROBE_DATA to where it is"
        )
    return {Path(file.path).name: _checked(entry, file) for file in entry.files}


def problem(file: DataFile, path: Path | None = None) -> str | None:
    """Return what is wrong with a file, at its place or at another path, or None."""
    try:
        found = _unpacked(file, folder() / file.path if path is None else path)
    except FileNotFoundError:
        return "missing"
    except (OSError, EOFError, zlib.error) as error:
        return f"cannot be unpacked ({type(error).__name__})"
    if len(found) != file.size:
        return f"has {len(found)} bytes, should have {file.size}"
    if hashlib.sha256(found).hexdigest() != file.sha256:
        return "has another content than was published (sha256 differs)"
    return None


def _unpacked(file: DataFile, path: Path) -> bytes:
    raw = path.read_bytes()
    return gzip.decompress(raw) if file.path.endswith(".gz") else raw


def _checked(entry: Dataset, file: DataFile) -> bytes:
    path = folder() / file.path
    _check_once(entry.name, file, str(path), path.stat().st_mtime_ns)
    return _unpacked(file, path)


@lru_cache
def _check_once(name: str, file: DataFile, path: str, changed: int) -> None:
    """Check a file; not again in this process unless it has changed."""
    if wrong := problem(file):
        raise UnreadableFileError(
            f"'{path}' {wrong}; run 'seqprobe data fetch {name}' to get it again"
        )
