"""How many directions the visited states occupy."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import xarray as xr
from torch import Tensor, nn

from seqprobe import provenance
from seqprobe.arrays import SEGMENTS, Recorded, as_trials
from seqprobe.capacity.spectra import entropy_size, participation_ratio, quantile_dimension
from seqprobe.capacity.two_nn import correlation_time, slope_dimension, thinned, two_neighbours
from seqprobe.errors import SeqprobeError, UsageError
from seqprobe.memory.estimates import ci_coordinate, jackknife
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


def cloud_dimension(
    z: Recorded, *, every: int | None = None, segments: int = SEGMENTS
) -> xr.Dataset:
    """Return the dimension of recorded states.

    Parameters
    ----------
    z
        States (N, T, d) of N sequences, which are the independent unit; (n, d) are n sequences of
        one state. Named dimensions ``trial``, ``time``, ``unit`` may be in any order.
    every
        Thin states out in time for the neighbours: every so manieth step; None for the integrated
        autocorrelation time. Neighbours in time would make every smooth curve look like a line.
    segments
        One long recording, with the dimensions ``time`` and ``unit``, is cut into so many, which
        count as sequences (`seqprobe.arrays.cut`, which takes arrays without names).

    Returns
    -------
    xarray.Dataset
        * ``participation_ratio``: ``(sum lambda)^2 / sum lambda^2`` of the eigenvalues of the
          covariance, from products of different sequences alone, so that few samples do not lower
          it; NaN for fewer than four sequences; ``participation_ratio_raw``: the plain ratio,
          d / (1 + d / n) for n isotropic samples.
        * ``effective_rank``: ``exp(-sum p ln p)`` with ``p = sigma / sum(sigma)`` of the singular
          values of the centred states (Roy and Vetterli 2007).
        * ``dimensions`` (quantile): directions that hold 50, 90, 95, 99 % of the variance.
        * ``two_nn``: intrinsic dimension (Facco et al. 2017), NaN if fewer than 20 points have
          distinct neighbours; ``duplicates``: part of the points that were left out because another
          has the same place, as where discrete inputs drive a state there.
        * ``variance`` (component): eigenvalues of the covariance.
        * ``dimension``: d; ``samples``: of the spectrum; ``every``: steps between states whose
          neighbours are looked for.
        * ``*_ci``: 95 %, jackknife over ten groups of sequences.

    Raises
    ------
    UsageError
        If there are fewer than two sequences.
    SeqprobeError
        If states are not finite.

    Notes
    -----
    Effective rank and dimensions are of the samples: fewer make them smaller, and their intervals
    are about what so many sequences give. Cost: O(n d min(n, d)), ten times for the intervals.
    Neighbours are sought among at most 2000 states, and spectra of more than 512 numbers are of
    1024, evenly spread.
    """
    z = as_trials(z, segments)
    z = z[:, None] if z.ndim == 2 else z
    if z.ndim != 3:
        raise UsageError(f"states have shape {z.shape} (allowed: (N, T, d) or (n, d))")
    if len(z) < 2:
        raise UsageError(f"{len(z)} sequences are too few for a dimension (allowed: 2 or more)")
    if every is not None and not 1 <= every <= z.shape[1]:
        raise UsageError(
            f"every = {every} leaves no two states of {z.shape[1]} steps (allowed: 1 to"
            f" {z.shape[1]})"
        )
    if not np.isfinite(z).all():
        raise SeqprobeError(
            "states are not all finite numbers; check the model's weights or the recording"
        )
    step = correlation_time(z) if every is None else every
    points, of = thinned(z, step, _POINTS)
    neighbours = two_neighbours(points, of)
    cloud = _thin_for_spectrum(z)
    groups = np.array_split(np.arange(len(cloud)), min(_GROUPS, len(cloud)))
    moments = _Moments([cloud[rows] for rows in groups])

    def measure(kept: np.ndarray) -> np.ndarray:
        rows = np.concatenate([groups[i] for i in kept])
        spectrum = _variances(cloud[rows])
        return np.array(
            [
                moments.ratio(kept),
                participation_ratio(spectrum),
                entropy_size(np.sqrt(spectrum)),
                *(quantile_dimension(spectrum, q) for q in QUANTILES),
                slope_dimension(neighbours.ratios[np.isin(neighbours.of, rows)]),
            ]
        )

    if len(groups) < 3:  # what is left of two sequences has no spread
        estimates = measure(np.arange(len(groups)))
        half = np.full(len(estimates), np.nan)
    else:
        estimates, half = jackknife(measure, len(groups), min(_FOLDS, len(groups)))
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


class _Moments:
    """Products of groups of states, from which an unbiased participation ratio is made.

    With m_a the mean and S_a the second moment of group a, about any origin:

    * ``trace`` (G,): tr(S_a); ``squared`` (G, G): tr(S_a S_b);
    * ``means`` (G, G): m_a . m_b; ``mixed`` (G, G, G): m_a^T S_b m_c as [b, a, c].
    """

    def __init__(self, groups: list[np.ndarray]) -> None:
        flat = [group.reshape(-1, group.shape[2]) for group in groups]
        origin = np.concatenate(flat).mean(axis=0)  # any will do; this one keeps digits
        flat = [(states - origin) / np.sqrt(len(states)) for states in flat]
        centres = np.stack([states.sum(axis=0) / np.sqrt(len(states)) for states in flat])
        count, d = centres.shape
        self.trace = np.array([np.square(states).sum() for states in flat])
        self.means = centres @ centres.T
        self.mixed = np.stack([(centres @ s.T) @ (s @ centres.T) for s in flat])
        self.squared = np.empty((count, count))
        if d * d * count <= 2**26 and d <= sum(map(len, flat)):
            moments = np.stack([(states.T @ states).ravel() for states in flat])
            self.squared = moments @ moments.T
        else:
            for a, b in itertools.combinations_with_replacement(range(count), 2):
                self.squared[a, b] = self.squared[b, a] = np.square(flat[a] @ flat[b].T).sum()

    def ratio(self, kept: np.ndarray) -> float:
        """Return ``tr(C)^2 / tr(C^2)`` of some groups, from products of different ones alone.

        ``tr(C^2) = tr(M^2) - 2 mu^T M mu + (mu . mu)^2`` for the second moment M and the mean mu;
        each product is averaged over groups that are all different, and so unbiased. NaN for fewer
        than four.
        """
        n = len(kept)
        if n < 4:
            return math.nan
        pair = np.ix_(kept, kept)
        b = self.means[pair] * ~np.eye(n, dtype=bool)
        rows, both = b.sum(axis=1), np.square(b).sum()
        four = b.sum() ** 2 - 4 * (np.square(rows).sum() - both) - 2 * both
        three = 0.0
        for i, group in enumerate(kept):
            q = self.mixed[group][pair]
            diagonal = np.trace(q) - q[i, i]
            three += q.sum() - q[i].sum() - q[:, i].sum() + q[i, i] - diagonal
        two = (self.squared[pair] * ~np.eye(n, dtype=bool)).sum()
        pairs = n * (n - 1)
        squared = two / pairs - 2 * three / (pairs * (n - 2)) + four / (pairs * (n - 2) * (n - 3))
        trace = self.trace[kept].mean() - b.sum() / pairs
        return float(trace**2 / squared) if squared > 0 else math.nan
