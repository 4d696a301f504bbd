"""``seqprobe fixed-points linear``: modes at the fixed points, and how far they predict."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

import seqprobe.dynamics
from seqprobe.cli.analysis import Subject, View, analysis_command, text
from seqprobe.cli.fixed_points.group import command
from seqprobe.cli.fixed_points.options import find, input_option, prepare, start_options
from seqprobe.errors import SeqprobeError

EXAMPLES = """\b
Examples:
  seqprobe fixed-points linear checkpoints/flipflop/rnn-s0.pt --starts 256
"""


def _slowest(result: xr.Dataset) -> str:
    """Return the longest time constant of decay at a stable point, in steps."""
    tau = result["time_constant"].values[(result["stability"] == 0).values]
    return f"{np.nanmax(tau):.1f}" if tau.size else "-"


def _as_json(result: xr.Dataset) -> dict[str, Any]:
    names = ("n_unstable", "henrici", "defective", "time_constant", "frequency", "R2")
    return {
        "n_fixed_points": result.sizes["fixed_point"],
        "assignment": list(result["assignment"].values),
        "horizons": result["step"].values,
        "saddle_share": float(result["saddle_share"]),
        **{name: result[name].values for name in names},
    }


VIEW = View(
    schema="seqprobe.fixed-points.linear/1",
    columns={
        "points": lambda r: str(r.sizes["fixed_point"]),
        "slowest (steps)": _slowest,
        "Henrici": lambda r: text(r["henrici"].max(), 2),
        "R2, 1 step": lambda r: text(r["R2"].sel(assignment="reassigned")[0], 3),
        "R2, 20 steps": lambda r: text(r["R2"].sel(assignment="reassigned")[-1], 3),
        "one attractor": lambda r: text(r["R2"].sel(assignment="attractor")[-1], 3),
    },
    as_json=_as_json,
    figure="linearise_figure",
    remarks=lambda results: [
        "slowest: time constant of a stable point; Henrici: departure from a normal Jacobian, 0 if"
        " normal; R2: of states predicted by the linear system at the nearest fixed point, chosen"
        " anew at every step; one attractor: after 20 steps with the nearest stable point kept"
    ],
)


@analysis_command(command, "linear", VIEW, input_option(), *start_options(1024), examples=EXAMPLES)
def linear(
    subject: Subject,
    held: str | None,
    n_starts: int,
    noise: float,
    length: int | None,
    sequences: int | None,
) -> xr.Dataset:
    """Linearise at every fixed point: time constants, modes, what drives them, what they predict.

    Eigenvectors, input and readout weights of the modes are in -o.
    """
    setting = prepare(subject, held, n_starts, noise, length, sequences)
    points = find(subject, setting, several=False)
    if not points.sizes["fixed_point"]:
        raise SeqprobeError("no fixed point was found to linearise at; give more --starts")
    visited = seqprobe.dynamics.sample_states(
        subject.model, setting.batch, n_starts, noise=0.0, seed=subject.seed
    )
    predicted = seqprobe.dynamics.linear_prediction(subject.model, points, visited)
    modes = seqprobe.dynamics.linearise(subject.model, points)
    result = xr.merge([modes, predicted], combine_attrs="override", compat="override")
    result.attrs["held_input"] = setting.text
    return result
