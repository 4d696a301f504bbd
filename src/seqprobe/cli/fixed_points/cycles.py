"""``seqprobe fixed-points cycles``: oscillations under constant input."""

from __future__ import annotations

from typing import Any

import click
import numpy as np
import xarray as xr

import seqprobe.dynamics
from seqprobe.cli.analysis import Subject, View, analysis_command
from seqprobe.cli.fixed_points.group import command
from seqprobe.cli.fixed_points.options import input_option, prepare, start_options

EXAMPLES = """\b
Examples:
  seqprobe fixed-points cycles checkpoints/flipflop/rnn-s0.pt --starts 8 --transient 200
"""
_KINDS = {1: "periodic", 2: "circle"}


def _ends(result: xr.Dataset) -> dict[str, int]:
    """Return how many starts came to what."""
    meanings = result["status"].attrs["flag_meanings"].split()
    counts = np.bincount(result["status"].values, minlength=len(meanings))
    return {name: int(count) for name, count in zip(meanings, counts, strict=True) if count}


def _second(result: xr.Dataset, i: int) -> float:
    """Return the largest modulus beside the 1 along the cycle; of a periodic orbit the largest."""
    own = np.abs(result["multiplier"].values[i])
    rank = 1 if result["kind"].values[i] == 2 else 0
    return float(own[rank]) if len(own) > rank else float("nan")


def _as_json(result: xr.Dataset) -> dict[str, Any]:
    return {
        "n_cycles": result.sizes["cycle"],
        "cycles": [
            {
                "kind": _KINDS[int(result["kind"][i])],
                "period": float(result["period"][i]),
                "certificate": float(result["certificate"][i]),
                "largest_multiplier": _second(result, i),
                "amplitude": float(result["amplitude"][i]),
                "hits": int(result["hits"][i]),
            }
            for i in range(result.sizes["cycle"])
        ],
        "starts": _ends(result),
        "input": result.attrs["held_input"],
    }


def _each(result: xr.Dataset, what: Any) -> str:
    most = 3
    shown = [what(i) for i in range(min(most, result.sizes["cycle"]))]
    rest = result.sizes["cycle"] - most
    return ", ".join(shown) + (f", {rest} more" if rest > 0 else "") or "-"


VIEW = View(
    schema="seqprobe.fixed-points.cycles/1",
    columns={
        "cycles": lambda r: str(r.sizes["cycle"]),
        "kind": lambda r: _each(r, lambda i: _KINDS[int(r["kind"][i])]),
        "period (steps)": lambda r: _each(r, lambda i: f"{float(r['period'][i]):.4f}"),
        "error": lambda r: _each(r, lambda i: f"{float(r['certificate'][i]):.0e}"),
        "multiplier": lambda r: _each(r, lambda i: f"{_second(r, i):.3f}"),
        "starts": lambda r: ", ".join(f"{v} {k}" for k, v in _ends(r).items()),
    },
    as_json=_as_json,
    figure="limit_cycles_figure",
    remarks=lambda results: [
        "circle: an oscillation whose period is not a whole number of steps; error: distance to the"
        " true orbit, or largest |F(x(phase)) - x(next phase)|; multiplier: largest Floquet"
        " multiplier beside the 1 along a circle"
    ],
)


@analysis_command(
    command,
    "cycles",
    VIEW,
    input_option(),
    *start_options(32),
    click.option(
        "--transient",
        type=click.IntRange(1, 10_000_000),
        default=2000,
        show_default=True,
        help="Steps before looking.",
    ),
    examples=EXAMPLES,
)
def cycles(
    subject: Subject,
    held: str | None,
    n_starts: int,
    noise: float,
    length: int | None,
    sequences: int | None,
    transient: int,
) -> xr.Dataset:
    """Find the oscillations that a model comes to when its input is held.

    For networks that generate rhythms, such as those of the task 'sine'; give the input that asks
    for a frequency, as in --input 0.5. Where there is none, 'starts' says what there is instead.
    """
    setting = prepare(subject, held, n_starts, noise, length, sequences)
    found = seqprobe.dynamics.limit_cycles(
        subject.model,
        setting.starts,
        input=setting.input,
        transient=transient,
        on_progress=subject.update,
    )
    found.attrs["held_input"] = setting.text
    return found
