"""``seqprobe memory information``: bits on the symbol k steps back."""

from __future__ import annotations

import xarray as xr

import seqprobe.memory
from seqprobe.cli.analysis import Subject, View, analysis_command, text
from seqprobe.cli.memory.group import command
from seqprobe.cli.memory.options import LAGS, LENGTH, MAX_LAG, PART, at_peak, counted, sequences

EXAMPLES = """\b
Examples:
  seqprobe memory information checkpoints/recall/gru-s0.pt --lags 0:20:10
"""
_SEQUENCES = 128

VIEW = View(
    schema="seqprobe.memory.symbol_information/1",
    columns={
        "read from": lambda r: str(r.attrs["part"]),
        "largest (bits)": lambda r: at_peak(r, "information", 2),
        "of": lambda r: text(r["entropy"].max(), 2),
        "sum over measured lags": lambda r: text(r["information"].sum(), 1),
    },
    as_json=lambda r: {
        "part": r.attrs["part"],
        "lags": r["lag"].values,
        **{name: r[name].values for name in ("information", "information_ci", "entropy")},
    },
    figure="symbol_information_figure",
    remarks=lambda results: [
        counted(results, "a lower bound, by a linear probe on held-out sequences"),
    ],
)


@analysis_command(
    command,
    "information",
    VIEW,
    PART,
    LENGTH,
    MAX_LAG,
    LAGS,
    sequences(_SEQUENCES),
    examples=EXAMPLES,
)
def information(
    subject: Subject,
    part: str,
    length: int | None,
    max_lag: int | None,
    lags: list[int] | None,
    sequences: int | None,
) -> xr.Dataset:
    """How many bits on the symbol k steps back the state holds, at least.

    For inputs that are symbols: tokens, one-hot channels, or one channel of few values.
    """
    batch = subject.batch(sequences, length, _SEQUENCES)
    return seqprobe.memory.symbol_information(
        subject.model,
        batch,
        part=part,
        max_lag=max_lag,
        lags=lags,
        seed=subject.seed,
        on_progress=subject.update,
    )
