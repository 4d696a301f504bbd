"""Information processing capacity as bars, by degree."""

from __future__ import annotations

import matplotlib as mpl
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from seqprobe.plots.lines import legend
from seqprobe.plots.runs import groups
from seqprobe.plots.style import RC, new_axes

__all__ = ["capacity_by_degree", "capacity_by_degree_figure"]

_SHADES = ("#08306B", "#2171B5", "#6BAED6", "#C6DBEF", "#DEEBF7")


def capacity_by_degree(capacity: xr.Dataset, ax: Axes | None = None) -> Axes:
    """Draw one bar per architecture, stacked by degree, with the rank of the states as its bound.

    Parameters
    ----------
    capacity
        Result of `seqprobe.memory.information_processing_capacity`, or several along ``run``.
    ax
        Where to draw; a new figure if None.
    """
    ax = new_axes() if ax is None else ax
    found = groups(capacity, "model")
    places = np.arange(len(found))
    bottom = np.zeros(len(found))
    for i, degree in enumerate(capacity["degree"].values):
        heights = [float(g.runs["ipc"].sel(degree=degree).median("run")) for g in found]
        shade = _SHADES[min(i, len(_SHADES) - 1)]
        ax.bar(places, heights, 0.7, bottom=bottom, color=shade, label=f"degree {degree}")
        bottom += heights
    ranks = [float(g.runs["rank"].median("run")) for g in found]
    ax.plot(places, ranks, "_", color="k", ms=18, label="rank of the states")
    ax.set_xticks(places, [g.label for g in found])
    ax.set_ylabel("capacity (functions)")
    return ax


def capacity_by_degree_figure(capacity: xr.Dataset) -> Figure:
    """Return the figure of ``seqprobe memory ipc``: a row per task."""
    tasks = groups(capacity, "task")
    with mpl.rc_context(RC):
        figure = Figure(figsize=(5.0, 0.35 + 2.5 * len(tasks)), layout="constrained")
        axes = figure.subplots(len(tasks), 1, squeeze=False)[:, 0]
        for task, ax in zip(tasks, axes, strict=True):
            capacity_by_degree(task.runs, ax)
            ax.set_title(f"{task.label}: information processing capacity")
        legend(figure, [axes[0]])
    return figure
