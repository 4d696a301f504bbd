"""``seqprobe memory receptive-field``: how many inputs can reach an output."""

from __future__ import annotations

import math

import click
import xarray as xr

import seqprobe.memory
from seqprobe.cli.analysis import Subject, View, analysis_command, number
from seqprobe.cli.memory.group import command

EXAMPLES = """\b
Examples:
  seqprobe memory receptive-field checkpoints/delay
"""


def _field(result: xr.Dataset, name: str) -> str:
    value = float(result[name])
    return "-" if math.isnan(value) else "unbounded" if math.isinf(value) else f"{value:.0f}"


def _agree(result: xr.Dataset) -> str:
    return {0.0: "no", 1.0: "yes"}.get(float(result["agree"]), "-")


def _json(value: float) -> object:
    return "unbounded" if math.isinf(value) else number(value)


VIEW = View(
    schema="seqprobe.memory.receptive_field/1",
    columns={
        "by formula": lambda r: _field(r, "rf_analytic"),
        "by a NaN": lambda r: _field(r, "rf_nan"),
        "by the gradient": lambda r: _field(r, "rf_gradient"),
        "agree": _agree,
    },
    as_json=lambda r: {
        **{name: _json(float(r[name])) for name in ("rf_analytic", "rf_nan", "rf_gradient")},
        "agree": None if math.isnan(float(r["agree"])) else bool(r["agree"]),
    },
    figure=None,
    remarks=lambda results: [
        "inputs that can reach an output, the current one included; -: cannot be measured that way"
    ],
)


@analysis_command(
    command,
    "receptive-field",
    VIEW,
    click.option(
        "--length",
        type=click.IntRange(1),
        help="Length of the random inputs.  [default: twice the field, or 256]",
    ),
    examples=EXAMPLES,
)
def receptive_field(subject: Subject, length: int | None) -> xr.Dataset:
    """How many inputs can reach an output: by formula, by a NaN, and by the gradient."""
    return seqprobe.memory.receptive_field(subject.model, length=length, seed=subject.seed)
