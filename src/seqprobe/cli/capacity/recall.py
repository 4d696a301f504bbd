"""``seqprobe capacity recall``: how many symbols a state holds for later."""

from __future__ import annotations

import dataclasses
from typing import Any

import click
import numpy as np
import xarray as xr

import seqprobe.capacity
from seqprobe.capacity.recall import THRESHOLDS
from seqprobe.cli.analysis import Subject, View, analysis_command, text, with_interval
from seqprobe.cli.capacity.group import command
from seqprobe.cli.common import Steps
from seqprobe.errors import NotApplicableError, UsageError
from seqprobe.models.access import refuse_lookahead
from seqprobe.tasks.symbol_recall import SymbolRecall

EXAMPLES = """\b
Examples:
  seqprobe capacity recall checkpoints/mqar --sequences 100
  seqprobe capacity recall checkpoints/mqar/gru-s0.pt --loads 1:12 --figure recall.pdf
  seqprobe capacity recall checkpoints/mqar/gru-s0.pt --over length --loads 32,64,128 --sequences 50
"""


def _capacity(result: xr.Dataset, threshold: float) -> str:
    found = result.sel(threshold=threshold)
    value = float(found["capacity"])
    if value == np.inf:
        return f">= {int(result['load'][-1])}"
    if value == 0:
        return f"< {int(result['load'][0])}"
    return with_interval(found["capacity"], found["capacity_ci"], digits=1)


def _curve(result: xr.Dataset) -> str:
    cells = zip(result["load"].values, result["accuracy"].values, strict=True)
    return "  ".join(f"{int(load)}: {value:.2f}" for load, value in cells)


def _as_json(result: xr.Dataset) -> dict[str, Any]:
    names = ["accuracy", "accuracy_sequence", "bits", "bits_fano", "bits_per_real", "capacity"]
    names += ["bits_held", "bits_per_real_held"]
    facts = ["sequence_length", "answers", "state_size", "hebbian"]
    facts += ["hebbian_capacity", "capacity_state_size"]
    values = result["capacity"].values
    where = np.where(values == np.inf, "above all loads", "among them")
    return {
        "load": result.attrs["load_name"],
        "loads": result["load"].values,
        "thresholds": result["threshold"].values,
        "chance": result.attrs["chance"],
        "capacity_is": np.where(values == 0, "below all loads", where),
        **{name: result[name].values for name in names + [f"{name}_ci" for name in names] + facts},
    }


VIEW = View(
    schema="seqprobe.capacity.recall/1",
    columns={
        "load": lambda r: str(r.attrs["load_name"]),
        "P* at .9": lambda r: _capacity(r, THRESHOLDS[1]),
        "P* at .5": lambda r: _capacity(r, THRESHOLDS[0]),
        "Hebbian P* at .5": lambda r: text(r["hebbian_capacity"].sel(threshold=0.5), 1),
        "reals": lambda r: text(r["capacity_state_size"].sel(threshold=0.5)),
        "bits": lambda r: with_interval(r["bits_held"], r["bits_held_ci"], digits=1),
        "bits per real": lambda r: text(r["bits_per_real_held"], 3),
        "accuracy by load": _curve,
    },
    as_json=_as_json,
    figure="recall_capacity_figure",
    remarks=lambda results: [
        "accuracy: of single answers; P*: last load with that accuracy; reals: state at P* at .5,"
        " before the first question; bits: the most at any load, from the cross-entropy; Hebbian:"
        " a matrix of as many reals. A model below that line may be untrained rather than full"
    ],
)


@analysis_command(
    command,
    "recall",
    VIEW,
    click.option(
        "--over",
        "load",
        help="What is varied: pairs, key_length or length for mqar; length for induction; symbols"
        " or length for selective-copy; length or digits for passkey.  [default: the"
        " first of these]",
    ),
    click.option(
        "--loads",
        type=Steps("load", 1),
        help="Its values, as 1,2,4 or 1:16.  [default: up to twice what was trained on, four times"
        " for lengths]",
    ),
    click.option(
        "--sequences",
        type=click.IntRange(1, 2**31),
        default=500,
        show_default=True,
        help="Test sequences per load.",
    ),
    examples=EXAMPLES,
)
def recall(
    subject: Subject, load: str | None, loads: list[int] | None, sequences: int
) -> xr.Dataset:
    """How many pairs, symbols or steps a state holds: accuracy against load, bits per real.

    For models trained on mqar, induction, selective-copy or passkey. The loads are asked of each
    checkpoint as it was trained; sequences get longer where a load does not fit.
    """
    task = subject.task
    refuse_lookahead(subject.model)
    if not isinstance(task, SymbolRecall):
        raise NotApplicableError(
            "recall capacity is of models trained on mqar, induction, selective-copy or passkey,"
            f" this one on '{task.name}'; train one with 'seqprobe train {subject.architecture}"
            " mqar -o FILE', or look at yours with --task mqar"
        )
    varied = load or next(iter(task.loads))
    return seqprobe.capacity.recall_capacity(
        subject.model,
        task,
        loads or _default(task, varied),
        load=varied,
        n_sequences=sequences,
        seed=subject.seed,
        on_progress=subject.update,
    )


def _default(task: SymbolRecall, load: str) -> list[int]:
    """Return about ten loads around what was trained on, as far as the task has them."""
    trained = dataclasses.asdict(task.config).get(load, 1)
    first, last = (trained // 4, 4 * trained) if load == "length" else (1, 2 * trained)
    spread = np.geomspace(max(1, first), last, 10).round().astype(int)
    possible = []
    for value in sorted({*map(int, spread), trained}):
        try:
            task.at(load, value)
        except UsageError:
            continue
        possible.append(value)
    return possible or [trained]
