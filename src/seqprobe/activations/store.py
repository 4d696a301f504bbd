"""The file of a recording: netCDF4 in HDF5, written block by block."""

from __future__ import annotations

import errno
import io
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from seqprobe.errors import SeqprobeError

__all__ = ["Store", "chunk_shape", "create"]

_CHUNK = 2**17  # bytes
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


class Store:
    """Variables with named dimensions in an HDF5 file that xarray opens.

    Every dimension is a variable of its own, a dimension scale that is attached to all variables
    along it.

    Parameters
    ----------
    file
        Open for writing.
    compression
        ``"gzip"``, ``"lzf"`` or ``"none"``.
    check
        Raises if what was written did not reach the disk.
    """

    def __init__(self, file: h5py.File, compression: str, check: Callable[[], None]) -> None:
        self._file = file
        self._compression = compression
        self.check = check

    def dimension(self, name: str, values: np.ndarray, attrs: Mapping[str, Any]) -> None:
        """Add a dimension with its coordinate."""
        scale = self._file.create_dataset(name, data=values)
        scale.make_scale(name)
        scale.attrs.update(attrs)

    def variable(
        self,
        name: str,
        dims: tuple[str, ...],
        dtype: np.dtype[Any],
        attrs: Mapping[str, Any],
        block: int,
    ) -> h5py.Dataset:
        """Add a variable along dimensions that are there already.

        Parameters
        ----------
        name, dims, dtype, attrs
            What it is.
        block
            Number of steps that are written at once; chunks divide it.
        """
        shape = tuple(len(self._file[dim]) for dim in dims)
        options: dict[str, Any] = {}
        if self._compression != "none":
            options = {"compression": self._compression, "shuffle": True}
        made = self._file.create_dataset(
            name, shape, dtype, chunks=chunk_shape(shape, dtype.itemsize, block), **options
        )
        for axis, dim in enumerate(dims):
            made.dims[axis].attach_scale(self._file[dim])
        made.attrs.update(attrs)
        return made

    def describe(self, attrs: Mapping[str, Any]) -> None:
        """Add the attributes of the whole file."""
        self._file.attrs.update(attrs)


def chunk_shape(shape: tuple[int, ...], itemsize: int, block: int) -> tuple[int, ...]:
    """Return chunks of about 128 KiB: eight trials, 64 steps, and as many units as fit.

    The trace of one unit then touches an eighth of the trials and a few units of its own, not the
    whole file.
    """
    limits = [8, min(64, block)]
    if len(shape) > 1 and shape[1] <= block:  # written at once: chunks of one size waste nothing
        limits[1] = -(-shape[1] // -(-shape[1] // 64))
    chunk: list[int] = []
    for axis, size in enumerate(shape):
        room = _CHUNK // (itemsize * int(np.prod(chunk, dtype=int)))
        limit = limits[axis] if axis < len(limits) else room
        chunk.append(max(1, min(size, limit)))
    return tuple(chunk)


class _Disk(io.FileIO):
    """A file that remembers when it could not be written, and goes on as if it had been.

    HDF5 does not survive a failed write: it tries again when the file is closed and when the
    process ends, and crashes there.
    """

    error: OSError | None = None

    def write(self, data: Any) -> int:
        """Write all of `data`, or remember why not."""
        left = memoryview(data).cast("B")
        size = len(left)
        while len(left) and self.error is None:
            try:
                left = left[super().write(left) :]
            except OSError as error:
                self.error = error
        return size

    def truncate(self, size: int | None = None) -> int:
        """Change the length, or remember why not."""
        if self.error is None:
            try:
                return super().truncate(size)
            except OSError as error:
                self.error = error
        return size or 0


@contextmanager
def create(path: Path, compression: str) -> Iterator[Store]:
    """Open a new file, and say so in one line if the disk is full."""
    with _Disk(path, "w+b") as disk:
        with h5py.File(disk, "w") as file:
            yield Store(file, compression, lambda: _check(disk, path))
        _check(disk, path)


def _check(disk: _Disk, path: Path) -> None:
    if disk.error is None:
        return
    if disk.error.errno not in _FULL:
        raise disk.error
    raise SeqprobeError(
        f"disk is full: '{path}' could not be written; free some space, or record less"
        " (--trials, --every, --what, --dtype float16, --compression gzip)"
    )
