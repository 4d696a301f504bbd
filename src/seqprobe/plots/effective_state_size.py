"""The effective state size: against tolerance, against position, and its singular values."""

from __future__ import annotations

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from seqprobe.plots.lines import Panel, by_task, draw, line_of
from seqprobe.plots.runs import Group, groups
from seqprobe.plots.style import look, new_axes

__all__ = [
    "effective_state_size",
    "effective_state_size_by_position",
    "effective_state_size_figure",
    "past_to_future_spectrum",
]


def _middle(group: Group) -> Group:
    return group._replace(runs=group.runs.isel(time=group.runs.sizes["time"] // 2))


def effective_state_size(size: xr.Dataset, ax: Axes | None = None) -> Axes:
    """Draw the number of singular values above a tolerance, at the middle position.

    Parameters
    ----------
    size
        Result of `seqprobe.capacity.effective_state_size`, or several along ``run``.
    ax
        Where to draw; a new figure if None.
    """
    ax = new_axes() if ax is None else ax
    for group in groups(size, "model"):
        runs = _middle(group).runs.sortby("tolerance")
        draw(ax, group._replace(runs=runs), "ess", x="tolerance")
    ax.set_xscale("log")
    ax.invert_xaxis()
    ax.xaxis.set_minor_locator(NullLocator())
    ax.axvline(0.1, color="0.7", lw=0.6, ls=":", zorder=0)
    ax.set_xlabel("tolerance (part of the largest singular value)")
    ax.set_ylabel("effective state size (reals)")
    ax.set_ylim(bottom=0)
    return ax


def effective_state_size_by_position(size: xr.Dataset, ax: Axes | None = None) -> Axes:
    """Draw the entropy form against the position of the cut; dots are tolerance 0.1."""
    ax = new_axes() if ax is None else ax
    for group in groups(size, "model"):
        draw(ax, group, "ess_entropy", x="time")
        color = ax.lines[-1].get_color()
        counts = group.runs["ess"].sel({"tolerance": 0.1}, method="nearest").median("run")
        ax.plot(counts["time"].values, counts.values, "o", color=color, ms=3, mfc="w", zorder=3)
    ax.set_xlabel("position i of the cut (steps)")
    ax.set_ylabel("effective state size (reals)")
    ax.set_ylim(0, 1.08 * ax.get_ylim()[1])
    return ax


def past_to_future_spectrum(size: xr.Dataset, ax: Axes | None = None) -> Axes:
    """Draw the singular values over the largest at the middle position, median over sequences."""
    ax = new_axes() if ax is None else ax
    largest = 0
    for group in groups(size, "model"):
        sigma = _middle(group).runs["sigma"]
        with np.errstate(invalid="ignore"):
            values = (sigma / sigma.max("mode")).median(("run", "trial")).values
        there = np.flatnonzero(np.isfinite(values) & (values > 1e-8))
        largest = max(largest, len(there))
        style = look(group.name)
        ax.plot(there + 1, values[there], color=style.color, ls=line_of(group), label=group.label)
    ax.set_yscale("log")
    ax.set_ylim(1e-7, 2)
    ax.set_xlim(0, 1.02 * max(largest, 1))
    ax.axhline(0.1, color="0.7", lw=0.6, ls=":", zorder=0)
    ax.set_xlabel("mode")
    ax.set_ylabel("singular value over the largest")
    return ax


def effective_state_size_figure(size: xr.Dataset) -> Figure:
    """Return the figure of ``seqprobe capacity ess``: a row per task."""
    panels: list[tuple[str, Panel]] = [
        ("size by tolerance", effective_state_size),
        ("by position (dots: at 0.1)", effective_state_size_by_position),
        ("past to future", past_to_future_spectrum),
    ]
    return by_task(size, "ess_entropy", panels, x="time")
