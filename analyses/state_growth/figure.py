"""State and loss of Mamba beyond its training length, by position and by that length.

python analyses/state_growth/figure.py STUDY.nc FOLDER
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
from seqprobe.plots.lines import log_steps
from seqprobe.plots.style import RC

MODES, LENGTH, SHOWN = "model.modes", "task.length", 64
LOOKS = (("o", "#C79BD1"), ("s", "#7F3C8D"), ("^", "#35103D"))  # shades of Mamba's colour


def panels(left: Axes, right: Axes, growth: xr.Dataset, names: list[str], level: float) -> None:
    """Draw a quantity by position for one training length, and a number by training length."""
    lengths = np.unique(growth[LENGTH].values)
    shown = SHOWN if SHOWN in lengths else lengths[-1]
    for i, n in enumerate(np.unique(growth[MODES].values)):
        (marker, color), mine = LOOKS[i], growth.isel(run=growth[MODES].values == n)
        runs = mine[names[0]][mine[LENGTH].values == shown].dropna("time")
        left.plot(runs["time"], runs.values.T, color=color, lw=0.6, alpha=0.5)
        left.plot(runs["time"], runs.median("run"), color=color, label=f"N = {n}")
        numbers, beside = mine[names[1]], 0.08 * (i - 1)
        right.plot(np.log2(mine[LENGTH]) + beside, numbers, marker, color=color, ms=3, alpha=0.5)
        right.plot(np.log2(lengths) + beside, numbers.groupby(LENGTH).median(), color=color)
    left.axvline(shown, color="0.5", lw=0.6, ls=":")
    left.set(yscale="log", title=f"trained on {shown} steps")
    log_steps(left, int(runs["time"][-1]), "position (steps)", first=1)
    right.set(xticks=np.log2(lengths), xticklabels=lengths, xlabel="training length T (steps)")
    right.axhline(level, color="0.6", lw=0.6, ls=":")


def draw(growth: xr.Dataset) -> Figure:
    """Return four panels: the state above, the loss below."""
    with mpl.rc_context(RC):
        figure = Figure(figsize=(7.2, 4.8), layout="constrained")
        (a, b), (c, d) = figure.subplots(2, 2)
        panels(a, b, growth, ["power", "growth"], 2)
        a.set_ylabel("mean square of the state,\nover the largest in training")
        b.set(yscale="log", ylabel="growth of the mean square to 16 T\n(dotted: counts as growing)")
        panels(c, d, growth, ["loss", "loss_rise"], 0.1)
        c.set_ylabel("loss (nats; dashed: knows nothing)")
        c.axhline(float(growth["loss_chance"].median()), color="0.5", lw=0.6, ls="--")
        d.set_yscale("symlog", linthresh=0.1)
        d.set_ylim(-0.05, 2 * float(growth["loss_rise"].max()))
        d.set_ylabel("rise of the loss to 16 T, as a part of\nthat to chance (dotted: worse)")
        figure.legend(*a.get_legend_handles_labels(), loc="outside upper center", ncols=3)
    return figure


def reduced(growth: xr.Dataset) -> xr.Dataset:
    """Return what is drawn: of the recurrent states, the layer in which most happens."""
    ssm = growth.isel(part=[part.endswith("ssm") for part in growth["part"].values])
    power = np.square(ssm["state_rms"]).mean("head")
    found = growth[["loss", "loss_rise", "loss_chance", "loss_within"]]
    found["power"] = (power / power.where(power["time"] <= growth[LENGTH]).max("time")).max("part")
    found["growth"] = ssm["growth_index_part"].max("part", keep_attrs=True)
    return found.astype("float32", keep_attrs=True)


def main() -> None:
    """Draw the figure and keep its numbers."""
    growth = schema.read_groups(sys.argv[1])["capacity.growth"]
    growth = growth if "power" in growth else reduced(growth)
    plots.deposit(draw(growth), {"capacity.growth": growth}, Path(sys.argv[2]) / "state_growth")


if __name__ == "__main__":
    main()
