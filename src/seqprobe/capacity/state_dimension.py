"""How many directions the visited states occupy."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import xarray as xr
from scipy.stats import t as student
from torch import Tensor, nn

from seqprobe import provenance
from seqprobe.capacity.spectra import entropy_size, participation_ratio, quantile_dimension
from seqprobe.capacity.two_nn import correlation_time, slope_dimension, thinned, two_neighbours
from seqprobe.errors import UsageError
from seqprobe.memory.estimates import ci_coordinate
from seqprobe.memory.linear_memory import canonical_memory, channels, decoded_lag
from seqprobe.memory.states import collect
from seqprobe.memory.window import sequences
from seqprobe.schema import variable
from seqprobe.tasks import Batch

__all__ = ["QUANTILES", "cloud_dimension", "state_dimension"]

QUANTILES = (0.5, 0.9, 0.95, 0.99)
_FOLDS = 10  # of the jackknife
_GROUPS = 64  # of sequences; products are of different groups
_POINTS = 2000  # whose neighbours are sought
_WIDE = 512  # numbers of a state; wider ones have their spectrum from fewer states
_SAMPLES = 1024


def state_dimension(
    model: nn.Module, batch: Tensor | Batch, *, part: str = "state", every: int | None = None
) -> xr.Dataset:
    """Return the dimension of the states a model visits, and of what they keep of the input.

    Parameters
    ----------
    model
        A model of the contract. It is left as it was.
    batch
        Sequences (N, T, D) or tokens (N, T).
    part
        ``"state"``, the streaming state as one vector; ``"readout"``, what the head reads, also for
        attention, whose state grows; or the name of an internal.
    every
        See `cloud_dimension`.

    Returns
    -------
    xarray.Dataset
        What `cloud_dimension` returns, and the canonical memory spectrum of `linear_memory`:
        ``canonical`` (mode), ``directions`` and ``mc_canonical``, for up to 512 numbers.

    Raises
    ------
    NotApplicableError
        If the model has no such tensor, is not causal, or its state grows.
    UsageError
        If there are fewer than two sequences.

    Notes
    -----
    The buffers of a TCN and of other convolutions hold the inputs themselves, so that their
    dimension is that of a window of inputs; the effective state size says what of it counts.
    """
    x = sequences(model, batch)
    z = collect(model, x, part).double().cpu().numpy()
    result = cloud_dimension(z, every=every)
    # Of inputs that never vary there is nothing to keep; of wide states samples would be too few,
    # which the spectrum of no states says.
    if bool((x != x[:1, :1]).any()):
        narrow = z if z.shape[2] <= _WIDE else z[:0]
        result = result.assign(canonical_memory(narrow, channels(x), decoded_lag(z, None)))
    parameters = {"part": part, "n_sequences": len(x), "length": x.shape[1]}
    attrs = provenance.of_model(
        "capacity.state_dimension", model, parameters, device=str(x.device), dtype=str(x.dtype)[6:]
    )
    return result.assign_attrs(attrs | {"part": part})


def cloud_dimension(z: np.ndarray, *, every: int | None = None) -> xr.Dataset:
    """Return the dimension of recorded states.

    Parameters
    ----------
    z
        States (N, T, d) of N sequences, which are the independent unit; (n, d) are n sequences of
        one state.
    every
        Thin states out in time for the neighbours: every so manieth step; None for the integrated
        autocorrelation time. Neighbours in time would make every smooth curve look like a line.

    Returns
    -------
    xarray.Dataset
        * ``participation_ratio``: ``(sum lambda)^2 / sum lambda^2`` of the eigenvalues of the
          covariance, from products of different sequences alone, so that few samples do not lower
          it; ``participation_ratio_raw``: the plain ratio, d / (1 + d / n) for n isotropic samples.
        * ``effective_rank``: ``exp(-sum p ln p)`` with ``p = sigma / sum(sigma)`` of the singular
          values of the centred states (Roy and Vetterli 2007).
        * ``dimensions`` (quantile): directions that hold 50, 90, 95, 99 % of the variance.
        * ``two_nn``: intrinsic dimension (Facco et al. 2017), NaN if fewer than 20 points have
          distinct neighbours; ``duplicates``: part of the points that coincide with another, as
          where discrete inputs drive a state into the same places.
        * ``variance`` (component): eigenvalues of the covariance.
        * ``dimension``: d; ``samples``: of the spectrum; ``every``: steps between states whose
          neighbours are looked for.
        * ``*_ci``: 95 %, jackknife over ten groups of sequences.

    Raises
    ------
    UsageError
        If there are fewer than two sequences, or states are not finite.

    Notes
    -----
    Cost: O(n d min(n, d)), ten times for the intervals. Neighbours are sought among at most 2000
    states, and spectra of more than 512 numbers are of 1024, evenly spread.
    """
    z = z[:, None] if z.ndim == 2 else z
    if z.ndim != 3 or len(z) < 2:
        raise UsageError(
            f"states have shape {z.shape} (allowed: (N, T, d) with two sequences or more)"
        )
    if not np.isfinite(z).all():
        raise UsageError("states are not all finite numbers; check the model's weights")
    step = correlation_time(z) if every is None else every
    points, of = thinned(z, step, _POINTS)
    neighbours = two_neighbours(points, of)
    cloud = _thin_for_spectrum(z)
    groups = np.array_split(np.arange(len(cloud)), min(_GROUPS, len(cloud)))
    products = _products([cloud[rows] for rows in groups])

    def measure(kept: np.ndarray) -> np.ndarray:
        rows = np.concatenate([groups[i] for i in kept])
        spectrum = _variances(cloud[rows])
        return np.array(
            [
                _unbiased_ratio(products[np.ix_(kept, kept)]),
                participation_ratio(spectrum),
                entropy_size(np.sqrt(spectrum)),
                *(quantile_dimension(spectrum, q) for q in QUANTILES),
                slope_dimension(neighbours.ratios[np.isin(neighbours.of, rows)]),
            ]
        )

    estimates, half = _jackknife(measure, len(groups))
    data = _variables(estimates, half)
    spectrum = _variances(cloud)
    facts: list[tuple[str, float, str, str]] = [
        ("duplicates", neighbours.duplicates, "points that coincide with another", "1"),
        ("every", step, "steps between points whose neighbours are sought", "steps"),
        ("dimension", z.shape[2], "number of reals", "reals"),
        ("samples", cloud.shape[0] * cloud.shape[1], "states of the spectrum", "1"),
    ]
    data |= {name: variable((), *rest) for name, *rest in facts}  # type: ignore[arg-type]
    data["variance"] = variable(("component",), spectrum, "variance along a component", "1")
    coords = {
        "quantile": variable(("quantile",), np.array(QUANTILES), "part of the variance", "1"),
        "ci_bound": ci_coordinate(),
    }
    attrs = provenance.attrs(
        "capacity.cloud_dimension", {"every": step}, seed=0, device="cpu", dtype="float64"
    )
    interval = f"95 % jackknife over {min(_FOLDS, len(z))} groups of sequences"
    return xr.Dataset(data, coords, attrs | {"interval": interval})


_MEASURES = {
    "participation_ratio": "participation ratio, free of the bias of few samples",
    "participation_ratio_raw": "participation ratio of the samples",
    "effective_rank": "effective rank",
    "two_nn": "intrinsic dimension by two neighbours",
}


def _variables(estimates: np.ndarray, half: np.ndarray) -> dict[str, Any]:
    """Return estimates (8,) with their half-widths as labelled variables."""
    names = list(_MEASURES)
    places = dict(zip(names, (0, 1, 2, 3 + len(QUANTILES)), strict=True))
    data: dict[str, Any] = {}

    def put(name: str, dims: tuple[str, ...], where: int | slice, long_name: str) -> None:
        middle, width = estimates[where], half[where]
        bounds = np.stack([middle - width, middle + width])
        data[name] = variable(dims, middle, long_name, "dimensions")
        data[f"{name}_ci"] = variable(
            ("ci_bound", *dims), bounds, f"95 % interval of: {long_name}", "dimensions"
        )

    for name, where in places.items():
        put(name, (), where, _MEASURES[name])
    put(
        "dimensions",
        ("quantile",),
        slice(3, 3 + len(QUANTILES)),
        "directions that hold the variance",
    )
    return data


def _jackknife(measure: Any, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Return a measure of all sequences and the half-width of its 95 % interval."""
    everything = np.arange(n)
    estimate = measure(everything)
    folds = np.array_split(everything, min(_FOLDS, n))
    if n < 3:  # what is left of two sequences has no spread
        return estimate, np.full(len(estimate), np.nan)
    left_out = np.stack([measure(np.setdiff1d(everything, fold)) for fold in folds])
    count = len(folds)
    error = np.sqrt((count - 1) / count * np.square(left_out - left_out.mean(axis=0)).sum(axis=0))
    return estimate, error * student.ppf(0.975, count - 1)


def _thin_for_spectrum(z: np.ndarray) -> np.ndarray:
    """Return fewer time steps where states are so large that a spectrum would take minutes."""
    if z.shape[2] <= _WIDE or z.shape[0] * z.shape[1] <= _SAMPLES:
        return z
    steps = min(z.shape[1], max(1, _SAMPLES // len(z)))
    # The middles of equal spans, so that the first steps do not count more than they last.
    picked = ((np.arange(steps) + 0.5) * z.shape[1] / steps).astype(int)
    return z[: max(2, _SAMPLES // steps), picked]


def _variances(z: np.ndarray) -> np.ndarray:
    """Return the eigenvalues of the covariance of (N, T, d), descending."""
    flat = z.reshape(-1, z.shape[2])
    flat = flat - flat.mean(axis=0)
    # The smaller of the two products has the same eigenvalues.
    product = flat.T @ flat if flat.shape[1] <= len(flat) else flat @ flat.T
    found: np.ndarray = np.maximum(np.linalg.eigvalsh(product)[::-1], 0.0) / max(1, len(flat) - 1)
    return found


def _products(groups: list[np.ndarray]) -> np.ndarray:
    """Return (G, G, 2): mean products of states of two groups of sequences.

    ``[a, b, 0]`` is tr(S_a S_b) and ``[a, b, 1]`` is tr(S_a) tr(S_b), for the second moments S_a
    of the states of group a about the mean of all.
    """
    flat = [group.reshape(-1, group.shape[2]) for group in groups]
    mean = np.concatenate(flat).mean(axis=0)
    flat = [states - mean for states in flat]
    traces = np.array([np.square(states).sum() / len(states) for states in flat])
    n, d = len(flat), len(mean)
    squared = np.empty((n, n))
    if d * d * n <= 2**26 and d <= sum(map(len, flat)):
        moments = np.stack([(s.T @ s / len(s)).ravel() for s in flat])
        squared = moments @ moments.T
    else:
        for a, b in itertools.combinations_with_replacement(range(n), 2):
            value = np.square(flat[a] @ flat[b].T).sum() / (len(flat[a]) * len(flat[b]))
            squared[a, b] = squared[b, a] = value
    return np.stack([squared, np.outer(traces, traces)], axis=2)


def _unbiased_ratio(products: np.ndarray) -> float:
    """Return the participation ratio from pairs of different sequences."""
    n = len(products)
    apart = ~np.eye(n, dtype=bool)
    squared, traced = products[apart].mean(axis=0) if n > 1 else (math.nan, math.nan)
    return float(traced / squared) if squared > 0 else 0.0
