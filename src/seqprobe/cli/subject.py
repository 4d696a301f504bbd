"""What a measure is given: one model with its sequences, and where and how to compute."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from seqprobe.adapters import Specimen
from seqprobe.errors import NotApplicableError
from seqprobe.memory.estimates import lag_grid
from seqprobe.memory.window import make_window
from seqprobe.tasks import make_task

if TYPE_CHECKING:
    from seqprobe.cli.inputs import Source
    from seqprobe.models import WholeModel
    from seqprobe.tasks import Batch, Task
    from seqprobe.training import Checkpoint

__all__ = ["Subject", "path_of"]

_SEQUENCES = {"last": 256, "each": 64}


@dataclass
class Subject:
    """One checkpoint, or one model made elsewhere, under analysis.

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

    checkpoint: Source
    device: Any
    seed: int
    update: Callable[[float, float], None]

    @cached_property
    def model(self) -> WholeModel:
        """The model, on the device."""
        return self.checkpoint.build_model().to(self.device)

    @cached_property
    def task(self) -> Task:
        """The task it was trained on."""
        return self.checkpoint.build_task()

    @property
    def trained(self) -> Checkpoint:
        """The checkpoint, for what has to know how it was trained."""
        if isinstance(self.checkpoint, Specimen):
            raise NotApplicableError(
                f"it is not known how {self.checkpoint.model['name']} was trained, and so it cannot"
                " be trained anew; train a model of 'seqprobe ls models'"
            )
        return self.checkpoint

    @property
    def architecture(self) -> str:
        """What to type after ``seqprobe train`` for a model like this."""
        return "MODEL" if isinstance(self.checkpoint, Specimen) else self.checkpoint.model["name"]

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
        self.task = make_task("chartext", dataclasses.asdict(self.task.config) | {"text": path})

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


def path_of(checkpoint: Source) -> str:
    """Return the file of a checkpoint, as the user wrote it."""
    assert checkpoint.origin is not None  # it was read from a file
    return checkpoint.origin.path
