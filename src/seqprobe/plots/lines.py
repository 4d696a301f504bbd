"""How a quantity is drawn against lag or delay: one line per architecture, intervals, axes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Literal

import matplotlib as mpl
import numpy as np
import xarray as xr
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import (
    FixedLocator,
    FuncFormatter,
    LogLocator,
    NullLocator,
    ScalarFormatter,
)

from seqprobe.plots.runs import Group, groups, values
from seqprobe.plots.style import RC, look

__all__ = [
    "Panel",
    "by_task",
    "draw",
    "legend",
    "line_of",
    "log_steps",
    "mark_training_lengths",
    "median_interval",
    "note",
    "plain_log",
    "titled",
    "without_padding",
]


def draw(
    ax: Axes, group: Group, name: str, x: str = "lag", scale: np.ndarray | None = None
) -> None:
    """Draw a variable of one architecture: a line with its interval, or seeds with their median.

    Parameters
    ----------
    ax
        Where.
    group
        Runs of one architecture.
    name
        A variable along `x`; ``<name>_ci`` along (ci_bound, `x`) is its interval, if there is one.
    x
        A coordinate.
    scale
        What every run is divided by, (run, 1).
    """
    runs, style = group.runs, look(group.name)
    steps = runs[x].values
    scale = np.ones((runs.sizes["run"], 1)) if scale is None else scale
    lines = runs[name].values / scale
    label = group.label
    low = high = None
    if len(lines) == 1:
        middle = lines[0]
        if f"{name}_ci" in runs:
            low, high = runs[f"{name}_ci"].values[0] / scale
    else:
        ax.plot(steps, _drawable(ax, lines).T, color=style.color, lw=0.5, alpha=0.35)
        middle, low, high = median_interval(lines)
        seeds = len(set(values(runs, "train_seed"))) == len(lines)
        label = f"{label} ({len(lines)} {'seeds' if seeds else 'runs'})"
    there = np.flatnonzero(np.isfinite(middle))  # a line goes on where a grid has gaps
    if low is not None and high is not None:
        ax.fill_between(steps[there], low[there], high[there], color=style.color, alpha=0.2, lw=0)
    ax.plot(
        steps[there],
        _drawable(ax, middle[there]),
        color=style.color,
        linestyle=line_of(group),
        marker=style.marker,
        markevery=_marked(steps[there]),
        label=label,
    )


def line_of(group: Group) -> str | tuple[int, tuple[float, ...]]:
    """Return the line of an architecture, or of a variant of it with other settings."""
    if group.variant == 0:
        return look(group.name).linestyle
    return 0, (1 + 2 * group.variant, 2, 1, 2)


def _drawable(ax: Axes, lines: np.ndarray) -> np.ndarray:
    """Leave out exact zeros, which have no place on a log axis."""
    return np.where(lines > 0, lines, np.nan) if ax.get_yscale() == "log" else lines


def median_interval(lines: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the median over seeds and its 95 % bootstrap interval.

    Of fewer than six seeds that is their range, which holds the median of all seeds less often.
    """
    rng = np.random.default_rng(0)
    picks = rng.integers(len(lines), size=(1000, len(lines)))
    medians = np.median(lines[picks], axis=1)
    low, high = np.percentile(medians, [2.5, 97.5], axis=0)
    return np.median(lines, axis=0), low, high


def _marked(steps: np.ndarray) -> list[int]:
    """Return the positions of markers, evenly spread on the log axis."""
    if len(steps) <= 8:
        return list(range(len(steps)))
    wanted = np.geomspace(1, max(2, steps[-1]), 7).round()
    return sorted({int(np.abs(steps - step).argmin()) for step in (0, *wanted)})


def log_steps(ax: Axes, last: int, label: str = "lag k (steps)", first: int = 0) -> None:
    """Scale an axis of steps: linear from 0 to 1, logarithmic beyond."""
    if first:
        ax.set_xscale("log")
        ax.set_xlim(first / 1.1, last * 1.1)
    else:
        ax.set_xscale("symlog", linthresh=1, linscale=0.4)
        ax.set_xlim(-0.05, last * 1.06 + 0.05)
    # Labels of every 1, 2, 5 would run into each other over many decades.
    ticks = [0] + [m * 10**e for e in range(7) for m in ((1, 2, 5) if last <= 1000 else (1,))]
    inside = [tick for tick in ticks if first <= tick <= last]
    ax.xaxis.set_major_locator(FixedLocator(inside))
    ax.xaxis.set_major_formatter(ScalarFormatter())
    ax.xaxis.set_minor_locator(NullLocator())
    ax.set_xlabel(label)


def plain_log(axis: Axis) -> None:
    """Write plain numbers at 1, 2, 5, 10, ... of a logarithmic axis, or 1, 10, ... if it is long.

    Call it when everything has been drawn.
    """
    low, high = axis.get_view_interval()
    subs = (1,) if high > 1000 * low else (1, 2, 5) if high > 8 * low else (1, 2, 3, 4, 5, 6, 8)
    axis.set_major_locator(LogLocator(subs=subs))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_locator(NullLocator())


def mark_training_lengths(ax: Axes, result: xr.Dataset, last: int) -> None:
    """Draw a line where the sequences of training ended, if the axis goes that far."""
    for length in {int(value) for value in values(result, "train_length") if value}:
        if length <= last:
            ax.axvline(length, color="0.4", lw=0.6, ls=":", zorder=0)
            note(ax, "training length", (length, ax.get_ylim()[1]), (-1, -6), "0.4")


def note(
    ax: Axes,
    text: str,
    at: tuple[float, float],
    offset: tuple[float, float],
    color: str,
    align: Literal["left", "right"] = "right",
) -> None:
    """Write small beside a point."""
    ax.annotate(text, at, xytext=offset, textcoords="offset points", ha=align, size=6, color=color)


# Draws one quantity of the runs of one task.
Panel = Callable[[xr.Dataset, Axes], Axes]


def by_task(
    result: xr.Dataset, name: str, panels: Sequence[tuple[str, Panel]], x: str = "lag"
) -> Figure:
    """Return a figure with one row per task and one column per panel.

    Parameters
    ----------
    result
        One result, or several along ``run``.
    name
        A variable along `x` that tells which lags belong to a task.
    panels
        Titles with what draws under them.
    x
        A dimension; what no run of a task has along it is left out.
    """
    tasks = groups(result, "task")
    with mpl.rc_context(RC):
        figure = Figure(figsize=(7.0, 0.35 + 2.5 * len(tasks)), layout="constrained")
        axes = figure.subplots(len(tasks), len(panels), squeeze=False)
        for task, row in zip(tasks, axes, strict=True):
            runs = without_padding(task.runs, name, x)
            for i, (ax, (title, panel)) in enumerate(zip(row, panels, strict=True)):
                panel(runs, ax)
                ax.set_title(titled(task.label, title) if i == 0 else title)
        legend(figure, list(axes[:, 0]))
    return figure


def titled(label: str, title: str) -> str:
    """Return a title that begins with its task, on a line of its own if that is long."""
    return f"{label}: {title}" if len(label) + len(title) < 55 else f"{label}\n{title}"


def legend(figure: Figure, axes: list[Axes]) -> None:
    """Put one legend for several axes above them."""
    handles: dict[str, Artist] = {}
    for ax in axes:
        handles |= {label: h for h, label in zip(*ax.get_legend_handles_labels(), strict=True)}
    figure.legend(
        list(handles.values()),
        list(handles),
        loc="outside upper center",
        ncols=_columns(handles),
    )


def _columns(labels: Iterable[str]) -> int:
    """Return how many entries of a legend fit beside each other on a page's width."""
    longest = max((len(label) for label in labels), default=0)
    return max(1, min(9, 130 // (longest + 9)))


def without_padding(runs: xr.Dataset, name: str, x: str = "lag") -> xr.Dataset:
    """Drop steps that no run of this group measured: other tasks' longer results pad them."""
    others = [dim for dim in runs[name].dims if dim != x]
    return runs.isel({x: np.flatnonzero(runs[name].notnull().any(others).values)})
