"""The graph of fixed points: saddles and the attractors they lead to."""

from __future__ import annotations

import matplotlib as mpl
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from seqprobe.plots.points import point_legend
from seqprobe.plots.runs import single, singles
from seqprobe.plots.state_space import draw_points, plane_of, thin_3d
from seqprobe.plots.style import RC, new_axes, shade

__all__ = ["connections", "connections_figure"]


def connections(graph: xr.Dataset, ax: Axes | None = None, largest: int = 1) -> Axes:
    """Draw fixed points and the connections between them.

    Parameters
    ----------
    graph
        Result of `seqprobe.dynamics.connections`, of one run.
    ax
        Where to draw: two principal components of the points, or three if it is a 3-D axes; a new
        figure if None.
    largest
        Saddles with more unstable dimensions are drawn without their connections.
    """
    ax = new_axes() if ax is None else ax
    run = single(graph)
    run = run.drop_vars("trajectory", errors="ignore")
    plane = plane_of(run, 3 if ax.name == "3d" else 2)
    placed = plane.place(run["x"].values)
    edges = zip(
        run["source"].values, run["target"].values, run["source_unstable"].values, strict=True
    )
    for source, target, d in edges:
        if np.isfinite(source) and d <= largest:
            ends = placed[[int(source), int(target)]]
            ax.plot(*ends.T, color=shade(int(d)), lw=0.9, alpha=0.8, zorder=1)
    draw_points(ax, run, plane)
    ax.set_xlabel(f"PC1 ({plane.share[0]:.0%})")
    ax.set_ylabel(f"PC2 ({plane.share[1]:.0%})")
    if ax.name == "3d":
        thin_3d(ax, f"PC3 ({plane.share[2]:.0%})")
    return ax


def connections_figure(graph: xr.Dataset) -> Figure:
    """Return the figure of ``seqprobe fixed-points connections``: a row per checkpoint."""
    runs = singles(graph)
    with mpl.rc_context(RC):
        figure = Figure(figsize=(7.0, 0.4 + 2.9 * len(runs)), layout="constrained")
        for i, (label, run) in enumerate(runs):
            flat = figure.add_subplot(len(runs), 2, 2 * i + 1)
            deep = figure.add_subplot(len(runs), 2, 2 * i + 2, projection="3d")
            connections(run, flat).set_title(f"{label}: saddles with one unstable dimension")
            connections(run, deep).set_title("in three components")
        point_legend(figure, [run for _, run in runs])
    return figure
