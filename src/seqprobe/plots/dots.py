"""One number per architecture: a dot with its interval, or all seeds with their median."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes

from seqprobe.plots.runs import Group
from seqprobe.plots.style import look

__all__ = ["dots", "named_rows"]


def dots(
    ax: Axes,
    found: Sequence[Group],
    name: str,
    *,
    marker: str | None = None,
    shift: float = 0.0,
    color: str | None = None,
    label: str = "",
) -> None:
    """Draw a variable without dimensions of every group, in a row of its own.

    Parameters
    ----------
    ax
        Where; rows are numbered from 0.
    found
        Architectures.
    name
        The variable; ``<name>_ci`` is its interval, if there is one.
    marker, color
        None for those of the architecture.
    shift
        How far above the middle of its row.
    label
        For the legend, once.
    """
    for row, group in enumerate(found):
        style = look(group.name)
        values = np.atleast_1d(group.runs[name].values).astype(float)
        chosen, y = color or style.color, row - shift
        if len(values) == 1 and f"{name}_ci" in group.runs:
            low, high = group.runs[f"{name}_ci"].values.reshape(-1)[:2]
            ax.plot([low, high], [y, y], color=chosen, lw=1.2, alpha=0.5, zorder=2)
        elif len(values) > 1:
            ax.plot(values, np.full(len(values), y), "|", color=chosen, ms=5, alpha=0.5, zorder=2)
        ax.plot(
            np.nanmedian(values) if np.isfinite(values).any() else np.nan,
            y,
            marker or style.marker,
            color=chosen,
            ms=4.5,
            zorder=3,
            label=label if row == 0 else "",
        )


def named_rows(ax: Axes, found: Sequence[Group]) -> None:
    """Write the architectures at the left, from above."""
    ax.set_yticks(range(len(found)), [group.label for group in found])
    ax.set_ylim(len(found) - 0.5, -0.5)
    for row in range(1, len(found)):
        ax.axhline(row - 0.5, color="0.9", lw=0.5, zorder=0)
