"""What tasks with generated sequences share: how a batch is asked for."""

from __future__ import annotations

from abc import abstractmethod

import numpy as np

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

    @abstractmethod
    def draw(self, rng: np.random.Generator, size: int, length: int) -> Batch:
        """Draw `size` sequences of a length that has been checked."""
