"""Oscillations: orbits in principal components, outputs over a turn, multipliers."""

from __future__ import annotations

import matplotlib as mpl
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from seqprobe.plots.eigenvalues import unit_circle
from seqprobe.plots.runs import single, singles
from seqprobe.plots.style import RC, new_axes

__all__ = ["limit_cycles", "limit_cycles_figure"]

_COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
_PERIODIC = 1


def limit_cycles(cycles: xr.Dataset, ax: Axes | None = None) -> Axes:
    """Draw the orbits in the two leading principal components of all of them.

    Parameters
    ----------
    cycles
        Result of `seqprobe.dynamics.limit_cycles`, of one run.
    ax
        Where to draw; a new figure if None.
    """
    ax = new_axes() if ax is None else ax
    run = single(cycles)
    orbits = run["orbit"].values
    if not orbits.size:
        ax.text(0.5, 0.5, "no cycle found", ha="center", va="center", transform=ax.transAxes)
        return ax
    states = orbits.reshape(-1, orbits.shape[-1])
    states = states[np.isfinite(states).all(axis=1)]
    centre = states.mean(axis=0)
    _, values, axes = np.linalg.svd(states - centre, full_matrices=False)
    share, axes = values**2 / (values**2).sum(), axes[:2]
    for i, orbit in enumerate(orbits):
        closed = orbit[np.isfinite(orbit).all(axis=1)]
        placed = (np.concatenate([closed, closed[:1]]) - centre) @ axes.T
        discrete = run["kind"].values[i] == _PERIODIC
        ax.plot(
            placed[:, 0],
            placed[:, 1] if placed.shape[1] > 1 else np.zeros(len(placed)),
            "o:" if discrete else "-",
            color=_COLORS[i % len(_COLORS)],
            ms=3,
            lw=1.0,
            label=f"period {float(run['period'][i]):.3f}",
        )
    ax.set_xlabel(f"PC1 ({share[0]:.0%})")
    ax.set_ylabel(f"PC2 ({share[1]:.0%})" if len(share) > 1 else "")
    ax.legend()
    return ax


def _outputs(run: xr.Dataset, ax: Axes) -> Axes:
    """Draw the first output over one turn."""
    if "readout" in run:
        for i in range(run.sizes["cycle"]):
            y = run["readout"].values[i, :, 0]
            y = y[np.isfinite(y)]
            ax.plot(
                np.arange(len(y)) / len(y) * float(run["period"][i]),
                y,
                "o:" if run["kind"].values[i] == _PERIODIC else "-",
                color=_COLORS[i % len(_COLORS)],
                ms=3,
            )
    ax.set_xlabel("time (steps)")
    ax.set_ylabel("output")
    return ax


def _multipliers(run: xr.Dataset, ax: Axes) -> Axes:
    """Draw Floquet multipliers; those of circles, known by modulus, on the real axis."""
    unit_circle(ax)
    for i, own in enumerate(run["multiplier"].values):
        there = own[np.isfinite(own)]
        ax.plot(there.real, there.imag, "o", ms=3, color=_COLORS[i % len(_COLORS)], alpha=0.8)
    return ax


def limit_cycles_figure(cycles: xr.Dataset) -> Figure:
    """Return the figure of ``seqprobe fixed-points cycles``: a row per checkpoint."""
    runs = singles(cycles)
    with mpl.rc_context(RC):
        figure = Figure(figsize=(7.0, 0.2 + 2.4 * len(runs)), layout="constrained")
        axes = figure.subplots(len(runs), 3, squeeze=False)
        for (label, run), row in zip(runs, axes, strict=True):
            limit_cycles(run, row[0]).set_title(f"{label}: orbits")
            _outputs(run, row[1]).set_title("one turn")
            circles = bool((run["kind"] == 2).any()) if run.sizes["cycle"] else False
            _multipliers(run, row[2]).set_title(
                "multipliers, moduli" if circles else "Floquet multipliers"
            )
    return figure
