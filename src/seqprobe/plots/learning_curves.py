"""The training of many runs: scores against updates, and what they end with."""

from __future__ import annotations

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from seqprobe.plots.dots import dots, named_rows
from seqprobe.plots.lines import Panel, by_task, draw, median_interval, plain_log
from seqprobe.plots.runs import Group, groups, values
from seqprobe.plots.style import look, new_axes

__all__ = ["final_scores", "learning_curves", "learning_curves_figure"]

_DECADES_FOR_LOG = 1.5
_FEW = 6  # of so many seeds the range is more than a 95 % interval of the median


def learning_curves(training: xr.Dataset, ax: Axes | None = None) -> Axes:
    """Draw the validation score against updates: median and 95 % interval over seeds, seeds thin.

    A dot marks where a run stopped; it keeps its last score, so that the median is always over the
    same seeds. Dashed: the threshold (``train.until``).

    Parameters
    ----------
    training
        Group ``training`` of a collected study, along (run, step).
    ax
        Where to draw; a new figure if None.
    """
    ax = new_axes() if ax is None else ax
    kept = training.assign(score=_to_the_end(training["score"]))
    _scale(ax.set_yscale, kept["score"].values)
    for group in groups(kept, "model"):
        draw(ax, group, "score", x="step")
        _mark_ends(ax, group)
    thresholds = training["threshold"].values[np.isfinite(training["threshold"].values)]
    for threshold in np.unique(thresholds):
        ax.axhline(threshold, color="0.5", lw=0.6, ls="--", zorder=0)
    last = max(1.0, float(training["step"].max()))
    ax.set_xlim(-0.02 * last, 1.02 * last)
    ax.set_xlabel("updates")
    ax.set_ylabel(f"validation {_metric(training)}")
    if ax.get_yscale() == "log":
        plain_log(ax.yaxis)
    return ax


def final_scores(training: xr.Dataset, ax: Axes | None = None) -> Axes:
    """Draw the validation score of the weights that every run keeps, which are its best.

    Median and 95 % interval over seeds; of fewer than six seeds, their range.

    Parameters
    ----------
    training
        As for `learning_curves`.
    ax
        Where to draw; a new figure if None.
    """
    ax = new_axes() if ax is None else ax
    found = groups(training, "model")
    _scale(ax.set_xscale, training["kept_score"].values)
    for row, group in enumerate(found):
        kept = group.runs["kept_score"].values
        if len(kept) > 1:
            _, low, high = median_interval(kept[:, None])
            ax.plot([low[0], high[0]], [row, row], color=look(group.name).color, lw=1.2, alpha=0.5)
    dots(ax, found, "kept_score")
    named_rows(ax, found)
    ax.set_xlabel(f"best validation {_metric(training)}")
    if ax.get_xscale() == "log":
        plain_log(ax.xaxis)
    else:
        ax.xaxis.set_major_locator(MaxNLocator(5))
    return ax


def learning_curves_figure(training: xr.Dataset) -> Figure:
    """Return learning curves and scores of a collected study: a row per task."""
    seeds = [group.runs.sizes["run"] for group in groups(training, "model")]
    interval = "range" if max(seeds) < _FEW else "95 % interval"
    if min(seeds) < _FEW <= max(seeds):
        interval = f"95 % interval; range below {_FEW} seeds"
    panels: list[tuple[str, Panel]] = [
        ("learning curves", learning_curves),
        (f"weights that are kept (median, {interval})", final_scores),
    ]
    figure = by_task(training, "score", panels, x="step")
    excluded = int(training.attrs.get("n_excluded", 0))
    if excluded:
        total = excluded + training.sizes["run"]
        said = (
            f"{excluded} of {total} runs are not shown: failed, not done, or not at the threshold"
        )
        figure.supxlabel(said, fontsize=6, color="0.4")
    return figure


def _mark_ends(ax: Axes, group: Group) -> None:
    """Mark the last score of every run that stopped."""
    scores, steps = group.runs["score"].values, group.runs["stopped_at"].values
    ax.plot(steps, scores[:, -1], ".", color=look(group.name).color, ms=2.5, alpha=0.6)


def _metric(training: xr.Dataset) -> str:
    return " or ".join(dict.fromkeys(values(training, "metric")))


def _to_the_end(score: xr.DataArray) -> xr.DataArray:
    """Let runs that have stopped keep their last score."""
    kept = score.values.copy()
    for step in range(1, kept.shape[1]):
        kept[:, step] = np.where(np.isnan(kept[:, step]), kept[:, step - 1], kept[:, step])
    return score.copy(data=kept)


def _scale(set_scale: object, scores: np.ndarray) -> None:
    """Make an axis logarithmic if scores are positive and span more than a decade and a half."""
    low, high = np.nanmin(scores), np.nanmax(scores)
    if callable(set_scale) and low > 0 and np.log10(high / low) > _DECADES_FOR_LOG:
        set_scale("log")
