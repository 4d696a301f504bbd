"""Options that several questions share."""

from __future__ import annotations

from collections.abc import Mapping

import click
import xarray as xr

from seqprobe.cli.analysis import text
from seqprobe.cli.common import LENGTH, Steps, sequences

__all__ = ["LAGS", "LENGTH", "MAX_LAG", "PART", "at_peak", "counted", "sequences"]

MAX_LAG = click.option(
    "--max-lag",
    type=click.IntRange(0),
    help="Largest lag.  [default: 2/3 of the length or where the task's answers lie, if that is"
    " further; all of it for last-step tasks]",
)
LAGS = click.option(
    "--lags",
    type=Steps("lag", 0),
    help="Lags, as 0,5,20 or 0:40:5.  [default: about ten per decade, and around the lag of the"
    " task's answers]",
)
PART = click.option(
    "--part",
    default="readout",
    show_default=True,
    help="Tensor to read from: readout, state, or an internal such as layer0.update.",
)


def at_peak(result: xr.Dataset, name: str, digits: int = 3) -> str:
    """Return the largest value along the lags and where it is: ``0.998 at 20``."""
    values = result[name]
    if not bool(values.notnull().any()):
        return "-"
    lag = int(values["lag"].values[values.values.argmax()])
    return f"{text(values.max(), digits)} at {lag}"


def counted(results: Mapping[str, xr.Dataset], what: str) -> str:
    """Return the remark on lags and intervals."""
    return f"lags in steps; {what}; values and 95 % intervals at all lags are in -o and --json"
