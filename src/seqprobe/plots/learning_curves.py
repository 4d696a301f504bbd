"""The training of many runs: scores against updates, and what they end with."""

from __future__ import annotations

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from seqprobe.plots.dots import named_rows
from seqprobe.plots.lines import Panel, by_task, draw, median_interval, plain_log
from seqprobe.plots.runs import groups, values
from seqprobe.plots.style import look, new_axes

__all__ = ["final_scores", "learning_curves", "learning_curves_figure"]

_DECADES_FOR_LOG = 1.5


def learning_curves(training: xr.Dataset, ax: Axes | None = None) -> Axes:
    """Draw the validation score against updates: median and 95 % interval over seeds, seeds thin.

    A run that has stopped keeps its last score, so that the median is always over the same seeds.

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
    ax.set_xlim(0, max(1.0, float(training["step"].max())))
    ax.set_xlabel("updates")
    ax.set_ylabel(f"validation {_metric(training)}")
    if ax.get_yscale() == "log":
        plain_log(ax.yaxis)
    return ax


def final_scores(training: xr.Dataset, ax: Axes | None = None) -> Axes:
    """Draw the last validation score of every run, and median and 95 % interval over seeds.

    Parameters
    ----------
    training
        As for `learning_curves`.
    ax
        Where to draw; a new figure if None.
    """
    ax = new_axes() if ax is None else ax
    found = groups(training.assign(score=_to_the_end(training["score"])), "model")
    _scale(ax.set_xscale, np.concatenate([g.runs["score"].values[:, -1] for g in found]))
    for row, group in enumerate(found):
        style, last = look(group.name), group.runs["score"].values[:, -1]
        ax.plot(last, np.full(len(last), row), "|", color=style.color, ms=5, alpha=0.5)
        if len(last) > 1:
            _, low, high = median_interval(last[:, None])
            ax.plot([low[0], high[0]], [row, row], color=style.color, lw=1.2, alpha=0.5)
        ax.plot(np.median(last), row, style.marker, color=style.color, ms=4.5)
    named_rows(ax, found)
    ax.set_xlabel(f"last validation {_metric(training)}")
    if ax.get_xscale() == "log":
        plain_log(ax.xaxis)
    else:
        ax.xaxis.set_major_locator(MaxNLocator(5))
    return ax


def learning_curves_figure(training: xr.Dataset) -> Figure:
    """Return learning curves and last scores of a collected study: a row per task."""
    panels: list[tuple[str, Panel]] = [
        ("learning curves", learning_curves),
        ("where they end (median, 95 % interval)", final_scores),
    ]
    return by_task(training, "score", panels, x="step")


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
