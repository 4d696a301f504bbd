"""What every analysis command does around its measure: read, run, write, print."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from seqprobe import device as devices
from seqprobe.adapters import Specimen
from seqprobe.cli.batch import analyse_inputs
from seqprobe.cli.common import HELP_NAMES, analysis_options, echo_json, progress, table
from seqprobe.cli.given import Given, given_options
from seqprobe.cli.subject import Subject, path_of
from seqprobe.errors import UsageError
from seqprobe.files import check_output

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.figure import Figure

    from seqprobe.cli.inputs import Outcome, Source

__all__ = [
    "AnalysisCommand",
    "Subject",
    "View",
    "analysis_command",
    "number",
    "of_checkpoint",
    "path_of",
    "short_names",
    "text",
    "with_interval",
]


@dataclass(frozen=True)
class View:
    """How a command shows its results.

    Attributes
    ----------
    schema
        Name and version of its JSON object.
    columns
        Headers of the table with what stands under them.
    as_json
        What the JSON object says of one result, besides the checkpoint; values by name.
    figure
        What draws the combined results, if something does: the name of a function in
        `seqprobe.plots`, or a function of its own in a plug-in.
    remarks
        Lines for stderr, given all results by name of the checkpoint.
    """

    schema: str
    columns: Mapping[str, Callable[[xr.Dataset], str]]
    as_json: Callable[[xr.Dataset], Mapping[str, Any]]
    figure: str | Callable[[xr.Dataset], Figure] | None
    remarks: Callable[[Mapping[str, xr.Dataset]], list[str]] = field(default=lambda results: [])

    def draw(self, results: xr.Dataset) -> Figure:
        """Draw combined results; there must be something that draws them."""
        assert self.figure is not None  # commands refuse --figure before
        if isinstance(self.figure, str):
            from seqprobe import plots

            drawn: Figure = getattr(plots, self.figure)(results)
            return drawn
        return self.figure(results)


def analysis_command(
    group: click.Group | None, name: str, view: View, *options: Any, examples: str
) -> Callable[[Callable[..., xr.Dataset]], AnalysisCommand]:
    """Make a command of ``measure(subject, **options) -> Dataset``; its docstring is the help.

    Parameters
    ----------
    group, name
        The group that gets it, and what the user types. None for a plug-in, and the name of its
        entry point: ``"spectrum"``, or ``"memory.spectrum"`` for ``seqprobe memory spectrum``.
    view, options, examples
        How the result is shown; what the measure takes, plain values; the end of the help page.
    """

    def decorate(measure: Callable[..., xr.Dataset]) -> AnalysisCommand:
        def run(
            checkpoints: tuple[str, ...],
            output: str | None,
            figures: tuple[str, ...],
            jobs: int | None,
            seed: int,
            device: str,
            as_json: bool,
            quiet: bool,
            **own: Any,
        ) -> int:
            given = Given.of(own, checkpoints)
            _check_outputs(view, output, figures)
            devices.tune_malloc()
            with progress(quiet, "checkpoints") as update:
                outcome = analyse_inputs(
                    checkpoints,
                    made,
                    own,
                    seed=seed,
                    device=device,
                    jobs=jobs,
                    update=update,
                    given=given,
                )
            _show(outcome, view, as_json, quiet)
            outcome.report()
            if outcome.results:
                _write(outcome, view, output, figures)
            return outcome.exit_code

        run.__doc__ = measure.__doc__
        command: Callable[..., Any] = run
        for option in reversed(options):
            command = option(command)
        brief = (measure.__doc__ or "").partition("\n")[0].removesuffix(".")
        made = click.command(
            name.rpartition(".")[2], cls=AnalysisCommand, epilog=examples, short_help=brief
        )(analysis_options(given_options(command)))
        made.params[0].required = False  # a factory may bring its weights itself
        made.measure, made.view = measure, view
        made.full_name = name
        made.own = [parameter for parameter in made.params if parameter.name not in _COMMON]
        if group is not None:
            made.full_name = f"{measure.__module__.split('.')[2].replace('_', '-')}.{name}"
            group.add_command(made)
        return made

    return decorate


_COMMON = {
    *("checkpoints", "output", "figures", "seed", "device", "as_json", "quiet", "jobs"),
    *Given.NAMES,
}


class AnalysisCommand(click.Command):
    """A command that remembers its measure, so that a report can run all of them.

    Attributes
    ----------
    measure
        What it applies to a `Subject`.
    view
        How it shows the result.
    own
        The options that `measure` takes.
    full_name
        Its group and its own name, such as ``"memory.profile"``.
    """

    measure: Callable[..., xr.Dataset]
    view: View
    own: list[click.Parameter]
    full_name: str

    def by_default(self, subject: Subject) -> xr.Dataset:
        """Apply the measure with the defaults of all options."""
        with self.make_context(self.name, ["CKPT"], help_option_names=HELP_NAMES) as context:
            defaults = {str(option.name): context.params[str(option.name)] for option in self.own}
        return self.measure(subject, **defaults)


def _check_outputs(view: View, output: str | None, figures: tuple[str, ...]) -> None:
    from seqprobe.plots.style import FIGURE_TYPES

    if figures and view.figure is None:
        raise UsageError("--figure: there is nothing to draw here; leave it out, or use -o")
    if output is not None:
        check_output(output, (".nc",))
    for figure in figures:
        check_output(figure, FIGURE_TYPES)


def _write(outcome: Outcome, view: View, output: str | None, figures: tuple[str, ...]) -> None:
    if output is None and not figures:
        return
    from seqprobe import plots, schema

    combined = schema.combine_runs(outcome.results)
    drawn = view.draw(combined) if figures else None
    if output is not None:
        schema.write(combined, output)
    for figure in figures:
        if drawn is not None:
            plots.save(drawn, figure)


def _show(outcome: Outcome, view: View, as_json: bool, quiet: bool) -> None:
    if as_json:
        results = [
            of_checkpoint(checkpoint) | dict(view.as_json(result))
            for checkpoint, result in zip(outcome.checkpoints, outcome.results, strict=True)
        ]
        echo_json({"schema": view.schema, "results": results, "skipped": outcome.skipped})
    elif outcome.results:
        names = short_names([path_of(checkpoint) for checkpoint in outcome.checkpoints])
        rows = [
            [name, *_identity(checkpoint), *(cell(result) for cell in view.columns.values())]
            for name, checkpoint, result in zip(
                names, outcome.checkpoints, outcome.results, strict=True
            )
        ]
        header = ["checkpoint", "task", "model", "params", "score", "solved"]
        table([*header, *view.columns], rows)
        if not quiet:
            for name, checkpoint in zip(names, outcome.checkpoints, strict=True):
                if isinstance(checkpoint, Specimen):
                    click.echo(f"{name}: {checkpoint.remark}", err=True)
            for line in view.remarks(dict(zip(names, outcome.results, strict=True))):
                click.echo(line, err=True)


def of_checkpoint(checkpoint: Source) -> dict[str, Any]:
    """Return what every JSON object says of a checkpoint; null is what nobody said."""
    origin = checkpoint.origin
    assert origin is not None  # it was read from a file
    return {
        "checkpoint": origin.path,
        "sha256": origin.sha256,
        "model": checkpoint.model["name"],
        "task": checkpoint.task["name"],
        "solved": origin.solved,
        "train_step": origin.step,
        "train_length": origin.train_length,
    }


def _identity(checkpoint: Source) -> list[str]:
    cells = [checkpoint.task["name"], checkpoint.model["name"], str(checkpoint.params)]
    if isinstance(checkpoint, Specimen):
        return [*cells, "-", "-"]
    score = checkpoint.score
    return [
        *cells,
        f"{score['metric']} {score['score']:.4f}",
        ("yes" if checkpoint.solved else "no") + (", untrained" if checkpoint.step == 0 else ""),
    ]


def short_names(paths: list[str]) -> list[str]:
    """Return the paths without the folder that all of them share."""
    absolute = [Path(path).absolute() for path in paths]
    shared = os.path.commonpath([path.parent for path in absolute])
    if shared == os.path.sep:  # nothing is shared, and a path without its root is another one
        return paths
    return [str(path.relative_to(shared)) for path in absolute]


def with_interval(
    value: xr.DataArray, bounds: xr.DataArray, largest: int | None = None, digits: int = 0
) -> str:
    """Return ``20 [19, 21]``, or ``>= 64`` where the largest lag still qualifies."""
    if largest is not None and float(value) == largest:
        return f">= {largest}"
    low, high = (text(bound, digits) for bound in bounds)
    middle = text(value, digits)
    return middle if "-" in (low, middle) or low == high == middle else f"{middle} [{low}, {high}]"


def text(value: xr.DataArray | float, digits: int = 0) -> str:
    """Return a number with so many digits, or ``-`` where there is none."""
    plain = float(value)
    if not math.isfinite(plain):
        return "-"
    written = f"{plain:.{digits}f}"
    return written.removeprefix("-") if float(written) == 0 else written


def number(value: xr.DataArray | float) -> float | int | None:
    """Return a JSON number: whole ones as integers, None where there is none."""
    plain = float(value)
    if not math.isfinite(plain):
        return None
    return int(plain) if plain == int(plain) else plain
