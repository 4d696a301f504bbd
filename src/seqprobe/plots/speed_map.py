"""Maps of speed on a plane through state space, and slow points."""

from __future__ import annotations

import matplotlib as mpl
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from seqprobe.plots.points import point_legend
from seqprobe.plots.runs import single, singles
from seqprobe.plots.state_space import Plane, draw_points
from seqprobe.plots.style import RC, new_axes

__all__ = ["slow_points", "slow_points_figure", "speed_map", "speed_map_figure"]


def speed_map(speeds: xr.Dataset, ax: Axes | None = None) -> Axes:
    """Draw the logarithm of the speed as shades with the flow within the plane.

    Parameters
    ----------
    speeds
        Result of `seqprobe.dynamics.speed_map`, of one run; fixed points (``x``, ``n_unstable``,
        ``stability``) are drawn where they project, if it holds them.
    ax
        Where to draw; a new figure if None.
    """
    ax = new_axes() if ax is None else ax
    run = single(speeds)
    horizontal, vertical = run["horizontal"].values, run["vertical"].values
    log_speed = np.log10(np.maximum(run["speed"].values, 1e-12))
    mesh = ax.pcolormesh(
        horizontal, vertical, log_speed, cmap="cividis", shading="nearest", rasterized=True
    )
    flow = run["flow"].values
    ax.streamplot(
        horizontal,
        vertical,
        flow[..., 0],
        flow[..., 1],
        color="white",
        linewidth=0.4,
        arrowsize=0.5,
        density=0.9,
    )
    if "x" in run:
        axes = run["axes"].transpose("component", "state").values
        draw_points(ax, run, Plane(run["centre"].values, axes, np.ones(2)))
    ax.set_xlim(horizontal[0], horizontal[-1])
    ax.set_ylim(vertical[0], vertical[-1])
    ax.set_xlabel("PC1")
    ax.set_ylabel("PC2")
    assert ax.figure is not None  # axes of a figure
    ax.figure.colorbar(mesh, ax=ax, label="log10 of the speed (per step)", shrink=0.9)
    return ax


def speed_map_figure(speeds: xr.Dataset) -> Figure:
    """Return the figure of ``seqprobe fixed-points speed-map``: a panel per checkpoint."""
    runs = singles(speeds)
    with mpl.rc_context(RC):
        figure = Figure(figsize=(4.2, 0.4 + 3.2 * len(runs)), layout="constrained")
        axes = figure.subplots(len(runs), 1, squeeze=False)[:, 0]
        for (label, run), ax in zip(runs, axes, strict=True):
            share = float(run["plane_share"])
            speed_map(run, ax).set_title(f"{label}: plane with {share:.0%} of the variance")
        point_legend(figure, [run for _, run in runs if "n_unstable" in run], columns=3)
    return figure


def slow_points(points: xr.Dataset, ax: Axes | None = None) -> Axes:
    """Draw slow points in their two leading principal components, shaded by speed.

    Parameters
    ----------
    points
        Result of `seqprobe.dynamics.slow_points`, of one run.
    ax
        Where to draw; a new figure if None.
    """
    ax = new_axes() if ax is None else ax
    run = single(points)
    speed = np.log10(np.maximum(run["speed"].values, 1e-12))
    at = run["position"].values
    if not at.shape[1]:
        at = np.zeros((len(at), 1))
    second = at[:, 1] if at.shape[1] > 1 else np.zeros(len(at))
    shown = ax.scatter(at[:, 0], second, c=speed, s=8, cmap="cividis", lw=0)
    share = run["share"].values
    ax.set_xlabel("PC1 of the slow points" + (f" ({share[0]:.1%})" if len(share) else ""))
    ax.set_ylabel(f"PC2 ({share[1]:.1%})" if len(share) > 1 else "")
    assert ax.figure is not None  # axes of a figure
    ax.figure.colorbar(shown, ax=ax, label="log10 of the speed (per step)")
    return ax


def _drift(run: xr.Dataset, ax: Axes) -> Axes:
    """Draw the drift along the first component against the position on it."""
    at = run["position"].values[:, :1].sum(axis=1)
    ax.axhline(0, color="0.6", lw=0.7, zorder=0)
    ax.plot(at, run["drift"].values, ".", color="k", ms=3, alpha=0.6, mew=0)
    there = run["fixed_point"].values >= 0
    ax.plot(
        at[there], np.zeros(int(there.sum())), "o", color="#D55E00", ms=3.5, label="near a root"
    )
    if there.any():
        ax.legend()
    ax.set_xlabel("PC1 of the slow points")
    ax.set_ylabel("drift along it (per step)")
    return ax


def slow_points_figure(points: xr.Dataset) -> Figure:
    """Return the figure of ``seqprobe fixed-points slow``: a row per checkpoint."""
    runs = singles(points)
    with mpl.rc_context(RC):
        figure = Figure(figsize=(7.0, 0.2 + 2.6 * len(runs)), layout="constrained")
        axes = figure.subplots(len(runs), 2, squeeze=False)
        for (label, run), row in zip(runs, axes, strict=True):
            slow_points(run, row[0]).set_title(f"{label}: slow points")
            _drift(run, row[1]).set_title("drift")
    return figure
