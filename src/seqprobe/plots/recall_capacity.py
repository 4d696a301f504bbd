"""What a state recalls: accuracy against load, and capacity against the size of the state."""

from __future__ import annotations

import matplotlib as mpl
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator

from seqprobe.plots.lines import (
    legend,
    log_steps,
    median_interval,
    plain_log,
    titled,
    without_padding,
)
from seqprobe.plots.runs import Group, groups, values
from seqprobe.plots.style import RC, look, new_axes

__all__ = ["recall_accuracy", "recall_capacity", "recall_capacity_figure"]


def recall_accuracy(recall: xr.Dataset, ax: Axes | None = None) -> Axes:
    """Draw accuracy against load: the larger the state, the darker the line.

    Parameters
    ----------
    recall
        Result of `seqprobe.capacity.recall_capacity`, or several along ``run``.
    ax
        Where to draw; a new figure if None.
    """
    ax = new_axes() if ax is None else ax
    loads = recall["load"].values
    for name, sizes in _by_size(recall).items():
        style = look(name)
        for i, (_, group) in enumerate(sizes):
            alpha = 0.35 + 0.65 * (i + 1) / len(sizes)
            lines = group.runs["accuracy"].values
            last = i == len(sizes) - 1
            if len(lines) == 1:
                low, high = group.runs["accuracy_ci"].values[0]
            else:
                _, low, high = median_interval(lines)
            if last:
                ax.fill_between(loads, low, high, color=style.color, alpha=0.15, lw=0)
            ax.plot(
                loads,
                np.nanmedian(lines, axis=0),
                color=style.color,
                ls=style.linestyle,
                marker=style.marker if last else None,
                alpha=alpha,
                lw=0.8 + 0.6 * alpha,
                label=name if last else None,
            )
    chance = float(values(recall, "chance")[0])
    ax.axhline(chance, color="0.5", lw=0.6, ls="--", zorder=0)
    for level in recall["threshold"].values:
        ax.axhline(level, color="0.85", lw=0.5, zorder=0)
    _load_axis(ax, recall)
    ax.set_ylim(0, 1.02)
    ax.set_ylabel("accuracy")
    return ax


def _load_axis(ax: Axes, recall: xr.Dataset) -> None:
    loads = recall["load"].values
    load, unit = values(recall, "load_name")[0], values(recall, "load_unit")[0]
    label = f"{load.replace('_', ' ')} ({unit})" if load != unit else load
    log_steps(ax, int(loads[-1]), label, first=int(loads[0]))
    if len(loads) <= 8 and (loads[1:] / loads[:-1]).min(initial=2) > 1.2:  # labels have room
        ax.xaxis.set_major_locator(FixedLocator([float(load) for load in loads]))


def recall_capacity(recall: xr.Dataset, ax: Axes | None = None, threshold: float = 0.5) -> Axes:
    """Draw P* against the size of the state, with the line of a Hebbian store.

    One mark per architecture and size: the median over seeds with the seeds behind it, or one run
    with its interval. An arrow points up where the largest load is still recalled, and down where
    the smallest is not.
    """
    ax = new_axes() if ax is None else ax
    first, last = (float(recall["load"].values[i]) for i in (0, -1))
    for name, sizes in _by_size(recall).items():
        style = look(name)
        x, y = [], []
        for _, group in sizes:
            at = group.runs.sel(threshold=threshold)
            reals, found = at["capacity_state_size"].values, at["capacity"].values
            # Zero means below the smallest load, infinity above the largest.
            shown = np.clip(found, first, last)
            ax.plot(reals, shown, style.marker, color=style.color, ms=2.5, alpha=0.45, mew=0)
            x.append(np.median(reals))
            y.append(np.median(shown))
            if len(found) == 1 and np.isfinite(found[0]) and found[0] > 0:
                ends = np.clip(at["capacity_ci"].values[0], first, last)
                ax.plot([x[-1]] * 2, ends, color=style.color, lw=1, alpha=0.6)
            middle = np.median(found)
            if not first <= middle <= last:
                end = y[-1] * (1.25 if middle > last else 0.8)
                arrow = {"arrowstyle": "->", "color": style.color, "lw": 0.8}
                ax.annotate("", (x[-1], end), (x[-1], y[-1]), arrowprops=arrow)
        ax.plot(x, y, color=style.color, ls=style.linestyle, marker=style.marker, label=name)
    _hebbian_line(ax, recall, threshold)
    ax.set_xscale("log")
    ax.set_yscale("log")
    plain_log(ax.xaxis)
    plain_log(ax.yaxis)
    held = recall["hebbian_capacity"].sel(threshold=threshold).values
    highest = np.max(held, initial=last, where=np.isfinite(held))
    ax.set_ylim(first / 1.5, 1.5 * min(highest, 8 * last))
    ax.set_xlabel("reals of state before the first question")
    ax.set_ylabel(f"P* at accuracy {threshold:g} ({values(recall, 'load_unit')[0]})")
    return ax


def _hebbian_line(ax: Axes, recall: xr.Dataset, threshold: float) -> None:
    """Join what stores of the sizes found hold."""
    at = recall.sel(threshold=threshold)
    reals = np.atleast_1d(at["capacity_state_size"].values)
    held = np.atleast_1d(at["hebbian_capacity"].values)
    there = np.isfinite(held) & (held > 0)
    order = np.argsort(reals[there])
    if there.any():
        label = "Hebbian store of as many reals"
        ax.plot(
            reals[there][order],
            held[there][order],
            color="0.3",
            lw=0.9,
            ls="--",
            marker="_",
            label=label,
        )


def _by_size(recall: xr.Dataset) -> dict[str, list[tuple[float, Group]]]:
    """Return the runs of each architecture by the size of their state, ascending."""
    found: dict[str, list[tuple[float, Group]]] = {}
    for group in groups(recall, "model"):
        size = float(np.nanmedian(group.runs["state_size"].values))
        found.setdefault(group.name, []).append((size, group))
    return {name: sorted(sizes, key=lambda pair: pair[0]) for name, sizes in found.items()}


def recall_capacity_figure(recall: xr.Dataset) -> Figure:
    """Return the figure of ``seqprobe capacity recall``: a row per task."""
    tasks = groups(recall, "task")
    with mpl.rc_context(RC):
        figure = Figure(figsize=(7.0, 0.45 + 2.6 * len(tasks)), layout="constrained")
        axes = figure.subplots(len(tasks), 2, squeeze=False)
        for task, (left, right) in zip(tasks, axes, strict=True):
            runs = without_padding(task.runs, "accuracy", "load")
            recall_accuracy(runs, left)
            recall_capacity(runs, right)
            left.set_title(titled(task.label, "recall by load (darker: larger)"))
            right.set_title("capacity by state size")
        legend(figure, [ax for row in axes for ax in row])
    return figure
