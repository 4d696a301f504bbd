"""A figure with the numbers that it is drawn from."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import xarray as xr
from matplotlib.figure import Figure

from seqprobe import schema
from seqprobe.plots.style import save

__all__ = ["deposit"]


def deposit(
    figure: Figure, numbers: Mapping[str, xr.Dataset], stem: str | os.PathLike[str]
) -> None:
    """Write a figure as PDF and PNG, and beside it the numbers that it is drawn from.

    Parameters
    ----------
    figure
        The figure.
    numbers
        Results by group; ``"/"`` is the root.
    stem
        Path without ending.

    Raises
    ------
    UsageError
        If the folder does not exist, or a result does not keep to the schema.
    """
    stem = Path(stem)
    for ending in (".pdf", ".png"):
        save(figure, stem.with_name(f"{stem.name}{ending}"))
    schema.write_groups(numbers, stem.with_name(f"{stem.name}.nc"))
