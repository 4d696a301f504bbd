"""``seqprobe capacity growth``: state and loss beyond the training length."""

from __future__ import annotations

from typing import Any

import click
import numpy as np
import xarray as xr

import seqprobe.capacity
from seqprobe.capacity.state_growth import Verdict
from seqprobe.cli.analysis import Subject, View, analysis_command, text, with_interval
from seqprobe.cli.capacity.group import command
from seqprobe.cli.common import Number, sequences
from seqprobe.errors import NotApplicableError, UsageError

EXAMPLES = """\b
Examples:
  seqprobe capacity growth checkpoints/recall/gru-s0.pt --sequences 16
  seqprobe capacity growth checkpoints/delay/s4d-s0.pt --times 8 --figure growth.pdf
"""
_SEQUENCES = 64
_TIMES = 16


def _worst(result: xr.Dataset) -> xr.Dataset:
    """Return the part of the state that grows most."""
    index = np.nan_to_num(result["growth_index_part"].values, nan=np.inf)
    return result.isel(part=int(index.argmax()))


def _as_json(result: xr.Dataset) -> dict[str, Any]:
    names = ["growth_index_part", "growth_exponent", "loss", "loss_within", "loss_beyond"]
    names += ["loss_rise", "loss_ratio"]
    return {
        "verdict": Verdict(int(result["verdict"])).name.lower(),
        "length": int(result["time"].max()),
        "positions": result["time"].values,
        "parts": result["part"].values,
        "onset": result["onset"].values,
        "loss_chance": float(result["loss_chance"]),
        **{name: result[name].values for name in names + [f"{name}_ci" for name in names]},
    }


VIEW = View(
    schema="seqprobe.capacity.state_growth/1",
    columns={
        "trained, run to": lambda r: f"{r.attrs['train_length']}, {int(r['time'].max())}",
        "verdict": lambda r: Verdict(int(r["verdict"])).name.lower(),
        "part": lambda r: str(_worst(r)["part"].values),
        "growth": lambda r: with_interval(
            _worst(r)["growth_index_part"], _worst(r)["growth_index_part_ci"], None, 2
        ),
        "exponent": lambda r: text(_worst(r)["growth_exponent"], 2),
        "onset": lambda r: text(_worst(r)["onset"]),
        "loss": lambda r: text(r["loss_within"], 4),
        "beyond": lambda r: text(r["loss_beyond"], 4),
        "rise": lambda r: with_interval(r["loss_rise"], r["loss_rise_ci"], None, 3),
    },
    as_json=_as_json,
    figure="state_growth_figure",
    remarks=lambda results: [
        "growth: largest mean square of the state beyond the training length over the largest"
        " within, in the part where it is largest; exponent of the last half: 0 forgets, 1"
        " accumulates; rise of the loss as a part of the way to chance; collapse: both the state"
        " (above 2) and the loss (above 0.1); 95 % intervals over sequences"
    ],
)


@analysis_command(
    command,
    "growth",
    VIEW,
    click.option(
        "--times",
        type=Number(1, 2**20, min_open=True),
        default=_TIMES,
        show_default=True,
        help="How many times the training length is run.",
    ),
    sequences(_SEQUENCES),
    examples=EXAMPLES,
)
def growth(subject: Subject, times: float, sequences: int | None) -> xr.Dataset:
    """Growth of the state and loss beyond the training length (Chen et al. 2024).

    The sequences are run in pieces with the state carried over.
    """
    trained = subject.task.length
    length = max(trained + 1, round(times * trained))
    try:
        batch = subject.batch(sequences, length, _SEQUENCES)
    except UsageError as error:
        raise NotApplicableError(
            f"task '{subject.task.name}' has no sequences of {length} steps, {times:g} times the"
            f" training length: {error}; give a smaller --times, if it has longer ones at all"
        ) from None
    return seqprobe.capacity.state_growth(
        subject.model,
        batch,
        train_length=trained,
        seed=subject.seed,
        on_progress=subject.update,
    )
