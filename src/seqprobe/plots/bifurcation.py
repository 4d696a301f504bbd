"""Fixed points along a line of inputs."""

from __future__ import annotations

import matplotlib as mpl
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from seqprobe.plots.runs import singles
from seqprobe.plots.state_space import plane_of
from seqprobe.plots.style import RC, new_axes, shade

__all__ = ["input_sweep", "input_sweep_figure"]


def input_sweep(sweep: xr.Dataset, ax: Axes | None = None, output: int = 0) -> Axes:
    """Draw the branches of fixed points against the input: stable solid, unstable dashed.

    Parameters
    ----------
    sweep
        Result of `seqprobe.dynamics.input_sweep`, of one run.
    ax
        Where to draw; a new figure if None.
    output
        Which output to draw; without a head, the first principal component of the points.
    """
    ax = new_axes() if ax is None else ax
    ((_, run),) = singles(sweep)
    if "readout" in run:
        height, label = run["readout"].values[:, :, output], f"output {output + 1}"
    else:
        height, label = plane_of(run, 1).place(run["x"].values)[:, :, 0], "principal component 1"
    s, unstable = run["s"].values, run["n_unstable"].values
    for branch in range(run.sizes["branch"]):
        y, d = height[:, branch], unstable[:, branch]
        for value in np.unique(d[np.isfinite(y)]):
            line = np.where(d == value, y, np.nan)
            style = "-" if value == 0 else (0, (3, 1.5))
            ax.plot(s, line, color=shade(int(value)), ls=style, lw=1.0, alpha=0.9)
    folds = np.concatenate([run["fold_begin"].values, run["fold_end"].values])
    for fold in np.unique(np.round(folds[np.isfinite(folds)], 7)):
        ax.axvline(fold, color="0.85", lw=0.5, zorder=0)
    ax.set_xlabel("position s on the line of inputs")
    ax.set_ylabel(f"{label} at the fixed point")
    return ax


def _count(run: xr.Dataset, ax: Axes) -> Axes:
    """Draw the number of fixed points, all and stable, against the input."""
    s, unstable = run["s"].values, run["n_unstable"].values
    ax.step(s, run["n_branches"].values, where="mid", color="0.4", lw=1.2, label="all")
    ax.step(s, (unstable == 0).sum(axis=1), where="mid", color="k", lw=1.2, label="stable")
    ax.set_ylim(0)
    ax.set_xlabel("position s on the line of inputs")
    ax.set_ylabel("number of fixed points")
    ax.legend()
    return ax


def input_sweep_figure(sweep: xr.Dataset) -> Figure:
    """Return the figure of ``seqprobe fixed-points sweep``: a row per checkpoint."""
    runs = singles(sweep)
    with mpl.rc_context(RC):
        figure = Figure(figsize=(7.0, 0.4 + 2.6 * len(runs)), layout="constrained")
        axes = figure.subplots(len(runs), 2, squeeze=False)
        for (label, run), row in zip(runs, axes, strict=True):
            input_sweep(run, row[0]).set_title(f"{label}: branches and folds")
            _count(run, row[1]).set_title("number")
        found = sorted({int(d) for _, run in runs for d in np.unique(run["n_unstable"]) if d >= 0})
        handles = [
            Line2D(
                [],
                [],
                color=shade(d),
                ls="-" if d == 0 else (0, (3, 1.5)),
                label="stable" if d == 0 else f"{d} unstable",
            )
            for d in found[:6]
        ]
        handles.append(Line2D([], [], color="0.85", lw=0.8, label="fold"))
        figure.legend(handles=handles, loc="outside upper center", ncols=len(handles))
    return figure
