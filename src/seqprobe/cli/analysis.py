"""What every analysis command does around its measure: read, run, write, print."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from seqprobe import device as devices
from seqprobe.cli.batch import analyse_inputs
from seqprobe.cli.common import HELP_NAMES, analysis_options, echo_json, progress, table
from seqprobe.errors import NotApplicableError, UsageError
from seqprobe.files import check_output
from seqprobe.memory.estimates import lag_grid
from seqprobe.memory.window import make_window
from seqprobe.tasks import make_task

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.figure import Figure

    from seqprobe.cli.inputs import Outcome
    from seqprobe.models import Model
    from seqprobe.tasks import Batch, Task
    from seqprobe.training import Checkpoint

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

_SEQUENCES = {"last": 256, "each": 64}


@dataclass
class Subject:
    """One checkpoint under analysis.

    Attributes
    ----------
    checkpoint
        As read.
    device
        Where to compute.
    seed
        Of all randomness.
    update
        Reports ``(done, total)`` of this analysis.
    """

    checkpoint: Checkpoint
    device: Any
    seed: int
    update: Callable[[float, float], None]

    @cached_property
    def model(self) -> Model:
        """The model, on the device."""
        return self.checkpoint.build_model().to(self.device)

    @cached_property
    def task(self) -> Task:
        """The task it was trained on."""
        return self.checkpoint.build_task()

    @property
    def path(self) -> str:
        """The file, as the user wrote it."""
        return path_of(self.checkpoint)

    def batch(
        self, sequences: int | None = None, length: int | None = None, default: int | None = None
    ) -> Batch:
        """Return test sequences; by default so many, or all if there are fewer.

        Without a `default` that is 64, or 256 for last-step tasks.
        """
        if sequences is None:
            sequences = _SEQUENCES[self.task.spec.readout] if default is None else default
            there = self.task.count("test", length)
            sequences = sequences if there is None else min(sequences, max(1, there))
        return self.task.batch("test", sequences, seed=self.seed, length=length)

    def use_text(self, path: str) -> None:
        """Test on another text; its characters must be in the checkpoint's vocabulary."""
        if self.task.name != "chartext":
            raise NotApplicableError(
                f"--text is for models of 'chartext', this one was trained on '{self.task.name}'"
            )
        self.task = make_task("chartext", self.checkpoint.task["config"] | {"text": path})

    def max_lag(self, asked: int | None, length: int) -> int | None:
        """Return the largest lag asked for, or one that shows the task's answers.

        None where two thirds of the length, or what else an analysis takes, shows them.
        """
        if asked is not None:
            return asked
        reach = self.task.reach(length)
        if reach is None or reach <= 2 * length // 3 or reach >= length:
            return None
        return reach

    def lags(self, max_lag: int | None, length: int) -> list[int]:
        """Return lags about ten per decade, and those around the task's answers."""
        max_lag = self.max_lag(max_lag, length)
        largest = make_window(self.model, length, max_lag, 1).max_lag
        return lag_grid(largest, self.task.reach(length))

    def window(self, batch: Batch, max_lag: int | None, lags: list[int] | None) -> dict[str, Any]:
        """Return what a profile over some lags is called with, defaults for what is None."""
        length = batch.inputs.shape[1]
        return {
            "max_lag": self.max_lag(max_lag, length),
            "lags": lags or self.lags(max_lag, length),
        }


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
        Name of the function in `seqprobe.plots` that draws the combined results, if there is one.
    remarks
        Lines for stderr, given all results by name of the checkpoint.
    """

    schema: str
    columns: Mapping[str, Callable[[xr.Dataset], str]]
    as_json: Callable[[xr.Dataset], Mapping[str, Any]]
    figure: str | None
    remarks: Callable[[Mapping[str, xr.Dataset]], list[str]] = field(default=lambda results: [])


def analysis_command(
    group: click.Group, name: str, view: View, *options: Any, examples: str
) -> Callable[[Callable[..., xr.Dataset]], AnalysisCommand]:
    """Make a command of ``measure(subject, **options) -> Dataset``; its docstring is the help."""

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
            _check_outputs(view, output, figures)
            devices.tune_malloc()
            with progress(quiet, "checkpoints") as update:
                outcome = analyse_inputs(
                    checkpoints, made, own, seed=seed, device=device, jobs=jobs, update=update
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
        made = click.command(name, cls=AnalysisCommand, epilog=examples, short_help=brief)(
            analysis_options(command)
        )
        made.measure, made.view = measure, view
        made.full_name = f"{measure.__module__.split('.')[2].replace('_', '-')}.{name}"
        made.own = [parameter for parameter in made.params if parameter.name not in _COMMON]
        group.add_command(made)
        return made

    return decorate


_COMMON = {"checkpoints", "output", "figures", "seed", "device", "as_json", "quiet", "jobs"}


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
    drawn: Figure | None = None
    if figures and view.figure is not None:
        drawn = getattr(plots, view.figure)(combined)
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
            for line in view.remarks(dict(zip(names, outcome.results, strict=True))):
                click.echo(line, err=True)


def of_checkpoint(checkpoint: Checkpoint) -> dict[str, Any]:
    """Return what every JSON object says of a checkpoint."""
    assert checkpoint.origin is not None  # it was read from a file
    return {
        "checkpoint": checkpoint.origin.path,
        "sha256": checkpoint.origin.sha256,
        "model": checkpoint.model["name"],
        "task": checkpoint.task["name"],
        "solved": checkpoint.solved,
        "train_step": checkpoint.step,
        "train_length": checkpoint.origin.train_length,
    }


def _identity(checkpoint: Checkpoint) -> list[str]:
    score = checkpoint.score
    return [
        checkpoint.task["name"],
        checkpoint.model["name"],
        str(checkpoint.params),
        f"{score['metric']} {score['score']:.4f}",
        ("yes" if checkpoint.solved else "no") + (", untrained" if checkpoint.step == 0 else ""),
    ]


def path_of(checkpoint: Checkpoint) -> str:
    """Return the file of a checkpoint, as the user wrote it."""
    assert checkpoint.origin is not None  # it was read from a file
    return checkpoint.origin.path


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
