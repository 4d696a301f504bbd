"""``seqprobe study plan``: the units of a study, what they will cost, and what is done."""

from __future__ import annotations

from collections import Counter
from typing import Any

import click

from seqprobe.cli.common import echo_json, progress, table
from seqprobe.cli.study.options import described, duration, study_options
from seqprobe.studies import cores, estimate, open_study, status

EXAMPLES = """\b
Examples:
  seqprobe study plan analyses/example --size smoke
"""


@click.command("plan", epilog=EXAMPLES)
@study_options
@click.option("-j", "--jobs", type=click.IntRange(1), help="Processes.  [default: one per core]")
@click.option("-q", "--quiet", is_flag=True, help="No progress bar, no remarks.")
def command(
    file: str, size: str | None, folder: str | None, as_json: bool, jobs: int | None, quiet: bool
) -> None:
    """List the units of FILE with what they cost at most, and what is already done.

    The cost is that of training to the last update, from a few timed updates of every
    configuration; a threshold (train.until) ends it earlier, analyses come on top.
    """
    study = open_study(file, size, folder)
    standing = status(study)
    states = Counter(found.state for found in standing)
    ended = {s.unit.name for s in standing if s.state in ("done", "failed", "trained")}
    with progress(quiet, "configurations") as update:
        costs = estimate(study, update)
    rows, seconds = [], 0.0
    for values, units in study.configurations().items():
        cost = costs[units[0].name]
        groups = {unit.group: costs[unit.name] for unit in units if unit.name not in ended}
        left = sum(group.seconds for group in groups.values())
        seconds += left
        rows.append(
            {
                **dict(zip(study.factors, values, strict=True)),
                "units": len(units),
                "together": max(len(unit.group) for unit in units),
                "updates": cost.updates,
                "ms_per_update": round(1000 * cost.seconds_per_update, 3),
                "seconds_left": left,
                "done": sum(unit.name in ended for unit in units),
            }
        )
    processes = jobs or cores()
    if as_json:
        echo_json(_as_json(study, rows, seconds, processes, states))
        return
    own = ["units", "together", "updates", "ms_per_update", "done"]
    cells = [
        [*described(row[key] for key in (*study.factors, *own)), duration(row["seconds_left"])]
        for row in rows
    ]
    header = [*study.factors, "units", "together", "updates", "ms/update", "done", "left, at most"]
    table(header, cells)
    for skipped in study.skipped:
        click.echo(str(skipped))
    click.echo(
        f"{len(study.units)} units in '{study.folder}', {states['done']} done,"
        f" {states['failed']} failed; at most {duration(seconds / processes)} left with"
        f" {processes} {'process' if processes == 1 else 'processes'}"
        + ("" if not study.analyses else f", and {len(study.analyses)} analyses per unit")
    )


def _as_json(
    study: Any, rows: list[dict[str, Any]], seconds: float, processes: int, states: Counter[str]
) -> dict[str, Any]:
    return {
        "schema": "seqprobe.study.plan/1",
        "study": study.name,
        "size": study.size,
        "folder": str(study.folder),
        "configurations": rows,
        "units": [unit.name for unit in study.units],
        "skipped": [skipped.as_dict() for skipped in study.skipped],
        "analyses": [analysis.as_dict() for analysis in study.analyses],
        "states": dict(states),
        "seconds_left": seconds / processes,
        "processes": processes,
    }
