"""``seqprobe memory report``: every question asked of a checkpoint, on one page and in one file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import xarray as xr

from seqprobe import device as devices
from seqprobe import schema
from seqprobe.adapters import Specimen
from seqprobe.cli.analysis import AnalysisCommand, Subject, of_checkpoint, path_of, short_names
from seqprobe.cli.common import echo_json, progress, run_options, table
from seqprobe.cli.given import Given, given_options
from seqprobe.cli.inputs import Source, analyse_all, expand
from seqprobe.cli.memory.group import command
from seqprobe.errors import NotApplicableError, UsageError
from seqprobe.files import make_folder

EXAMPLES = """\b
Examples:
  seqprobe memory report checkpoints/delay/gru-s0.pt --folder reports
"""


# Which question each measure answers, in the order of the page.
QUESTIONS = {
    "profile": "sensitivity",
    "perturbation": "sensitivity",
    "total-effect": "use",
    "substitution": "use",
    "context": "use",
    "copy-curve": "use",
    "linear": "availability",
    "information": "availability",
    "fisher": "availability",
    "ipc": "dimension",
    "receptive-field": "dimension",
}


@dataclass
class Report:
    """What was found of one checkpoint.

    Attributes
    ----------
    results
        By name of the command that makes them.
    reasons
        Why the others are missing.
    files
        What was written: figure and results.
    """

    results: dict[str, xr.Dataset]
    reasons: dict[str, str]
    files: dict[str, str]


@command.command(epilog=EXAMPLES)
@click.argument("checkpoints", nargs=-1, metavar="CKPT...|FOLDER...")
@click.option("--folder", default=".", help="Where the files go.  [default: here]")
@click.option(
    "--type",
    "types",
    type=click.Choice(["pdf", "png", "svg"]),
    multiple=True,
    default=("pdf",),
    show_default=True,
    help="Type of the page; may be repeated.",
)
@given_options
@run_options
def report(
    checkpoints: tuple[str, ...],
    folder: str,
    types: tuple[str, ...],
    seed: int,
    device: str,
    as_json: bool,
    quiet: bool,
    **more: Any,
) -> int:
    """Ask every question, and put the answers on one page (PDF) and into one results file.

    Writes NAME-memory.pdf and NAME-memory.nc for every checkpoint. All measures run with their
    defaults; those that do not suit a model are named with the reason. In the file each measure is
    a group, for 'xarray.open_datatree' or 'seqprobe.schema.read_groups'. Takes about a minute per
    small model.
    """
    given = Given.of(more, checkpoints)
    home, taken = make_folder(folder), set[str]()
    devices.tune_malloc()
    where = devices.resolve(device)
    measures = _measures()
    files, skipped = expand(checkpoints, given)
    with progress(quiet, "checkpoints") as update:

        def analyse(checkpoint: Source, file: Path, i: int) -> Report:
            made, path = Report({}, {}, {}), str(file)
            for j, (name, measure) in enumerate(measures.items()):

                def advance(done: float, of: float, j: int = j, name: str = name) -> None:
                    share = (j + done / of) / len(measures)
                    update(i + share, len(files), f"{path}: {name}")

                subject = Subject(checkpoint, where, seed, advance)
                advance(0, 1)
                try:
                    made.results[name] = measure.by_default(subject)
                except (NotApplicableError, UsageError) as error:
                    made.reasons[name] = str(error)
            if not made.results:
                raise NotApplicableError(next(iter(made.reasons.values())))
            stem = _stem(path, taken)
            _write(checkpoint, made, measures, home / stem, types)
            return made

        outcome = analyse_all(files, skipped, analyse, given.open)
    if as_json:
        echo_json(
            {
                "schema": "seqprobe.memory.report/1",
                "results": [
                    _as_json(checkpoint, made, measures)
                    for checkpoint, made in zip(outcome.checkpoints, outcome.results, strict=True)
                ],
                "skipped": outcome.skipped,
            }
        )
    elif outcome.results:
        names = short_names([path_of(checkpoint) for checkpoint in outcome.checkpoints])
        rows = [
            [name, *line]
            for name, made in zip(names, outcome.results, strict=True)
            for line in _lines(made, measures)
        ]
        table(["checkpoint", "question", "measure", "what was found"], rows)
        if not quiet:
            for made in outcome.results:
                click.echo(f"wrote {' and '.join(made.files.values())}", err=True)
    outcome.report()
    return outcome.exit_code


def _measures() -> dict[str, AnalysisCommand]:
    """Return the commands of all measures, in the order of the page."""
    found = {n: c for n, c in command.commands.items() if isinstance(c, AnalysisCommand)}
    return {name: found[name] for name in QUESTIONS if name in found}  # plug-ins have no question


def _lines(made: Report, measures: dict[str, AnalysisCommand]) -> list[tuple[str, str, str]]:
    """Return question, name and numbers of every measure, or why it is missing."""
    lines = []
    for name, measure in measures.items():
        if name in made.results:
            cells = measure.view.columns.items()
            found = "; ".join(f"{k} {cell(made.results[name])}" for k, cell in cells)
        else:
            found = f"not measured: {made.reasons[name]}"
        lines.append((QUESTIONS[name], name, found))
    return lines


def _stem(path: str, taken: set[str]) -> str:
    """Return a name for the files of a checkpoint that no other of this call has."""
    parts = Path(path).with_suffix("").parts
    for count in range(min(2, len(parts)), len(parts) + 1):
        stem = "-".join(part.strip("/.") or "root" for part in parts[-count:]).replace(":", "-")
        if stem not in taken:
            break
    taken.add(stem)
    return stem


def _write(
    checkpoint: Source,
    made: Report,
    measures: dict[str, AnalysisCommand],
    stem: Path,
    types: tuple[str, ...],
) -> None:
    from seqprobe import plots

    figures = [stem.with_name(f"{stem.name}-memory.{kind}") for kind in types]
    data = stem.with_name(f"{stem.name}-memory.nc")
    title = f"Memory of {checkpoint.model['name']} on {checkpoint.task['name']} ({_of(checkpoint)})"
    assert checkpoint.origin is not None  # it was read from a file
    source = ("checkpoint", f"{checkpoint.origin.path}, sha256 {checkpoint.origin.sha256}")
    lines = [source, *((f"{q}: {name}", found) for q, name, found in _lines(made, measures))]
    drawn = plots.memory_report(made.results, title, lines)
    for figure in figures:
        plots.save(drawn, figure)
    schema.write_groups(made.results, data)
    made.files = {"figure": str(figures[0]), "results": str(data)}


def _of(checkpoint: Source) -> str:
    """Return what is known of the training, for the title."""
    if isinstance(checkpoint, Specimen):
        return f"{checkpoint.params} parameters"
    score = checkpoint.score
    solved = "solved" if checkpoint.solved else "not solved"
    state = "untrained" if checkpoint.step == 0 else solved
    return f"{checkpoint.params} parameters, {score['metric']} {score['score']:.4f}, {state}"


def _as_json(
    checkpoint: Source, made: Report, measures: dict[str, AnalysisCommand]
) -> dict[str, Any]:
    found = {name: dict(measures[name].view.as_json(r)) for name, r in made.results.items()}
    return of_checkpoint(checkpoint) | made.files | {"measures": found, "missing": made.reasons}
