"""Downloads: resumed where they broke off, checked before they count."""

from __future__ import annotations

import hashlib
import http.client
import shutil
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable
from pathlib import Path

from seqprobe.data.catalog import DataFile, Dataset
from seqprobe.data.convert import CONVERTERS
from seqprobe.data.store import folder, problem
from seqprobe.errors import SeqprobeError

__all__ = ["fetch"]

_BLOCK = 2**16
_TIMEOUT = 30.0
_PARTIAL = 206
_PAST_THE_END = 416

OnProgress = Callable[[int, int, str], None]


def fetch(entry: Dataset, on_progress: OnProgress | None = None) -> list[Path]:
    """Download the files of a data set that are missing or wrong.

    A download that breaks off leaves ``<file>.part`` and goes on from there next time. A file takes
    its name only after its content was found to be what was published.

    Parameters
    ----------
    entry
        The data set.
    on_progress
        Called with bytes done, bytes in all (0 if unknown) and the file's name.

    Returns
    -------
    list of Path
        The files that were downloaded.

    Raises
    ------
    SeqprobeError
        If a file cannot be had or is not what was published.
    """
    done = []
    for file in entry.files:
        if problem(file) is None:
            continue
        path = folder() / file.path
        try:
            _fetch_file(file, path, on_progress)
        except (OSError, http.client.HTTPException, ValueError) as error:
            reason = getattr(error, "reason", error)
            place = f"{path}.part" if file.made_by else str(path)
            raise SeqprobeError(
                f"cannot download '{file.url}' ({reason}); call it again to go on, or put the file"
                f" at '{place}'{' and call it again' * bool(file.made_by)}"
            ) from None
        done.append(path)
    return done


def _fetch_file(file: DataFile, path: Path, on_progress: OnProgress | None) -> None:
    """Download one file, check it, and only then give it its name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    resumed = part.exists()
    if not _is_source(file, part):
        _download(file.url, part, path.name, on_progress)
    ready, wrong = _ready(file, part)
    if wrong:
        _remove(ready)
        if resumed:  # what was there may not have been the beginning of this file
            _fetch_file(file, path, on_progress)
            return
        raise SeqprobeError(
            f"'{file.url}' {wrong}; its publisher may have changed it, get the file elsewhere"
        )
    if path.is_dir():
        path.replace(path.with_name(path.name + ".old"))  # it may hold files that are not ours
    ready.replace(path)


def _is_source(file: DataFile, part: Path) -> bool:
    """Say whether `part` is, whole and right, what the file is made of."""
    if not file.made_by or not part.exists():
        return False
    return hashlib.sha256(part.read_bytes()).hexdigest() == file.source_sha256


def _ready(file: DataFile, part: Path) -> tuple[Path, str | None]:
    """Return the file or folder that a download becomes, and what is wrong with it."""
    if file.made_by:
        if not _is_source(file, part):
            return part, "has another content than was published (sha256 differs)"
        part.write_bytes(CONVERTERS[file.made_by](part.read_bytes()))
        return part, problem(file, part)
    ready = _unzipped(part, file.members) if file.members else part
    return ready, problem(file, ready)


def _download(url: str, part: Path, name: str, on_progress: OnProgress | None) -> None:
    """Append to `part` what it lacks of the file at `url`."""
    have = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    try:
        response = urllib.request.urlopen(request, timeout=_TIMEOUT)
    except urllib.error.HTTPError as error:
        if error.code == _PAST_THE_END and have:
            return  # it was all there
        raise
    with response:
        if have and response.status != _PARTIAL:
            have = 0  # the server sends it whole
        total = have + int(response.headers.get("Content-Length") or 0)
        with part.open("ab" if have else "wb") as file:
            while block := response.read(_BLOCK):
                file.write(block)
                have += len(block)
                if on_progress is not None:
                    on_progress(have, total, name)
    if total and have < total:
        raise OSError(f"broke off after {have} of {total} bytes")


def _unzipped(part: Path, pattern: str) -> Path:
    """Unpack the wanted members of an archive, without their folders, and drop the archive."""
    target = part.with_name(part.name + ".d")
    _remove(target)
    target.mkdir()
    try:
        with zipfile.ZipFile(part) as archive:
            for name in archive.namelist():
                if Path(name).match(pattern):
                    (target / Path(name).name).write_bytes(archive.read(name))
    except zipfile.BadZipFile:
        pass  # what is missing of the content is said by whoever checks it
    part.unlink()
    return target


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
