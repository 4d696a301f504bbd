"""``seqprobe memory fisher``: the Fisher memory curve of the state."""

from __future__ import annotations

import xarray as xr

import seqprobe.memory
from seqprobe.cli.analysis import Subject, View, analysis_command, text, with_interval
from seqprobe.cli.memory.group import command
from seqprobe.cli.memory.options import LENGTH, MAX_LAG, at_peak, counted, sequences

EXAMPLES = """\b
Examples:
  seqprobe memory fisher checkpoints/delay/gru-s0.pt checkpoints/delay/lstm-s0.pt --sequences 4
"""
_SEQUENCES = 8

VIEW = View(
    schema="seqprobe.memory.fisher_memory_curve/1",
    columns={
        "reals": lambda r: text(r["dimension"]),
        "sum of J": lambda r: with_interval(r["fmc_total"], r["fmc_total_ci"], digits=3),
        "largest": lambda r: at_peak(r, "fmc"),
        "condition": lambda r: f"{float(r['condition']):.1e}",
    },
    as_json=lambda r: {
        "lags": r["lag"].values,
        **{
            name: r[name].values
            for name in ("fmc", "fmc_ci", "fmc_total", "fmc_total_ci", "condition", "dimension")
        },
    },
    figure="fisher_memory_curve_figure",
    remarks=lambda results: [
        counted(
            results,
            "J: variance of signal over noise of unit variance in every real of the"
            " state; compare its shape between models, not its size",
        ),
    ],
)


@analysis_command(
    command,
    "fisher",
    VIEW,
    LENGTH,
    MAX_LAG,
    sequences(_SEQUENCES),
    examples=EXAMPLES,
)
def fisher(
    subject: Subject, length: int | None, max_lag: int | None, sequences: int | None
) -> xr.Dataset:
    """How well a noisy state tells the size of the input k steps back (Ganguli et al. 2008).

    Linearised along the trajectories of test sequences; for models whose state has up to 512 reals.
    """
    batch = subject.batch(sequences, length, _SEQUENCES)
    return seqprobe.memory.fisher_memory_curve(
        subject.model,
        batch,
        max_lag=subject.max_lag(max_lag, batch.inputs.shape[1]),
        seed=subject.seed,
        on_progress=subject.update,
    )
