"""Many results of one analysis as one: read with h5py, stacked once.

xarray opens a file in tens of milliseconds, which thousands of units do not have. The first file
says what there is; of the others the bare arrays are read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import xarray as xr

from seqprobe import schema
from seqprobe.errors import UnreadableFileError
from seqprobe.schema import variable

__all__ = ["stack_results"]


def stack_results(files: Sequence[Path | None], run: xr.DataArray) -> xr.Dataset:
    """Stack results along ``run``.

    Parameters
    ----------
    files
        One result per run; None where there is none, which becomes NaN.
    run
        The coordinate.

    Returns
    -------
    xarray.Dataset
        Every variable with ``run`` in front. Where results have other lags or times, the axis is
        the union of all, and what a run lacks is NaN.

    Raises
    ------
    UnreadableFileError
        If a file is damaged or not a result.
    """
    there = [file for file in files if file is not None]
    first = schema.read(there[0])
    kinds: dict[str, str] = {}
    read = [None if file is None else _arrays(file, kinds) for file in files]
    whole = [arrays for arrays in read if arrays is not None]
    template = _template(first, there, whole)
    axes = {dim: _axis(str(dim), whole, template) for dim in _dims(template)}
    variables = {}
    for name, like in template.items():
        if name in axes:
            continue
        values = _stacked(name, like, read, axes)
        variables[name] = xr.Variable(("run", *like.dims), values, like.attrs)
    coords = {dim: axis for dim, axis in axes.items() if axis.attrs.get("long_name") is not None}
    data = {name: v for name, v in variables.items() if name not in first.coords}
    extra = {name: v for name, v in variables.items() if name in first.coords}
    stacked = xr.Dataset(data, {"run": run} | coords | extra)
    said = [None if file is None else _attributes(file) for file in files]
    for key in sorted({key for attrs in said if attrs for key in attrs} - _PER_RUN):
        own = [None if attrs is None else attrs.get(key) for attrs in said]
        known = [value for value in own if value is not None]
        if all(np.array_equal(value, known[0]) for value in known):
            stacked.attrs[key] = known[0]
        else:
            texts = np.array(["" if v is None else str(v) for v in own], dtype=object)
            stacked[key] = variable(("run",), texts, f"{key} of the result", "1")
            stacked = stacked.set_coords(key)
    return stacked


# Attributes about one checkpoint; the study says them for every run.
_PER_RUN = frozenset(
    [
        *("checkpoint", "checkpoint_sha256", "model", "task", "model_config", "task_config"),
        *("train_seed", "train_step", "train_length", "solved", "created"),
    ]
)


def _arrays(file: Path, kinds: dict[str, str]) -> dict[str, np.ndarray]:
    """Return all variables of a file as they are stored.

    Parameters
    ----------
    file
        A result.
    kinds
        What the names of variables stand for, in this and all files of the analysis; filled in
        here. Looking it up anew in every file would take most of the time.
    """
    try:
        with h5py.File(file, "r") as content:
            found = {}
            for name in content:
                kind = kinds.get(name) or kinds.setdefault(name, _kind(content[name]))
                if kind == "text":
                    found[name] = content[name].asstr()[...]
                elif kind == "numbers":
                    found[name] = _numbers(content, name)
            return found
    except (OSError, ValueError, KeyError) as error:
        raise UnreadableFileError(
            f"'{file}' is damaged ({error}); 'seqprobe study validate' finds all that are"
        ) from None


def _kind(item: h5py.Dataset | h5py.Datatype) -> str:
    """Return ``numbers``, ``text``, or ``nothing`` for what is no variable."""
    if not isinstance(item, h5py.Dataset):
        return "nothing"
    name = item.attrs.get("NAME", b"")
    if isinstance(name, bytes) and name.startswith(b"This is a netCDF dimension but"):
        return "nothing"  # it stands for a dimension without labels
    return "text" if item.dtype.kind == "O" else "numbers"


def _numbers(content: h5py.File, name: str) -> np.ndarray:
    """Return an array, by h5py's low level, which takes a third of the time."""
    dataset = h5py.h5d.open(content.id, name.encode())
    values: np.ndarray = np.empty(dataset.shape, dataset.dtype)
    dataset.read(h5py.h5s.ALL, h5py.h5s.ALL, values)
    return values


def _attributes(file: Path) -> dict[str, Any]:
    """Return what a result says of itself."""
    with h5py.File(file, "r") as content:
        plain = {key: value for key, value in content.attrs.items() if not key.startswith("_")}
    # A number is stored as an array of one.
    return {k: v.item() if getattr(v, "size", 0) == 1 else v for k, v in plain.items()}


def _template(
    first: xr.Dataset, files: list[Path], read: list[dict[str, np.ndarray]]
) -> dict[str, xr.Variable]:
    """Return every variable that some result has, with dims, type and attributes."""
    found = {str(name): values for name, values in first.variables.items()}
    for file, arrays in zip(files, read, strict=True):
        if arrays.keys() - found.keys():
            other = schema.read(file)
            found |= {str(n): v for n, v in other.variables.items() if str(n) not in found}
    return found


def _dims(template: Mapping[str, xr.Variable]) -> list[str]:
    return list(dict.fromkeys(str(dim) for like in template.values() for dim in like.dims))


def _axis(
    dim: str, read: list[dict[str, np.ndarray]], template: Mapping[str, xr.Variable]
) -> xr.Variable:
    """Return the union of a dimension's labels, or numbers up to its largest size."""
    if dim in template:
        labels = [arrays[dim] for arrays in read if dim in arrays]
        if all(np.array_equal(other, labels[0]) for other in labels):
            return template[dim]
        union = np.concatenate(labels)
        if union.dtype.kind in "OU":
            values = np.array(list(dict.fromkeys(union.tolist())))
        else:
            values = np.unique(union)
        return xr.Variable((dim,), values, template[dim].attrs)
    sizes = [
        arrays[name].shape[like.dims.index(dim)]
        for arrays in read
        for name, like in template.items()
        if name in arrays and dim in like.dims
    ]
    return xr.Variable((dim,), np.arange(max(sizes)))


def _stacked(
    name: str,
    like: xr.Variable,
    read: Sequence[dict[str, np.ndarray] | None],
    axes: Mapping[str, xr.Variable],
) -> np.ndarray:
    """Return one variable of all runs."""
    shape = tuple(axes[str(dim)].size for dim in like.dims)
    present = [arrays for arrays in read if arrays is not None and name in arrays]
    if len(present) == len(read) and all(arrays[name].shape == shape for arrays in present):
        same = all(
            np.array_equal(arrays[dim], axes[dim].values)
            for dim in map(str, like.dims)
            for arrays in present
            if dim in arrays
        )
        if same:
            return np.stack([arrays[name] for arrays in present]).astype(like.dtype)
    dtype, missing = _with_missing(like.dtype)
    values = np.full((len(read), *shape), missing, dtype)
    for i, arrays in enumerate(read):
        if arrays is None or name not in arrays:
            continue
        places = [
            _places(arrays, str(dim), size, axes)
            for dim, size in zip(like.dims, arrays[name].shape, strict=True)
        ]
        where: tuple[Any, ...] = (i, *np.ix_(*places))
        values[where] = arrays[name]
    return values


def _with_missing(dtype: np.dtype[Any]) -> tuple[np.dtype[Any], Any]:
    """Return a type that can say that there is nothing, and how it says so."""
    if dtype.kind in "OU":
        return np.dtype(object), ""
    if dtype.kind == "c":
        return dtype, complex(np.nan, np.nan)
    return (dtype if dtype.kind == "f" else np.dtype(np.float64)), np.nan


def _places(
    arrays: Mapping[str, np.ndarray], dim: str, size: int, axes: Mapping[str, xr.Variable]
) -> np.ndarray:
    """Return where the entries of one run lie along an axis."""
    if dim not in arrays:
        return np.arange(size)
    where = {label: i for i, label in enumerate(axes[dim].values.tolist())}
    return np.array([where[label] for label in arrays[dim].tolist()], dtype=int)
