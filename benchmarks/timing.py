"""Fair timing on a shared machine: one thread, CPU time, the two sides in turn, medians."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import torch

__all__ = ["in_turn", "median_seconds", "one_thread", "seconds"]


def one_thread() -> None:
    """Compute with one thread, so that CPU time is the time of the work."""
    torch.set_num_threads(1)


def seconds(work: Callable[[], object]) -> float:
    """Return the CPU time of one call."""
    start = time.process_time()
    work()
    return time.process_time() - start


def median_seconds(work: Callable[[], object], runs: int = 5) -> float:
    """Return the median CPU seconds of `work`, after one run that does not count."""
    work()
    return statistics.median(seconds(work) for _ in range(runs))


def in_turn(
    ours: Callable[[], object], theirs: Callable[[], object], runs: int = 15
) -> tuple[float, float, float]:
    """Return median seconds of both and the median of the ratios ours / theirs, pair by pair."""
    for _ in range(3):
        ours()
        theirs()
    pairs = [(seconds(ours), seconds(theirs)) for _ in range(runs)]
    a, b = zip(*pairs, strict=True)
    return statistics.median(a), statistics.median(b), statistics.median(x / y for x, y in pairs)
