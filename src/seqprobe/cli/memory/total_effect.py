"""``seqprobe memory total-effect``: what is used of the input k steps back."""

from __future__ import annotations

import xarray as xr

import seqprobe.memory
from seqprobe.cli.analysis import Subject, View, analysis_command, text
from seqprobe.cli.memory.group import command
from seqprobe.cli.memory.options import LAGS, LENGTH, MAX_LAG, at_peak, counted, sequences

EXAMPLES = """\b
Examples:
  seqprobe memory total-effect checkpoints/delay/gru-s0.pt --lags 0,10,19:21,40
  seqprobe memory total-effect checkpoints/recall/*.pt --sequences 64 --figure effect.pdf
"""
_SEQUENCES = 512


def _used(result: xr.Dataset) -> str:
    """Return the last measured lag whose effect is clearly above 1 %."""
    low = result["S_T_ci"].isel(ci_bound=0)
    above = result["lag"].values[(low > 0.01).values]
    return str(int(above[-1])) if len(above) else "-"


VIEW = View(
    schema="seqprobe.memory.total_effect/1",
    columns={
        "largest S_T": lambda r: at_peak(r, "S_T"),
        "s.e.": lambda r: text(r["S_T_se"][r["S_T"].values.argmax()], 3),
        "last lag > 1 %": _used,
        "sum": lambda r: text(r["S_T_sum"], 2),
        "compared by": lambda r: str(r.attrs["functional"]),
    },
    as_json=lambda r: {
        "functional": r.attrs["functional"],
        "n_pairs": r.sizes["trial"],
        "lags": r["lag"].values,
        **{name: r[name].values for name in ("S_T", "S_T_se", "S_T_ci", "S_T_sum")},
    },
    figure="total_effect_figure",
    remarks=lambda results: [
        counted(
            results,
            "S_T: movement of the output if the input k steps back is drawn anew,"
            " over that if all are; sum only if every lag was measured",
        ),
    ],
)


@analysis_command(
    command,
    "total-effect",
    VIEW,
    LENGTH,
    MAX_LAG,
    LAGS,
    sequences(_SEQUENCES),
    examples=EXAMPLES,
)
def total_effect(
    subject: Subject,
    length: int | None,
    max_lag: int | None,
    lags: list[int] | None,
    sequences: int | None,
) -> xr.Dataset:
    """Which fraction of the output is lost if the input k steps back is drawn anew.

    Needs no gradient and is the same for all architectures: 1 where an input decides the output, 0
    where it is not used. Half of the sequences lend the inputs that replace those of the others.
    """
    batch = subject.batch(sequences, length, _SEQUENCES)
    return seqprobe.memory.total_effect(
        subject.model,
        batch,
        **subject.window(batch, max_lag, lags),
        on_progress=subject.update,
    )
