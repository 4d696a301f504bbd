"""Recall against the delay, for one checkpoint or many."""

from __future__ import annotations

import matplotlib as mpl
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator

from seqprobe.plots.lines import draw, legend, log_steps, titled, without_padding
from seqprobe.plots.runs import groups, values
from seqprobe.plots.style import RC, new_axes

__all__ = ["copy_bits", "copy_curve", "copy_curve_figure"]


def copy_curve(curve: xr.Dataset, ax: Axes | None = None) -> Axes:
    """Draw accuracy on the copied symbols against the delay T.

    Parameters
    ----------
    curve
        Result of `seqprobe.memory.copy_curve`, or several along ``run``.
    ax
        Where to draw; a new figure if None.
    """
    ax = new_axes() if ax is None else ax
    for group in groups(curve, "model"):
        draw(ax, group, "accuracy", x="length")
    chance = float(values(curve, "chance")[0])
    ax.axhline(chance, color="0.5", lw=0.6, ls="--", zorder=0)
    ax.annotate("chance", (0, chance), (2, 2), ("axes fraction", "data"), "offset points")
    ax.texts[-1].set(size=6, color="0.4")
    _axes(ax, curve)
    ax.set_ylim(0, 1.02)
    ax.set_ylabel("accuracy on the copied symbols")
    return ax


def copy_bits(curve: xr.Dataset, ax: Axes | None = None) -> Axes:
    """Draw the bits recovered per sequence: lines by confusion, open circles by the loss."""
    ax = new_axes() if ax is None else ax
    for group in groups(curve, "model"):
        draw(ax, group, "bits_mi", x="length")
        color = ax.lines[-1].get_color()
        lower = group.runs["bits_ba"].median("run").values
        ax.plot(group.runs["length"].values, lower, "o", color=color, ms=3.5, mfc="w", zorder=3)
    _axes(ax, curve)
    highest = float(np.nanmax(curve[["bits_mi", "bits_ba"]].to_array()))
    ax.set_ylim(0, 1.08 * max(highest, 0.1))
    ax.set_ylabel("bits recovered per sequence")
    return ax


def copy_curve_figure(curve: xr.Dataset) -> Figure:
    """Return the figure of ``seqprobe memory copy-curve``: a row per task, accuracy and bits."""
    tasks = [
        (task, protocol, runs)
        for task in groups(curve, "task")
        for protocol, runs in _by_protocol(task.runs)
    ]
    with mpl.rc_context(RC):
        figure = Figure(figsize=(7.0, 0.45 + 2.4 * len(tasks)), layout="constrained")
        axes = figure.subplots(len(tasks), 2, squeeze=False)
        for (task, protocol, runs), (left, right) in zip(tasks, axes, strict=True):
            runs = without_padding(runs, "accuracy", "length")
            copy_curve(runs, left)
            copy_bits(runs, right)
            left.set_title(titled(task.label, f"recall of symbols, protocol: {protocol}"))
            right.set_title("bits: lines by confusion, circles by loss")
        legend(figure, list(axes[:, 0]))
    return figure


def _by_protocol(runs: xr.Dataset) -> list[tuple[str, xr.Dataset]]:
    """Return the runs of each protocol."""
    every = np.array(values(runs, "protocol"))
    return [(str(p), runs.isel(run=np.flatnonzero(every == p))) for p in np.unique(every)]


def _axes(ax: Axes, curve: xr.Dataset) -> None:
    delays = curve["length"].values
    symbols = ", ".join(sorted(set(values(curve, "symbols_to_copy"))))
    label = f"delay T (steps), {symbols} symbols"
    if np.ptp(delays) < delays[0]:
        ax.set_xlabel(label)  # a short range is seen better on a linear axis
    else:
        log_steps(ax, int(delays[-1]), label, first=int(delays[0]))
        if len(delays) <= 6 and (delays[1:] / delays[:-1]).min() > 1.2:  # labels have room
            ax.xaxis.set_major_locator(FixedLocator([float(delay) for delay in delays]))
