"""``seqprobe ls``: what there is."""

from __future__ import annotations

import dataclasses
from typing import Any

import click

from seqprobe.cli.common import echo_error, echo_json, table
from seqprobe.cli.inputs import expand
from seqprobe.errors import SeqprobeError, UnreadableFileError

EXAMPLES = """\b
Examples:
  seqprobe ls models
  seqprobe ls tasks --baselines
  seqprobe ls checkpoints checkpoints
  seqprobe ls analyses
"""


@click.command(epilog=EXAMPLES)
@click.argument("what", type=click.Choice(["models", "tasks", "checkpoints", "analyses"]))
@click.argument("folder", default="checkpoints")
@click.option("--baselines", is_flag=True, help="With tasks: what does not learn, and its score.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(what: str, folder: str, baselines: bool, as_json: bool) -> int:
    """List models, tasks, checkpoints (in FOLDER, default 'checkpoints') or analyses."""
    code = 0
    if what == "checkpoints":
        rows, code = _checkpoints(folder)
    else:
        lists = {"models": _models, "tasks": lambda: _tasks(baselines), "analyses": _analyses}
        rows = lists[what]()
    if as_json:
        echo_json({"schema": "seqprobe.ls/1", what: rows})
    elif rows:
        cells = [[_text(value) for value in row.values()] for row in rows]
        table([name.replace("_", " ") for name in rows[0]], cells)
    return code


def _models() -> list[dict[str, Any]]:
    from seqprobe.models import MODELS

    return [
        {
            "model": entry.name,
            "summary": entry.summary,
            "settings": dataclasses.asdict(entry.config()),
            "lr": entry.learning_rate,
        }
        for entry in MODELS.values()
    ]


def _tasks(baselines: bool) -> list[dict[str, Any]]:
    from seqprobe.tasks import TASKS, make_task

    rows = []
    for task in map(make_task, TASKS):
        row: dict[str, Any] = {
            "task": task.name,
            "summary": task.summary,
            "settings": dataclasses.asdict(task.config),
            "metric": f"{task.metric.name} ({task.metric.better} is better)",
        }
        try:
            row["chance"] = task.chance
            if baselines:
                baseline = task.baseline()
                row |= {"baseline": baseline.score, "which": baseline.name}
        except UnreadableFileError:  # the data of this task are not here; the others' may be
            row.setdefault("chance", None)
            if baselines:
                row |= {"baseline": None, "which": "data not here, see 'seqprobe data ls'"}
        rows.append(row)
    return rows


def _checkpoints(folder: str) -> tuple[list[dict[str, Any]], int]:
    """Return a row per checkpoint, and the exit code: that of the last unreadable file."""
    from seqprobe.training import load_checkpoint

    rows, code = [], 0
    paths, skipped = expand([folder])
    for entry in skipped:
        echo_error(entry["reason"])
        code = entry["code"]
    for path in paths:
        try:
            checkpoint = load_checkpoint(path)
        except SeqprobeError as error:
            echo_error(str(error))
            code = error.exit_code
            continue
        score = checkpoint.score
        rows.append(
            {
                "checkpoint": str(path),
                "model": checkpoint.model["name"],
                "task": checkpoint.task["name"],
                "seed": checkpoint.seed,
                "params": checkpoint.params,
                "metric": score["metric"],
                "score": score["score"],
                "solved": checkpoint.solved,
                "status": checkpoint.status,
            }
        )
    return rows, code


def _analyses() -> list[dict[str, Any]]:
    from seqprobe import capacity, degeneracy, dynamics, memory

    return [
        {
            "analysis": f"{room.__name__.removeprefix('seqprobe.')}.{name}",
            "question": (getattr(room, name).__doc__ or "").partition("\n")[0],
        }
        for room in (memory, capacity, dynamics, degeneracy)
        for name in room.__all__
        if getattr(getattr(room, name), "__annotations__", {}).get("return") == "xr.Dataset"
    ]


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return " ".join(f"{key}={item}" for key, item in value.items() if item is not None)
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value is None:
        return "-"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
