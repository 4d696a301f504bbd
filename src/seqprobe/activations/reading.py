"""Open a recording without reading it."""

from __future__ import annotations

import os
from pathlib import Path

import xarray as xr

from seqprobe.errors import UnreadableFileError

__all__ = ["open_recording"]


def open_recording(path: str | os.PathLike[str]) -> xr.Dataset:
    """Open a recording; values are read when they are used.

    Use it in a ``with`` block, or close it. ``recording["layer0.h"].isel(trial=0, unit=5)`` reads
    the chunks of that trace and nothing else.

    Raises
    ------
    UnreadableFileError
        If the file is missing or no recording.
    """
    path = Path(path)
    if path.is_dir():
        raise UnreadableFileError(f"'{path}' is a folder; name a recording (.h5)")
    if not path.is_file():
        raise UnreadableFileError(f"'{path}' does not exist; check the name")
    try:
        recording = xr.open_dataset(path, engine="h5netcdf")
    except (OSError, ValueError, KeyError, RuntimeError):
        if not _is_hdf5(path):
            recording = xr.Dataset()
        else:
            raise UnreadableFileError(
                f"'{path}' is damaged or cut short; record it again"
            ) from None
    if not str(recording.attrs.get("format", "")).startswith("seqprobe.activations/"):
        recording.close()
        raise UnreadableFileError(
            f"'{path}' is not a recording; make one with 'seqprobe record CKPT -o FILE.h5'"
        )
    return recording


def _is_hdf5(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(8) == b"\x89HDF\r\n\x1a\n"
