"""What tasks share that ask for symbols shown before: answers at some steps, and loads to vary."""

from __future__ import annotations

import dataclasses
from abc import abstractmethod
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from seqprobe.errors import UsageError, suggestion
from seqprobe.tasks.base import Batch
from seqprobe.tasks.generated import GeneratedTask

__all__ = ["SymbolRecall", "last_steps"]


class SymbolRecall(GeneratedTask):
    """A task with M answers per sequence, each one of K symbols, drawn independently and evenly.

    Attributes
    ----------
    alphabet
        Number K of possible answers.
    loads
        Settings that say how much has to be held, or how long, with their units; the first is what
        a recall curve varies unless told otherwise.
    """

    alphabet: int
    loads: ClassVar[dict[str, str]]

    def at(self, load: str, value: int) -> SymbolRecall:
        """Return the same task at another load, longer if it needs to be."""
        if load not in self.loads:
            raise UsageError(
                f"task '{self.name}' has no load '{load}'{suggestion(load, self.loads)}"
                f" (allowed: {', '.join(self.loads)})"
            )
        return type(self)(self._loaded(load, value))

    def _loaded(self, load: str, value: int) -> Any:
        """Return the settings at another load."""
        return dataclasses.replace(self.config, **{load: value})

    @abstractmethod
    def stored_after(self, length: int) -> int:
        """Return the number of steps after which all has been shown and nothing been asked."""

    def answers(self, values: Tensor, batch: Batch) -> Tensor:
        """Return the steps (B, M, ...) of values (B, T, ...) at which a symbol is due."""
        assert batch.mask is not None  # every task of this kind says where it asks
        return values[batch.mask].reshape(len(values), -1, *values.shape[2:])

    def asked(self, batch: Batch) -> Tensor:
        """Return the symbols due, (B, M)."""
        return self.answers(batch.targets, batch)

    def errors(self, outputs: Tensor, batch: Batch) -> Tensor:
        """Return the cross-entropy of the answers, (B,), in nats per symbol."""
        said = self.answers(outputs, batch).transpose(1, 2)
        return F.cross_entropy(said, self.asked(batch), reduction="none").mean(dim=1)

    def scores(self, outputs: Tensor, batch: Batch) -> Tensor:
        """Return the fraction of answers that is right, (B,)."""
        right = self.answers(outputs, batch).argmax(dim=2) == self.asked(batch)
        return right.to(outputs.dtype).mean(dim=1)


def last_steps(size: int, length: int, count: int) -> Tensor:
    """Return a mask (B, T) of the last steps."""
    return (torch.arange(length) >= length - count).expand(size, length)
