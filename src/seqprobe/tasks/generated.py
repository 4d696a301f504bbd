"""What tasks with generated sequences share: how a batch is asked for."""

from __future__ import annotations

import dataclasses
from abc import abstractmethod
from typing import Any

import numpy as np

from seqprobe.config import from_mapping
from seqprobe.errors import UsageError
from seqprobe.seeding import generator
from seqprobe.tasks.base import Batch, Split, Task, check_request

__all__ = ["GeneratedTask"]

_EVALUATION_SIZE = 512


class GeneratedTask(Task):
    """A task that draws as many sequences as it is asked for, of any length it can have.

    Attributes
    ----------
    shortest
        Smallest length with something to score.
    """

    shortest: int = 1

    def batch(
        self,
        split: Split,
        size: int | None = None,
        *,
        seed: int = 0,
        index: int = 0,
        length: int | None = None,
    ) -> Batch:
        """Draw sequences; see `Task.batch`."""
        check_request(split, size, length)
        length = self.length if length is None else length
        self.check_length(length)
        rng = generator(seed, self.name, split, index)
        return self.draw(rng, _EVALUATION_SIZE if size is None else size, length)

    def check_length(self, length: int) -> None:
        """Refuse a length that leaves nothing to score."""
        if length < self.shortest:
            raise UsageError(
                f"length {length} is too short for task '{self.name}'"
                f" (allowed: {self.shortest} or more)"
            )

    def longer(self, factor: int = 2) -> Task:
        """Return the task with trials `factor` times as long; see `Task.longer`."""
        if factor != int(factor) or factor < 1:
            raise UsageError(
                f"factor = {factor} makes no longer trials (allowed: whole numbers, 1 or more)"
            )
        settings = dataclasses.asdict(self.config) | self._lengthened(int(factor))
        return type(self)(from_mapping(type(self.config), settings, "task"))

    def _lengthened(self, factor: int) -> dict[str, Any]:
        """Return the settings that differ where trials are `factor` times as long."""
        return {"length": factor * self.length}

    @abstractmethod
    def draw(self, rng: np.random.Generator, size: int, length: int) -> Batch:
        """Draw `size` sequences of a length that has been checked."""
