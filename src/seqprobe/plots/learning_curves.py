"""The training of many runs: scores against updates, epochs or time."""

from __future__ import annotations

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from seqprobe.errors import UsageError
from seqprobe.plots.lines import Panel, by_task, draw, plain_log
from seqprobe.plots.runs import Group, groups
from seqprobe.plots.scores import final_scores, metric_of, scale_of
from seqprobe.plots.style import look, new_axes

__all__ = ["learning_curves", "learning_curves_figure"]

_AGAINST = {
    "step": "updates",
    "epoch": "epochs",
    "seconds": "processor time per network (s)",
}
_FEW = 6  # of so many seeds the range is more than a 95 % interval of the median


def learning_curves(training: xr.Dataset, ax: Axes | None = None, against: str = "step") -> Axes:
    """Draw the validation score over training: median and 95 % interval over seeds, seeds thin.

    A dot marks where a run stopped; it keeps its last score, so that the median is always over the
    same seeds. Dashed: the threshold (``train.until``).

    Parameters
    ----------
    training
        Group ``training`` of a collected study, along (run, step).
    ax
        Where to draw; a new figure if None.
    against
        ``"step"``, updates; ``"epoch"``, passes over the training data; or ``"seconds"``,
        processor time, of which a score stands at the median over seeds.

    Raises
    ------
    UsageError
        If `against` is something else, or is not known of these runs.
    """
    if against not in _AGAINST:
        raise UsageError(f"against = '{against}' is not allowed (allowed: {', '.join(_AGAINST)})")
    ax = new_axes() if ax is None else ax
    kept = training.assign(score=_to_the_end(training["score"]))
    scale_of(ax.set_yscale, kept["score"].values)
    last = 1.0 if against == "step" else 0.0
    for group in groups(kept, "model"):
        placed = _placed(group, against)
        draw(ax, placed, "score", x="step")
        _mark_ends(ax, placed)
        last = max(last, float(placed.runs["step"].max()))
    last = last or 1.0
    thresholds = training["threshold"].values[np.isfinite(training["threshold"].values)]
    for threshold in np.unique(thresholds):
        ax.axhline(threshold, color="0.5", lw=0.6, ls="--", zorder=0)
    ax.set_xlim(-0.02 * last, 1.02 * last)
    ax.set_xlabel(_AGAINST[against])
    ax.set_ylabel(f"validation {metric_of(training)}")
    if ax.get_yscale() == "log":
        plain_log(ax.yaxis)
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


def _placed(group: Group, against: str) -> Group:
    """Return a group whose steps are where its validations stand on an axis."""
    if against == "step":
        return group
    known = group.runs.get(against, group.runs["score"] * np.nan)
    place = _to_the_end(known).median("run").values  # over the same runs everywhere
    there = np.flatnonzero(np.isfinite(place))
    if not len(there):
        raise UsageError(
            f"{_AGAINST[against]} of '{group.name}' are not known, because data without end have no"
            " epochs, and older studies no time; draw against 'step', or leave these runs out"
        )
    ends = np.interp(group.runs["stopped_at"], group.runs["step"][there], place[there])
    runs = group.runs.isel(step=there).assign_coords(step=place[there])
    return group._replace(runs=runs.assign(stopped_at=("run", ends)))


def _mark_ends(ax: Axes, group: Group) -> None:
    """Mark the last score of every run that stopped."""
    scores, ends = group.runs["score"].values, group.runs["stopped_at"].values
    ax.plot(ends, scores[:, -1], ".", color=look(group.name).color, ms=2.5, alpha=0.6)


def _to_the_end(numbers: xr.DataArray) -> xr.DataArray:
    """Let runs that have stopped keep their last score, or time."""
    kept = numbers.values.copy()
    for step in range(1, kept.shape[1]):
        kept[:, step] = np.where(np.isnan(kept[:, step]), kept[:, step - 1], kept[:, step])
    return numbers.copy(data=kept)
