"""``seqprobe memory linear``: which past inputs can be read linearly."""

from __future__ import annotations

import xarray as xr

import seqprobe.memory
from seqprobe.cli.analysis import Subject, View, analysis_command, text, with_interval
from seqprobe.cli.memory.group import command
from seqprobe.cli.memory.options import LENGTH, MAX_LAG, PART, counted, sequences

EXAMPLES = """\b
Examples:
  seqprobe memory linear checkpoints/delay/lstm-s0.pt --part state
  seqprobe memory linear checkpoints/delay/gru-s0.pt --part layer0.candidate --figure linear.pdf
"""
_SEQUENCES = 128


def _last(result: xr.Dataset) -> str:
    above = result["lag"].values[(result["r2"] > 0.5).values]
    return str(int(above[-1])) if len(above) else "-"


VIEW = View(
    schema="seqprobe.memory.linear_memory/1",
    columns={
        "read from": lambda r: f"{r.attrs['part']} ({int(r['dimension'])})",
        "capacity (inputs)": lambda r: with_interval(r["mc"], r["mc_ci"], digits=2),
        "from lag 1": lambda r: text(r["mc_past"], 2),
        "less chance": lambda r: text(r["mc_null_corrected"], 2),
        "canonical": lambda r: text(r["mc_canonical"], 2),
        "directions kept": lambda r: text(r["directions"]),
        "last lag r2 > 0.5": _last,
    },
    as_json=lambda r: {
        "part": r.attrs["part"],
        "dimension": int(r["dimension"]),
        "lags": r["lag"].values,
        **{
            name: r[name].values
            for name in (
                *("r2", "r2_ci", "r2_null", "bits", "mc", "mc_ci", "mc_past", "mc_null_corrected"),
                *("null_level", "canonical", "mc_canonical", "canonical_null", "directions"),
            )
        },
    },
    figure="linear_memory_figure",
    remarks=lambda results: [
        counted(
            results,
            "capacity: held-out r2 summed over lags (a capacity only if inputs are"
            " independent over time); canonical: the same in sample",
        ),
    ],
)


@analysis_command(
    command,
    "linear",
    VIEW,
    PART,
    LENGTH,
    MAX_LAG,
    sequences(_SEQUENCES),
    examples=EXAMPLES,
)
def linear(
    subject: Subject,
    part: str,
    length: int | None,
    max_lag: int | None,
    sequences: int | None,
) -> xr.Dataset:
    """Which past inputs can be read linearly from the state: memory curve and Jaeger's capacity.

    Availability is not use: a state may hold what the output ignores. Half of the sequences fit the
    reader, the others test it.
    """
    batch = subject.batch(sequences, length, _SEQUENCES)
    return seqprobe.memory.linear_memory(
        subject.model,
        batch,
        part=part,
        max_lag=max_lag,
        seed=subject.seed,
    )
