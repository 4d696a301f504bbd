"""The sequences of a recording, drawn as they are needed."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from seqprobe.errors import UsageError
from seqprobe.tasks import Batch, Condition, Task

__all__ = ["DRAWN", "Trials"]

DRAWN = 64  # sequences per call of a task that generates them: it decides what a recording holds


@dataclass(frozen=True)
class Trials:
    """All sequences of a recording.

    Attributes
    ----------
    total
        Their number.
    task
        What draws them, or None.
    drawn
        The sequences, if they are there already.
    seed, length
        For the task.
    """

    total: int
    task: Task | None
    drawn: Batch | None
    seed: int
    length: int | None

    @classmethod
    def of(cls, source: Task | Batch, trials: int | None, length: int | None, seed: int) -> Trials:
        """Return so many sequences of a task, 64 or all by default, or the given ones."""
        if isinstance(source, Batch):
            if trials is not None or length is not None:
                raise UsageError("trials and length are for a task; cut the sequences yourself")
            return cls(len(source.inputs), None, source, seed, None)
        there = source.count("test", length)
        if there is None:
            total = DRAWN if trials is None else trials
            return cls(_positive(total), source, None, seed, length)
        total = min(DRAWN, max(1, there)) if trials is None else _positive(trials)
        drawn = source.batch("test", total, seed=seed, length=length)
        return cls(total, source, drawn, seed, length)

    def take(self, start: int, stop: int) -> Batch:
        """Return some of the sequences; `start` is a multiple of `DRAWN`."""
        if self.drawn is not None:
            return self.drawn.rows(slice(start, stop))
        assert self.task is not None  # one of the two is there
        pieces = [
            self.task.batch("test", DRAWN, seed=self.seed, index=i, length=self.length)
            for i in range(start // DRAWN, -(-stop // DRAWN))
        ]
        return _joined(pieces).rows(slice(0, stop - start))

    def conditions(self, batch: Batch) -> dict[str, Condition]:
        """Return the task's conditions of some sequences."""
        return {} if self.task is None else self.task.conditions(batch)


def _positive(trials: int) -> int:
    if trials != int(trials) or trials < 1:
        raise UsageError(f"{trials} trials were asked for (allowed: whole numbers, 1 or more)")
    return trials


def _joined(pieces: list[Batch]) -> Batch:
    masks: list[Tensor] = [piece.mask for piece in pieces if piece.mask is not None]
    return Batch(
        torch.cat([piece.inputs for piece in pieces]),
        torch.cat([piece.targets for piece in pieces]),
        torch.cat(masks) if masks else None,
        about={
            name: known.of(torch.cat([piece.about[name].values for piece in pieces]))
            for name, known in pieces[0].about.items()
        },
    )
