"""What the marks of fixed points mean."""

from __future__ import annotations

import xarray as xr
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from seqprobe.plots.style import SHADES, shade

__all__ = ["MARGINAL", "point_legend"]

MARGINAL = 3  # as `seqprobe.dynamics.certify.Stability` counts


def point_legend(figure: Figure, runs: list[xr.Dataset], columns: int = 7) -> None:
    """Put the meaning of the points above the panels."""
    most = len(SHADES) - 1
    shown = sorted({min(int(d), most) for run in runs for d in run["n_unstable"].values if d >= 0})
    handles = [
        Line2D(
            [],
            [],
            ls="",
            marker="o",
            ms=4.5,
            mfc=shade(d) if d == 0 else "white",
            mec=shade(d),
            mew=1.1,
            label="stable" if d == 0 else f"{d}{' or more' if d == most else ''} unstable",
        )
        for d in shown
    ]
    if any(bool((run["stability"] == MARGINAL).any()) for run in runs):
        handles.append(
            Line2D([], [], ls="", marker="o", ms=4.5, mfc="white", mec="0.5", label="marginal")
        )
    if handles:
        figure.legend(handles=handles, loc="outside upper center", ncols=min(columns, len(handles)))
