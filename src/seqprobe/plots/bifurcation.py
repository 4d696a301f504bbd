"""Fixed points along a line of inputs."""

from __future__ import annotations

import matplotlib as mpl
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from seqprobe.plots.runs import single, singles
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
    run = single(sweep)
    if "readout" in run:
        height, label = run["readout"].values[:, :, output], f"output {output + 1}"
    else:
        height, label = plane_of(run, 1).place(run["x"].values)[:, :, 0], "principal component 1"
    s, unstable = run["s"].values, run["n_unstable"].values
    for branch in range(run.sizes["branch"]):
        there = np.isfinite(height[:, branch])
        x, y, d = s[there], height[there, branch], unstable[there, branch]
        for name, place in (("begin", 0), ("end", len(x))):  # up to the folds, where they meet
            fold = float(run[f"fold_{name}"][branch])
            if np.isfinite(fold) and f"fold_readout_{name}" in run:
                end = float(run[f"fold_readout_{name}"][branch, output])
                x, y = np.insert(x, place, fold), np.insert(y, place, end)
                d = np.insert(d, place, d[0] if place == 0 else d[-1])
        for value in np.unique(d):
            style = "-" if value == 0 else (0, (3, 1.5))
            line = np.where(d == value, y, np.nan)
            ax.plot(x, line, color=shade(int(value)), ls=style, lw=1.0, alpha=0.9)
    folds = np.concatenate([run["fold_begin"].values, run["fold_end"].values])
    for fold in np.unique(np.round(folds[np.isfinite(folds)], 7)):
        ax.axvline(fold, color="0.85", lw=0.5, zorder=0)
    ax.set_xlabel("position s on the line of inputs")
    ax.set_ylabel(f"{label} at the fixed point")
    return ax


def _count(run: xr.Dataset, ax: Axes) -> Axes:
    """Draw the number of fixed points, all and stable, against the input."""
    s, unstable = run["s"].values, run["n_unstable"].values
    there = np.isfinite(run["x"].values).all(axis=2)
    first, last = (s[np.abs(there[::d].argmax(axis=0) - o)] for d, o in ((1, 0), (-1, len(s) - 1)))
    begin = np.where(np.isfinite(run["fold_begin"]), run["fold_begin"], first)
    end = np.where(np.isfinite(run["fold_end"]), run["fold_end"], last)
    at = np.unique(np.concatenate([s, begin, end, np.nextafter(end, 2.0)]))
    at = at[(at >= s[0]) & (at <= s[-1])]
    alive = (at[:, None] >= begin) & (at[:, None] <= end)
    nearest = np.clip(np.searchsorted(s, at), 0, len(s) - 1)
    columns = np.arange(there.shape[1])
    # Between grid points a branch is as stable as where it was last seen.
    low, high = there.argmax(axis=0), len(s) - 1 - there[::-1].argmax(axis=0)
    stable = unstable[np.clip(nearest[:, None], low, high), columns] == 0
    ax.step(at, alive.sum(axis=1), where="post", color="0.4", lw=1.2, label="all")
    ax.step(at, (alive & stable).sum(axis=1), where="post", color="k", lw=1.2, label="stable")
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
