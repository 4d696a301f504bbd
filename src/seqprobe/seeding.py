"""All randomness comes from a seed and the purpose it serves.

Two purposes never share a stream, so that drawing more test data does not change training, and the
train, validation and test streams of a generated task are disjoint by construction.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

from seqprobe.errors import UsageError

__all__ = ["generator", "torch_seeded"]


def _sequence(seed: int, purpose: tuple[str | int, ...]) -> np.random.SeedSequence:
    if seed < 0:
        raise UsageError(f"seed must be a non-negative integer, got {seed}")
    # crc32 turns a purpose into a number that is the same on every machine and Python version.
    words = [zlib.crc32(p.encode()) if isinstance(p, str) else p for p in purpose]
    # The count keeps purposes apart that differ by a trailing zero, which the hash pads anyway.
    return np.random.SeedSequence([seed, len(words), *words])


def generator(seed: int, *purpose: str | int) -> np.random.Generator:
    """Return NumPy's generator for one purpose.

    Parameters
    ----------
    seed
        Non-negative seed of the run.
    purpose
        Names and indices of what the numbers are for, such as ``"delay", "train", 12``.

    Returns
    -------
    numpy.random.Generator
        The same generator for the same arguments, on every machine.
    """
    return np.random.default_rng(_sequence(seed, purpose))


@contextmanager
def torch_seeded(seed: int, *purpose: str | int) -> Iterator[None]:
    """Seed torch's global generators for a block and restore them after it."""
    state = int(_sequence(seed, purpose).generate_state(1, np.uint64)[0] >> np.uint64(1))
    with torch.random.fork_rng():
        torch.manual_seed(state)
        yield
