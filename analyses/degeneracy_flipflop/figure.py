"""Degeneracy at all levels against the number of bits, from the collected study.

python analyses/degeneracy_flipflop/figure.py STUDY.nc FOLDER
"""

from __future__ import annotations

import sys
from pathlib import Path

import matplotlib as mpl
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from seqprobe import plots, schema
from seqprobe.plots.style import RC

BITS = "task.bits"


def by_bits(found: xr.Dataset, name: str, ax: Axes, title: str) -> None:
    """Draw a mean with its null and say what it is."""
    plots.degeneracy_by_factor(found, name, BITS, ax)
    ax.set_title(title)
    ax.set_xlabel("bits")
    ax.legend(fontsize=6)


def draw(found: xr.Dataset) -> Figure:
    """Return eight panels: a row of the paper's measures, a row of what stands beside them."""
    with mpl.rc_context(RC):
        figure = Figure(figsize=(7.2, 4.2), layout="constrained")
        axes = figure.subplots(2, 4)
        by_bits(found, "sigma_ood", axes[0, 0], "behaviour")
        axes[0, 0].yaxis.set_offset_position("right")
        by_bits(found, "dsa", axes[0, 1], "dynamics")
        by_bits(found, "dpif", axes[0, 2], "weights")
        by_bits(found, "procrustes", axes[0, 3], "representation")
        plots.degeneracy_by_setting(found, "dsa", BITS, axes[1, 0])
        axes[1, 0].set_title("DSA, all settings")
        axes[1, 0].set_xlabel("bits")
        axes[1, 0].set_ylim(0, 0.47)  # room for what the marks mean
        by_bits(found, "input_dsa", axes[1, 1], "inputs known")
        by_bits(found, "dpif_rel", axes[1, 2], "weights, relative")
        by_bits(found, "delta_w", axes[1, 3], "feature learning")
    return figure


def main() -> None:
    """Draw the figure and keep its numbers."""
    found = schema.read_groups(sys.argv[1])["degeneracy"]
    bulky = ["perm", "sign", "dsa_angle", "dsa_frobenius", "dsa_lower", "eig_w2"]  # not drawn
    found = found.drop_vars(bulky, errors="ignore")
    plots.deposit(draw(found), {"degeneracy": found}, Path(sys.argv[2]) / "degeneracy_flipflop")


if __name__ == "__main__":
    main()
