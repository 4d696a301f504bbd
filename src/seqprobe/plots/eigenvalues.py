"""Eigenvalues against the unit circle, and Lyapunov spectra."""

from __future__ import annotations

import matplotlib as mpl
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from seqprobe.plots.lines import legend, line_of, plain_log
from seqprobe.plots.points import point_legend
from seqprobe.plots.runs import groups, single, singles
from seqprobe.plots.style import RC, look, new_axes, shade

__all__ = ["eigenvalues", "linearise_figure", "lyapunov_figure", "lyapunov_spectrum"]


def unit_circle(ax: Axes) -> None:
    """Draw the unit circle and frame the complex plane around it."""
    angle = np.linspace(0, 2 * np.pi, 257)
    ax.plot(np.cos(angle), np.sin(angle), color="0.6", lw=0.7, zorder=0)
    ax.axhline(0, color="0.85", lw=0.5, zorder=0)
    ax.axvline(0, color="0.85", lw=0.5, zorder=0)
    ax.set_aspect("equal")
    ax.set_xlabel("real part")
    ax.set_ylabel("imaginary part")


def eigenvalues(points: xr.Dataset, ax: Axes | None = None) -> Axes:
    """Draw the eigenvalues at all fixed points in the complex plane, with the unit circle.

    Parameters
    ----------
    points
        Result of `seqprobe.dynamics.fixed_points` or `linearise`, of one run.
    ax
        Where to draw; a new figure if None.
    """
    ax = new_axes() if ax is None else ax
    run = single(points)
    unit_circle(ax)
    for values, d in zip(run["eigenvalue"].values, run["n_unstable"].values, strict=True):
        color = shade(int(d))
        ax.plot(values.real, values.imag, ".", ms=2.5, color=color, alpha=0.7, mew=0)
    return ax


def time_constant_panel(points: xr.Dataset, ax: Axes) -> Axes:
    """Draw the longest time constants of decay at every point, by rank."""
    run = single(points)
    for tau, d in zip(run["time_constant"].values, run["n_unstable"].values, strict=True):
        slow = np.sort(tau[np.isfinite(tau) & (tau > 0)])[::-1][:20]
        ax.plot(np.arange(1, len(slow) + 1), slow, lw=0.6, alpha=0.8, color=shade(int(d)))
    ax.set_yscale("log")
    plain_log(ax.yaxis)
    ax.set_xlabel("decaying mode, by rank")
    ax.set_ylabel("time constant (steps)")
    return ax


def prediction_panel(points: xr.Dataset, ax: Axes) -> Axes:
    """Draw how well the linear systems predict, against the horizon."""
    run = single(points)
    styles = {"nearest": "0.6", "attractor": "#0072B2", "reassigned": "#D55E00"}
    for name, color in styles.items():
        r2 = run["R2"].sel(assignment=name).values
        ax.plot(run["step"].values, np.maximum(r2, -0.5), "o-", color=color, ms=3, label=name)
    ax.set_xscale("log")
    plain_log(ax.xaxis)
    ax.set_ylim(-0.55, 1.05)
    ax.set_xlabel("steps ahead")
    ax.set_ylabel("explained variance (cut at -0.5)")
    ax.legend(title="fixed point", title_fontsize=7)
    return ax


def linearise_figure(points: xr.Dataset) -> Figure:
    """Return the figure of ``seqprobe fixed-points linear``: a row per checkpoint."""
    runs = singles(points)
    with mpl.rc_context(RC):
        figure = Figure(figsize=(7.0, 0.4 + 2.4 * len(runs)), layout="constrained")
        axes = figure.subplots(len(runs), 3, squeeze=False)
        for (label, run), row in zip(runs, axes, strict=True):
            eigenvalues(run, row[0]).set_title(f"{label}: eigenvalues")
            time_constant_panel(run, row[1]).set_title("time constants")
            prediction_panel(run, row[2]).set_title("linear prediction")
        point_legend(figure, [run for _, run in runs])
    return figure


def lyapunov_spectrum(spectrum: xr.Dataset, ax: Axes | None = None) -> Axes:
    """Draw Lyapunov exponents by rank with their intervals, one line per architecture.

    Parameters
    ----------
    spectrum
        Result of `seqprobe.dynamics.lyapunov_spectrum`, or several along ``run``.
    ax
        Where to draw; a new figure if None.
    """
    ax = new_axes() if ax is None else ax
    ax.axhline(0, color="0.6", lw=0.7, zorder=0)
    for group in groups(spectrum, "model"):
        style = look(group.name)
        rank = np.arange(1, group.runs.sizes["mode"] + 1)
        for i in range(group.runs.sizes["run"]):
            run = group.runs.isel(run=i)
            middle = run["exponent"].values
            low, high = run["exponent_ci"].transpose("ci_bound", "mode").values
            ax.errorbar(
                rank,
                middle,
                np.maximum([middle - low, high - middle], 0),
                color=style.color,
                marker=style.marker,
                linestyle=line_of(group),
                lw=1.0,
                ms=3.5,
                elinewidth=0.8,
                label=group.label if i == 0 else None,
            )
    ax.set_xlabel("rank")
    ax.set_ylabel("Lyapunov exponent (1/step)")
    return ax


def lyapunov_figure(spectrum: xr.Dataset) -> Figure:
    """Return the figure of ``seqprobe timescales lyapunov``: a row per task."""
    tasks = groups(spectrum, "task")
    with mpl.rc_context(RC):
        figure = Figure(figsize=(4.0, 0.35 + 2.6 * len(tasks)), layout="constrained")
        axes = figure.subplots(len(tasks), 1, squeeze=False)[:, 0]
        for task, ax in zip(tasks, axes, strict=True):
            lyapunov_spectrum(task.runs, ax)
            ax.set_title(f"{task.label}: Lyapunov spectrum")
        legend(figure, list(axes))
    return figure
