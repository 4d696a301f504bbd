"""``seqprobe timescales lyapunov``: exponents of the driven or the undriven network."""

from __future__ import annotations

from typing import Any

import click
import xarray as xr

import seqprobe.dynamics
from seqprobe.cli.analysis import Subject, View, analysis_command, number, with_interval
from seqprobe.cli.common import LENGTH, sequences
from seqprobe.cli.fixed_points.options import input_option, prepare
from seqprobe.cli.timescales.group import command
from seqprobe.errors import UsageError

EXAMPLES = """\b
Examples:
  seqprobe timescales lyapunov checkpoints/flipflop/gru-s0.pt
  seqprobe timescales lyapunov checkpoints/flipflop/rnn-s0.pt --undriven --input zero --steps 200
"""
_SEQUENCES = 32


def _as_json(result: xr.Dataset) -> dict[str, Any]:
    return {
        "exponents": result["exponent"].values,
        "exponents_ci": result["exponent_ci"].values,
        "kaplan_yorke": number(result["kaplan_yorke"]),
        "kaplan_yorke_ci": result["kaplan_yorke_ci"].values,
        "time_constants": result["time_constant"].values,
    }


VIEW = View(
    schema="seqprobe.timescales.lyapunov/1",
    columns={
        "largest (1/step)": lambda r: with_interval(
            r["exponent"][0], r["exponent_ci"][:, 0], digits=4
        ),
        "positive": lambda r: str(int((r["exponent_ci"][0] > 0).sum())),
        "Kaplan-Yorke": lambda r: with_interval(r["kaplan_yorke"], r["kaplan_yorke_ci"], digits=2),
    },
    as_json=_as_json,
    figure="lyapunov_figure",
    remarks=lambda results: [
        "exponents: natural logarithm per step, 95 % intervals; positive: surely above 0;"
        " Kaplan-Yorke: dimension of the attractor, '-' if it needs more --exponents"
    ],
)


@analysis_command(
    command,
    "lyapunov",
    VIEW,
    LENGTH,
    sequences(_SEQUENCES),
    click.option(
        "--exponents",
        type=click.IntRange(1, 10_000),
        default=8,
        show_default=True,
        help="Number of leading exponents.",
    ),
    click.option("--undriven", is_flag=True, help="Under a constant input instead of the task's."),
    input_option(),
    click.option(
        "--steps",
        type=click.IntRange(2, 10_000_000),
        default=2000,
        show_default=True,
        help="Steps, with --undriven.",
    ),
    examples=EXAMPLES,
)
def lyapunov(
    subject: Subject,
    length: int | None,
    sequences: int | None,
    exponents: int,
    undriven: bool,
    held: str | None,
    steps: int,
) -> xr.Dataset:
    """How fast states that start near each other come together or part, direction by direction.

    Along test inputs, so that a negative exponent means that the network follows its input; or,
    with --undriven, on the attractors of the network under constant input.
    """
    count = min(exponents, seqprobe.dynamics.state_map(subject.model).size)
    if not undriven:
        if held is not None:
            raise UsageError("--input is for --undriven; give both, or neither")
        return seqprobe.dynamics.lyapunov_spectrum(
            subject.model,
            subject.batch(sequences, length, _SEQUENCES),
            n_exponents=count,
            seed=subject.seed,
            on_progress=subject.update,
        )
    setting = prepare(subject, held, sequences or _SEQUENCES, 0.0, length, sequences)
    return seqprobe.dynamics.lyapunov_spectrum(
        subject.model,
        starts=setting.starts,
        input=setting.input,
        n_steps=steps,
        n_exponents=count,
        seed=subject.seed,
        on_progress=subject.update,
    )
