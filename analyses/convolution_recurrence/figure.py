"""Test scores of four architectures on six tasks beside the paper's, and recall by the delay.

python analyses/convolution_recurrence/figure.py STUDY.nc FOLDER
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
from seqprobe.plots.style import RC

DELAY = "task.delay"
PANELS = {  # title and axis
    "adding": ("adding, T = 200 (600)", "test MSE"),
    "copy": ("copy memory, T = 100", "test accuracy (last 10 symbols)"),
    "digits": ("digits by pixel, 8x8 (28x28)", "test accuracy"),
    "jsb": ("JSB chorales", "test NLL (nats per frame)"),
    "nottingham": ("Nottingham", "test NLL (nats per frame)"),
    "chartext": ("characters of Shakespeare", "test bits per character"),
}
# Table 1 of the paper, where task and metric are the same.
PAPER = {
    "adding": {"rnn": 0.177, "gru": 5.3e-5, "lstm": 0.164, "tcn": 5.8e-5},
    "digits": {"rnn": 0.215, "gru": 0.962, "lstm": 0.872, "tcn": 0.990},
    "jsb": {"rnn": 8.91, "gru": 8.43, "lstm": 8.45, "tcn": 8.10},
    "nottingham": {"rnn": 4.05, "gru": 3.46, "lstm": 3.29, "tcn": 3.07},
}
LAYOUT = [["curve", "curve", "adding"], ["copy", "digits", "jsb"], ["nottingham", "chartext", "."]]
MARKS = "dots: seeds; filled: their median and range\nopen, and in brackets: the paper's"
MARKS += "\ndashed: baseline of the task, chance of copying"


def recall(copies: xr.Dataset, ax: Axes) -> None:
    """Draw the accuracy of recall against the delay."""
    plots.against(copies, "score", DELAY, ax)
    ax.axhline(1 / 8, color="0.4", lw=0.8, ls="--", zorder=0)
    ax.set_xticks(np.unique(copies[DELAY].values))
    ax.set(xlabel="delay T (steps)", ylabel="recall of ten symbols", ylim=(0, 1.05))
    ax.set_title("trained anew for every delay, 10,000 parameters")
    ax.legend(loc="center right", bbox_to_anchor=(1, 0.7))


def draw(runs: xr.Dataset) -> Figure:
    """Return the curve of recall, and a panel of test scores per task."""
    task = runs["task"].values
    with mpl.rc_context(RC):
        figure = Figure(figsize=(7.2, 5.6), layout="constrained")
        axes = figure.subplot_mosaic(LAYOUT)
        recall(runs.isel(run=task == "copy"), axes["curve"])
        for name, (title, label) in PANELS.items():
            chosen = (task == name) & ((name != "copy") | (runs[DELAY].values == 100))
            if chosen.any():
                plots.scores(runs.isel(run=chosen), axes[name], PAPER.get(name))
                axes[name].set(title=title, xlabel=label)
            else:  # in the small size
                axes[name].remove()
        figure.text(0.68, 0.2, MARKS, fontsize=6.5, color="0.3", linespacing=1.8)
    return figure


def main() -> None:
    """Draw the figure and keep its numbers."""
    groups = schema.read_groups(sys.argv[1])
    kept = {name: groups[name] for name in ("/", "training")}
    plots.deposit(draw(kept["/"]), kept, Path(sys.argv[2]) / "convolution_recurrence")


if __name__ == "__main__":
    main()
