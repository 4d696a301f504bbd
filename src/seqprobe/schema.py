"""One shape for all results: reserved dimensions, units on every variable, one writer, one reader.

Files are netCDF4 written by h5netcdf, because results may hold complex eigenvalues or half
precision, which the netCDF4 library does not read: open them with
``xarray.open_dataset(path, engine="h5netcdf")`` or with `read`.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Hashable, Mapping, Sequence
from enum import IntEnum
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from seqprobe.errors import UnreadableFileError, UsageError
from seqprobe.files import atomic

__all__ = [
    "DIMS",
    "combine_runs",
    "flags",
    "read",
    "read_groups",
    "validate",
    "variable",
    "write",
    "write_groups",
    "write_tree",
]

DIMS = frozenset(
    """
    run seed task step trial time lag length layer unit head channel component state fixed_point
    mode edge start bin quantile threshold tolerance load net_a net_b ci_bound epsilon degree
    input output assignment branch cycle row column part level excluded
    delays rank condition measure ensemble
    """.split()  # noqa: SIM905  # a list of 30 strings is harder to read
)


def variable(
    dims: tuple[str, ...], values: np.ndarray | float, long_name: str, units: str
) -> xr.Variable:
    """Return a variable that says what it is and in which unit."""
    return xr.Variable(dims, values, {"long_name": long_name, "units": units})


def flags(
    dims: tuple[str, ...], values: np.ndarray, kinds: type[IntEnum], long_name: str
) -> xr.Variable:
    """Return a variable of codes that says what they mean (CF conventions)."""
    made = variable(dims, values, long_name, "1")
    made.attrs["flag_values"] = [int(kind) for kind in kinds]
    made.attrs["flag_meanings"] = " ".join(kind.name.lower() for kind in kinds)
    return made


def validate(dataset: xr.Dataset) -> None:
    """Check that a result keeps to the schema.

    Raises
    ------
    UsageError
        If a dimension is not reserved, or a variable lacks ``units`` or ``long_name``.
    """
    strange = set(map(str, dataset.dims)) - DIMS
    if strange:
        raise UsageError(
            f"dimension '{min(strange)}' is not in the schema (allowed: {', '.join(sorted(DIMS))})"
        )
    for name, values in dataset.variables.items():
        missing = {"units", "long_name"} - values.attrs.keys()
        if missing:
            raise UsageError(f"variable '{name}' has no '{min(missing)}'; every variable needs one")


def write(dataset: xr.Dataset, path: str | os.PathLike[str]) -> None:
    """Write a result; a reader sees the old file or the new one, never half of it."""
    validate(dataset)
    with atomic(path) as part, warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*invalid netcdf.*")
        dataset.to_netcdf(part, engine="h5netcdf", encoding=_packing(dataset), invalid_netcdf=True)


def read(path: str | os.PathLike[str]) -> xr.Dataset:
    """Read a result into memory; it equals the one written.

    Raises
    ------
    UnreadableFileError
        If the file is missing or not a result.
    """
    path = Path(path)
    if not path.is_file():
        raise UnreadableFileError(f"'{path}' does not exist; check the name")
    try:
        with xr.open_dataset(path, engine="h5netcdf") as dataset:
            return dataset.load()
    except (OSError, ValueError, KeyError):
        raise UnreadableFileError(f"'{path}' is not a result file of seqprobe (.nc)") from None


def write_groups(groups: Mapping[str, xr.Dataset], path: str | os.PathLike[str]) -> None:
    """Write several results into one file, each a group; open it with `xarray.open_datatree`."""
    write_tree(xr.DataTree.from_dict(dict(groups)), path)


def write_tree(tree: xr.DataTree, path: str | os.PathLike[str]) -> None:
    """Write a tree of results; see `write`."""
    nodes = {node.path: node.to_dataset(inherit=False) for node in tree.subtree}
    for dataset in nodes.values():
        validate(dataset)
    encoding = {name: _packing(dataset) for name, dataset in nodes.items()}
    with atomic(path) as part, warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*invalid netcdf.*")
        tree.to_netcdf(part, engine="h5netcdf", encoding=encoding, invalid_netcdf=True)


def read_groups(path: str | os.PathLike[str]) -> dict[str, xr.Dataset]:
    """Read what `write_groups` wrote into memory; see `read` for the errors.

    Returns
    -------
    dict
        Results by group, each with the coordinates of the root; what stands at the root, if
        anything, is ``"/"``.
    """
    path = Path(path)
    if not path.is_file():
        raise UnreadableFileError(f"'{path}' does not exist; check the name")
    try:
        with xr.open_datatree(path, engine="h5netcdf") as tree:
            nodes = {"/": tree, **tree.children} if tree.data_vars else tree.children
            return {name: node.to_dataset().load() for name, node in nodes.items()}
    except (OSError, ValueError, KeyError):
        raise UnreadableFileError(f"'{path}' is not a result file of seqprobe (.nc)") from None


def _packing(dataset: xr.Dataset) -> dict[str, dict[str, Any]]:
    """Return how variables are compressed."""
    return {
        str(name): {"zlib": True, "complevel": 4}
        for name, values in dataset.data_vars.items()
        if values.ndim and values.dtype.kind in "fiu"
    }


def combine_runs(results: Sequence[xr.Dataset]) -> xr.Dataset:
    """Put results of several checkpoints side by side along ``run``.

    Attributes that all results share stay attributes; those that differ become coordinates along
    ``run``. Where results have other lags or times, the missing values are NaN.

    Parameters
    ----------
    results
        Datasets of one analysis.

    Returns
    -------
    xarray.Dataset
        With a ``run`` dimension in front, labelled by checkpoint path.
    """
    shared = {
        key: value
        for key, value in results[0].attrs.items()
        if all(result.attrs.get(key) == value for result in results)
    }
    differing = {key for result in results for key in result.attrs} - shared.keys()
    rows = []
    for i, result in enumerate(_numbered(results)):
        label = str(result.attrs.get("checkpoint", f"run {i}"))
        row = result.expand_dims(run=[label])
        for key in sorted(differing):
            row = row.assign_coords({key: ("run", [str(result.attrs.get(key, ""))])})
        rows.append(row)
    combined = xr.concat(rows, dim="run", join="outer", combine_attrs="drop_conflicts")
    combined.attrs = shared
    for name, values in combined.variables.items():
        for key in {"units", "long_name"} - values.attrs.keys():
            # Tasks may be scored in different units; each run's is named, none is lost.
            there = [row.variables[name].attrs for row in rows if name in row.variables]
            words = dict.fromkeys(str(attrs[key]) for attrs in there if key in attrs)
            if words:
                values.attrs[key] = " or ".join(words)
    combined["run"].attrs = {"long_name": "checkpoint", "units": "1"}
    for key in differing:
        combined[key].attrs = {"long_name": f"{key} of the checkpoint", "units": "1"}
    return combined


def _numbered(results: Sequence[xr.Dataset]) -> list[xr.Dataset]:
    """Give dimensions whose sizes differ between results a coordinate to be aligned by."""
    sizes: dict[Hashable, set[int]] = {}
    for result in results:
        for dim, size in result.sizes.items():
            sizes.setdefault(dim, set()).add(size)
    labelled = {dim for result in results for dim in result.dims if dim in result.coords}
    everywhere_alike = {
        dim: len(found) == 1 and all(dim in result.dims for result in results)
        for dim, found in sizes.items()
    }
    made = []
    for result in results:
        plain = [dim for dim in sizes if dim not in labelled and not everywhere_alike[dim]]
        made.append(
            result.assign_coords(
                {
                    dim: variable(
                        (str(dim),), np.arange(result.sizes.get(dim, 0)), f"{dim} number", "1"
                    )
                    for dim in plain
                }
            )
        )
    return made
