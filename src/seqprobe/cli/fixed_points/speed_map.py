"""``seqprobe fixed-points speed-map``: how fast states move, on a plane through state space."""

from __future__ import annotations

import click
import xarray as xr

import seqprobe.dynamics
from seqprobe.cli.analysis import Subject, View, analysis_command, text
from seqprobe.cli.fixed_points.group import command
from seqprobe.cli.fixed_points.options import find, input_option, prepare, start_options

EXAMPLES = """\b
Examples:
  seqprobe fixed-points speed-map checkpoints/flipflop/rnn-s0.pt --grid 16 --starts 256
"""

VIEW = View(
    schema="seqprobe.fixed-points.speed-map/1",
    columns={
        "grid": lambda r: f"{r.sizes['row']} x {r.sizes['column']}",
        "plane holds": lambda r: f"{float(r['plane_share']):.0%}",
        "slowest": lambda r: f"{float(r['speed'].min()):.1e}",
        "median": lambda r: text(r["speed"].median(), 3),
        "fastest": lambda r: text(r["speed"].max(), 3),
    },
    as_json=lambda r: {
        "axes": [r["horizontal"].values, r["vertical"].values],
        "speed": r["speed"].values,
        "plane_share": float(r["plane_share"]),
    },
    figure="speed_map_figure",
    remarks=lambda results: [
        "speed: change of the state per step on the plane of the two leading principal components"
        " of the states; plane holds: their share of the variance; points off the plane are drawn"
        " where they project"
    ],
)


@analysis_command(
    command,
    "speed-map",
    VIEW,
    click.option(
        "--grid", type=click.IntRange(2, 1000), default=100, show_default=True, help="Per side."
    ),
    input_option(),
    *start_options(1024),
    examples=EXAMPLES,
)
def speed_map(
    subject: Subject,
    grid: int,
    held: str | None,
    n_starts: int,
    noise: float,
    length: int | None,
    sequences: int | None,
) -> xr.Dataset:
    """Map the speed of states on the plane of their two leading principal components."""
    setting = prepare(subject, held, n_starts, noise, length, sequences)
    u = setting.input
    points = find(subject, setting)
    visited = seqprobe.dynamics.sample_states(
        subject.model, setting.batch, n_starts, noise=0.0, seed=subject.seed
    )
    made = seqprobe.dynamics.speed_map(subject.model, visited, input=u, grid=grid)
    kept = points[["x", "n_unstable", "stability"]]
    result = xr.merge([made, kept], combine_attrs="override", compat="override")
    result.attrs["held_input"] = setting.text
    return result
