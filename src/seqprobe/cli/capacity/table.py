"""``seqprobe capacity``: the cheap measures of several checkpoints side by side."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click
import xarray as xr

import seqprobe.capacity
from seqprobe.cli.analysis import Subject, View, analysis_command, number, text, with_interval
from seqprobe.cli.capacity.group import command
from seqprobe.cli.common import LENGTH, sequences

EXAMPLES = """\b
Examples:
  seqprobe capacity table checkpoints/recall/gru-s0.pt --part layer0.update
"""
_SEQUENCES = 64


def _as_json(result: xr.Dataset) -> dict[str, Any]:
    ess = result["ess"].sel({"tolerance": 0.1})
    found: dict[str, Any] = {
        "state_size": number(result["state_size"]),
        "tss": number(result["tss"]),
        "ess": {"entropy": number(result["ess_entropy"]), "tolerance_0.1": number(ess)},
        "ess_ci": {
            "entropy": result["ess_entropy_ci"].values,
            "tolerance_0.1": result["ess_ci"].sel({"tolerance": 0.1}).values,
        },
        "position": int(result["position"]),
        "part": result.attrs["part"],
        "dimension": int(result["dimension"]),
    }
    for name in ("participation_ratio", "effective_rank", "two_nn"):
        found |= {name: number(result[name]), f"{name}_ci": result[f"{name}_ci"].values}
    dims = result["dimensions"].sel(quantile=0.99)
    return found | {
        "dims_99": number(dims),
        "dims_99_ci": result["dimensions_ci"].sel(quantile=0.99).values,
        "duplicates": number(result["duplicates"]),
    }


def _remarks(results: Mapping[str, xr.Dataset]) -> list[str]:
    return [
        "reals: numbers that the state keeps halfway through the sequences; ESS: rank of what must"
        " cross from the past to the future there, at tolerance 0.1 and by entropy; dimensions are"
        " those of the tensor in brackets over all steps, PR is the participation ratio; 95 %"
        " intervals over sequences"
    ]


VIEW = View(
    schema="seqprobe.capacity/1",
    columns={
        "reals": lambda r: text(r["state_size"]),
        "ESS at 0.1": lambda r: with_interval(
            r["ess"].sel({"tolerance": 0.1}), r["ess_ci"].sel({"tolerance": 0.1})
        ),
        "ESS entropy": lambda r: with_interval(r["ess_entropy"], r["ess_entropy_ci"], digits=1),
        "read from": lambda r: f"{r.attrs['part']} ({int(r['dimension'])})",
        "PR": lambda r: with_interval(
            r["participation_ratio"], r["participation_ratio_ci"], None, 1
        ),
        "dims 99 %": lambda r: text(r["dimensions"].sel(quantile=0.99)),
        "effective rank": lambda r: text(r["effective_rank"], 1),
        "TwoNN": lambda r: with_interval(r["two_nn"], r["two_nn_ci"], None, 1),
    },
    as_json=_as_json,
    figure="capacity_summary_figure",
    remarks=_remarks,
)


@analysis_command(
    command,
    "table",
    VIEW,
    click.option(
        "--part",
        help="Tensor whose dimension is measured: state, readout, or an internal such as"
        " layer0.update.  [default: state, or readout where the state grows]",
    ),
    LENGTH,
    sequences(_SEQUENCES),
    examples=EXAMPLES,
)
def summary(
    subject: Subject, part: str | None, length: int | None, sequences: int | None
) -> xr.Dataset:
    """State size, effective state size and dimension of the visited states, side by side.

    The effective state size is measured on eight of the sequences, cut in the middle.
    """
    batch = subject.batch(sequences, length, _SEQUENCES)
    return seqprobe.capacity.capacity_summary(subject.model, batch, part=part, seed=subject.seed)
