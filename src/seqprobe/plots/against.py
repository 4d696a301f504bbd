"""A number against what a study varied."""

from __future__ import annotations

import numpy as np
import xarray as xr
from matplotlib.axes import Axes

from seqprobe.errors import UsageError, unknown_name
from seqprobe.plots.lines import line_of, median_interval, plain_log
from seqprobe.plots.runs import Group, groups, values
from seqprobe.plots.style import look, new_axes

__all__ = ["against"]

_DECADES_FOR_LOG = 1.0
_SCORES = ("score", "standard_error", "valid_score")


def against(runs: xr.Dataset, name: str, factor: str, ax: Axes | None = None) -> Axes:
    """Draw a number per run against a setting: median and 95 % interval over seeds, seeds thin.

    Parameters
    ----------
    runs
        A group of a collected study, along ``run``.
    name
        A variable along ``run`` alone.
    factor
        A coordinate of numbers along ``run``, such as ``"task.delay"``.
    ax
        Where to draw; a new figure if None.

    Raises
    ------
    UsageError
        If the variable has other dimensions, the setting is not a number, or scores are of several
        metrics.
    """
    ax = new_axes() if ax is None else ax
    if name not in runs.data_vars:
        raise unknown_name("variable", name, map(str, runs.data_vars))
    if factor not in runs.coords:
        raise unknown_name("coordinate", factor, map(str, runs.coords))
    if runs[name].dims != ("run",) or runs[factor].dtype.kind not in "fiu":
        raise UsageError(
            f"cannot draw '{name}' against '{factor}': one is a number per run, the other a setting"
            " that is a number"
        )
    metrics = dict.fromkeys(values(runs, "metric"))
    if name in _SCORES and len(metrics) > 1:
        raise UsageError(
            f"cannot draw '{name}' of runs that are scored by {', '.join(metrics)}: choose the runs"
            " of one"
        )
    at = runs[factor].values.astype(float)
    for group in groups(runs, "model", without=factor):
        _draw(ax, group, name, factor)
    if at.min() > 0 and np.log10(at.max() / at.min()) >= _DECADES_FOR_LOG:
        ax.set_xscale("log")
        plain_log(ax.xaxis)
    ax.set_xlabel(factor)
    unit = next(iter(metrics)) if name in _SCORES else runs[name].attrs.get("units", "1")
    plain = name.replace("_", " ")
    ax.set_ylabel(plain if unit in ("1", "", plain.removesuffix("s")) else f"{plain} ({unit})")
    return ax


def _draw(ax: Axes, group: Group, name: str, factor: str) -> None:
    style = look(group.name)
    there = np.isfinite(group.runs[name].values.astype(float))
    at = group.runs[factor].values.astype(float)[there]
    numbers = group.runs[name].values.astype(float)[there]
    seeds = np.array(values(group.runs, "train_seed"))[there]
    for seed in np.unique(seeds):
        own = np.flatnonzero(seeds == seed)
        own = own[np.argsort(at[own], kind="stable")]
        ax.plot(at[own], numbers[own], color=style.color, lw=0.5, alpha=0.35)
    places = np.unique(at)
    found = [median_interval(numbers[at == place][:, None]) for place in places]
    middle, low, high = (np.array([one[i][0] for one in found]) for i in range(3))
    ax.fill_between(places, low, high, color=style.color, alpha=0.2, lw=0)
    ax.plot(
        places,
        middle,
        color=style.color,
        linestyle=line_of(group),
        marker=style.marker,
        label=f"{group.label} ({len(np.unique(seeds))} seeds)",
    )
