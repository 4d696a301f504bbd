"""Updates to the threshold against the delay, from the collected study.

python analyses/example/figure.py STUDY.nc FOLDER
"""

from __future__ import annotations

import sys
from pathlib import Path

import matplotlib as mpl
import xarray as xr
from matplotlib.figure import Figure

from seqprobe import plots
from seqprobe.plots.style import RC


def main() -> None:
    """Draw one panel."""
    study, folder = Path(sys.argv[1]), Path(sys.argv[2])
    runs = xr.open_datatree(study, engine="h5netcdf").to_dataset()
    with mpl.rc_context(RC):
        figure = Figure(figsize=(3.4, 2.5), layout="constrained")
        ax = figure.subplots()
        plots.against(runs, "updates", "task.delay", ax=ax)
        ax.set_ylim(0)
        ax.set_xticks(sorted(set(runs["task.delay"].values)))
        ax.set_xlabel("delay (steps)")
        ax.set_ylabel("updates to NMSE 0.02")
        ax.legend()
    for ending in ("pdf", "png"):
        plots.save(figure, folder / f"updates.{ending}")


if __name__ == "__main__":
    main()
