"""``seqprobe capacity ess``: how many numbers must cross from the past to the future."""

from __future__ import annotations

from typing import Any

import click
import xarray as xr

import seqprobe.capacity
from seqprobe.capacity.effective_state_size import Method
from seqprobe.cli.analysis import Subject, View, analysis_command, text, with_interval
from seqprobe.cli.capacity.group import command
from seqprobe.cli.common import LENGTH, Steps, sequences

EXAMPLES = """\b
Examples:
  seqprobe capacity ess checkpoints/delay/gru-s0.pt checkpoints/delay/tcn-s0.pt --sequences 4
  seqprobe capacity ess checkpoints/delay/gru-s0.pt --positions 8:88:20 --figure ess.pdf
"""
_SEQUENCES = 8


def _by_position(result: xr.Dataset) -> str:
    values = result["ess"].sel({"tolerance": 0.1})
    cells = zip(result["time"].values, values.values, strict=True)
    return "  ".join(f"{int(i)}: {text(value)}" for i, value in cells)


def _middle(result: xr.Dataset) -> xr.Dataset:
    return result.isel(time=result.sizes["time"] // 2)


def _as_json(result: xr.Dataset) -> dict[str, Any]:
    names = ["ess", "ess_entropy", "utilisation"]
    return {
        "method": result.attrs["method"],
        "positions": result["time"].values,
        "tolerances": result["tolerance"].values,
        **{name: result[name].values for name in names + [f"{name}_ci" for name in names]},
        "tss": result["tss"].values,
        "state_size": result["state_size"].values,
    }


VIEW = View(
    schema="seqprobe.capacity.effective_state_size/1",
    columns={
        "reals": lambda r: text(_middle(r)["state_size"]),
        "ESS at 0.1, by position": _by_position,
        "entropy": lambda r: with_interval(
            _middle(r)["ess_entropy"], _middle(r)["ess_entropy_ci"], digits=1
        ),
        "at 0.01": lambda r: text(_middle(r)["ess"].sel({"tolerance": 0.01}, method="nearest")),
        "utilisation": lambda r: text(_middle(r)["utilisation"], 2),
    },
    as_json=_as_json,
    figure="effective_state_size_figure",
    remarks=lambda results: [
        "ESS: singular values of the past-to-future block of the Jacobian above a part of the"
        " largest, median over sequences; entropy, 0.01 and utilisation (entropy over the size that"
        " could be realised) at the middle position; the whole curve is in -o and --json. Attention"
        " can grow with the position: compare at equal ones"
    ],
)


@analysis_command(
    command,
    "ess",
    VIEW,
    click.option(
        "--positions",
        type=Steps("position", 1),
        help="Where sequences are cut, as 24,48 or 8:88:20.  [default: at each quarter]",
    ),
    click.option(
        "--method",
        type=click.Choice(["auto", "dense", "randomised"]),
        default="auto",
        show_default=True,
        help="All singular values, or by random projections those above 0.01 of the largest.",
    ),
    LENGTH,
    sequences(_SEQUENCES),
    examples=EXAMPLES,
)
def ess(
    subject: Subject,
    positions: list[int] | None,
    method: Method,
    length: int | None,
    sequences: int | None,
) -> xr.Dataset:
    """Effective state size: rank of the past-to-future Jacobian (Parnichkun et al. 2025).

    For any causal model, attention included. All outputs count, also where a task scores the last
    step only.
    """
    batch = subject.batch(sequences, length, _SEQUENCES)
    return seqprobe.capacity.effective_state_size(
        subject.model,
        batch,
        positions=positions,
        method=method,
        seed=subject.seed,
        on_progress=subject.update,
    )
