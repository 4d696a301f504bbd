"""Many results of one analysis as one: read with h5py, stacked once.

xarray opens a file in tens of milliseconds, which thousands of units do not have. The first file
says what there is; of the others the bare arrays are read.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import xarray as xr

from seqprobe import schema
from seqprobe.errors import UnreadableFileError
from seqprobe.schema import variable

__all__ = ["Result", "read_results", "stack_results"]

# Attributes about one checkpoint; the study says them for every run.
_PER_RUN = frozenset(
    [
        *("checkpoint", "checkpoint_sha256", "model", "task", "model_config", "task_config"),
        *("train_seed", "train_step", "train_length", "solved", "agreement", "created"),
    ]
)


@dataclass(frozen=True)
class Result:
    """One file as it is stored.

    Attributes
    ----------
    file
        Where it is.
    layout
        Results of one layout have the same variables with the same dimensions.
    arrays, attrs
        Variables and attributes by name.
    """

    file: Path
    layout: Hashable
    arrays: dict[str, np.ndarray]
    attrs: dict[str, Any]


def read_results(files: Sequence[Path | None], layouts: Sequence[Hashable]) -> list[Result | None]:
    """Read results with h5py.

    Parameters
    ----------
    files
        One per run; None where there is none.
    layouts
        What decides, with the code that made a result, which variables it has.

    Raises
    ------
    UnreadableFileError
        If a file is damaged or not a result.
    """
    kinds: dict[Hashable, dict[str, str]] = {}
    return [
        None if file is None else _read(file, layout, kinds)
        for file, layout in zip(files, layouts, strict=True)
    ]


def stack_results(results: Sequence[Result | None], run: xr.DataArray) -> xr.Dataset:
    """Stack results of one analysis along ``run``.

    Parameters
    ----------
    results
        Of `read_results`; None becomes NaN.
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
        If the dimensions of a variable differ between results.
    """
    there = [result for result in results if result is not None]
    template, coordinates = _template(there)
    axes = {dim: _axis(str(dim), there, template) for dim in _dims(template)}
    variables = {}
    for name, like in template.items():
        if name not in axes:
            values = _stacked(name, like, results, axes)
            variables[name] = xr.Variable(("run", *like.dims), values, like.attrs)
    coords = {dim: axis for dim, axis in axes.items() if axis.attrs.get("long_name") is not None}
    data = {name: v for name, v in variables.items() if name not in coordinates}
    extra = {name: v for name, v in variables.items() if name in coordinates}
    stacked = xr.Dataset(data, {"run": run} | coords | extra)
    for key in sorted({key for result in there for key in result.attrs} - _PER_RUN):
        own = [None if result is None else result.attrs.get(key) for result in results]
        first = there[0].attrs.get(key)
        if first is not None and all(_same(result.attrs.get(key), first) for result in there):
            stacked.attrs[key] = first
        else:
            texts = np.array(["" if v is None else str(v) for v in own], dtype=object)
            name = f"{key}_attribute" if key in stacked.variables else key
            column = variable(("run",), texts, f"{key} of the result", "1")
            stacked = stacked.assign_coords({name: column})
    return stacked


def _same(one: Any, other: Any) -> bool:
    return one is not None and np.array_equal(one, other)


def _read(file: Path, layout: Hashable, kinds: dict[Hashable, dict[str, str]]) -> Result:
    """Read one file.

    Parameters
    ----------
    file
        A result.
    layout
        See `read_results`.
    kinds
        What names stand for, by layout; filled in here. Looking it up anew in every file would
        take most of the time.
    """
    try:
        with h5py.File(file, "r") as content:
            attrs = {k: _plain(v) for k, v in content.attrs.items() if not k.startswith("_")}
            layout = (layout, attrs.get("code_sha256"))
            known = kinds.setdefault(layout, {})
            arrays = {}
            for name in content:
                kind = known.get(name) or known.setdefault(name, _kind(content[name]))
                if kind == "text":
                    arrays[name] = content[name].asstr()[...]
                elif kind == "numbers":
                    arrays[name] = _numbers(content, name)
            return Result(file, layout, arrays, attrs)
    except (OSError, ValueError, KeyError) as error:
        raise UnreadableFileError(
            f"'{file}' is damaged ({error}); 'seqprobe study validate' finds all that are"
        ) from None


def _plain(value: Any) -> Any:
    """Return an attribute as it was given: a number is stored as an array of one."""
    return value.item() if getattr(value, "size", 0) == 1 else value


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


def _template(results: Sequence[Result]) -> tuple[dict[str, xr.Variable], set[str]]:
    """Return every variable that some result has, without its values, and which are coordinates.

    One result of each layout is read whole.
    """
    found: dict[str, xr.Variable] = {}
    coordinates: set[str] = set()
    firsts: dict[Hashable, Result] = {}
    for result in results:
        firsts.setdefault(result.layout, result)
    for result in firsts.values():
        whole = schema.read(result.file)
        coordinates |= set(map(str, whole.coords))
        for key, like in whole.variables.items():
            name = str(key)
            if name in found:
                like = _agreed(name, found[name], like, result.file)
            found[name] = like
    return found, coordinates


def _agreed(name: str, one: xr.Variable, other: xr.Variable, file: Path) -> xr.Variable:
    """Return what two layouts say of a variable; tasks may be scored in different units."""
    numbers = {one.dtype.kind in "OU", other.dtype.kind in "OU"}
    if one.dims != other.dims or len(numbers) > 1:
        raise UnreadableFileError(
            f"'{file}': '{name}' has the dimensions ({', '.join(map(str, other.dims))}), in other"
            f" results ({', '.join(map(str, one.dims))}); they were made by different versions of"
            " seqprobe: run the analysis again"
        )
    like = other if one.dtype.kind in "OU" else other.astype(np.result_type(one, other))
    words = {
        key: " or ".join(dict.fromkeys([*str(one.attrs[key]).split(" or "), str(other.attrs[key])]))
        for key in ("units", "long_name")
        if key in one.attrs and key in other.attrs
    }
    like.attrs = one.attrs | words
    return like


def _dims(template: Mapping[str, xr.Variable]) -> list[str]:
    return list(dict.fromkeys(str(dim) for like in template.values() for dim in like.dims))


def _axis(dim: str, results: Sequence[Result], template: Mapping[str, xr.Variable]) -> xr.Variable:
    """Return the union of a dimension's labels, or numbers up to its largest size."""
    if dim in template:
        labels = [result.arrays[dim] for result in results if dim in result.arrays]
        if all(np.array_equal(other, labels[0]) for other in labels):
            return template[dim]
        union = np.concatenate(labels)
        if union.dtype.kind in "OU":
            values = np.array(list(dict.fromkeys(union.tolist())))
        else:
            values = np.unique(union)
            if values.dtype.kind == "f" and np.isnan(values).any():
                raise UnreadableFileError(f"'{dim}' of some result is not a number; run it again")
        return xr.Variable((dim,), values, template[dim].attrs)
    sizes = [
        result.arrays[name].shape[like.dims.index(dim)]
        for result in results
        for name, like in template.items()
        if name in result.arrays and dim in like.dims
    ]
    return xr.Variable((dim,), np.arange(max(sizes)))


def _stacked(
    name: str,
    like: xr.Variable,
    results: Sequence[Result | None],
    axes: Mapping[str, xr.Variable],
) -> np.ndarray:
    """Return one variable of all runs."""
    shape = tuple(axes[str(dim)].size for dim in like.dims)
    read = [{} if result is None else result.arrays for result in results]
    present = [arrays for arrays in read if name in arrays]
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
        if name not in arrays:
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
