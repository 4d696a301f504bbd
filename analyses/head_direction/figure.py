"""Draw the measures of head-direction cells from their numbers."""

from __future__ import annotations

import matplotlib as mpl
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from seqprobe import plots
from seqprobe.plots.style import RC

COLORS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#D55E00", "#56B4E9", "#000000")
MARKERS = ("o", "s", "^", "D")


def curves(ax: Axes, tuning: xr.Dataset) -> None:
    """Draw the rate of every unit against the angle, first half solid, second dashed."""
    for unit, color in enumerate(COLORS):
        for half, style in enumerate(("-", (0, (2, 1)))):
            rates = tuning["rate"].values[half, :, unit]
            ax.plot(tuning["bin"].values, rates, color=color, ls=style, lw=1.0)
    ax.set_xlim(0, 360)
    ax.set_xticks(range(0, 361, 90))
    ax.set_xlabel("direction of the head (degrees)")
    ax.set_ylabel("firing rate (Hz)")


def by_setting(ax: Axes, settings: xr.Dataset) -> None:
    """Draw the error against the smoothing, one line for every width of bins."""
    widths = settings["bin_seconds"].values
    for i, width in enumerate(np.unique(widths)):
        some = settings.isel(run=np.flatnonzero(widths == width))
        x = some["smooth_seconds"].values + 0.008 * (i - 1.5)
        low, high = some["median_error_ci"].values.T
        ax.vlines(x, low, high, color=COLORS[i], lw=0.8)
        ax.plot(x, some["median_error"].values, marker=MARKERS[i], color=COLORS[i], lw=0.9,
                label=f"{width:g} s")  # fmt: skip
    ax.set_ylim(0, None)
    ax.set_xlabel("smoothing (s)")
    ax.set_ylabel("median error (degrees)")
    ax.legend(title="bins", title_fontsize=7, ncols=2, loc="lower right", columnspacing=1)


def rows(ax: Axes, labels: list[str]) -> None:
    """Name the rows of a panel, the first on top."""
    ax.set_yticks(range(len(labels)), labels)
    ax.set_ylim(len(labels) - 0.5, -0.5)


def dimension(ax: Axes, found: xr.Dataset) -> None:
    """Draw participation ratio and TwoNN of both regions and of shifted units."""
    for i, (key, label) in enumerate(
        (("participation_ratio", "participation ratio"), ("two_nn", "TwoNN"))
    ):
        for j, name in enumerate((key, f"{key}_null")):
            y = 2 * np.arange(found.sizes["condition"]) + j + 0.24 * (i - 0.5)
            low, high = found[f"{name}_ci"].transpose("ci_bound", "condition").values
            ax.hlines(y, low, high, color=COLORS[i], lw=1.0)
            ax.plot(found[name].values, y, MARKERS[i], color=COLORS[i], label=label * (j == 0))
    names = [name.upper() for name in found["condition"].values]
    rows(ax, [label for name in names for label in (name, f"{name}, shifted")])
    ax.set_xlim(0, 9)
    ax.set_xlabel("dimensions")
    ax.legend(loc="upper right", handletextpad=0.1)


def similarity(ax: Axes, found: xr.Dataset) -> None:
    """Draw DSA distances of the first half from what it is compared with, and its null."""
    settings = [(p, r) for p in found["delays"].values for r in found["rank"].values]
    for i, (p, r) in enumerate(settings):
        at = found.sel(delays=p, rank=r)
        values = [float(at["dsa_null"]), *at["dsa"].values]
        y = np.arange(len(values)) + 0.16 * (i - 1.5)
        low, high = at["dsa_ci"].transpose("ci_bound", "condition").values
        ax.hlines(y[1:], low, high, color=COLORS[i], lw=0.8)
        ax.plot(values, y, MARKERS[i], color=COLORS[i], ms=3, label=f"{p}, {r}")
    rows(ax, ["null: its own halves", *found["condition"].values.tolist()])
    ax.set_xscale("log")
    ax.set_xlabel("DSA distance from the first half")
    ax.legend(title="delays, rank", title_fontsize=7, ncols=2, loc="upper right",
              columnspacing=0.6, handletextpad=0.1)  # fmt: skip


def draw(groups: dict[str, xr.Dataset]) -> Figure:
    """Return the figure of all measures."""
    with mpl.rc_context(RC):
        figure = Figure(figsize=(7.0, 6.2), layout="constrained")
        top, middle, bottom = figure.subfigures(3, 1, height_ratios=(1, 1, 1.05))
        a, b = top.subplots(1, 2, width_ratios=(1, 2))
        c, d, e = middle.subplots(1, 3)
        f, g = bottom.subplots(1, 2, width_ratios=(1, 1.1))
        curves(a, groups["tuning"])
        a.set_title("seven ADN units")
        plots.decode(groups["decode_adn"], b, steps=1500)
        b.set_title("direction, part that was not fitted")
        b.legend(loc="lower right", bbox_to_anchor=(1.0, 0.98), ncols=2, borderaxespad=0.2)
        plots.decode_error(groups["decode_adn"], c)
        c.set_title("decoding error")
        c.legend(loc="upper right", handletextpad=0.1)
        by_setting(d, groups["settings"])
        d.set_title("error by bin and smoothing")
        plots.recorded_timescales(groups["timescales"], e, by="region")
        e.set_title("timescales of counts")
        handles, labels = e.get_legend_handles_labels()
        e.legend(handles, [label.upper() for label in labels], loc="lower left", handlelength=1)
        dimension(f, groups["dimension"])
        f.set_title("dimension of rates")
        similarity(g, groups["dsa"])
        g.set_title("dynamics of the two halves")
    return figure
