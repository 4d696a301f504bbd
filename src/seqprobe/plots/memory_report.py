"""All that was found of one model's memory, on one page."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Mapping, Sequence
from functools import partial

import matplotlib as mpl
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from seqprobe.plots.capacity_by_degree import capacity_by_degree
from seqprobe.plots.context import context_use
from seqprobe.plots.copy_curve import copy_curve
from seqprobe.plots.gradient_profile import gradient_profile, time_bins
from seqprobe.plots.lag_curves import (
    canonical_spectrum,
    fisher_memory_curve,
    linear_memory,
    perturbation_profile,
    substitution_profile,
    symbol_information,
    total_effect,
)
from seqprobe.plots.style import RC

__all__ = ["memory_report"]

_PANELS: tuple[tuple[str, str, Callable[[xr.Dataset, Axes], Axes]], ...] = (
    ("profile", "Sensitivity: gradient by lag", gradient_profile),
    ("profile", "Sensitivity: by output time", time_bins),
    ("perturbation", "Sensitivity: finite pushes", perturbation_profile),
    ("total-effect", "Use: total effect", total_effect),
    ("substitution", "Use: another token", substitution_profile),
    ("context", "Use: the rest cut off", context_use),
    ("context", "Use: the rest shuffled", partial(context_use, damage="shuffle")),
    ("copy-curve", "Use: recall by delay", copy_curve),
    ("linear", "Availability: linear reading", linear_memory),
    ("information", "Availability: bits on the symbol", symbol_information),
    ("fisher", "Availability: Fisher memory", fisher_memory_curve),
    ("linear", "Dimension: directions kept", canonical_spectrum),
    ("ipc", "Dimension: capacity by degree", capacity_by_degree),
)
_COLUMNS = 3
_WIDTH = 118  # characters of a line of numbers


def memory_report(
    results: Mapping[str, xr.Dataset], title: str, lines: Sequence[tuple[str, str]]
) -> Figure:
    """Return one page (A4) with a panel per measure and the numbers below.

    Parameters
    ----------
    results
        Results of `seqprobe.memory` by name of the command that makes them; those that are missing
        have no panel.
    title
        What the page is about.
    lines
        Names and values of the numbers, and why something is missing.
    """
    panels = [panel for panel in _PANELS if panel[0] in results]
    rows = -(-len(panels) // _COLUMNS)
    with mpl.rc_context(RC | {"axes.titlesize": 7, "axes.labelsize": 6.5, "xtick.labelsize": 6}):
        figure = Figure(figsize=(8.27, 11.69))
        wrapped = [(name, textwrap.wrap(value, _WIDTH) or [""]) for name, value in lines]
        text_height = 0.0122 * sum(len(pieces) for _, pieces in wrapped)
        grid = figure.add_gridspec(
            max(rows, 1),
            _COLUMNS,
            left=0.075,
            right=0.955,
            top=0.935,
            bottom=0.085 + text_height,
            hspace=0.55,
            wspace=0.42,
        )
        for i, (name, heading, draw) in enumerate(panels):
            ax = figure.add_subplot(grid[i // _COLUMNS, i % _COLUMNS])
            draw(results[name], ax)
            ax.set_title(heading)
            if name == "ipc":
                ax.legend(fontsize=5)
        figure.text(0.075, 0.972, title, size=10, weight="bold", va="top")
        place = 0.035 + text_height
        for name, pieces in wrapped:
            figure.text(0.075, place, name, size=6.5, weight="bold", va="top")
            for piece in pieces:
                figure.text(0.25, place, piece, size=6.5, va="top")
                place -= 0.0122
    return figure
