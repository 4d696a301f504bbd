"""Data on this machine: the folder, and files that are checked before they are used."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import zipfile
import zlib
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
    # os.path.exists says no where Path.exists raises: in a folder without permission.
    return [file for file in entry.files if not os.path.exists(folder() / file.path)]  # noqa: PTH110


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
    found: dict[str, bytes] = {}
    for file in entry.files:
        wrong, content = _examined(file, folder() / file.path)
        if wrong:
            raise UnreadableFileError(
                f"'{folder() / file.path}' {wrong};"
                f" run 'seqprobe data fetch {entry.name}' to get it again"
            )
        found |= content
    return found


def problem(file: DataFile, path: Path | None = None) -> str | None:
    """Return what is wrong with a file, at its place or at another path, or None."""
    return _examined(file, folder() / file.path if path is None else path)[0]


def _examined(file: DataFile, path: Path) -> tuple[str | None, dict[str, bytes]]:
    """Return what is wrong with a file, and its unpacked content by name."""
    try:
        content = _members(path, file.members) if file.members else _single(file, path)
    except FileNotFoundError:
        return "is missing", {}
    except PermissionError:
        return "may not be read by you; change its permissions", {}
    except (OSError, EOFError, zlib.error, zipfile.BadZipFile) as error:
        return f"cannot be read ({type(error).__name__})", {}
    size = sum(map(len, content.values()))
    if size != file.size:
        return f"has {size} bytes of content, should have {file.size}", {}
    if _digest(file, content) != file.sha256:
        return "has another content than was published (sha256 differs)", {}
    return None, content


def _single(file: DataFile, path: Path) -> dict[str, bytes]:
    raw = path.read_bytes()
    if file.path.endswith(".npz"):
        with zipfile.ZipFile(io.BytesIO(raw)) as archive:
            return {name: archive.read(name) for name in archive.namelist()}
    return {Path(file.path).name: gzip.decompress(raw) if file.path.endswith(".gz") else raw}


def _members(path: Path, pattern: str) -> dict[str, bytes]:
    if not path.is_dir():
        raise FileNotFoundError
    return {member.name: member.read_bytes() for member in sorted(path.glob(pattern))}


def _digest(file: DataFile, content: dict[str, bytes]) -> str:
    if not file.several:
        (single,) = content.values()
        return hashlib.sha256(single).hexdigest()
    lines = (f"{hashlib.sha256(content[name]).hexdigest()}  {name}\n" for name in sorted(content))
    return hashlib.sha256("".join(lines).encode()).hexdigest()
