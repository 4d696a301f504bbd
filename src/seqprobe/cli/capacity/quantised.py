"""``seqprobe capacity quantised``: how finely a state has to be kept."""

from __future__ import annotations

from typing import Any

import click
import xarray as xr

import seqprobe.capacity
from seqprobe.capacity.quantised_bits import KINDS, Kind
from seqprobe.cli.analysis import Subject, View, analysis_command, text, with_interval
from seqprobe.cli.capacity.group import command
from seqprobe.cli.common import LENGTH, sequences

EXAMPLES = """\b
Examples:
  seqprobe capacity quantised checkpoints/recall --sequences 64
  seqprobe capacity quantised checkpoints/delay/gru-s0.pt --kind noise --figure noise.pdf
"""
_SEQUENCES = 256


def _curve(result: xr.Dataset) -> str:
    cells = zip(result["level"].values, result["bits"].values, strict=True)
    return "  ".join(f"{level:g}: {text(value, 1)}" for level, value in cells)


def _as_json(result: xr.Dataset) -> dict[str, Any]:
    names = ["bits", "bits_untouched", "knee_level", "bits_per_real"]
    names += ["storage_bits"] if "storage_bits" in result else []
    return {
        "kind": result.attrs["kind"],
        "touched_after": int(result.attrs["touched_after"]),
        "levels": result["level"].values,
        "state_size": int(result["state_size"]),
        **{name: result[name].values for name in names + [f"{name}_ci" for name in names]},
    }


VIEW = View(
    schema="seqprobe.capacity.quantised_bits/1",
    columns={
        "kind": lambda r: str(r.attrs["kind"]),
        "reals": lambda r: text(r["state_size"]),
        "bits decoded": lambda r: with_interval(
            r["bits_untouched"], r["bits_untouched_ci"], None, 1
        ),
        "bits per real": lambda r: text(r["bits_per_real"], 3),
        "knee": lambda r: f"{float(r['knee_level']):g}" if bool(r["knee_level"] > 0) else "-",
        "bits decoded by level": _curve,
    },
    as_json=_as_json,
    figure="quantised_bits_figure",
    remarks=lambda results: [
        "level: bits per real that are kept ('round'), or noise in standard deviations of each real"
        " ('noise'), once, before the answers; knee: coarsest level that leaves 95 % of the bits"
    ],
)


@analysis_command(
    command,
    "quantised",
    VIEW,
    click.option(
        "--kind",
        type=click.Choice(KINDS),
        default="round",
        show_default=True,
        help="Round every real to 2^b values, or add Gaussian noise.",
    ),
    LENGTH,
    sequences(_SEQUENCES),
    examples=EXAMPLES,
)
def quantised(
    subject: Subject, kind: Kind, length: int | None, sequences: int | None
) -> xr.Dataset:
    """Bits that are decoded after the state was rounded, or shaken, at one time.

    For tasks whose answers say what a state holds: delay, recall, copy, mqar, induction,
    selective-copy, passkey.
    """
    batch = subject.batch(sequences, length, _SEQUENCES)
    return seqprobe.capacity.quantised_bits(
        subject.model,
        subject.task,
        batch,
        kind=kind,
        seed=subject.seed,
        on_progress=subject.update,
    )
