"""What commands share: options, progress, tables and JSON."""

from __future__ import annotations

import json
import math
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import click

__all__ = [
    "HELP_NAMES",
    "LENGTH",
    "Number",
    "Steps",
    "analysis_options",
    "echo_error",
    "echo_json",
    "plain",
    "progress",
    "run_options",
    "sequences",
    "table",
]

# A command keeps the help option of its first context, so that all contexts name the same.
HELP_NAMES = ["-h", "--help"]

Command = TypeVar("Command", bound=Callable[..., Any])


def run_options(command: Command) -> Command:
    """Add the options of everything that computes: seed, device, JSON, quiet."""
    for option in reversed(
        [
            click.option(
                "--seed",
                type=click.IntRange(0, 2**63 - 1),
                default=0,
                show_default=True,
                help="Seed of all randomness.",
            ),
            click.option(
                "--device",
                default="auto",
                show_default=True,
                help="Where to compute: auto, cpu, cuda, ...",
            ),
            click.option("--json", "as_json", is_flag=True, help="Print one JSON object."),
            click.option("-q", "--quiet", is_flag=True, help="No progress bar, no remarks."),
        ]
    ):
        command = option(command)
    return command


def analysis_options(command: Command) -> Command:
    """Add the options that every analysis has."""
    for option in reversed(
        [
            click.argument("checkpoints", nargs=-1, required=True, metavar="CKPT...|FOLDER..."),
            click.option(
                "-o", "--output", metavar="FILE.nc", help="Write the results, for xarray."
            ),
            click.option(
                "--figure",
                "figures",
                multiple=True,
                metavar="FILE.pdf",
                help="Draw them (.pdf, .png, .svg); may be repeated.",
            ),
            click.option(
                "-j",
                "--jobs",
                type=click.IntRange(1),
                help="Processes for a folder.  [default: one per core, if it takes long]",
            ),
            run_options,
        ]
    ):
        command = option(command)
    return command


def plain(value: Any) -> Any:
    """Return a JSON value: arrays become lists, whole steps integers, NaN and infinities null."""
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def echo_error(message: str) -> None:
    """Print one line on stderr; control characters, as in a file's name, are spelled out."""
    line = "".join(c if c.isprintable() else repr(c)[1:-1] for c in message)
    click.echo(f"seqprobe: error: {line}", err=True)


def echo_json(content: Any) -> None:
    """Print one object on stdout."""
    click.echo(json.dumps(plain(content), allow_nan=False))


class Number(click.FloatRange):
    """A finite number in a range; click's own lets NaN through."""

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Return the number."""
        number: float = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value} is not in the range {self._describe_range()}.", param, ctx)
        return number


_LARGEST_STEP, _MOST_STEPS = 2**24, 10_000


class Steps(click.ParamType[list[int]]):
    """``5,10,20`` or ``10:30:5`` (from, to, step; both ends included), or both mixed."""

    name = "LIST"

    def __init__(self, what: str, least: int) -> None:
        self.what, self.least = what, least

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> list[int]:
        """Return the steps, ascending."""
        found: set[int] = set()
        for piece in str(value).split(","):
            match = re.fullmatch(r"(\d+)(?::(\d+)(?::(\d+))?)?", piece.strip())
            if match is None or match[3] == "0" or int(match[1]) < self.least:
                self.fail(
                    f"'{piece}' is not a {self.what}"
                    f" (allowed: 5,10,20 or 10:30:5, from {self.least} on)"
                )
            start, stop, step = (int(part) if part else None for part in match.groups())
            assert start is not None
            stop = start if stop is None else stop
            if stop < start:
                self.fail(f"'{piece}' ends before it starts (allowed: from:to or from:to:step)")
            if stop > _LARGEST_STEP or (stop - start) // (step or 1) > _MOST_STEPS:
                self.fail(
                    f"'{piece}' is too much (allowed: up to {_LARGEST_STEP}, and"
                    f" {_MOST_STEPS} of them)"
                )
            found |= set(range(start, stop + 1, step or 1))
        return sorted(found)


LENGTH = click.option(
    "--length",
    type=click.IntRange(1, 2**31),
    help="Length of the sequences.  [default: as trained]",
)


def sequences(default: int) -> object:
    """Return the option for the number of test sequences."""
    return click.option(
        "--sequences",
        type=click.IntRange(1, 2**31),
        help=f"Number of test sequences.  [default: {default}, or all if there are fewer]",
    )


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print aligned columns on stdout, never wrapped, so that a pipe gets whole lines."""
    lines = [list(header), *map(list, rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(header))]
    for line in lines:
        cells = (cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        click.echo("  ".join(cells).rstrip())


@contextmanager
def progress(quiet: bool, unit: str) -> Iterator[Callable[[float, float, str], None]]:
    """Yield ``update(done, total, text)``: a bar on a terminal's stderr, nothing in a pipe."""
    if quiet or not sys.stderr.isatty():
        yield lambda done, total, text: None
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=None),
        MofNCompleteColumn(),
        TextColumn(unit),
        TimeRemainingColumn(compact=True),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=None)
        yield lambda done, total, text: bar.update(
            task, completed=done, total=total, description=text
        )
