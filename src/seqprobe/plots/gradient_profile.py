"""Sensitivity against lag, for one checkpoint or many."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from seqprobe.plots.lines import by_task, draw, log_steps, mark_training_lengths, note
from seqprobe.plots.runs import Group, groups
from seqprobe.plots.style import look, new_axes

__all__ = ["cumulative_share", "gradient_profile", "gradient_profile_figure", "time_bins"]


Quantity = Literal["G", "G_sd"]


def gradient_profile(profile: xr.Dataset, ax: Axes | None = None, quantity: Quantity = "G") -> Axes:
    """Draw ``G(k) / max G`` against the lag on log axes.

    One checkpoint of an architecture is a line with its 95 % interval over sequences. Several are
    thin lines, one per seed, with their median and its 95 % bootstrap interval over seeds. A cross
    on the lower edge marks the lag from which the gradient is exactly zero.

    Parameters
    ----------
    profile
        Result of `seqprobe.memory.gradient_profile`, or several along ``run``.
    ax
        Where to draw; a new figure if None.
    quantity
        ``"G"``, per unit of the input, or ``"G_sd"``, per standard deviation of it.

    Returns
    -------
    matplotlib.axes.Axes
        The axes drawn on.
    """
    ax = new_axes() if ax is None else ax
    bottom = _bottom(profile, quantity)
    ax.set_yscale("log")
    ax.set_ylim(bottom, 2)
    for group in groups(profile, "model"):
        draw(ax, group, quantity, scale=_peaks(group.runs, quantity))
        _mark_zero(ax, group, bottom)
    last = int(profile["lag"].max())
    log_steps(ax, last)
    mark_training_lengths(ax, profile, last)
    _mark_thresholds(ax, profile, bottom)
    symbol = {"G": "G", "G_sd": r"G_\mathrm{sd}"}[quantity]
    ax.set_ylabel(rf"relative sensitivity  ${symbol}(k)\,/\,\max {symbol}$")
    return ax


def cumulative_share(profile: xr.Dataset, ax: Axes | None = None) -> Axes:
    """Draw the share of the squared sensitivity within lag k; see `gradient_profile`."""
    ax = new_axes() if ax is None else ax
    for group in groups(profile, "model"):
        draw(ax, group, "cumulative_share")
    last = int(profile["lag"].max())
    log_steps(ax, last)
    mark_training_lengths(ax, profile, last)
    ax.set_ylim(0, 1.02)
    ax.set_ylabel("cumulative share of $G^2$")
    return ax


def time_bins(profile: xr.Dataset, ax: Axes | None = None) -> Axes:
    """Draw G(k) of early to late output times, light to dark, one model.

    Parameters
    ----------
    profile
        Result of `seqprobe.memory.gradient_profile` for one model.
    ax
        Where to draw; a new figure if None.
    """
    ax = new_axes() if ax is None else ax
    ax.set_yscale("log")
    bins = profile["G_bin"].values
    trained = int(profile.attrs.get("train_length", 0))
    for i, curve in enumerate(bins):
        first, last = (int(profile[name].values[i]) for name in ("bin_start", "bin_stop"))
        shade = str(0.75 * (1 - (i + 1) / len(bins)))
        label = f"t = {first}" if first == last else f"t = {first} to {last}"
        if 0 < trained <= first:
            label += " (beyond training)"
        positive = np.where(curve > 0, curve, np.nan)
        ax.plot(profile["lag"].values, positive, color=shade, lw=1, label=label)
    last = int(profile["lag"].max())
    log_steps(ax, last)
    mark_training_lengths(ax, profile, last)
    ax.set_ylabel("$G(k)$ (output per input)")
    ax.legend(fontsize=5)
    return ax


def gradient_profile_figure(profile: xr.Dataset) -> Figure:
    """Return the figure of ``seqprobe memory``: one row per task, both curves side by side.

    Parameters
    ----------
    profile
        Result of `seqprobe.memory.gradient_profile`, or several along ``run``.
    """
    panels = [
        ("sensitivity to the input k steps back", gradient_profile),
        ("share of sensitivity within k steps", cumulative_share),
    ]
    return by_task(profile, "G", panels)


def _mark_zero(ax: Axes, group: Group, bottom: float) -> None:
    """Mark where the gradient becomes exactly zero, which a log axis cannot show."""
    color = look(group.name).color
    for zero in np.unique(group.runs["structural_zero"].values):
        if not math.isnan(zero):
            ax.plot(zero, bottom, "x", color=color, ms=6, mew=1.5, clip_on=False)
            note(ax, f"0 from lag {zero:.0f}", (zero, bottom), (-4, 5), color)


def _mark_thresholds(ax: Axes, profile: xr.Dataset, bottom: float) -> None:
    """Draw the fractions of the peak at which threshold lengths are taken."""
    for threshold in profile["threshold"].values:
        if threshold > bottom:
            ax.axhline(threshold, color="0.8", lw=0.5, zorder=0)
            end = (ax.get_xlim()[1], threshold)
            note(ax, f"{100 * threshold:g} %", end, (2, -2), "0.45", align="left")


def _bottom(profile: xr.Dataset, name: Quantity) -> float:
    """Return the lower end of the axis: below the smallest value, and two decades at least."""
    lowest = 0.03
    for group in groups(profile, "model"):
        relative = group.runs[name].values / _peaks(group.runs, name)
        lowest = min(lowest, float(relative[relative > 0].min(initial=1.0)))
    return float(10 ** math.floor(math.log10(lowest) - 0.3))


def _peaks(runs: xr.Dataset, name: str) -> np.ndarray:
    """Return the largest value of every run, (run, 1); 1 for a silent one, which stays at zero."""
    peaks = np.asarray(runs[name].max("lag").values)[:, None]
    return np.where(peaks > 0, peaks, 1.0)
