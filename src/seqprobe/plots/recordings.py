"""What is read from recordings, and how long recorded units remember."""

from __future__ import annotations

import matplotlib as mpl
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from seqprobe.errors import UsageError
from seqprobe.plots.lines import plain_log
from seqprobe.plots.style import RC, new_axes

__all__ = ["decode", "decode_error", "decode_figure", "recorded_timescales"]

_TRUE, _DECODED, _NULL = "#000000", "#D55E00", "#8C8C8C"
_COLORS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7")
_MARKERS = ("o", "s", "^", "D")
_STEPS = 600
_BINS = 36


def decode(reading: xr.Dataset, ax: Axes | None = None, *, steps: int = _STEPS) -> Axes:
    """Draw a target and what was decoded of it, over the first tested steps.

    Parameters
    ----------
    reading
        Result of `seqprobe.memory.decode`; of several trials the first is drawn.
    ax
        Where to draw; a new figure if None.
    steps
        How many steps are drawn.
    """
    ax = new_axes() if ax is None else ax
    shown = reading.isel(trial=0) if "trial" in reading.dims else reading
    shown = shown.isel(time=slice(0, steps))
    time, circular = shown["time"], _is_circular(reading)
    for name, color, width, label in (
        ("target", _TRUE, 1.4, "true"),
        ("decoded", _DECODED, 0.9, "decoded"),
    ):
        values = shown[name].values
        if circular:  # a line across the whole axis is no movement
            values = np.degrees(values)
            jumps = np.flatnonzero(np.abs(np.diff(values)) > 180)
            values = np.insert(values, jumps + 1, np.nan)
            x = np.insert(time.values.astype(float), jumps + 1, np.nan)
        else:
            x = time.values
        ax.plot(x, values, color=color, lw=width, label=label)
    ax.set_xlabel(f"{time.attrs['long_name']} ({time.attrs['units']})")
    words = shown["target"].attrs
    ax.set_ylabel(f"{words['long_name']} ({'degrees' if circular else words['units']})")
    if circular:
        ax.set_ylim(0, 360)
        ax.set_yticks(range(0, 361, 90))
    return ax


def decode_error(reading: xr.Dataset, ax: Axes | None = None) -> Axes:
    """Draw the distribution of absolute errors, and its centre beside that of shifted targets.

    Parameters
    ----------
    reading
        Result of `seqprobe.memory.decode`. The centre is the median of angles, else the root mean
        square; bars are their 95 % intervals.
    ax
        Where to draw; a new figure if None.
    """
    ax = new_axes() if ax is None else ax
    circular = _is_circular(reading)
    name, centre = ("median_error", "median") if circular else ("rmse", "root mean square")
    error = np.abs(reading["error"].values).ravel()
    unit = reading[name].attrs["units"]
    top = 180.0 if circular else float(max(error.max(), reading[f"{name}_null_ci"].max()))
    share = np.full(len(error), 100 / len(error))
    ax.hist(error, bins=_BINS, range=(0, top), weights=share, color=_DECODED, alpha=0.45)
    across = ax.get_xaxis_transform()  # heights are parts of the axis
    for key, color, marker, height, label in (
        (name, _TRUE, "o", 0.6, centre),
        (f"{name}_null", _NULL, "s", 0.6, f"{centre}, shifted target"),
    ):
        ax.hlines(height, *reading[f"{key}_ci"].values, color=color, lw=1.4, transform=across)
        ax.plot(
            float(reading[key]), height, marker, color=color, transform=across, label=label, ls=""
        )
    ax.set_xlim(0, top)
    if circular:
        ax.set_xticks(range(0, 181, 45))
    ax.set_xlabel(f"absolute error ({unit})")
    ax.set_ylabel("part of the tested steps (%)")
    return ax


def decode_figure(reading: xr.Dataset) -> Figure:
    """Return target, decoded target and errors of `seqprobe.memory.decode` as a figure."""
    with mpl.rc_context(RC):
        figure = Figure(figsize=(7.0, 2.4), layout="constrained")
        left, right = figure.subplots(1, 2, width_ratios=(2, 1))
        decode(reading, left).set_title("what was not fitted")
        decode_error(reading, right).set_title("errors")
        for ax in (left, right):
            handles, labels = ax.get_legend_handles_labels()
            ax.legend(handles, labels, loc="lower center", bbox_to_anchor=(0.5, 1.08), ncols=2)
    return figure


def recorded_timescales(
    scales: xr.Dataset, ax: Axes | None = None, *, by: str | None = None
) -> Axes:
    """Draw the autocorrelation time of every unit with its interval, shortest at the bottom.

    Parameters
    ----------
    scales
        Result of `seqprobe.dynamics.recorded_timescales`.
    ax
        Where to draw; a new figure if None.
    by
        A coordinate of the units, such as ``"region"``: one block and one colour for each value.

    Raises
    ------
    UsageError
        If the units have no such coordinate.
    """
    ax = new_axes() if ax is None else ax
    if by is not None and (by not in scales.coords or scales[by].dims != ("unit",)):
        there = [str(name) for name, c in scales.coords.items() if c.dims == ("unit",)]
        raise UsageError(
            f"units have no coordinate '{by}' (allowed: {', '.join(there) or 'none is there'})"
        )
    labels = np.full(scales.sizes["unit"], "") if by is None else scales[by].values
    tau, (low, high) = scales["tau_ac"].values, scales["tau_ac_ci"].values
    known = np.isfinite(tau) & (tau > 0)
    # A bound that is infinite, or 0 on a logarithmic axis, ends at the edge.
    ends = tau[known].min(initial=1.0) / 30, tau[known].max(initial=1.0) * 30
    height = 0
    for i, label in enumerate(dict.fromkeys(labels.tolist())):
        rows = np.flatnonzero((labels == label) & known)
        rows = rows[np.argsort(tau[rows])]
        y = height + np.arange(len(rows))
        color, marker = _COLORS[i % len(_COLORS)], _MARKERS[i % len(_MARKERS)]
        inside = np.clip([low[rows], high[rows]], *ends)
        ax.hlines(y, *inside, color=color, lw=1.0)
        ax.plot(tau[rows], y, marker, color=color, label=str(label) or None)
        height += len(rows) + 1
    ax.set_xscale("log")
    plain_log(ax.xaxis)
    ax.set_yticks([])
    ax.set_ylabel("units")
    ax.set_xlabel(f"autocorrelation time ({scales['tau_ac'].attrs['units']})")
    return ax


def _is_circular(reading: xr.Dataset) -> bool:
    return "median_error" in reading
