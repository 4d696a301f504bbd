"""``seqprobe study status``, ``retry`` and ``validate``: look after a study."""

from __future__ import annotations

import statistics
from collections import Counter
from typing import Any

import click

from seqprobe.cli.common import echo_error, echo_json, table
from seqprobe.cli.study.options import described, study_options
from seqprobe.errors import UnreadableFileError
from seqprobe.studies import Study, open_study
from seqprobe.studies import retry as retry_units
from seqprobe.studies import status as status_of
from seqprobe.studies import validate as validate_units
from seqprobe.studies.selection import RULE
from seqprobe.studies.upkeep import Status, strangers

EXAMPLES = """\b
Examples:
  seqprobe study status analyses/example --size smoke
  seqprobe study retry analyses/example --size smoke
  seqprobe study validate analyses/example --size smoke
"""

_STATES = ("done", "trained", "running", "started", "failed", "todo")


@click.command("status", epilog=EXAMPLES)
@study_options
def command(file: str, size: str | None, folder: str | None, as_json: bool) -> None:
    """Show how far every configuration of FILE is, and the spread of its scores over seeds.

    States: done; trained (analyses are missing); running; started (interrupted, goes on); failed
    (see 'seqprobe study retry'); todo.
    """
    study = open_study(file, size, folder)
    if as_json:
        found = status_of(study)
        echo_json(
            {
                "schema": "seqprobe.study.status/1",
                "study": study.name,
                "size": study.size,
                "folder": str(study.folder),
                "states": {s: sum(one.state == s for one in found) for s in _STATES},
                "units": [_unit_as_json(one) for one in found],
                "rule": RULE,
            }
        )
    else:
        print_status(study)


def print_status(study: Study) -> None:
    """Print a table of configurations, and what did not end well."""
    found = {one.unit.name: one for one in status_of(study)}
    rows = []
    for values, units in study.configurations().items():
        own = [found[unit.name] for unit in units]
        states = Counter(one.state for one in own)
        rows.append(
            [
                *described(values),
                str(len(own)),
                ", ".join(f"{states[state]} {state}" for state in _STATES if states[state]),
                *_spread([one.done for one in own if one.done is not None]),
            ]
        )
    table(
        [
            *study.factors,
            *("units", "state", "reached", "test score (median, range)", "baseline", "updates"),
        ],
        rows,
    )
    for one in found.values():
        if one.done is not None and not one.done["reached"]:
            valid = one.done["valid"]
            click.echo(
                f"threshold not reached: {one.unit.name}: {valid['metric']} {valid['score']:.4g}"
            )
    for one in found.values():
        if one.error is not None:
            click.echo(f"{one.error.get('kind')}: {one.unit.name}: {one.error.get('message')}")
    for skipped in study.skipped:
        click.echo(str(skipped))
    total = Counter(one.state for one in found.values())
    said = ", ".join(f"{total[state]} {state}" for state in _STATES if total[state])
    click.echo(f"{len(found)} units in '{study.folder}': {said}")
    if not study.folder.is_dir():
        click.echo(f"'{study.folder.resolve()}' is not there: nothing has been run, or elsewhere")
    elif strange := strangers(study):
        click.echo(f"{strange} folders in it belong to no unit of this plan, but of an earlier one")


def _spread(ended: list[dict[str, Any]]) -> list[str]:
    """Return how many reached their threshold, scores, the task's baseline, and updates."""
    counted = [done for done in ended if done["reached"]]
    if not counted:
        return [f"0 of {len(ended)}" if ended else "-", "-", "-", "-"]
    scores = [done["test"]["score"] for done in counted]
    metric = counted[0]["test"]["metric"]
    updates = sorted(done["updates"] for done in counted)
    # Studies that are older do not say it.
    baseline = next((done["baseline"]["score"] for done in counted if "baseline" in done), None)
    span = f"{updates[0]}" if updates[0] == updates[-1] else f"{updates[0]}-{updates[-1]}"
    return [
        f"{len(counted)} of {len(ended)}",
        f"{metric} {statistics.median(scores):.4g} [{min(scores):.4g}, {max(scores):.4g}]",
        "-" if baseline is None else f"{baseline:.4g}",
        span,
    ]


def _unit_as_json(one: Status) -> dict[str, Any]:
    return {
        "unit": one.unit.name,
        "state": one.state,
        "seed": one.unit.seed,
        "settings": one.unit.settings,
        "done": one.done,
        "error": one.error,
    }


@click.command("retry", epilog=EXAMPLES)
@study_options
def retry(file: str, size: str | None, folder: str | None, as_json: bool) -> None:
    """Forget the failures of FILE, so that the next 'seqprobe study run' does these units again.

    A unit whose process died goes on from its last validation; one that diverged starts again.
    """
    study = open_study(file, size, folder)
    found = retry_units(study)
    if as_json:
        names = [unit.name for unit in found]
        echo_json({"schema": "seqprobe.study.retry/1", "study": study.name, "units": names})
    else:
        for unit in found:
            click.echo(unit.name)
        click.echo(f"{len(found)} units will be run again by 'seqprobe study run'")


@click.command("validate", epilog=EXAMPLES)
@study_options
@click.option("--repair", is_flag=True, help="Remove damaged units, to be run again.")
def validate(file: str, size: str | None, folder: str | None, as_json: bool, repair: bool) -> int:
    """Read every file of every finished unit of FILE, and name the damaged ones."""
    study = open_study(file, size, folder)
    found = validate_units(study, repair)
    if as_json:
        damaged = [{"unit": one.unit.name, "reason": one.reason} for one in found]
        echo_json({"schema": "seqprobe.study.validate/1", "study": study.name, "damaged": damaged})
    else:
        for one in found:
            echo_error(f"'{one.unit.name}': {one.reason}{'; removed' if repair else ''}")
        if not found:
            click.echo(f"every file of '{study.folder}' is whole")
        elif not repair:
            click.echo("--repair removes these units, so that a run makes them again", err=True)
    return UnreadableFileError.exit_code if found and not repair else 0
