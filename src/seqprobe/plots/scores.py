"""What the training of many runs ends with."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from seqprobe.errors import UsageError
from seqprobe.plots.dots import named_rows
from seqprobe.plots.lines import median_interval, plain_log
from seqprobe.plots.runs import groups, values
from seqprobe.plots.style import look, new_axes

__all__ = ["final_scores", "metric_of", "scale_of", "scores"]

_DECADES_FOR_LOG = 1.5
# Of a row: where seeds stand, each at a height of its own, and where what others report.
_ABOVE, _SPREAD, _BELOW = 0.33, 0.2, 0.3


def final_scores(training: xr.Dataset, ax: Axes | None = None) -> Axes:
    """Draw the validation score of the weights that every run keeps, which are its best.

    Median and 95 % interval over seeds; of fewer than six seeds, their range. Above it: the seeds.

    Parameters
    ----------
    training
        Group ``training`` of a collected study, along (run, step).
    ax
        Where to draw; a new figure if None.
    """
    ax = _rows(training, "kept_score", ax)
    ax.set_xlabel(f"best validation {metric_of(training)}")
    return ax


def scores(
    runs: xr.Dataset, ax: Axes | None = None, published: Mapping[str, float] | None = None
) -> Axes:
    """Draw the test score of every run beside the baseline of its task.

    Median and 95 % interval over seeds; of fewer than six seeds, their range. Above it: the seeds.
    Dashed: the baseline, which does not learn what the task is about.

    Parameters
    ----------
    runs
        Root of a collected study, the runs of one task.
    ax
        Where to draw; a new figure if None.
    published
        What others report, by architecture: open marks below the first of its variants. Those of
        architectures that are not among the runs are left out.

    Raises
    ------
    UsageError
        If there are no runs.
    """
    if not runs.sizes["run"]:
        raise UsageError("no runs to draw scores of; choose others")
    there = {*values(runs, "model")}
    others = {name: value for name, value in (published or {}).items() if name in there}
    # Studies that are older do not know it.
    known = runs["baseline"].values if "baseline" in runs else np.array([])
    baselines = np.unique(known[np.isfinite(known)])
    ax = _rows(runs, "score", ax, others, baselines)
    for baseline in baselines:
        ax.axvline(baseline, color="0.4", lw=0.8, ls="--", zorder=0)
    ax.set_xlabel(f"test {metric_of(runs)}")
    return ax


def _rows(
    runs: xr.Dataset,
    name: str,
    ax: Axes | None,
    published: Mapping[str, float] = MappingProxyType({}),
    lines: Sequence[float] | np.ndarray = (),
) -> Axes:
    """Draw a row per architecture, on an axis that is made for `lines` too."""
    ax = new_axes() if ax is None else ax
    found = groups(runs, "model")
    scale_of(ax.set_xscale, np.array([*runs[name].values, *published.values(), *lines]))
    for row, group in enumerate(found):
        style, own = look(group.name), group.runs[name].values
        own = own[np.isfinite(own)]
        if len(own) > 1:
            _, low, high = median_interval(own[:, None])
            ax.plot([low[0], high[0]], [row, row], color=style.color, lw=1.2, alpha=0.5)
            heights = row - _ABOVE + _SPREAD * np.linspace(-0.5, 0.5, len(own))
            ax.plot(own, heights, ".", color=style.color, ms=2)
        if len(own):
            ax.plot(np.median(own), row, style.marker, color=style.color, ms=4.5, zorder=3)
        if group.name in published and not group.variant:
            place = published[group.name], row + _BELOW
            ax.plot(*place, style.marker, color=style.color, mfc="w", ms=4, zorder=3)
    named_rows(ax, found)
    if ax.get_xscale() == "log":
        plain_log(ax.xaxis)
    else:
        ax.xaxis.set_major_locator(MaxNLocator(5))
    return ax


def metric_of(runs: xr.Dataset) -> str:
    """Return the name of the metric of runs, or names."""
    return " or ".join(dict.fromkeys(values(runs, "metric")))


def scale_of(set_scale: Callable[[str], None], scores: np.ndarray) -> None:
    """Make an axis logarithmic if scores are positive and span more than a decade and a half."""
    low, high = np.nanmin(scores), np.nanmax(scores)
    if low > 0 and np.log10(high / low) > _DECADES_FOR_LOG:
        set_scale("log")
