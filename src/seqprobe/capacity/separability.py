"""How many states a linear reader can tell apart in any way it likes: Cover's capacity."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import xarray as xr
from scipy.optimize import linprog
from scipy.special import bdtr

from seqprobe import provenance
from seqprobe.arrays import SEGMENTS, Recorded, as_trials
from seqprobe.errors import SeqprobeError, UsageError
from seqprobe.memory.estimates import ci_coordinate
from seqprobe.memory.recall_statistics import wilson
from seqprobe.schema import variable
from seqprobe.seeding import generator

__all__ = ["cover_capacity", "cover_probability", "is_separable"]

_FLAT = 1e-6  # of the variance; directions with less would be read from rounding
_WIDEST = 512


def cover_probability(points: int, dimension: int) -> float:
    """Return the part of all dichotomies of P points in N dimensions that a plane through 0 makes.

    ``C(P, N) / 2^P`` with ``C = 2 sum_{k < N} binom(P - 1, k)``, for points in general position
    (Cover 1965): a half at P = 2 N.
    """
    return float(bdtr(min(dimension, points) - 1, points - 1, 0.5))


def is_separable(points: np.ndarray, labels: np.ndarray) -> bool:
    """Say whether a plane through the origin has points (P, N) on the sides of their labels +-1.

    A linear programme: are there weights with ``label * (w . x) >= 1``?
    """
    rows = -points * labels[:, None]
    solved = linprog(
        np.zeros(points.shape[1]), A_ub=rows, b_ub=-np.ones(len(rows)), bounds=(None, None)
    )
    return bool(solved.status == 0)


def cover_capacity(
    z: Recorded,
    *,
    segments: int = SEGMENTS,
    loads: Sequence[int] | None = None,
    draws: int = 200,
    seed: int = 0,
    on_progress: Callable[[int, int], None] | None = None,
) -> xr.Dataset:
    """Return how many recorded states can be separated in two by any labels.

    Parameters
    ----------
    z
        States (N, T, d), or (n, d). Sets of P states are drawn from different sequences as far as
        there are enough. Named dimensions ``trial``, ``time``, ``unit`` may be in any order.
    segments
        One long recording, with the dimensions ``time`` and ``unit``, is cut into so many sequences
        (`seqprobe.arrays.cut`).
    loads
        Numbers P, ascending; None for a dozen from 2 to four times the dimension.
    draws
        Sets of states with labels drawn evenly, per P.
    seed
        Of the draws.
    on_progress
        Called with the number of loads done and their total.

    Returns
    -------
    xarray.Dataset
        ``separable`` (load): part of the draws that a plane separates, with Wilson's interval;
        ``theory`` (load): Cover's, for points in general position in as many dimensions.
        ``capacity``: P at which a half is separable, interpolated, with the loads between which
        the interval crosses a half; NaN if none does. ``effective_dimension``: half of it,
        by Cover's theorem; ``dimension``: of the reader, which has a bias: directions with more
        than 1e-6 of the variance, and one.

    Raises
    ------
    UsageError
        If there are fewer states than the largest load, or more than 512 directions.

    Notes
    -----
    Cover 1965 (IEEE Trans. Electronic Computers 14, 326). States that coincide, as where discrete
    inputs drive them to the same places, cannot be told apart and lower the capacity. Cost: one
    linear programme per draw, about P N^2.
    """
    z = as_trials(z, segments)
    z = z[:, None] if z.ndim == 2 else z
    if z.ndim != 3:
        raise UsageError(f"states have shape {z.shape} (allowed: (N, T, d) or (n, d))")
    points = _coordinates(z.reshape(-1, z.shape[2]))
    dimension = points.shape[1]
    loads = _loads(dimension, len(points)) if loads is None else list(loads)
    if not loads or loads != sorted(set(loads)) or loads[0] < 1 or loads[-1] > len(points):
        raise UsageError(
            f"loads are {loads} (allowed: ascending, 1 to {len(points)}, the number of states)"
            "; give more sequences"
        )
    rng = generator(seed, "dichotomies")
    counts = []
    for done, load in enumerate(loads):
        hits = 0
        for _ in range(draws):
            chosen = points[_apart(rng, z.shape[0], z.shape[1], load)]
            hits += is_separable(chosen, rng.choice([-1.0, 1.0], load))
        counts.append(hits)
        if on_progress is not None:
            on_progress(done + 1, len(loads))
    rate = np.array(counts) / draws
    bounds = np.array([wilson(value, draws) for value in rate]).T
    theory = np.array([cover_probability(load, dimension) for load in loads])
    x = np.array(loads, dtype=float)
    middle = _half(x, rate)
    ends = np.array([_half(x, bounds[0]), _half(x, bounds[1])])
    long_name = "states of which half of all dichotomies are linear"
    data = {
        "separable": variable(("load",), rate, "separable dichotomies", "1"),
        "separable_ci": variable(("ci_bound", "load"), bounds, "95 % interval (Wilson)", "1"),
        "theory": variable(("load",), theory, "of points in general position", "1"),
        "capacity": variable((), middle, long_name, "states"),
        "capacity_ci": variable(("ci_bound",), ends, f"95 % interval of: {long_name}", "states"),
        "effective_dimension": variable((), middle / 2, "half of the capacity", "dimensions"),
        "dimension": variable((), dimension, "dimensions of the reader", "dimensions"),
    }
    coords = {
        "load": variable(("load",), np.array(loads), "number of states P", "states"),
        "ci_bound": ci_coordinate(),
    }
    attrs = provenance.attrs(
        "capacity.cover_capacity", {"draws": draws}, seed=seed, device="cpu", dtype="float64"
    )
    return xr.Dataset(data, coords, attrs | {"interval": f"Wilson over {draws} draws"})


def _coordinates(states: np.ndarray) -> np.ndarray:
    """Return states in the directions they vary in, each with unit variance, and a constant."""
    if not np.isfinite(states).all():
        raise SeqprobeError(
            "states are not all finite numbers; check the model's weights or the recording"
        )
    centred = states - states.mean(axis=0)
    if centred.shape[1] > len(centred) or centred.shape[1] > 4 * _WIDEST:
        raise UsageError(
            f"{len(states)} states of {states.shape[1]} numbers (allowed: as many states as"
            f" numbers, and up to {4 * _WIDEST} numbers); give more sequences or a smaller part"
        )
    variances, axes = np.linalg.eigh(centred.T @ centred / len(centred))
    there = variances > _FLAT * variances.sum()
    if not there.any():
        raise UsageError("states never vary, so that there is nothing to tell apart")
    if there.sum() > _WIDEST:
        raise UsageError(
            f"states vary in {there.sum()} directions (allowed: up to {_WIDEST}); take one part"
        )
    reduced = centred @ (axes[:, there] / np.sqrt(variances[there]))
    points: np.ndarray = np.column_stack([reduced, np.ones(len(reduced))])
    return points


def _loads(dimension: int, available: int) -> list[int]:
    spread = dimension * np.array([0.25, 0.5, 0.75, 1, 1.25, 1.5, 1.75, 2, 2.25, 2.5, 3, 4])
    chosen = {max(2, round(float(load))) for load in spread}
    return sorted(load for load in chosen if load <= available)


def _apart(rng: np.random.Generator, n: int, length: int, load: int) -> np.ndarray:
    """Return rows of so many states, of different sequences as long as there are some left."""
    rounds = -(-load // n)
    if rounds == 1:
        sequences = rng.choice(n, load, replace=False)
        return sequences * length + rng.integers(0, length, load)
    return rng.choice(n * length, load, replace=False)


def _half(loads: np.ndarray, rate: np.ndarray) -> float:
    """Return the last load at which a curve crosses a half, interpolated; NaN if it does not."""
    above = np.flatnonzero(rate >= 0.5)
    if not len(above) or above[-1] == len(rate) - 1:
        return float("nan")
    j = above[-1]
    share = (rate[j] - 0.5) / (rate[j] - rate[j + 1])
    return float(loads[j] + share * (loads[j + 1] - loads[j]))
