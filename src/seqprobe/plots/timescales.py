"""Time constants side by side."""

from __future__ import annotations

import matplotlib as mpl
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from seqprobe.plots.lines import log_steps, without_padding
from seqprobe.plots.runs import single, singles, values
from seqprobe.plots.style import RC, look, new_axes

__all__ = ["autocorrelations", "timescales", "timescales_figure"]

_ROWS = (
    ("tau_gradient", "gradient"),
    ("tau_lyapunov", "Lyapunov"),
    ("tau_eigenvalue", "eigenvalue"),
    ("tau_unit", "unit alone"),
    ("tau_ac", "autocorrelation"),
)


def timescales(scales: xr.Dataset, ax: Axes | None = None) -> Axes:
    """Draw every time constant of one network, one row per measure, with the median of units.

    Parameters
    ----------
    scales
        Result of `seqprobe.dynamics.timescales`, of one run.
    ax
        Where to draw; a new figure if None.
    """
    ax = new_axes() if ax is None else ax
    run = single(scales)
    color = look(values(run, "model")[0]).color
    rng = np.random.default_rng(0)
    largest = 1.0
    for height, (name, _) in enumerate(_ROWS):
        if name not in run:
            continue
        tau = np.atleast_1d(run[name].values).astype(float)
        grow = int((tau < 0).sum())
        if grow:
            note = f"{grow} grow{'s' if grow == 1 else ''}"
            ax.text(1.0, height, note, size=6, color="0.4", transform=ax.get_yaxis_transform())
        tau = tau[np.isfinite(tau) & (tau >= 0)]
        if not len(tau):
            if not grow:
                ax.text(0.02, height, "not computed", size=6, color="0.5", va="center")
            continue
        largest = max(largest, float(tau.max()))
        if name == "tau_gradient" and np.isfinite(run["tau_gradient_ci"]).all():
            largest = max(largest, float(run["tau_gradient_ci"].max()))
        jitter = rng.uniform(-0.22, 0.22, len(tau)) if len(tau) > 1 else np.zeros(1)
        ax.plot(tau, height + jitter, ".", color=color, ms=3.5, alpha=0.5, mew=0)
        if name in ("tau_ac", "tau_unit"):
            ax.plot([np.median(tau)] * 2, [height - 0.35, height + 0.35], color="k", lw=1.2)
        if name == "tau_gradient":
            low, high = run["tau_gradient_ci"].values
            ax.plot([low, high], [height] * 2, color=color, lw=1.2)
    log_steps(ax, round(2 * largest), "time constant (steps)")
    ax.set_yticks(range(len(_ROWS)), [label for _, label in _ROWS])
    ax.set_ylim(-0.5, len(_ROWS) - 0.5)
    return ax


def autocorrelations(scales: xr.Dataset, ax: Axes | None = None) -> Axes:
    """Draw the autocorrelation of every unit, their median, and the level that fits end at.

    Parameters
    ----------
    scales
        Result of `seqprobe.dynamics.timescales`, of one run.
    ax
        Where to draw; a new figure if None.
    """
    ax = new_axes() if ax is None else ax
    run = single(scales)
    color = look(values(run, "model")[0]).color
    run = without_padding(run, "acf")
    acf = run["acf"].values
    acf = acf[np.isfinite(acf).all(axis=1)]
    shown = acf[:: max(1, len(acf) // 100)]
    lags = run["lag"].values
    ax.plot(lags, shown.T, color=color, lw=0.4, alpha=0.4)
    if len(acf):
        ax.plot(lags, np.median(acf, axis=0), color="k", lw=1.3, label="median unit")
        ax.legend()
    ax.axhline(0, color="0.6", lw=0.7, zorder=0)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.set_xlabel("lag (steps)")
    ax.set_ylabel("autocorrelation")
    return ax


def timescales_figure(scales: xr.Dataset) -> Figure:
    """Return the figure of ``seqprobe timescales``: a row per checkpoint."""
    runs = singles(scales)
    with mpl.rc_context(RC):
        figure = Figure(figsize=(7.0, 0.2 + 2.3 * len(runs)), layout="constrained")
        axes = figure.subplots(len(runs), 2, squeeze=False)
        for (label, run), row in zip(runs, axes, strict=True):
            autocorrelations(run, row[0]).set_title(f"{label}: units")
            timescales(run, row[1]).set_title("time constants")
    return figure
