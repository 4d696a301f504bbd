"""``seqprobe fixed-points slow``: points of least speed at a time constant."""

from __future__ import annotations

from typing import Any

import click
import numpy as np
import xarray as xr

import seqprobe.dynamics
from seqprobe.cli.analysis import Subject, View, analysis_command, text
from seqprobe.cli.common import Number
from seqprobe.cli.fixed_points.group import command
from seqprobe.cli.fixed_points.options import find, input_option, prepare, start_options

EXAMPLES = """\b
Examples:
  seqprobe fixed-points slow checkpoints/flipflop/rnn-s0.pt --tau 50 --starts 128
"""


def _as_json(result: xr.Dataset) -> dict[str, Any]:
    return {
        "tau": result.attrs["tau"],
        "median_q": float(result["q"].median()),
        "median_q_start": float(result["q_start"].median()),
        "share": result["share"].values,
        "at_fixed_points": int((result["fixed_point"] >= 0).sum()),
        "n_fixed_points": int(result["n_fixed_points"]),
        "left": int(result["left"]),
        "starts": result.sizes["start"],
    }


def _speed(q: xr.DataArray) -> str:
    return f"{float(np.sqrt(2 * q.median())):.1e}"


VIEW = View(
    schema="seqprobe.fixed-points.slow/1",
    columns={
        "tau (steps)": lambda r: f"{r.attrs['tau']:g}",
        "median speed": lambda r: _speed(r["q"]),
        "of trajectories": lambda r: _speed(r["q_start"]),
        "PC1 share": lambda r: text(r["share"][0], 3) if r.sizes["component"] else "-",
        "PC2 share": lambda r: text(r["share"][1], 3) if r.sizes["component"] > 1 else "-",
        "at fixed points": lambda r: f"{int((r['fixed_point'] >= 0).sum())}/{r.sizes['start']}",
    },
    as_json=_as_json,
    figure="slow_points_figure",
    remarks=lambda results: [
        "speed: change of the state per step; shares: variance of the slow points along their"
        " principal components; their number is that of the starts and means nothing"
    ],
)


@analysis_command(
    command,
    "slow",
    VIEW,
    click.option(
        "--tau",
        type=Number(0.01),
        default=100.0,
        show_default=True,
        help="Time constant in steps: directions that decay faster are relaxed.",
    ),
    input_option(),
    *start_options(512),
    examples=EXAMPLES,
)
def slow(
    subject: Subject,
    tau: float,
    held: str | None,
    n_starts: int,
    noise: float,
    length: int | None,
    sequences: int | None,
) -> xr.Dataset:
    """Relax states in all directions faster than a time constant: what remains is slow.

    Shows line and ring attractors that have no exact fixed points.
    """
    setting = prepare(subject, held, n_starts, noise, length, sequences)
    u = setting.input
    points = find(subject, setting)
    found = seqprobe.dynamics.slow_points(
        subject.model,
        setting.starts,
        tau=tau,
        input=u,
        points=points,
        on_progress=subject.update,
    )
    found["n_fixed_points"] = xr.Variable(
        (), points.sizes["fixed_point"], {"long_name": "fixed points", "units": "1"}
    )
    found.attrs |= {"held_input": setting.text, "tau": tau}
    return found
