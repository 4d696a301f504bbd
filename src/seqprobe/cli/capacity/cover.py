"""``seqprobe capacity cover``: how many states a linear reader can tell apart in any way."""

from __future__ import annotations

from typing import Any

import click
import xarray as xr

import seqprobe.capacity
from seqprobe import provenance
from seqprobe.cli.analysis import Subject, View, analysis_command, number, text, with_interval
from seqprobe.cli.capacity.group import command
from seqprobe.cli.capacity.options import READ_FROM, states
from seqprobe.cli.common import LENGTH, sequences

EXAMPLES = """\b
Examples:
  seqprobe capacity cover checkpoints/integrator/gru-s0.pt --draws 20
"""
_SEQUENCES = 256


def _as_json(result: xr.Dataset) -> dict[str, Any]:
    return {
        "part": result.attrs["part"],
        "loads": result["load"].values,
        **{name: result[name].values for name in ("separable", "separable_ci", "theory")},
        "capacity": number(result["capacity"]),
        "capacity_ci": result["capacity_ci"].values,
        "effective_dimension": number(result["effective_dimension"]),
        "dimension": int(result["dimension"]),
    }


VIEW = View(
    schema="seqprobe.capacity.cover/1",
    columns={
        "read from": lambda r: str(r.attrs["part"]),
        "directions": lambda r: text(r["dimension"]),
        "capacity (states)": lambda r: with_interval(r["capacity"], r["capacity_ci"], None, 1),
        "effective dimension": lambda r: text(r["effective_dimension"], 1),
    },
    as_json=_as_json,
    figure="cover_capacity_figure",
    remarks=lambda results: [
        "capacity: number of states of which half of all dichotomies are linear; twice the number"
        " of directions (with one for the bias) if states are in general position (Cover 1965)"
    ],
)


@analysis_command(
    command,
    "cover",
    VIEW,
    READ_FROM,
    click.option(
        "--draws",
        type=click.IntRange(1, 10**6),
        default=100,
        show_default=True,
        help="Sets of states with random labels, per number of states.",
    ),
    LENGTH,
    sequences(_SEQUENCES),
    examples=EXAMPLES,
)
def cover(
    subject: Subject, part: str | None, draws: int, length: int | None, sequences: int | None
) -> xr.Dataset:
    """Perceptron capacity of the visited states (Cover 1965), by linear programmes."""
    batch = subject.batch(sequences, length, _SEQUENCES)
    z, read = states(subject, batch, part)
    result = seqprobe.capacity.cover_capacity(
        z.numpy(), draws=draws, seed=subject.seed, on_progress=subject.update
    )
    return result.assign_attrs(provenance.model_attrs(subject.model) | {"part": read})
