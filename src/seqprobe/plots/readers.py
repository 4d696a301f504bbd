"""What linear readers do with states, and how finely the states have to be kept."""

from __future__ import annotations

import matplotlib as mpl
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from seqprobe.plots.dots import dots, named_rows
from seqprobe.plots.lines import Panel, by_task, draw, legend, titled
from seqprobe.plots.runs import groups, values
from seqprobe.plots.style import RC, look, new_axes

__all__ = [
    "cover_capacity",
    "cover_capacity_figure",
    "manifold_capacity_figure",
    "quantised_bits",
    "quantised_bits_figure",
]


def cover_capacity(cover: xr.Dataset, ax: Axes | None = None) -> Axes:
    """Draw the part of dichotomies that are linear against states per direction.

    Grey: Cover's theorem for as many directions.

    Parameters
    ----------
    cover
        Result of `seqprobe.capacity.cover_capacity`, or several along ``run``.
    ax
        Where to draw; a new figure if None.
    """
    ax = new_axes() if ax is None else ax
    for group in groups(cover, "model"):
        style = look(group.name)
        for i in range(group.runs.sizes["run"]):
            run = group.runs.isel(run=i)
            there = np.isfinite(run["separable"].values)
            x = run["load"].values[there] / float(run["dimension"])
            low, high = run["separable_ci"].values[:, there]
            ax.plot(x, run["theory"].values[there], color="0.7", lw=1, zorder=1)
            ax.fill_between(x, low, high, color=style.color, alpha=0.2, lw=0)
            ax.plot(
                x,
                run["separable"].values[there],
                color=style.color,
                ls=style.linestyle,
                marker=style.marker,
                label=group.label if i == 0 else None,
            )
    ax.axvline(2, color="0.8", lw=0.5, zorder=0)
    ax.axhline(0.5, color="0.8", lw=0.5, zorder=0)
    ax.set_xlim(left=0)
    ax.set_ylim(-0.02, 1.02)
    ax.set_xlabel("states per direction, P / N")
    ax.set_ylabel("separable dichotomies")
    return ax


def cover_capacity_figure(cover: xr.Dataset) -> Figure:
    """Return the figure of ``seqprobe capacity cover``: a row per task."""
    panels: list[tuple[str, Panel]] = [("perceptron capacity (grey: Cover)", cover_capacity)]
    return by_task(cover, "separable", panels, x="load")


_GEOMETRY = {
    "capacity": "capacity (classes per dimension)",
    "radius": "radius (distances of the centre)",
    "manifold_dimension": "dimension",
}


def manifold_capacity_figure(manifold: xr.Dataset) -> Figure:
    """Return the figure of ``seqprobe capacity manifold``: a row per task.

    Capacity (crosses: shuffled labels), radius and dimension of the classes of each architecture.
    """
    tasks = groups(manifold, "task")
    heights = [0.9 + 0.25 * len(groups(task.runs, "model")) for task in tasks]
    with mpl.rc_context(RC):
        figure = Figure(figsize=(7.0, 0.3 + sum(heights)), layout="constrained")
        axes = figure.subplots(len(tasks), 3, squeeze=False, sharey="row", height_ratios=heights)
        for task, row in zip(tasks, axes, strict=True):
            found = groups(task.runs, "model")
            for ax, (name, label) in zip(row, _GEOMETRY.items(), strict=True):
                dots(ax, found, name)
                named_rows(ax, found)
                ax.set_xlabel(label)
                ax.set_xlim(0, 1.05 * ax.get_xlim()[1])
            dots(row[0], found, "capacity_shuffled", marker="x", color="0.6")
            row[0].set_title(titled(task.label, "manifolds (cross: shuffled)"))
    return figure


def quantised_bits(quantised: xr.Dataset, ax: Axes | None = None) -> Axes:
    """Draw the bits decoded after the state was touched; dotted, the state as it is."""
    ax = new_axes() if ax is None else ax
    for group in groups(quantised, "model"):
        draw(ax, group, "bits", x="level")
        color = ax.lines[-1].get_color()
        untouched = float(group.runs["bits_untouched"].median())
        ax.axhline(untouched, color=color, lw=0.6, ls=":", zorder=0)
        knee = float(group.runs["knee_level"].median())
        if np.isfinite(knee):
            height = float(group.runs["bits"].median("run").sel(level=knee, method="nearest"))
            ax.plot(knee, height, "o", color=color, mfc="w", ms=6, zorder=4)
    noise = values(quantised, "kind")[0] == "noise"
    if noise:
        ax.set_xscale("log")
    else:
        levels = quantised["level"].values
        ax.set_xticks(levels, [f"{level:g}" for level in levels])
    ax.set_xlabel(
        "noise (standard deviations of each real)" if noise else "bits kept per real of state"
    )
    ax.set_ylabel("bits decoded per sequence")
    ax.set_ylim(bottom=0)
    return ax


def quantised_bits_figure(quantised: xr.Dataset) -> Figure:
    """Return the figure of ``seqprobe capacity quantised``: a row per task."""
    tasks = groups(quantised, "task")
    with mpl.rc_context(RC):
        figure = Figure(figsize=(4.5, 0.4 + 2.5 * len(tasks)), layout="constrained")
        axes = figure.subplots(len(tasks), 1, squeeze=False)[:, 0]
        for task, ax in zip(tasks, axes, strict=True):
            quantised_bits(task.runs, ax)
            ax.set_title(titled(task.label, "bits after the state was touched (circle: knee)"))
        legend(figure, list(axes))
    return figure
