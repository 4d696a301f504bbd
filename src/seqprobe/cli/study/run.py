"""``seqprobe study run``: do what is missing."""

from __future__ import annotations

import fnmatch
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import click

from seqprobe import device as devices
from seqprobe.cli.common import echo_error, echo_json, progress
from seqprobe.cli.study.draw import draw_all
from seqprobe.cli.study.options import study_options
from seqprobe.cli.study.status import print_status
from seqprobe.errors import InterruptedRunError, SeqprobeError, UsageError, suggestion
from seqprobe.studies import (
    Standing,
    Study,
    Unit,
    compare_units,
    on_dask,
    on_slurm,
    open_study,
)
from seqprobe.studies import run as run_study

EXAMPLES = """\b
Examples:
  seqprobe study run analyses/example --size smoke
  seqprobe study run analyses/example --size smoke --only architecture=gru --only seed=0 --jobs 1
"""

FAILED_UNITS = 5


@click.command("run", epilog=EXAMPLES)
@study_options
@click.option(
    "-j", "--jobs", type=click.IntRange(1), help="Processes, or jobs of --slurm.  [default: cores]"
)
@click.option(
    "--only",
    multiple=True,
    metavar="KEY=VALUE|NAME",
    help="Some units: by setting, seed, or name with * and ?; may be repeated. Seeds that are"
    " trained together run together.",
)
@click.option("--scheduler", metavar="ADDRESS", help="Work on this Dask cluster.")
@click.option("--slurm", is_flag=True, help="Start workers through Slurm.")
@click.option("--queue", help="With --slurm: partition.")
@click.option("--walltime", help="With --slurm: per job.  [default: 01:00:00]")
@click.option("--memory", help="With --slurm: per job.  [default: 4GB]")
@click.option("--device", default="cpu", show_default=True, help="Where each process computes.")
@click.option("-q", "--quiet", is_flag=True, help="No progress bar, no remarks.")
def command(
    file: str,
    size: str | None,
    folder: str | None,
    as_json: bool,
    jobs: int | None,
    only: tuple[str, ...],
    scheduler: str | None,
    slurm: bool,
    queue: str | None,
    walltime: str | None,
    memory: str | None,
    device: str,
    quiet: bool,
) -> int:
    """Train and analyse what is missing of FILE, then draw.

    One process per core, each with one thread. Interrupt it at any time: the same command goes on.
    Units that failed are left alone; 'seqprobe study retry' lets them run again. Two runs of one
    study share the work.

    With --scheduler or --slurm the same units run on a Dask cluster; the folder must be one that
    all machines share.
    """
    study = open_study(file, size, folder)
    units = choose(study, only)
    engine = _engine(scheduler, slurm, queue, walltime, memory, jobs)
    if engine is None and device != "cpu":
        devices.resolve(device)  # before any unit fails for it
    standing = None
    try:
        with progress(quiet, "units") as update:

            def on_change(now: Standing) -> None:
                nonlocal standing
                standing = now
                update(now.progress, now.total, _said(now))

            standing = run_study(
                study, units, engine=engine, jobs=jobs, device=device, on_change=on_change
            )
    except KeyboardInterrupt:
        done = len(standing.done) if standing is not None else 0
        raise InterruptedRunError(
            f"interrupted with {done} of {len(units)} units done; the same command goes on"
        ) from None
    whole = not standing.failed and len(units) == len(study.units)
    drawn, failures = _conclude(study, jobs, quiet) if whole else ([], [])
    _tell(study, standing, drawn, as_json, quiet)
    for failure in failures:
        echo_error(failure)
    return FAILED_UNITS if standing.failed else 1 if failures else 0


def _conclude(study: Study, jobs: int | None, quiet: bool) -> tuple[list[Path], list[str]]:
    """Compare all units and draw; return what was written, and what could not be."""
    failures = []
    with progress(quiet, "pairs") as update:
        for analysis in study.compare:
            try:
                compare_units(study, analysis, update, jobs=jobs)
            except KeyboardInterrupt:
                raise InterruptedRunError(
                    "interrupted in the comparison of all units; the same command goes on"
                ) from None
            except SeqprobeError as error:
                failures.append(str(error))
    drawn, others = draw_all(study)
    return drawn, [*failures, *others]


def _tell(study: Study, standing: Standing, drawn: list[Path], as_json: bool, quiet: bool) -> None:
    """Say how a run ended."""
    if as_json:
        echo_json(
            {
                "schema": "seqprobe.study.run/1",
                "study": study.name,
                "folder": str(study.folder),
                "done": sorted(standing.done),
                "failed": standing.failed,
                "skipped": [skipped.as_dict() for skipped in study.skipped],
                "files": [str(path) for path in drawn],
            }
        )
    elif not quiet:
        print_status(study)
    for name, reason in standing.failed.items():
        echo_error(f"'{name}' failed: {reason}")
    if not quiet:
        for path in drawn:
            click.echo(f"wrote {path}", err=True)


def choose(study: Study, only: tuple[str, ...]) -> tuple[Unit, ...]:
    """Return the units that ``--only`` names, all if it says nothing.

    Different keys narrow the choice, values of the same key widen it.

    Raises
    ------
    UsageError
        If a key is no setting, or nothing is left.
    """
    wanted: dict[str, list[str]] = {}
    for word in only:
        key, equals, value = word.partition("=")
        wanted.setdefault(key if equals else "name", []).append(value if equals else word)
    known = dict.fromkeys(key for unit in study.units for key in unit.settings)
    for key in wanted:
        if key not in (*known, "seed", "name"):
            raise UsageError(
                f"--only {key}=...: no setting has that name{suggestion(key, known)}"
                f" (allowed: seed, {', '.join(study.factors)})"
            )
    chosen = tuple(unit for unit in study.units if _is_wanted(unit, wanted))
    if not chosen:
        raise UsageError(f"--only {' '.join(only)} leaves no unit; see 'seqprobe study plan'")
    return chosen


def _is_wanted(unit: Unit, wanted: dict[str, list[str]]) -> bool:
    own: dict[str, Any] = {**unit.settings, "seed": unit.seed, "name": unit.name}
    return all(
        any(fnmatch.fnmatchcase(_text(own.get(key)), value) for value in values)
        for key, values in wanted.items()
    )


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _engine(
    scheduler: str | None,
    slurm: bool,
    queue: str | None,
    walltime: str | None,
    memory: str | None,
    jobs: int | None,
) -> Callable[[list[Any]], AbstractContextManager[Any]] | None:
    if scheduler is not None and slurm:
        raise UsageError("--scheduler and --slurm are two ways to the same; give one of them")
    given = {"--queue": queue, "--walltime": walltime, "--memory": memory}
    if not slurm and any(given.values()):
        alone = next(option for option, value in given.items() if value)
        raise UsageError(f"{alone} is for --slurm; give both, or leave it out")
    if scheduler is not None:
        return lambda work: on_dask(work, scheduler)
    if slurm:
        hours, size = walltime or "01:00:00", memory or "4GB"
        return lambda work: on_slurm(work, jobs or 1, queue, hours, size)
    return None


def _said(now: Standing) -> str:
    """Return a line for people: what has ended, and the losses of what is at work."""
    words = []
    if now.failed:
        words.append(f"{len(now.failed)} failed")
    if now.elsewhere:
        words.append(f"{len(now.elsewhere)} in another run")
    losses = [f"{r['loss']:.3g}" for r in now.running.values() if "loss" in r]
    if losses:
        more = ", ..." if len(losses) > 4 else ""
        words.append(f"loss {', '.join(losses[:4])}{more}")
    measured = sorted({str(r["analysis"]) for r in now.running.values() if "analysis" in r})
    return "; ".join([*words, *measured])
