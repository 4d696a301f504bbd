"""``seqprobe memory copy-curve``: recall of symbols against the delay."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import click
import numpy as np
import xarray as xr

import seqprobe.memory
from seqprobe.cli.analysis import Subject, View, analysis_command, text, with_interval
from seqprobe.cli.common import Steps
from seqprobe.cli.inputs import RETRAINED_SUFFIX
from seqprobe.cli.memory.group import command
from seqprobe.config import from_mapping
from seqprobe.errors import InterruptedRunError, NotApplicableError, UsageError
from seqprobe.files import make_folder
from seqprobe.memory.copy_curve import PROTOCOLS, CopyProtocol, DelayedRecall
from seqprobe.models import WholeModel, architecture
from seqprobe.provenance import model_attrs
from seqprobe.training import Progress, TrainConfig, Until, load, train

EXAMPLES = """\b
Examples:
  seqprobe memory copy-curve checkpoints/copy --sequences 200
  seqprobe memory copy-curve checkpoints/copy/gru-mixed-s0.pt --lengths 10:30:10,100 --figure c.pdf
"""
_RETRAINED = (10, 30, 100)


def _columns(result: xr.Dataset) -> str:
    cells = [
        f"{int(delay)}: {text(value, 3)}"
        for delay, value in zip(result["length"].values, result["accuracy"].values, strict=True)
    ]
    return "  ".join(cells)


def _half(result: xr.Dataset) -> str:
    half = float(result["T50"])
    if half == np.inf:
        return f"> {int(result['length'][-1])}"
    if half == 0:
        return f"< {int(result['length'][0])}"
    return with_interval(result["T50"], result["T50_ci"], digits=1)


def _as_json(result: xr.Dataset) -> dict[str, Any]:
    names = ["T50", "area", "answer_lag"]
    for name in ("accuracy", "accuracy_sequence", "symbols", "bits_ba", "bits_mi", "bits_fano"):
        names += [name, f"{name}_ci"]
    half = float(result["T50"])
    return {
        "protocol": result.attrs["protocol"],
        "trained": json.loads(result.attrs.get("trained", "null")),
        "T50_is": {0.0: "below all delays", np.inf: "above all delays"}.get(half, "among them"),
        "chance": result.attrs["chance"],
        "delays": result["length"].values,
        **{name: result[name].values for name in (*names, "accuracy_all_positions")},
    }


def _remarks(results: Mapping[str, xr.Dataset]) -> list[str]:
    first = next(iter(results.values()))
    said = {
        "fixed": "each checkpoint as trained, on one delay",
        "mixed": "each checkpoint as trained, on a range of delays",
        "retrain": "trained anew for every delay",
        "stream": "trained anew for every delay, recall of a stream",
    }
    protocols = sorted({result.attrs["protocol"] for result in results.values()})
    return [
        f"protocol {' and '.join(f'{p} ({said[p]})' for p in protocols)}; delay T: fraction of the"
        f" copied symbols that is right, chance {first.attrs['chance']:g}; T50: delay of half"
        " recall; bits by two estimators, intervals and accuracy over all positions are in -o and"
        " --json"
    ]


VIEW = View(
    schema="seqprobe.memory.copy_curve/1",
    columns={
        "protocol": lambda result: str(result.attrs["protocol"]),
        "T50": _half,
        "accuracy at T": _columns,
    },
    as_json=_as_json,
    figure="copy_curve_figure",
    remarks=_remarks,
)


@analysis_command(
    command,
    "copy-curve",
    VIEW,
    click.option(
        "--lengths",
        type=Steps("delay", 1),
        help="Delays T, as 5,10,20 or 10:30:5.  [default: around those trained on, up to four times"
        " the longest; 10,30,100 for retrain and stream]",
    ),
    click.option(
        "--protocol",
        type=click.Choice(PROTOCOLS),
        help="What is trained on what.  [default: fixed or mixed, as the checkpoint was trained]",
    ),
    click.option(
        "--sequences",
        type=click.IntRange(1, 2**31),
        default=1000,
        show_default=True,
        help="Test sequences per delay.",
    ),
    click.option(
        "--folder",
        help="Where models trained anew go; those that are there are taken, a broken run goes on."
        "  [default: CKPT-retrained]",
    ),
    examples=EXAMPLES,
)
def copy_curve(
    subject: Subject,
    lengths: list[int] | None,
    protocol: CopyProtocol | None,
    sequences: int,
    folder: str | None,
) -> xr.Dataset:
    """Up to which delay a model says symbols again: accuracy, bits, and the delay of half recall.

    The protocol is part of the result. 'fixed' and 'mixed' test a checkpoint as it was trained, on
    one delay or on a range (task.min_delay). 'retrain' trains the checkpoint's model anew for every
    delay, with its settings and seed; 'stream' does so on the task 'recall'. Give checkpoints of
    several seeds for intervals over seeds in the figure.
    """
    task, protocol = _protocol(subject, protocol)
    delays = lengths or _default_delays(subject, protocol)
    models: WholeModel | dict[int, WholeModel]
    if protocol in ("retrain", "stream"):
        models = {}
        for i, delay in enumerate(delays):
            models[delay] = _retrained(subject, task, delay, folder, i, len(delays))
    else:
        if folder is not None:
            raise UsageError(f"--folder is for models trained anew, not for --protocol {protocol}")
        models = subject.model
    result = seqprobe.memory.copy_curve(
        models, task, delays, protocol=protocol, n_sequences=sequences, seed=subject.seed
    )
    result.attrs |= model_attrs(subject.model)
    if isinstance(models, dict):
        result.attrs["trained"] = json.dumps([_origin(d, m) for d, m in models.items()])
    return result


def _origin(delay: int, model: WholeModel) -> dict[str, Any]:
    """Return which file was measured at a delay."""
    assert model.origin is not None  # it was read from a file
    origin = model.origin
    return {
        "delay": delay,
        "checkpoint": origin.path,
        "sha256": origin.sha256,
        "solved": origin.solved,
    }


def _protocol(subject: Subject, asked: CopyProtocol | None) -> tuple[DelayedRecall, CopyProtocol]:
    """Return the task and the protocol that suit a checkpoint, or refuse."""
    task = subject.task
    if task.name not in ("copy", "recall"):
        raise NotApplicableError(
            f"copy curves are of models trained on 'copy' or 'recall', this one on '{task.name}';"
            f" train one with 'seqprobe train {subject.architecture} copy -o FILE', or look at"
            " yours with --task copy"
        )
    mixed = task.name == "copy" and task.config.min_delay is not None
    trained: CopyProtocol = "mixed" if mixed else "fixed"
    if asked in ("fixed", "mixed") and asked != trained:
        there = "a range of delays" if mixed else "one delay"
        raise UsageError(
            f"--protocol {asked} does not suit a model trained on {there} (allowed: {trained},"
            f" {'stream' if task.name == 'recall' else 'retrain'})"
        )
    if asked == "retrain" and task.name == "recall":
        raise UsageError("--protocol retrain is for task 'copy' (allowed for 'recall': stream)")
    if asked == "stream" and task.name == "copy":
        raise UsageError("--protocol stream is for task 'recall' (allowed for 'copy': retrain)")
    return cast("DelayedRecall", task), asked or trained


def _default_delays(subject: Subject, protocol: CopyProtocol) -> list[int]:
    if protocol in ("retrain", "stream"):
        return list(_RETRAINED)
    longest = max(1, subject.task.config.delay)
    spread = np.geomspace(1, 4 * longest, 14).round().astype(int)
    around = {max(1, longest - 1), longest, longest + 1}
    return sorted({int(delay) for delay in spread} | around)


def _retrained(
    subject: Subject, task: DelayedRecall, delay: int, folder: str | None, i: int, total: int
) -> WholeModel:
    """Return the checkpoint's model trained on one delay, from the folder or by training."""
    checkpoint = subject.trained
    there = task.at_delay(delay)
    if there.config == subject.task.config and checkpoint.status == "complete":
        return subject.model
    path = Path(subject.path)
    home = make_folder(folder or path.with_name(f"{path.stem}{RETRAINED_SUFFIX}"))
    settings = dict(checkpoint.train)
    until = settings.pop("until")
    name = checkpoint.model["name"]

    def on_step(progress: Progress) -> None:
        subject.update(i + progress.step / max(1, progress.steps), total)

    made = home / f"{path.stem}-T{delay}.pt"
    try:
        train(
            name,
            there,
            made,
            model_config=from_mapping(
                architecture(name).config, checkpoint.model["config"], "model"
            ),
            config=from_mapping(TrainConfig, settings, "train"),
            until=None if until is None else Until(**until),
            seed=checkpoint.seed,
            device=subject.device,
            resume=True,
            on_step=on_step,
        )
    except UsageError as error:
        raise UsageError(
            f"'{made}' was made by another training; delete it, or take another --folder ({error})"
        ) from None
    except InterruptedRunError:
        raise InterruptedRunError(
            f"interrupted while training '{made}'; the same command goes on from there"
        ) from None
    return load(made).to(subject.device)
