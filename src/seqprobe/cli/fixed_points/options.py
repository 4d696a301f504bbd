"""Options and preparations that the commands on fixed points share."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
import numpy as np

import seqprobe.dynamics
from seqprobe.cli.common import Number
from seqprobe.errors import UnreadableFileError, UsageError

if TYPE_CHECKING:
    import xarray as xr
    from torch import Tensor

    from seqprobe.cli.analysis import Subject
    from seqprobe.tasks import Batch

__all__ = [
    "Setting",
    "find",
    "histogram",
    "input_option",
    "one_vector",
    "prepare",
    "start_options",
    "vectors",
]

Command = TypeVar("Command", bound=Callable[..., Any])


def start_options(default: int) -> list[Any]:
    """Return the options that say where a search starts."""
    return [
        click.option(
            "--starts",
            "n_starts",
            type=click.IntRange(1, 2**24),
            default=default,
            show_default=True,
            help="Number of states to start from, met on test sequences.",
        ),
        click.option(
            "--noise",
            type=Number(0.0, 1e6),
            default=0.1,
            show_default=True,
            help="What is added to starts, in standard deviations of the states.",
        ),
        click.option(
            "--length",
            type=click.IntRange(1, 2**31),
            help="Length of the test sequences.  [default: as trained]",
        ),
        click.option(
            "--sequences",
            type=click.IntRange(1, 2**31),
            help="Number of test sequences.  [default: 64, or 256 where only the last step counts]",
        ),
    ]


def input_option(several: bool = False) -> Any:
    """Return the option for the input that is held."""
    rows = "; a file with several rows is searched row by row" if several else ""
    return click.option(
        "--input",
        "held",
        metavar="zero|mean|NUMBERS|FILE",
        help="Constant input: zero, the mean over test sequences, numbers as 0,1,0, or a file"
        f" (.npy, .csv) with them{rows}.  [default: zero; mean for tokens]",
    )


@dataclass
class Setting:
    """Where a search starts and which inputs are held.

    Attributes
    ----------
    batch
        Test sequences.
    starts
        States (S, n).
    inputs
        (R, d), the inputs to hold, one after the other.
    text
        How the user named them.
    """

    batch: Batch
    starts: Tensor
    inputs: Tensor
    text: str

    @property
    def input(self) -> Tensor:
        """The one input, (d,)."""
        return one_vector(self.inputs, self.text)


def prepare(
    subject: Subject,
    held: str | None,
    n_starts: int,
    noise: float,
    length: int | None,
    sequences: int | None,
) -> Setting:
    """Return starts and inputs for one checkpoint."""
    # Whether there are fixed points at all is said before any sequence is read.
    size = seqprobe.dynamics.state_map(subject.model).inputs
    batch = subject.batch(sequences, length)
    text = held
    if text is None:
        text = "zero" if batch.inputs.is_floating_point() else "mean"
    inputs = vectors(subject, batch, text, size)
    starts = seqprobe.dynamics.sample_states(
        subject.model, batch, n_starts, noise=noise, seed=subject.seed
    )
    return Setting(batch, starts, inputs, text)


def find(
    subject: Subject, setting: Setting, exhaustive: bool = False, several: bool = True
) -> xr.Dataset:
    """Return the fixed points under the inputs of a setting, or its one input."""
    import torch

    if not several:
        one_vector(setting.inputs, setting.text)

    rows = len(setting.inputs)
    starts = setting.starts.repeat(rows, 1)
    held = (
        setting.inputs[0] if rows == 1 else setting.inputs.repeat_interleave(len(setting.starts), 0)
    )
    with torch.no_grad():
        return seqprobe.dynamics.fixed_points(
            subject.model,
            starts,
            input=held,
            exhaustive=exhaustive,
            seed=subject.seed,
            on_progress=subject.update,
        )


def one_vector(inputs: Tensor, text: str) -> Tensor:
    """Return the one input of (R, d).

    Raises
    ------
    UsageError
        If there are several.
    """
    if len(inputs) != 1:
        raise UsageError(f"input '{text}' holds {len(inputs)} rows (allowed here: one)")
    return inputs[0]


def vectors(subject: Subject, batch: Batch, text: str, size: int) -> Tensor:
    """Return the inputs (R, d) that a user named.

    Raises
    ------
    UsageError
        If it names none, or one of another size.
    UnreadableFileError
        If a file does not hold numbers.
    """
    import torch

    if text == "zero":
        return torch.zeros(1, size, dtype=torch.float64)
    if text == "mean":
        x = seqprobe.dynamics.input_vectors(subject.model, batch)
        if batch.mask is not None:
            x = x[batch.mask.cpu()]
        return x.reshape(-1, x.shape[-1]).mean(dim=0, keepdim=True)
    allowed = f"(allowed: zero, mean, {size} numbers as 0,1,0, or a file with {size} in a row)"
    if Path(text).is_file():
        rows = _numbers_of(Path(text))
    else:
        try:
            rows = np.array([[float(word) for word in text.split(",")]])
        except ValueError:
            raise UsageError(f"input '{text}' is no file {allowed}") from None
    if rows.ndim != 2 or not rows.size:
        raise UsageError(f"input '{text}' has shape {rows.shape} {allowed}")
    if rows.shape[1] != size:
        raise UsageError(
            f"input '{text}' has {rows.shape[1]} numbers per row, the model reads {size} {allowed}"
        )
    if not np.isfinite(rows).all():
        raise UsageError(f"input '{text}' holds values that are not finite {allowed}")
    return torch.from_numpy(rows)


def _numbers_of(path: Path) -> np.ndarray:
    """Return the rows of real numbers that a file holds."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # of empty files and of imaginary parts
            if path.suffix == ".npy":
                rows = np.load(path, allow_pickle=False)
            else:
                rows = np.loadtxt(path, delimiter="," if path.suffix == ".csv" else None, ndmin=2)
            return np.atleast_2d(np.asarray(rows, dtype=np.float64))
    except (ValueError, TypeError, OSError, EOFError, Warning):
        raise UnreadableFileError(
            f"'{path}' does not hold rows of real numbers (.npy, .csv, .txt); check the file"
        ) from None


def histogram(unstable: np.ndarray) -> dict[str, int]:
    """Return the number of fixed points by unstable dimensions."""
    values, counts = np.unique(unstable, return_counts=True)
    return {str(int(v)): int(c) for v, c in zip(values, counts, strict=True)}
