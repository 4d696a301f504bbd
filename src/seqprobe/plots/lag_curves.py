"""What is used and what can be read, against the lag: one function per measure."""

from __future__ import annotations

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from seqprobe.plots.lines import Panel, by_task, draw, log_steps, mark_training_lengths
from seqprobe.plots.runs import groups
from seqprobe.plots.style import look, new_axes

__all__ = [
    "canonical_spectrum",
    "fisher_memory_curve",
    "fisher_memory_curve_figure",
    "lag_curve",
    "linear_memory",
    "linear_memory_figure",
    "perturbation_profile",
    "perturbation_profile_figure",
    "substitution_profile",
    "substitution_profile_figure",
    "symbol_information",
    "symbol_information_figure",
    "total_effect",
    "total_effect_figure",
]


def lag_curve(result: xr.Dataset, name: str, ylabel: str, ax: Axes | None = None) -> Axes:
    """Draw any variable along ``lag``, one line per architecture, with its interval.

    Parameters
    ----------
    result
        One result of `seqprobe.memory`, or several along ``run``.
    name
        The variable; ``<name>_ci`` is its interval, if there is one.
    ylabel
        What it is, with its unit.
    ax
        Where to draw; a new figure if None.
    """
    ax = new_axes() if ax is None else ax
    for group in groups(result, "model"):
        draw(ax, group, name)
    last = int(result["lag"].max())
    log_steps(ax, last)
    mark_training_lengths(ax, result, last)
    ax.set_ylabel(ylabel)
    return ax


def total_effect(effect: xr.Dataset, ax: Axes | None = None) -> Axes:
    """Draw the total-effect index with its 95 % interval; 1 is marked."""
    ax = lag_curve(effect, "S_T", "total-effect index $S_T(k)$", ax)
    ax.axhline(1, color="0.7", lw=0.5, zorder=0)
    ax.set_ylim(bottom=min(0.0, ax.get_ylim()[0]))
    return ax


def total_effect_figure(effect: xr.Dataset) -> Figure:
    """Return the figure of ``seqprobe memory total-effect``."""

    def small(runs: xr.Dataset, ax: Axes) -> Axes:
        ax.set_yscale("log")
        lag_curve(runs, "S_T", "total-effect index $S_T(k)$", ax)
        ax.set_ylim(max(1e-8, ax.get_ylim()[0]), 3)
        return ax

    panels: list[tuple[str, Panel]] = [
        ("effect of the input k steps back", total_effect),
        ("the same, small effects", small),
    ]
    return by_task(effect, "S_T", panels)


def substitution_profile(profile: xr.Dataset, ax: Axes | None = None) -> Axes:
    """Draw the divergence that another token k steps back makes."""
    ax = new_axes() if ax is None else ax
    ax.set_yscale("log")
    return lag_curve(profile, "subst_kl", "KL after substitution (nats)", ax)


def substitution_profile_figure(profile: xr.Dataset) -> Figure:
    """Return the figure of ``seqprobe memory substitution``."""

    def flips(runs: xr.Dataset, ax: Axes) -> Axes:
        lag_curve(runs, "subst_flip", "probability of another answer", ax)
        ax.set_ylim(0, 1.02)
        return ax

    panels: list[tuple[str, Panel]] = [
        ("another token k steps back", substitution_profile),
        ("changes of the answer", flips),
    ]
    return by_task(profile, "subst_kl", panels)


def perturbation_profile(profile: xr.Dataset, ax: Axes | None = None) -> Axes:
    """Draw the response of one model to pushes of every size, with the rounding dotted."""
    ax = new_axes() if ax is None else ax
    ax.set_yscale("log")
    sizes = np.atleast_1d(profile["epsilon"].values)
    for i, size in enumerate(sizes):
        shade = str(0.75 * i / len(sizes))
        one = profile.sel(epsilon=size)
        for name, style in (("D", "-"), ("noise_floor", ":")):
            values = np.where(one[name].values > 0, one[name].values, np.nan)
            label = f"{size:g} s.d." if name == "D" else None
            ax.plot(profile["lag"].values, values, style, color=shade, lw=1, label=label)
    log_steps(ax, int(profile["lag"].max()))
    ax.set_ylabel("response $D(k)$ (output per input)")
    ax.legend(fontsize=5)
    return ax


def perturbation_profile_figure(profile: xr.Dataset) -> Figure:
    """Return the figure of ``seqprobe memory perturbation``: a panel per size of push."""
    sizes = np.atleast_1d(profile["epsilon"].values)

    def panel(size: float) -> Panel:
        def drawn(runs: xr.Dataset, ax: Axes) -> Axes:
            one = runs.sel(epsilon=size)
            ax.set_yscale("log")
            lag_curve(one, "D", "response $D(k)$ (output per input)\ndotted: rounding", ax)
            for group in groups(one, "model"):
                floor = group.runs["noise_floor"].median("run").values
                color = look(group.name).color
                ax.plot(group.runs["lag"].values, floor, color=color, lw=0.6, ls=":")
            return ax

        return drawn

    titles = [f"push {size:g} s.d." for size in sizes]
    return by_task(profile, "D", [(t, panel(s)) for t, s in zip(titles, sizes, strict=True)])


def linear_memory(curve: xr.Dataset, ax: Axes | None = None) -> Axes:
    """Draw the linear memory curve r2(k), with that of unrelated inputs below it."""
    ax = lag_curve(curve, "r2", "linear memory $r^2(k)$", ax)
    for group in groups(curve, "model"):
        null = group.runs["r2_null"].median("run").values
        ax.plot(group.runs["lag"].values, null, color=look(group.name).color, lw=0.6, ls=":")
    ax.set_ylim(0, 1.02)
    return ax


def canonical_spectrum(curve: xr.Dataset, ax: Axes | None = None) -> Axes:
    """Draw the squared canonical correlations of the tensor with the past."""
    ax = new_axes() if ax is None else ax
    for group in groups(curve, "model"):
        rho2 = (group.runs["canonical"] ** 2).median("run")
        style = look(group.name)
        ax.plot(rho2["mode"].values + 1, rho2.values, color=style.color, ls=style.linestyle)
    if not bool(curve["canonical"].notnull().any()):
        ax.text(0.5, 0.6, "not estimated:\ntoo few samples", ha="center", transform=ax.transAxes)
    ax.axhline(0.5, color="0.7", lw=0.5, zorder=0)
    ax.set_xlabel("canonical mode")
    ax.set_ylabel(r"squared correlation $\rho^2$")
    ax.set_ylim(0, 1.02)
    return ax


def linear_memory_figure(curve: xr.Dataset) -> Figure:
    """Return the figure of ``seqprobe memory linear``."""
    panels: list[tuple[str, Panel]] = [
        ("inputs that can be read linearly", linear_memory),
        ("directions that are kept", canonical_spectrum),
    ]
    return by_task(curve, "r2", panels)


def symbol_information(result: xr.Dataset, ax: Axes | None = None) -> Axes:
    """Draw the information on the symbol k steps back, in bits."""
    ax = lag_curve(result, "information", "information (bits)", ax)
    for group in groups(result, "model"):
        most = group.runs["entropy"].median("run").values
        ax.plot(group.runs["lag"].values, most, color="0.7", lw=0.5, zorder=0)
    ax.set_ylim(bottom=0)
    return ax


def symbol_information_figure(result: xr.Dataset) -> Figure:
    """Return the figure of ``seqprobe memory information``."""
    panel: tuple[str, Panel] = ("information on the symbol k steps back", symbol_information)
    return by_task(result, "information", [panel])


def fisher_memory_curve(curve: xr.Dataset, ax: Axes | None = None) -> Axes:
    """Draw the Fisher memory curve."""
    ax = new_axes() if ax is None else ax
    ax.set_yscale("log")
    return lag_curve(curve, "fmc", "Fisher memory $J(k)$ (signal / noise)", ax)


def fisher_memory_curve_figure(curve: xr.Dataset) -> Figure:
    """Return the figure of ``seqprobe memory fisher``."""
    return by_task(curve, "fmc", [("Fisher memory of the state", fisher_memory_curve)])
