"""What damage to the past costs, against how much is left whole."""

from __future__ import annotations

from typing import Literal

import matplotlib as mpl
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from seqprobe.plots.lines import draw, legend, log_steps, titled, without_padding
from seqprobe.plots.runs import groups
from seqprobe.plots.style import RC, new_axes

__all__ = ["context_use", "context_use_figure"]

Damage = Literal["truncate", "shuffle", "drop"]
_TITLES: dict[Damage, str] = {
    "truncate": "cut off",
    "shuffle": "shuffled",
    "drop": "thinned out by half",
}


def context_use(use: xr.Dataset, ax: Axes | None = None, damage: Damage = "truncate") -> Axes:
    """Draw the cost of one damage to all but the last n inputs.

    Parameters
    ----------
    use
        Result of `seqprobe.memory.context_use`, or several along ``run``.
    ax
        Where to draw; a new figure if None.
    damage
        What was done.
    """
    ax = new_axes() if ax is None else ax
    for group in groups(use, "model"):
        draw(ax, group, f"cost_{damage}", x="length")
    ax.axhline(0, color="0.7", lw=0.5, zorder=0)
    n = use["length"].values
    log_steps(ax, int(n[-1]), "inputs left whole n (steps)", first=int(n[0]))
    ax.set_ylabel(f"cost ({use[f'cost_{damage}'].attrs['units']})")
    return ax


def context_use_figure(use: xr.Dataset) -> Figure:
    """Return the figure of ``seqprobe memory context``: a row per task, a column per damage."""
    tasks = groups(use, "task")
    with mpl.rc_context(RC):
        figure = Figure(figsize=(7.0, 0.35 + 2.3 * len(tasks)), layout="constrained")
        axes = figure.subplots(len(tasks), 3, squeeze=False, sharey="row")
        for task, row in zip(tasks, axes, strict=True):
            runs = without_padding(task.runs, "cost_truncate", "length")
            for i, (ax, damage) in enumerate(zip(row, _TITLES, strict=True)):
                context_use(runs, ax, damage)
                title = f"the rest {_TITLES[damage]}"
                ax.set_title(titled(task.label, title) if i == 0 else title)
                if i:
                    ax.set_ylabel("")
        legend(figure, list(axes[:, 0]))
    return figure
