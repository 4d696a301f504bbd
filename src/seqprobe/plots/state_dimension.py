"""How many directions states occupy."""

from __future__ import annotations

import matplotlib as mpl
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from seqprobe.plots.dots import dots, named_rows
from seqprobe.plots.lines import Panel, legend, line_of, log_steps, plain_log, titled
from seqprobe.plots.runs import groups
from seqprobe.plots.style import RC, look, new_axes

__all__ = [
    "capacity_summary",
    "capacity_summary_figure",
    "cumulated_variance",
    "state_dimension",
    "state_dimension_figure",
]

# Of the measures: what is drawn, how, and where in its row.
_DIMENSIONS = {
    "participation_ratio": ("participation ratio", "o", "#0072B2"),
    "effective_rank": ("effective rank", "s", "#E69F00"),
    "dims_99": ("99 % of the variance", "D", "#009E73"),
    "two_nn": ("TwoNN", "^", "#CC79A7"),
}
_SIZES = {
    "state_size": ("state size (reals)", "|", "#000000"),
    "ess_01": ("ESS at 0.1", "v", "#D55E00"),
    "ess_entropy": ("ESS, entropy", "<", "#8C6D31"),
}


def _flat(result: xr.Dataset) -> xr.Dataset:
    """Return the result with the values of one tolerance and quantile as variables."""
    result = result.copy()
    if "dimensions" in result:
        at = result[["dimensions", "dimensions_ci"]].sel(quantile=0.99)
        result["dims_99"], result["dims_99_ci"] = at["dimensions"], at["dimensions_ci"]
    if "ess" in result:
        at = result[["ess", "ess_ci"]].sel({"tolerance": 0.1})
        result["ess_01"], result["ess_01_ci"] = at["ess"], at["ess_ci"]
    return result


def state_dimension(dimension: xr.Dataset, ax: Axes | None = None) -> Axes:
    """Draw participation ratio, effective rank, 99 % dimension and TwoNN of every architecture.

    Parameters
    ----------
    dimension
        Result of `seqprobe.capacity.state_dimension` or `cloud_dimension`, or several along
        ``run``.
    ax
        Where to draw; a new figure if None.
    """
    return _rows(dimension, _DIMENSIONS, "dimensions", ax)


def capacity_summary(summary: xr.Dataset, ax: Axes | None = None) -> Axes:
    """Draw state size, effective state size and dimensions of every architecture."""
    return _rows(summary, _SIZES | _DIMENSIONS, "reals, or dimensions", ax)


def _rows(
    result: xr.Dataset, measures: dict[str, tuple[str, str, str]], label: str, ax: Axes | None
) -> Axes:
    ax = new_axes() if ax is None else ax
    found = groups(_flat(result), "model")
    for i, (name, (long_name, marker, color)) in enumerate(measures.items()):
        shift = 0.3 * (1 - 2 * i / (len(measures) - 1))
        dots(ax, found, name, marker=marker, color=color, shift=shift, label=long_name)
    named_rows(ax, found)
    ax.set_xscale("log")
    plain_log(ax.xaxis)
    ax.set_xlabel(label)
    return ax


def cumulated_variance(dimension: xr.Dataset, ax: Axes | None = None) -> Axes:
    """Draw the part of the variance that the leading components hold."""
    ax = new_axes() if ax is None else ax
    last = 1
    for group in groups(dimension, "model"):
        variance = group.runs["variance"].fillna(0).values
        share = np.median(np.cumsum(variance, axis=1) / variance.sum(axis=1)[:, None], axis=0)
        count = int((share < 1 - 1e-9).sum()) + 1
        last = max(last, count)
        style = look(group.name)
        x = np.arange(1, count + 1)
        ax.plot(x, share[:count], color=style.color, ls=line_of(group), label=group.label)
    log_steps(ax, last, "components", first=1)
    for level in dimension["quantile"].values:
        ax.axhline(level, color="0.85", lw=0.5, zorder=0)
    ax.set_ylim(0, 1.02)
    ax.set_ylabel("part of the variance")
    return ax


def state_dimension_figure(dimension: xr.Dataset) -> Figure:
    """Return the figure of ``seqprobe capacity dimension``: a row per task."""
    return _figure(dimension, state_dimension, "dimension of the states", cumulated_variance)


def capacity_summary_figure(summary: xr.Dataset) -> Figure:
    """Return the figure of ``seqprobe capacity``: a row per task."""
    return _figure(summary, capacity_summary, "how much of the state is used", cumulated_variance)


def _figure(result: xr.Dataset, left: Panel, title: str, right: Panel) -> Figure:
    tasks = groups(result, "task")
    heights = [max(2.2, 0.9 + 0.32 * len(groups(task.runs, "model"))) for task in tasks]
    with mpl.rc_context(RC):
        figure = Figure(figsize=(7.0, 0.5 + sum(heights)), layout="constrained")
        axes = figure.subplots(len(tasks), 2, squeeze=False, height_ratios=heights)
        for task, row in zip(tasks, axes, strict=True):
            left(task.runs, row[0])
            right(task.runs, row[1])
            row[0].set_title(titled(task.label, title))
            row[1].set_title("cumulated variance")
            row[1].legend(loc="lower right", ncols=2 if len(row[1].lines) > 6 else 1)
        legend(figure, [axes[0, 0]])
    return figure
