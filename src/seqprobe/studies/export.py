"""A collected study as a file: a tree of arrays, or a table."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

import pandas as pd
import xarray as xr

from seqprobe import schema
from seqprobe.errors import SeqprobeError
from seqprobe.files import atomic, check_output

__all__ = ["STUDY_TYPES", "check_study_output", "to_table", "write_study"]

STUDY_TYPES = (".nc", ".csv", ".parquet")


def check_study_output(path: str | os.PathLike[str]) -> Path:
    """Refuse a path that `write_study` could not write, before any work is done.

    Raises
    ------
    UsageError
        For another ending, or a folder that is not there.
    SeqprobeError
        If pandas has no engine for Parquet here.
    """
    found = check_output(path, STUDY_TYPES)
    engines = ("pyarrow", "fastparquet")
    if found.suffix == ".parquet" and not any(map(importlib.util.find_spec, engines)):
        raise SeqprobeError(
            f"cannot write '{path}': pandas has no engine for Parquet here;"
            " 'pip install pyarrow', or write .csv"
        )
    return found


def to_table(tree: xr.DataTree) -> pd.DataFrame:
    """Return one row per run: settings, scores, and every number that an analysis has per run."""
    root = tree.to_dataset()
    columns = {
        str(name): values.values
        for name, values in (*root.coords.items(), *root.data_vars.items())
        if values.dims == ("run",)
    }
    for name, group in tree.children.items():
        found = group.to_dataset(inherit=False)
        columns |= {
            f"{name}/{key}": values.values
            for key, values in found.data_vars.items()
            if values.dims == ("run",)
        }
    return pd.DataFrame(columns)


def write_study(tree: xr.DataTree, path: str | os.PathLike[str]) -> None:
    """Write a collected study.

    Parameters
    ----------
    tree
        Of `collect`.
    path
        ``.nc`` for all of it; ``.csv`` or ``.parquet`` for what there is per run.

    Raises
    ------
    UsageError
        For another ending.
    SeqprobeError
        If pandas has no engine for Parquet here.
    """
    path = check_study_output(path)
    if path.suffix == ".nc":
        schema.write_tree(tree, path)
        return
    table = to_table(tree)
    with atomic(path) as part:
        if path.suffix == ".csv":
            table.to_csv(part, index=False)
        else:
            table.to_parquet(part, index=False)
