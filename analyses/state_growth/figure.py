"""Draw the state-growth study from its numbers: python analyses/state_growth/figure.py."""

from __future__ import annotations

import json
from pathlib import Path

import matplotlib as mpl
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from seqprobe import plots, schema
from seqprobe.plots.lines import log_steps
from seqprobe.plots.style import RC

FIGURES = Path(__file__).resolve().parents[2] / "figures"
COLORS = {4: "#56B4E9", 16: "#0072B2", 64: "#7F3C8D"}
MARKERS = {4: "o", 16: "s", 64: "^"}


def setting(result: xr.Dataset) -> tuple[np.ndarray, np.ndarray]:
    """Return modes and training length of every run."""
    modes = [json.loads(text)["modes"] for text in result["model_config"].values]
    return np.array(modes), result["train_length"].values.astype(int)


def curves(ax: Axes, result: xr.Dataset, name: str) -> None:
    """Draw a quantity by position for the networks trained at 64 steps, seeds behind the median."""
    modes, lengths = setting(result)
    positions = result["time"].values
    for n, color in COLORS.items():
        runs = result.isel(run=np.flatnonzero((modes == n) & (lengths == 64)))
        there = runs[name].notnull().all("run").values
        ax.plot(positions[there], runs[name].values[:, there].T, color=color, lw=0.6, alpha=0.5)
        median = runs[name].median("run").values[there]
        ax.plot(positions[there], median, color=color, label=f"N = {n}")
    ax.axvline(64, color="0.5", lw=0.6, ls=":")
    ax.set_yscale("log")
    log_steps(ax, int(positions[-1]), "position (steps)", first=1)


def by_length(ax: Axes, result: xr.Dataset, name: str, level: float) -> None:
    """Draw a number against the training length: seeds, their range, and a line of medians."""
    modes, lengths = setting(result)
    trained = np.unique(lengths)
    for i, (n, color) in enumerate(COLORS.items()):
        rows = [result[name].values[(modes == n) & (lengths == length)] for length in trained]
        x = trained * 1.06 ** (i - 1)
        for at, values in zip(x, rows, strict=True):
            ax.plot(np.full(len(values), at), values, MARKERS[n], color=color, ms=2.5, alpha=0.5)
            ax.plot([at, at], [min(values), max(values)], color=color, lw=1, alpha=0.5)
        ax.plot(x, [np.median(v) for v in rows], color=color, marker=MARKERS[n], label=f"N = {n}")
    ax.axhline(level, color="0.6", lw=0.6, ls=":")
    ax.set_xscale("log", base=2)
    ax.set_xticks(trained, [str(length) for length in trained])
    ax.set_xlabel("training length (steps)")


def main() -> None:
    """Write figures/state_growth.pdf and .png."""
    result = schema.read(FIGURES / "state_growth.nc")
    ssm = [i for i, part in enumerate(result["part"].values) if part.endswith("ssm")]
    whole = np.square(result["state_rms"].isel(part=ssm)).mean("head")
    within = whole.where(result["time"] <= result["trained_length"]).max("time")
    # The layer whose state grows most, and the worse of the two layers' growth.
    result["power"] = (whole / within).max("part")
    result["growth"] = result["growth_index_part"].isel(part=ssm).max("part")
    with mpl.rc_context(RC):
        figure = Figure(figsize=(7.0, 4.6), layout="constrained")
        (a, b), (c, d) = figure.subplots(2, 2)
        curves(a, result, "power")
        a.set_ylabel("mean square over the largest in training")
        a.set_title("state of Mamba, trained at 64 steps")
        curves(b, result, "loss")
        b.axhline(float(result["loss_chance"].median()), color="0.5", lw=0.6, ls="--")
        b.set_ylabel("loss (nats)")
        b.set_title("loss (dashed: knows nothing)")
        by_length(c, result, "growth", 2.0)
        c.set_yscale("log")
        c.set_ylabel("growth of the mean square to 16 T")
        c.set_title("state, seeds and their range (dotted: grows)")
        by_length(d, result, "loss_rise", 0.1)
        d.set_yscale("symlog", linthresh=0.1)
        d.set_ylim(-0.02, 15)
        d.set_ylabel("rise of the loss, of that to chance")
        d.set_title("loss, seeds and their range (dotted: worse)")
        figure.legend(*a.get_legend_handles_labels(), loc="outside upper center", ncols=3)
    for kind in ("pdf", "png"):
        plots.save(figure, FIGURES / f"state_growth.{kind}")


if __name__ == "__main__":
    main()
