"""What every distance between representations says of itself, and how it is computed in pairs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Generic, TypeVar

import numpy as np

from seqprobe.arrays import Recorded, as_samples
from seqprobe.errors import UsageError

__all__ = ["Distance", "centred", "check_pair"]

_CONSTANT = 1e-12  # of the largest number: what rounding leaves of a constant once it is centred

P = TypeVar("P")  # what is kept of one network


@dataclass(frozen=True)
class Distance(Generic[P]):
    """A symmetric distance between the activations of two networks on the same samples.

    0 is the same up to `invariant_to`, larger is further apart: similarities are subtracted from 1.
    Activations are samples x units, (m, n_x) and (m, n_y), and need not be centred; row i of both
    is the same sample. Of (N, T, n), or of the dimensions ``trial``, ``time``, ``unit`` in any
    order, every step is a sample. All measures ignore a constant added to a unit.

    Attributes
    ----------
    name
        What the user types.
    long_name
        One phrase for axes and tables.
    units
        ``"1"`` or ``"rad"``.
    compares
        What of the two networks is compared.
    invariant_to
        Maps of the units of either network that change no distance.
    range
        Smallest and largest value.
    is_metric
        True if it obeys the triangle inequality, so that it is a metric on representations up to
        `invariant_to`.
    cost
        Time of one pair of prepared networks of m samples and n units.
    source
        Author, year, arXiv id.
    prepare
        Makes of one network (m, n) what its pairs need, once for all of them.
    between
        The distance of two networks prepared from the same samples.
    """

    name: str
    long_name: str
    units: str
    compares: str
    invariant_to: str
    range: tuple[float, float]
    is_metric: bool
    cost: str
    source: str
    prepare: Callable[[np.ndarray], P]
    between: Callable[[P, P], float]

    def __call__(self, x: Recorded, y: Recorded) -> float:
        """Return the distance between activations (m, n_x) and (m, n_y).

        Raises
        ------
        UsageError
            If the numbers of samples differ, or activations are not finite, never vary, or are too
            few for the measure.
        """
        x, y = as_samples(x), as_samples(y)
        check_pair(x, y)
        return self.between(self.prepare(x), self.prepare(y))

    def matrix(
        self, xs: Sequence[Recorded], pairs: Iterable[tuple[int, int]] | None = None
    ) -> np.ndarray:
        """Return the distances (N, N) of pairs of N networks, each prepared once.

        Parameters
        ----------
        xs
            Activations (m, n_i).
        pairs
            Positions (i, j) that are compared, NaN elsewhere; None for all.

        Raises
        ------
        UsageError
            As for a pair; the message says which networks.
        """
        prepared = []
        samples = [as_samples(x, f"activations of network {i}") for i, x in enumerate(xs)]
        for i, x in enumerate(samples):
            try:
                check_pair(samples[0], x)
                prepared.append(self.prepare(x))
            except UsageError as error:
                raise UsageError(f"network {i}: {error}") from None
        found = np.full((len(xs), len(xs)), np.nan)
        np.fill_diagonal(found, 0.0)
        for i, j in combinations(range(len(xs)), 2) if pairs is None else pairs:
            try:
                found[i, j] = found[j, i] = self.between(prepared[i], prepared[j])
            except UsageError as error:
                raise UsageError(f"networks {i} and {j}: {error}") from None
        return found


def check_pair(x: np.ndarray, y: np.ndarray) -> None:
    """Refuse activations of different numbers of samples."""
    if x.shape[:1] != y.shape[:1]:
        raise UsageError(
            f"activations have the shapes {x.shape} and {y.shape} (allowed: the same samples, row"
            " by row); record both networks on the same sequences"
        )


def centred(x: np.ndarray) -> np.ndarray:
    """Return activations (m, n) in float64 with the mean of every unit removed.

    Raises
    ------
    UsageError
        If they are not samples x units, not all finite, or never vary.
    """
    if x.ndim != 2 or len(x) < 2 or x.shape[1] < 1:
        raise UsageError(
            f"activations have the shape {x.shape} (allowed: (samples, units), 2 samples or more)"
        )
    if not np.isfinite(x).all():
        raise UsageError(
            f"{np.count_nonzero(~np.isfinite(x))} activations are not finite (allowed: finite"
            " numbers); leave this network out"
        )
    values = np.asarray(x, dtype=np.float64)
    result: np.ndarray = values - values.mean(axis=0)
    if not np.abs(result).max() > _CONSTANT * np.abs(values).max():
        raise UsageError(
            f"activations are the same in all {len(x)} samples (allowed: some that vary); give"
            " other sequences, or leave this network out"
        )
    return result
