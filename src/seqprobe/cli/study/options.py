"""What the commands of ``seqprobe study`` share."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import click

__all__ = ["described", "duration", "study_options"]

Command = TypeVar("Command", bound=Callable[..., Any])


def study_options(made: Command) -> Command:
    """Add what names a study."""
    for option in reversed(
        [
            click.argument("file", metavar="FILE"),
            click.option(
                "--size",
                type=click.Choice(["full", "smoke"]),
                help="Which section of the file counts.  [default: full]",
            ),
            click.option(
                "--folder",
                metavar="DIR",
                help="Where the units are.  [default: runs/NAME here, or runs/NAME-smoke]",
            ),
            click.option("--json", "as_json", is_flag=True, help="Print one JSON object."),
        ]
    ):
        made = option(made)
    return made


def described(values: Iterable[Any]) -> list[str]:
    """Return values as cells of a table."""
    return ["-" if value is None else str(value) for value in values]


def duration(seconds: float) -> str:
    """Return a duration as a person says it: ``50 s``, ``12 min``, ``3.5 h``."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"
