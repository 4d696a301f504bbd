"""``seqprobe memory substitution``: what another token k steps back changes."""

from __future__ import annotations

import xarray as xr

import seqprobe.memory
from seqprobe.cli.analysis import Subject, View, analysis_command
from seqprobe.cli.memory.group import command
from seqprobe.cli.memory.options import LAGS, LENGTH, MAX_LAG, at_peak, counted, sequences

EXAMPLES = """\b
Examples:
  seqprobe memory substitution checkpoints/recall/gru-s0.pt --sequences 32 --figure subst.pdf
"""
_SEQUENCES = 128
_NAMES = ("subst_kl", "subst_flip", "subst_dlogit")

VIEW = View(
    schema="seqprobe.memory.substitution_profile/1",
    columns={
        "largest KL (nats)": lambda r: at_peak(r, "subst_kl"),
        "largest flip rate": lambda r: at_peak(r, "subst_flip"),
        "largest change of logits": lambda r: at_peak(r, "subst_dlogit"),
    },
    as_json=lambda r: {
        "lags": r["lag"].values,
        **{n: r[n].values for name in _NAMES for n in (name, f"{name}_ci")},
    },
    figure="substitution_profile_figure",
    remarks=lambda results: [
        counted(results, "KL of the prediction if the token k steps back is another one"),
    ],
)


@analysis_command(
    command,
    "substitution",
    VIEW,
    LENGTH,
    MAX_LAG,
    LAGS,
    sequences(_SEQUENCES),
    examples=EXAMPLES,
)
def substitution(
    subject: Subject,
    length: int | None,
    max_lag: int | None,
    lags: list[int] | None,
    sequences: int | None,
) -> xr.Dataset:
    """How the predicted distribution changes if the token k steps back is another one.

    For models of tokens (recall, chartext, copy with task.encoding=token).
    """
    batch = subject.batch(sequences, length, _SEQUENCES)
    return seqprobe.memory.substitution_profile(
        subject.model,
        batch,
        **subject.window(batch, max_lag, lags),
        seed=subject.seed,
        on_progress=subject.update,
    )
