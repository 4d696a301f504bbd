"""State and loss against position, beyond the training length."""

from __future__ import annotations

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from seqprobe.plots.lines import (
    Panel,
    by_task,
    draw,
    log_steps,
    mark_training_lengths,
    plain_log,
)
from seqprobe.plots.runs import groups, values
from seqprobe.plots.style import look, new_axes

__all__ = ["loss_by_position", "state_growth", "state_growth_figure"]


def state_growth(growth: xr.Dataset, ax: Axes | None = None) -> Axes:
    """Draw the mean square of the state over its largest within the training length, every part.

    Parameters
    ----------
    growth
        Result of `seqprobe.capacity.state_growth`, or several along ``run``.
    ax
        Where to draw; a new figure if None.
    """
    ax = new_axes() if ax is None else ax
    for group in groups(growth, "model"):
        style, positions = look(group.name), group.runs["time"].values
        curves = []
        for i in range(group.runs.sizes["run"]):
            run = group.runs.isel(run=i)
            length = float(np.atleast_1d(run["trained_length"])[0])
            for part in range(run.sizes["part"]):
                power = run["state_rms"].isel(part=part) ** 2
                curve = power.mean("head").values
                if not np.isfinite(curve).any():
                    continue
                curve = curve / np.nanmax(curve[positions <= length])
                ax.plot(positions, curve, color=style.color, lw=0.6, alpha=0.4)
                curves.append(curve)
        if not curves:
            continue
        largest = max(curves, key=lambda curve: np.nanmax(curve[-5:]))
        ax.plot(positions, largest, color=style.color, ls=style.linestyle, label=group.label)
    ax.set_yscale("log")
    ax.axhline(1, color="0.7", lw=0.5, zorder=0)
    ax.axhline(2, color="0.7", lw=0.5, ls=":", zorder=0)
    _positions(ax, growth)
    plain_log(ax.yaxis)
    ax.set_ylabel("mean square over the largest in training")
    return ax


def loss_by_position(growth: xr.Dataset, ax: Axes | None = None) -> Axes:
    """Draw the loss against the position; dashed, an answer that knows nothing."""
    ax = new_axes() if ax is None else ax
    growth = growth if "run" in growth.dims else growth.expand_dims("run")
    for group in groups(growth, "model"):
        draw(ax, group, "loss", x="time")
    chance = float(np.nanmedian(growth["loss_chance"].values))
    ax.axhline(chance, color="0.5", lw=0.6, ls="--", zorder=0)
    ax.set_yscale("log")
    scored = growth["time"].values[growth["loss"].notnull().any("run").values]
    _positions(ax, growth, max(1, int(scored[0] // 2)) if len(scored) else 1)
    ax.set_ylabel(f"loss ({values(growth, 'loss_unit')[0]})")
    return ax


def _positions(ax: Axes, growth: xr.Dataset, first: int = 1) -> None:
    last = int(growth["time"].max())
    log_steps(ax, last, "position (steps)", first=first)
    low, high = ax.get_ylim()
    ax.set_ylim(low, 2.5 * high)  # room for the name of the line
    mark_training_lengths(ax, growth, last)


def state_growth_figure(growth: xr.Dataset) -> Figure:
    """Return the figure of ``seqprobe capacity growth``: a row per task."""
    panels: list[tuple[str, Panel]] = [
        ("state, all parts (bold: grows most; dotted: 2)", state_growth),
        ("loss (dashed: knows nothing)", loss_by_position),
    ]
    return by_task(growth, "state_var", panels, x="time")
