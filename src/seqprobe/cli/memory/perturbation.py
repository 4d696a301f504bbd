"""``seqprobe memory perturbation``: response to a push of finite size k steps back."""

from __future__ import annotations

import click
import xarray as xr

import seqprobe.memory
from seqprobe.cli.analysis import Subject, View, analysis_command
from seqprobe.cli.memory.group import command
from seqprobe.cli.memory.options import LAGS, LENGTH, MAX_LAG, at_peak, counted, sequences

EXAMPLES = """\b
Examples:
  seqprobe memory perturbation checkpoints/delay/gru-s0.pt --size 0.5 --size 0.01 --lags 0:40:10
"""
_SEQUENCES = 64


def _response(result: xr.Dataset) -> str:
    sizes = result["epsilon"].values
    return "  ".join(f"{size:g}: {at_peak(result.sel(epsilon=size), 'D')}" for size in sizes)


def _floor(result: xr.Dataset) -> str:
    sizes = result["epsilon"].values
    floors = result["noise_floor"].max("lag").values
    return "  ".join(f"{size:g}: {floor:.1e}" for size, floor in zip(sizes, floors, strict=True))


VIEW = View(
    schema="seqprobe.memory.perturbation_profile/1",
    columns={"largest D by size of push": _response, "rounding": _floor},
    as_json=lambda r: {
        "sizes": r["epsilon"].values,
        "lags": r["lag"].values,
        **{name: r[name].values for name in ("D", "D_ci", "noise_floor")},
    },
    figure="perturbation_profile_figure",
    remarks=lambda results: [
        counted(
            results,
            "D: movement of the output over the size of the push, which is in standard"
            " deviations of the input; rounding: its largest difference from float64",
        ),
    ],
)


@analysis_command(
    command,
    "perturbation",
    VIEW,
    click.option(
        "--size",
        "sizes",
        type=click.FloatRange(0, min_open=True),
        multiple=True,
        default=(0.5, 0.1, 0.01),
        show_default=True,
        help="Size of the push in standard deviations of the input; may be repeated.",
    ),
    LENGTH,
    MAX_LAG,
    LAGS,
    sequences(_SEQUENCES),
    examples=EXAMPLES,
)
def perturbation(
    subject: Subject,
    sizes: tuple[float, ...],
    length: int | None,
    max_lag: int | None,
    lags: list[int] | None,
    sequences: int | None,
) -> xr.Dataset:
    """How strongly the output reacts to a push of finite size k steps back.

    For small pushes this is the gradient profile; what differs is curvature, and below the rounding
    it is noise.
    """
    batch = subject.batch(sequences, length, _SEQUENCES)
    return seqprobe.memory.perturbation_profile(
        subject.model,
        batch,
        sizes=list(dict.fromkeys(sizes)),
        **subject.window(batch, max_lag, lags),
        seed=subject.seed,
        on_progress=subject.update,
    )
