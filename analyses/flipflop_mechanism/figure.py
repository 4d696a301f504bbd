"""Fixed points and trajectories of three networks, and how many points there are for N bits.

python analyses/flipflop_mechanism/figure.py STUDY.nc FOLDER
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
from seqprobe.plots.points import point_legend
from seqprobe.plots.runs import singles
from seqprobe.plots.style import RC, look

BITS, ARCHITECTURES = "task.bits", ("rnn", "gru", "lstm")
STATES = ["x", "n_unstable", "stability", "spacing_min", "unstable_direction", "trajectory"]


def counts(points: xr.Dataset, ax: Axes, unstable: int, law: str, title: str) -> None:
    """Draw how many points have so many unstable dimensions, every seed a mark."""
    bits = points[BITS].values
    found = (points["n_unstable"] == unstable).sum("fixed_point").values
    for i, name in enumerate(ARCHITECTURES):
        mine, style = points["architecture"].values == name, look(name)
        place, marks = bits[mine] + 0.12 * (i - 1), {"color": style.color, "ms": 4, "alpha": 0.5}
        ax.plot(place, found[mine], style.marker, label=name if mine.any() else None, **marks)
    n, seeds = np.unique(bits), len(set(points["seed"].values))
    expected = n * 2.0 ** (n - 1) if unstable else 2.0**n
    ax.hlines(expected, n - 0.3, n + 0.3, color="0.3", lw=1, zorder=0, label=law)
    ax.set(xticks=n, xlim=(n[0] - 0.5, n[-1] + 0.5), ylim=(0, 1.15 * max(expected)))
    ax.set(xlabel=f"bits N ({seeds} seeds each)", ylabel="fixed points", title=title)
    ax.legend(fontsize=6, loc="upper left")


def draw(points: xr.Dataset, shown: xr.Dataset) -> Figure:
    """Return a row of state spaces, and a row of counts over all networks."""
    with mpl.rc_context(RC):
        figure = Figure(figsize=(7.2, 5.4))
        figure.set_layout_engine("constrained", wspace=0.12, rect=(0, 0, 0.96, 1))  # for PC3
        above, below = figure.subfigures(2, 1, height_ratios=[1.2, 1])
        runs = [singles(shown.isel(run=[i]))[0][1] for i in range(shown.sizes["run"])]
        for i, run in enumerate(runs):
            ax = above.add_subplot(1, 3, i + 1, projection="3d")
            name = f"{shown['architecture'].values[i]}, {shown[BITS].values[i]} bits"
            plots.fixed_points(run, ax).set_title(name)
        point_legend(above, runs)
        left, right = below.subplots(1, 2)
        counts(points, left, 0, "$2^N$", "stable points, one per memory")
        counts(points, right, 1, r"$N\,2^{N-1}$, edges of a cube", "saddles, 1 unstable dimension")
    return figure


def shown_of(points: xr.Dataset) -> xr.Dataset:
    """Return the first network of every architecture with most bits, with its states."""
    most = points[BITS].values == points[BITS].values.max()
    first = [np.flatnonzero(most & (points["architecture"].values == n))[:1] for n in ARCHITECTURES]
    return points.isel(run=np.concatenate(first))[STATES].astype("float32", keep_attrs=True)


def main() -> None:
    """Draw the figure and keep its numbers: points of all, states of those that are shown."""
    groups = schema.read_groups(sys.argv[1])
    points, edges = groups["fixed-points.search"], groups["fixed-points.connections"]
    shown = groups["shown"] if "shown" in groups else shown_of(points)
    points = points[["n_unstable", "certificate", "index_sum"]]
    kept = {"shown": shown, "fixed-points.search": points}
    kept["fixed-points.connections"] = edges[["n_unstable", "hamming"]]
    plots.deposit(draw(points, shown), kept, Path(sys.argv[2]) / "flipflop_mechanism")


if __name__ == "__main__":
    main()
