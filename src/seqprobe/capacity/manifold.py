"""How many classes a linear reader can tell apart: the capacity of object manifolds."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import xarray as xr
from scipy.optimize import nnls

from seqprobe import provenance
from seqprobe.arrays import Recorded, as_labels, as_samples
from seqprobe.errors import SeqprobeError, UsageError
from seqprobe.memory.estimates import ci_coordinate, jackknife
from seqprobe.schema import variable
from seqprobe.seeding import generator

__all__ = ["Geometry", "manifold_capacity", "manifold_geometry"]

_MOST_POINTS = 50  # per manifold
_FEWEST = 3


class Geometry(NamedTuple):
    """What a linear reader sees of one manifold.

    Attributes
    ----------
    inverse_capacity
        ``1 / alpha``: what the manifold costs of the reader's dimensions.
    radius
        R_M, in distances of the manifold's centre from that of all.
    dimension
        D_M.

    All are NaN where the centre is that of all manifolds.
    """

    inverse_capacity: float
    radius: float
    dimension: float


def manifold_geometry(points: np.ndarray, rng: np.random.Generator, draws: int = 200) -> Geometry:
    """Return capacity, radius and dimension of one manifold.

    Parameters
    ----------
    points
        (M, N), about the centre of all manifolds; their mean is the centre of this one.
    rng
        Source of the Gaussian directions.
    draws
        Their number.
    """
    centre = points.mean(axis=0)
    distance = np.linalg.norm(centre)
    if not distance > 1e-9 * np.abs(points).max(initial=0.0):
        return Geometry(math.nan, math.nan, math.nan)
    deviations = (points - centre) / distance
    _, sizes, axes = np.linalg.svd(deviations, full_matrices=False)
    kept = sizes > 1e-9 * max(1.0, sizes[0])
    inside = np.column_stack([deviations @ axes[kept].T, np.ones(len(points))])  # (M, D + 1)
    costs, squares, projections = [], [], []
    for t in rng.standard_normal((draws, inside.shape[1])):
        # The nearest V with V . S >= 0 for all points S differs from T by the projection of T on
        # the cone of the -S (Moreau): a least squares problem in weights that are not negative.
        weights, _ = nnls(-inside.T, t)
        push = weights @ inside
        costs.append(push @ push)
        # Where nothing pushes, the anchor is the point that would touch first.
        touching = weights.sum() > 0
        anchor = push / weights.sum() if touching else inside[(inside @ t).argmin()]
        length = np.linalg.norm(anchor[:-1])
        squares.append(length**2)
        projections.append((t[:-1] @ anchor[:-1] / length) ** 2 if length > 1e-12 else 0.0)
    return Geometry(
        float(np.mean(costs)), float(np.sqrt(np.mean(squares))), float(np.mean(projections))
    )


def manifold_capacity(
    z: Recorded,
    labels: Recorded,
    *,
    draws: int = 200,
    seed: int = 0,
    on_progress: Callable[[int, int], None] | None = None,
) -> xr.Dataset:
    """Return the mean-field capacity, radius and dimension of classes of states.

    The manifold of a class is the set of its states. A reader of N numbers can give any labels to
    ``alpha N`` such manifolds: alpha is 2 for single points (Cover) and less the larger and rounder
    they are.

    Parameters
    ----------
    z
        States (n, d), or (N, T, d), every step of which counts. Named dimensions ``trial``,
        ``time``, ``unit`` may be in any order.
    labels
        Class of each, (n,) or (N, T). Classes with fewer than three states are left out, of the
        others up to 50 are taken.
    draws
        Gaussian directions per manifold.
    seed
        Of the directions and of the states taken.
    on_progress
        Called with the number of manifolds done and their total.

    Returns
    -------
    xarray.Dataset
        ``capacity``: alpha_M, the harmonic mean over manifolds; ``radius``: R_M, in units of the
        distance of a centre from the centre of all; ``manifold_dimension``: D_M; ``manifolds`` and
        ``points``: their number, and that of states per manifold; per class (output)
        ``class_capacity``, ``class_radius``, ``class_dimension``. ``capacity_shuffled``: the same
        with labels shuffled, the control. ``*_ci``: 95 %, jackknife over manifolds.

    Raises
    ------
    UsageError
        If fewer than two classes have three states, or shapes do not fit.

    Notes
    -----
    Chung, Lee and Sompolinsky 2018 (arXiv 1710.06487), equation 14 at margin 0. Their correction
    for correlated centres is not made: where centres of many classes lie in few directions, the
    value is higher than what a reader reaches. Cost: one non-negative least squares problem of 50
    points per manifold and direction.
    """
    shapes = f"states {z.shape} and labels {labels.shape}"
    z, labels = as_samples(z), as_labels(labels)
    if z.ndim != 2 or labels.shape != z.shape[:1]:
        raise UsageError(f"{shapes} (allowed: (n, d) and (n,), or (N, T, d) and (N, T))")
    if not np.isfinite(z).all():
        raise SeqprobeError(
            "states are not all finite numbers; check the model's weights or the recording"
        )
    rng = generator(seed, "manifolds")
    classes, counts = np.unique(labels, return_counts=True)
    classes = classes[counts >= _FEWEST]
    if len(classes) < 2:
        raise UsageError(
            f"{len(classes)} classes have {_FEWEST} states or more (allowed: two classes or more);"
            " give more sequences"
        )
    found = _all(z, labels, classes, rng, draws, on_progress)
    control = _all(z, rng.permutation(labels), classes, rng, draws, None)
    values = np.array(found)
    data = {}
    named = {
        "capacity": ("manifold capacity alpha_M", "manifolds per dimension"),
        "radius": ("manifold radius R_M", "distances from the centre"),
        "manifold_dimension": ("manifold dimension D_M", "dimensions"),
    }
    for (name, (long_name, unit)), column in zip(named.items(), values.T, strict=True):

        def mean(kept: np.ndarray, column: np.ndarray = column, name: str = name) -> np.ndarray:
            found = column[kept].mean()  # capacities have a harmonic mean
            return np.asarray(1 / found if name == "capacity" else found)

        middle, half = jackknife(mean, len(column), len(column))
        data[name] = variable((), middle, long_name, unit)
        ends = np.array([middle - half, middle + half])
        data[f"{name}_ci"] = variable(("ci_bound",), ends, f"95 % interval of: {long_name}", unit)
    each = {
        "class_capacity": (1 / values[:, 0], "capacity of one class", "manifolds per dimension"),
        "class_radius": (values[:, 1], "radius of one class", "distances from the centre"),
        "class_dimension": (values[:, 2], "dimension of one class", "dimensions"),
    }
    data |= {name: variable(("output",), *rest) for name, rest in each.items()}
    shuffled = float(1 / np.mean([one.inverse_capacity for one in control]))
    kept = np.minimum(counts[counts >= _FEWEST], _MOST_POINTS)
    data |= {
        "capacity_shuffled": variable((), shuffled, "capacity of shuffled labels", "1"),
        "manifolds": variable((), len(classes), "number of manifolds", "1"),
        "points": variable((), float(kept.mean()), "states per manifold", "1"),
    }
    coords = {
        "output": variable(("output",), classes, "class", "1"),
        "ci_bound": ci_coordinate(),
    }
    attrs = provenance.attrs(
        "capacity.manifold_capacity", {"draws": draws}, seed=seed, device="cpu", dtype="float64"
    )
    return xr.Dataset(data, coords, attrs | {"interval": "95 % jackknife over manifolds"})


def _all(
    z: np.ndarray,
    labels: np.ndarray,
    classes: np.ndarray,
    rng: np.random.Generator,
    draws: int,
    on_progress: Callable[[int, int], None] | None,
) -> list[Geometry]:
    """Return the geometry of every class, about the mean of the centres."""
    groups = []
    for one in classes:
        rows = np.flatnonzero(labels == one)
        groups.append(z[rng.permutation(rows)[:_MOST_POINTS]])
    centre = np.mean([group.mean(axis=0) for group in groups], axis=0)
    found = []
    for group in groups:
        found.append(manifold_geometry(group - centre, rng, draws))
        if on_progress is not None:
            on_progress(len(found), len(groups))
    return found
