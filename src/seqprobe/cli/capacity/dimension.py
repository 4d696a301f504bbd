"""``seqprobe capacity dimension``: how many directions the visited states occupy."""

from __future__ import annotations

from typing import Any

import click
import xarray as xr

import seqprobe.capacity
from seqprobe.cli.analysis import Subject, View, analysis_command, number, text, with_interval
from seqprobe.cli.capacity.group import command
from seqprobe.cli.common import LENGTH, sequences

EXAMPLES = """\b
Examples:
  seqprobe capacity dimension checkpoints/flipflop/gru-s0.pt
  seqprobe capacity dimension checkpoints/recall --part readout --figure dimension.pdf
"""
_SEQUENCES = 64
_MEASURES = ("participation_ratio", "participation_ratio_raw", "effective_rank", "two_nn")


def _as_json(result: xr.Dataset) -> dict[str, Any]:
    found: dict[str, Any] = {
        "part": result.attrs["part"],
        "dimension": int(result["dimension"]),
        "every": int(result["every"]),
        "duplicates": number(result["duplicates"]),
        "quantiles": result["quantile"].values,
        "dimensions": result["dimensions"].values,
        "dimensions_ci": result["dimensions_ci"].values,
        "variance": result["variance"].values,
    }
    for name in _MEASURES:
        found |= {name: number(result[name]), f"{name}_ci": result[f"{name}_ci"].values}
    if "canonical" in result:
        found |= {name: result[name].values for name in ("canonical", "directions", "mc_canonical")}
    return found


def _dims(result: xr.Dataset) -> str:
    return " ".join(text(value) for value in result["dimensions"])


VIEW = View(
    schema="seqprobe.capacity.state_dimension/1",
    columns={
        "read from": lambda r: f"{r.attrs['part']} ({int(r['dimension'])})",
        "PR": lambda r: with_interval(
            r["participation_ratio"], r["participation_ratio_ci"], None, 2
        ),
        "effective rank": lambda r: with_interval(
            r["effective_rank"], r["effective_rank_ci"], digits=1
        ),
        "50 90 95 99 %": _dims,
        "TwoNN": lambda r: with_interval(r["two_nn"], r["two_nn_ci"], None, 1),
        "duplicates": lambda r: text(r["duplicates"], 2),
        "every": lambda r: text(r["every"]),
        "directions kept": lambda r: text(r["directions"]) if "directions" in r else "-",
    },
    as_json=_as_json,
    figure="state_dimension_figure",
    remarks=lambda results: [
        "PR: participation ratio, free of the bias of few samples; 50 90 95 99 %: directions that"
        " hold so much of the variance; TwoNN: intrinsic dimension from neighbours 'every' so many"
        " steps apart, biased low beyond ten; directions kept: canonical correlations of the state"
        " with past inputs above a half; 95 % intervals over sequences"
    ],
)


@analysis_command(
    command,
    "dimension",
    VIEW,
    click.option(
        "--part",
        default="state",
        show_default=True,
        help="Tensor: state, readout (for attention), or an internal such as layer0.update.",
    ),
    click.option(
        "--every",
        type=click.IntRange(1),
        help="Steps between states whose neighbours are sought.  [default: correlation time]",
    ),
    LENGTH,
    sequences(_SEQUENCES),
    examples=EXAMPLES,
)
def dimension(
    subject: Subject, part: str, every: int | None, length: int | None, sequences: int | None
) -> xr.Dataset:
    """Participation ratio, effective rank, variance quantiles and intrinsic dimension of states."""
    batch = subject.batch(sequences, length, _SEQUENCES)
    return seqprobe.capacity.state_dimension(subject.model, batch, part=part, every=every)
