"""Sensitivity against lag, for one checkpoint or many."""

from __future__ import annotations

import math
from typing import Literal

import matplotlib as mpl
import numpy as np
import xarray as xr
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator, ScalarFormatter

from seqprobe.plots.runs import Group, groups, values
from seqprobe.plots.style import RC, look, new_axes

__all__ = ["cumulative_share", "gradient_profile", "gradient_profile_figure"]


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
        _draw(ax, group, quantity, relative=True)
        _mark_zero(ax, group, bottom)
    _log_lags(ax, profile)
    _mark_thresholds(ax, profile, bottom)
    symbol = {"G": "G", "G_sd": r"G_\mathrm{sd}"}[quantity]
    ax.set_ylabel(rf"relative sensitivity  ${symbol}(k)\,/\,\max {symbol}$")
    return ax


def cumulative_share(profile: xr.Dataset, ax: Axes | None = None) -> Axes:
    """Draw the share of the squared sensitivity within lag k; see `gradient_profile`."""
    ax = new_axes() if ax is None else ax
    for group in groups(profile, "model"):
        _draw(ax, group, "cumulative_share", relative=False)
    _log_lags(ax, profile)
    ax.set_ylim(0, 1.02)
    ax.set_ylabel("cumulative share of $G^2$")
    return ax


def gradient_profile_figure(profile: xr.Dataset) -> Figure:
    """Return the figure of ``seqprobe memory``: one row per task, both curves side by side.

    Parameters
    ----------
    profile
        Result of `seqprobe.memory.gradient_profile`, or several along ``run``.
    """
    tasks = groups(profile, "task")
    with mpl.rc_context(RC):
        figure = Figure(figsize=(7.0, 0.35 + 2.5 * len(tasks)), layout="constrained")
        axes = figure.subplots(len(tasks), 2, squeeze=False)
        for task, (left, right) in zip(tasks, axes, strict=True):
            runs = _without_padding(task.runs)
            gradient_profile(runs, left)
            cumulative_share(runs, right)
            left.set_title(f"{task.label}: sensitivity to the input k steps back")
            right.set_title("share of sensitivity within k steps")
        handles: dict[str, Artist] = {}
        for ax in axes[:, 0]:
            handles |= {label: h for h, label in zip(*ax.get_legend_handles_labels(), strict=True)}
        figure.legend(
            list(handles.values()), list(handles), loc="outside upper center", ncols=len(handles)
        )
    return figure


def _draw(ax: Axes, group: Group, name: str, relative: bool) -> None:
    """Draw one architecture: a line with its interval, or its seeds with their median."""
    runs, style = group.runs, look(group.name)
    lags = runs["lag"].values
    scale = _peaks(runs, name) if relative else np.ones((runs.sizes["run"], 1))
    lines = runs[name].values / scale
    if len(lines) == 1:
        middle, label = lines[0], group.label
        low, high = runs[f"{name}_ci"].values[0] / scale
    else:
        ax.plot(lags, _positive(lines).T, color=style.color, lw=0.5, alpha=0.35)
        middle, low, high = _median_interval(lines)
        seeds = len(set(values(runs, "train_seed"))) == len(lines)
        label = f"{group.label} ({len(lines)} {'seeds' if seeds else 'runs'})"
    ax.fill_between(lags, low, high, color=style.color, alpha=0.2, lw=0)
    ax.plot(
        lags,
        _positive(middle),
        color=style.color,
        linestyle=style.linestyle if group.variant == 0 else (0, (1 + 2 * group.variant, 2, 1, 2)),
        marker=style.marker,
        markevery=_marked(lags),
        label=label,
    )


def _mark_zero(ax: Axes, group: Group, bottom: float) -> None:
    """Mark where the gradient becomes exactly zero, which a log axis cannot show."""
    color = look(group.name).color
    for zero in np.unique(group.runs["structural_zero"].values):
        if not math.isnan(zero):
            ax.plot(zero, bottom, "x", color=color, ms=6, mew=1.5, clip_on=False)
            _note(ax, f"0 from lag {zero:.0f}", (zero, bottom), (-4, 5), color)


def _mark_thresholds(ax: Axes, profile: xr.Dataset, bottom: float) -> None:
    """Draw the fractions of the peak at which threshold lengths are taken."""
    for threshold in profile["threshold"].values:
        if threshold > bottom:
            ax.axhline(threshold, color="0.8", lw=0.5, zorder=0)
            end = (ax.get_xlim()[1], threshold)
            _note(ax, f"{100 * threshold:g} %", end, (2, -2), "0.45", align="left")


def _note(
    ax: Axes,
    text: str,
    at: tuple[float, float],
    offset: tuple[float, float],
    color: str,
    align: Literal["left", "right"] = "right",
) -> None:
    ax.annotate(text, at, xytext=offset, textcoords="offset points", ha=align, size=6, color=color)


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


def _positive(values: np.ndarray) -> np.ndarray:
    """Leave out exact zeros, which have no place on a log axis."""
    return np.where(values > 0, values, np.nan)


def _median_interval(lines: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the median over seeds and its 95 % bootstrap interval."""
    rng = np.random.default_rng(0)
    picks = rng.integers(len(lines), size=(1000, len(lines)))
    medians = np.median(lines[picks], axis=1)
    low, high = np.percentile(medians, [2.5, 97.5], axis=0)
    return np.median(lines, axis=0), low, high


def _marked(lags: np.ndarray) -> list[int]:
    """Return the positions of markers, evenly spread on the log axis."""
    wanted = np.geomspace(1, max(2, lags[-1]), 7).round()
    return sorted({int(np.abs(lags - lag).argmin()) for lag in (0, *wanted)})


def _log_lags(ax: Axes, profile: xr.Dataset) -> None:
    """Scale the lag axis: linear from 0 to 1, logarithmic beyond."""
    last = int(profile["lag"].max())
    ax.set_xscale("symlog", linthresh=1, linscale=0.4)
    ax.set_xlim(-0.05, last * 1.06 + 0.05)
    ticks = [0] + [m * 10**e for e in range(7) for m in (1, 2, 5) if m * 10**e <= last]
    ax.xaxis.set_major_locator(FixedLocator(ticks))
    ax.xaxis.set_major_formatter(ScalarFormatter())
    ax.xaxis.set_minor_locator(NullLocator())
    ax.set_xlabel("lag k (steps)")
    for length in {int(value) for value in values(profile, "train_length") if value}:
        if length <= last:
            ax.axvline(length, color="0.4", lw=0.6, ls=":", zorder=0)
            _note(ax, "training length", (length, ax.get_ylim()[1]), (-1, -6), "0.4")


def _without_padding(runs: xr.Dataset) -> xr.Dataset:
    """Drop lags that no run of this task measured: other tasks' longer profiles pad them."""
    return runs.isel(lag=np.flatnonzero(runs["G"].notnull().any("run").values))
