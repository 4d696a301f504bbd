"""Learning curves of tanh, GRU and LSTM networks by epochs and by time, and their test scores.

python analyses/gates_tanh/figure.py STUDY.nc FOLDER
"""

from __future__ import annotations

import sys
from pathlib import Path

import matplotlib as mpl
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from seqprobe import plots, schema
from seqprobe.plots.lines import legend
from seqprobe.plots.style import RC

TITLES = {
    "jsb": "JSB chorales",
    "nottingham": "Nottingham",
    "muse": "MuseData",
    "piano": "Piano-midi",
    "speech": "speech",
}
MARKS = "bands: range of the seeds; right: seeds, below them median and range; dashed: baseline"


def curves(training: xr.Dataset, ax: Axes, against: str) -> None:
    """Draw learning curves without what came before the first validation."""
    plots.learning_curves(training.isel(step=training["step"].values > 0), ax, against)
    late = training["score"].where(training["step"] >= training["stopped_at"] / 5)
    low, high = float(training["score"].min()), float(late.max())
    ax.set_ylim(low - 0.1 * (high - low), high + 0.1 * (high - low))


def draw(runs: xr.Dataset, training: xr.Dataset) -> Figure:
    """Return a row per task: by epochs, by time, and test scores."""
    tasks = [name for name in TITLES if name in runs["task"].values]
    with mpl.rc_context(RC):
        figure = Figure(figsize=(7.2, 0.5 + 1.6 * len(tasks)), layout="constrained")
        figure.supxlabel(MARKS, fontsize=6.5, color="0.3")
        axes = figure.subplots(len(tasks), 3, squeeze=False)
        for name, (left, middle, right) in zip(tasks, axes, strict=True):
            chosen = np.flatnonzero(runs["task"].values == name)
            own = training.isel(run=chosen)
            curves(own, left, "epoch")
            curves(own, middle, "seconds")
            middle.set_ylabel("")
            plots.scores(runs.isel(run=chosen), right)
            left.set(title=f"{TITLES[name]}, by epochs", ylabel="validation NLL (nats)")
            middle.set_title("by time")
            right.set(
                title="test", xlabel=f"nats per {'10 samples' if name == 'speech' else 'frame'}"
            )
            for ax in (left, middle):
                ax.set_xlabel(ax.get_xlabel() if name == tasks[-1] else "")
        legend(figure, [axes[0, 0]])
    return figure


def main() -> None:
    """Draw the figure and keep its numbers."""
    groups = schema.read_groups(sys.argv[1])
    kept = {name: groups[name] for name in ("/", "training")}
    plots.deposit(draw(kept["/"], kept["training"]), kept, Path(sys.argv[2]) / "gates_tanh")


if __name__ == "__main__":
    main()
