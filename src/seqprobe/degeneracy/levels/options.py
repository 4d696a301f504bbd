"""What levels are asked with, and what they have in common."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from seqprobe.degeneracy.dsa import DELAYS, RANKS
from seqprobe.degeneracy.matching import Matrices
from seqprobe.degeneracy.pairs import Kept, Update
from seqprobe.degeneracy.relabelling import Group
from seqprobe.errors import NotApplicableError
from seqprobe.tasks import Batch, Task

__all__ = ["Options", "Remarks", "applicable", "inside", "place", "test_batch"]


def _silent(done: float, total: float) -> None:
    del done, total


@dataclass(frozen=True)
class Options:
    """What decides the result of a comparison, and how it is computed.

    Attributes
    ----------
    sequences
        Test sequences whose trajectories are compared; dynamics take as many again for the null.
    delays, ranks
        The grid of DSA.
    group, matrices
        Of the weights; see `seqprobe.degeneracy.dpif`.
    factor
        How many times as long trials are out of distribution.
    seed
        Of sequences, starts and bootstraps.
    jobs, kept, update
        Processes, where pairs are kept, and who is told of progress.
    """

    sequences: int = 64
    delays: Sequence[int] = DELAYS
    ranks: Sequence[int] = RANKS
    group: Group | Literal["auto"] = "auto"
    matrices: Matrices = "recurrent"
    factor: int = 2
    seed: int = 0
    jobs: int = 1
    kept: Kept | None = None
    update: Update = _silent

    def kept_of(self, members: Sequence[int]) -> Kept | None:
        """Return where pairs of some of the networks are kept."""
        if self.kept is None:
            return None
        return Kept(self.kept.folder, [self.kept.networks[i] for i in members])


@dataclass
class Remarks:
    """What a reader of the result must know, once each."""

    lines: list[str] = field(default_factory=list)

    def add(self, line: str) -> None:
        """Add a line if it is not there."""
        if line not in self.lines:
            self.lines.append(line)


def test_batch(task: Task, count: int, seed: int) -> Batch:
    """Return test sequences: so many, or all if there are fewer."""
    there = task.count("test")
    return task.batch("test", count if there is None else min(count, there), seed=seed)


def applicable(
    level: str,
    names: Sequence[str],
    measure: Callable[[int], Any],
    remarks: Remarks,
    which: Iterable[int],
) -> dict[int, Any]:
    """Return what a measure says of networks that it applies to; remark on the others.

    Parameters
    ----------
    level
        For the remarks.
    names
        Of all networks.
    measure
        Of a network by its position; refuses with a `NotApplicableError`.
    remarks
        Receives who is left out, and why.
    which
        Networks that are compared with others.

    Raises
    ------
    NotApplicableError
        If it applies to fewer than two.
    """
    found, reasons = {}, dict[str, list[str]]()
    for i in which:
        try:
            found[i] = measure(i)
        except NotApplicableError as error:
            reasons.setdefault(str(error), []).append(names[i])
    for reason, whose in reasons.items():
        more = f" and {len(whose) - 1} more" if len(whose) > 1 else ""
        remarks.add(f"{level}: '{whose[0]}'{more} left out: {reason}")
    if len(found) < 2:
        raise NotApplicableError(f"{level}: fewer than two networks can be compared")
    return found


def inside(members: Sequence[int], pairs: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return the pairs among some of the networks, by their positions in `members`."""
    place_of = {i: k for k, i in enumerate(members)}
    return [(place_of[i], place_of[j]) for i, j in pairs if i in place_of and j in place_of]


def place(total: np.ndarray, members: Sequence[int], values: np.ndarray, paired: bool) -> None:
    """Put values of some of the networks, (n, ...) or (n, n, ...), where they belong."""
    index = np.ix_(members, members) if paired else np.asarray(members)
    total[index] = values
