"""``seqprobe ls``: what there is."""

from __future__ import annotations

import dataclasses
from typing import Any

import click

from seqprobe.cli.common import echo_error, echo_json, table
from seqprobe.cli.inputs import expand
from seqprobe.errors import SeqprobeError, UnreadableFileError
from seqprobe.plugins import ADAPTERS, KINDS, Registry, found

EXAMPLES = """\b
Examples:
  seqprobe ls models
  seqprobe ls tasks --baselines
  seqprobe ls checkpoints checkpoints
  seqprobe ls analyses
  seqprobe ls plugins
"""


@click.command(epilog=EXAMPLES)
@click.argument(
    "what", type=click.Choice(["models", "tasks", "checkpoints", "analyses", "plugins"])
)
@click.argument("folder", default="checkpoints")
@click.option("--baselines", is_flag=True, help="With tasks: what does not learn, and its score.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(what: str, folder: str, baselines: bool, as_json: bool) -> int:
    """List models, tasks, checkpoints (in FOLDER, default 'checkpoints'), analyses or plug-ins."""
    if what == "checkpoints":
        rows, code = _checkpoints(folder)
    else:
        lists = {
            "models": _models,
            "tasks": lambda: _tasks(baselines),
            "analyses": _analyses,
            "plugins": _plugins,
        }
        rows, code = lists[what]()
    if as_json:
        echo_json({"schema": "seqprobe.ls/1", what: rows})
    elif rows:
        # Where nothing is of a plug-in, a column of dashes would say nothing.
        names = [n for n in rows[0] if n != "plugin" or any(row[n] for row in rows)]
        cells = [[_text(row[name]) for name in names] for row in rows]
        table([name.replace("_", " ") for name in names], cells)
    elif what == "plugins":
        click.echo("no plug-ins are installed")
    return code


def _problems(registry: Registry[Any]) -> int:
    """Print a line for every plug-in that cannot be used; return the exit code."""
    lines = registry.problems().values()
    for line in lines:
        echo_error(line)
    return SeqprobeError.exit_code if lines else 0


def _source(registry: Registry[Any], name: str) -> str | None:
    plugin = registry.plugin(name)
    return None if plugin is None else plugin.source


def _models() -> tuple[list[dict[str, Any]], int]:
    from seqprobe.models import MODELS

    rows = [
        {
            "model": entry.name,
            "summary": entry.summary,
            "settings": dataclasses.asdict(entry.config()),
            "lr": entry.learning_rate,
            "plugin": _source(MODELS, entry.name),
        }
        for entry in MODELS.values()
    ]
    return rows, _problems(MODELS)


def _tasks(baselines: bool) -> tuple[list[dict[str, Any]], int]:
    from seqprobe.tasks import TASKS, make_task

    rows = []
    for task in map(make_task, TASKS):
        row: dict[str, Any] = {
            "task": task.name,
            "summary": task.summary,
            "settings": dataclasses.asdict(task.config),
            "metric": None,
            "chance": None,
        }
        if baselines:
            row |= {"baseline": None, "which": None}
        try:
            row["metric"] = f"{task.metric.name} ({task.metric.better} is better)"
            row["chance"] = task.chance
            if baselines:
                baseline = task.baseline()
                row |= {"baseline": baseline.score, "which": baseline.name}
        except SeqprobeError as error:  # what this task needs is not here; the others' may be
            if baselines:
                missing = isinstance(error, UnreadableFileError)
                row["which"] = "data not here, see 'seqprobe data ls'" if missing else str(error)
        rows.append(row | {"plugin": _source(TASKS, task.name)})
    return rows, _problems(TASKS)


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


def _analyses() -> tuple[list[dict[str, Any]], int]:
    from seqprobe import capacity, degeneracy, dynamics, memory
    from seqprobe.cli.measures import plugged

    rows: list[dict[str, Any]] = [
        {
            "analysis": f"{room.__name__.removeprefix('seqprobe.')}.{name}",
            "question": (getattr(room, name).__doc__ or "").partition("\n")[0],
            "plugin": None,
        }
        for room in (memory, capacity, dynamics, degeneracy)
        for name in room.__all__
        if getattr(getattr(room, name), "__annotations__", {}).get("return") == "xr.Dataset"
    ]
    registry = plugged()
    rows += [
        {
            "analysis": name,
            "question": registry[name].get_short_help_str(limit=100),
            "plugin": _source(registry, name),
        }
        for name in registry
        if registry.plugin(name) is not None
    ]
    return rows, _problems(registry)


def _plugins() -> tuple[list[dict[str, Any]], int]:
    from seqprobe.cli.measures import plugged
    from seqprobe.models import MODELS
    from seqprobe.tasks import TASKS

    registries: dict[str, Registry[Any]] = {
        "architectures": MODELS,
        "tasks": TASKS,
        "analyses": plugged(),
        "adapters": ADAPTERS,
    }
    rows, code = [], 0
    for kind in KINDS:
        wrong = registries[kind].problems()
        code = max(code, _problems(registries[kind]))
        rows += [
            {
                "kind": kind,
                "name": plugin.name,
                "plugin": plugin.source,
                "object": plugin.entry.value,
                "usable": plugin.name not in wrong,
            }
            for plugin in found(kind).values()
        ]
    return rows, code


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return " ".join(f"{key}={item}" for key, item in value.items() if item is not None)
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value is None:
        return "-"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
