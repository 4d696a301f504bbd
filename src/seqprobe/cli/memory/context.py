"""``seqprobe memory context``: what it costs to damage all but the last n inputs."""

from __future__ import annotations

from collections.abc import Callable

import click
import xarray as xr

import seqprobe.memory
from seqprobe.cli.analysis import Subject, View, analysis_command, text
from seqprobe.cli.common import Steps
from seqprobe.cli.memory.group import command
from seqprobe.cli.memory.options import LENGTH, counted, sequences
from seqprobe.files import sha256
from seqprobe.memory.context import DAMAGES

EXAMPLES = """\b
Examples:
  seqprobe memory context checkpoints/recall/gru-s0.pt --sequences 32 --figure context.pdf
"""
_SEQUENCES = 128


def _lengths(damage: str) -> Callable[[xr.Dataset], str]:
    def cell(result: xr.Dataset) -> str:
        found = zip(result["threshold"].values, result[f"ecl_{damage}"].values, strict=True)
        return "  ".join(f"{delta:g}: {text(n)}" for delta, n in found)

    return cell


VIEW = View(
    schema="seqprobe.memory.context_use/1",
    columns={
        "loss": lambda r: text(r["loss"], 4),
        **{f"ecl, {damage}": _lengths(damage) for damage in DAMAGES},
    },
    as_json=lambda r: {
        "contexts": r["length"].values,
        "thresholds": r["threshold"].values,
        "loss": float(r["loss"]),
        **{
            n: r[n].values
            for damage in DAMAGES
            for name in (f"cost_{damage}", f"ecl_{damage}")
            for n in (name, f"{name}_ci")
        },
    },
    figure="context_use_figure",
    remarks=lambda results: [
        counted(
            results,
            "ecl, effective context length: the smallest number n of inputs left whole"
            " from which on the damage to the rest costs at most delta per step (in nats, or in"
            " fractions of target variance), as delta: n; - where it costs more even at the"
            " largest n",
        ),
    ],
)


@analysis_command(
    command,
    "context",
    VIEW,
    LENGTH,
    click.option(
        "--contexts",
        type=Steps("context", 1),
        help="Numbers n of inputs left whole.  [default: about ten per decade, to 2/3 of the"
        " length]",
    ),
    click.option(
        "--text",
        metavar="FILE",
        help="For 'chartext': test on the last 5 % of this text; its characters must be in the"
        " vocabulary.",
    ),
    sequences(_SEQUENCES),
    examples=EXAMPLES,
)
def context(
    subject: Subject,
    length: int | None,
    contexts: list[int] | None,
    text: str | None,
    sequences: int | None,
) -> xr.Dataset:
    """Cost of cutting off, shuffling or thinning out all but the last n inputs.

    The loss with the whole past is the reference; costs are paired. For tasks that are scored at
    every step, such as chartext and the music.
    """
    if text is not None:
        subject.use_text(text)
    batch = subject.batch(sequences, length, _SEQUENCES)
    contexts = contexts or [n for n in subject.lags(None, batch.inputs.shape[1]) if n > 0]
    result = seqprobe.memory.context_use(
        subject.model,
        batch,
        max_context=max(contexts),
        contexts=contexts,
        seed=subject.seed,
        on_progress=subject.update,
    )
    if text is not None:
        result.attrs |= {"text": text, "text_sha256": sha256(text)}
    return result
