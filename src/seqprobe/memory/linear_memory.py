"""Which past inputs can be read linearly from a tensor."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import xarray as xr
from torch import Tensor, nn

from seqprobe.errors import NotApplicableError, UsageError
from seqprobe.memory.estimates import INTERVAL, ci_coordinate, estimate, recentred, resample
from seqprobe.memory.states import collect
from seqprobe.memory.summary import steps
from seqprobe.memory.window import check_lag, describe, sequences
from seqprobe.schema import variable
from seqprobe.seeding import generator
from seqprobe.tasks import Batch

__all__ = [
    "canonical_memory",
    "canonical_spectrum",
    "channels",
    "check_samples",
    "decoded_lag",
    "lagged_inputs",
    "linear_memory",
    "memory_curve",
    "orthonormal_basis",
]

_RIDGE = 1e-6  # times the number of samples
_LARGEST_SPECTRUM = 1024  # lagged inputs
_SAMPLES = 10  # per dimension of the tensor
_RARE = 1e-3  # of the variance of all inputs


def linear_memory(
    model: nn.Module,
    batch: Tensor | Batch,
    *,
    part: str = "readout",
    max_lag: int | None = None,
    seed: int = 0,
) -> xr.Dataset:
    """Return how well the input k steps back can be read linearly from a tensor of the model.

    Parameters
    ----------
    model
        A model of the contract. It is left as it was.
    batch
        Sequences (N, T, D) or tokens (N, T), which count as K indicators. For a capacity, inputs
        must be independent over time; where they are not, one input tells of its neighbours and the
        curve says what can be decoded, not what is kept.
    part
        ``"readout"``, ``"state"`` or the name of an internal, see `seqprobe.memory.states.collect`.
    max_lag
        Largest lag K; None for two thirds of T, or less if that leaves too few samples.
    seed
        Of the bootstrap.

    Returns
    -------
    xarray.Dataset
        * ``r2`` (lag): squared correlation of x_{t-k} with its best linear reading from z_t, on
          sequences that were not used to fit it; mean over input channels, made uncorrelated.
        * ``r2_null`` (lag): the same for the inputs of another sequence, which z_t cannot know.
        * ``bits`` (lag): ``-1/2 log2(1 - r2)``: mutual information, if input and reading were
          jointly Gaussian; NaN for several channels.
        * ``mc``: Jaeger's memory capacity, r2 summed over lags from 0 and channels, in inputs;
          ``mc_past``: from lag 1. ``null_level``: mean of ``r2_null``; ``mc_null_corrected``: the
          sum of r2 less it.
        * ``canonical`` (mode): canonical correlations rho of z_t with all lagged inputs, in sample;
          ``mc_canonical``: sum of rho^2, the capacity in another way; ``canonical_null``: what it
          would be by chance; ``directions``: how many have rho^2 above a half and above the largest
          that unrelated inputs have, the dimension of what is kept. NaN if there are too few
          samples.
        * ``dimension``: of z; ``channels``: of the inputs.
        * ``*_ci``: 95 % intervals of 1000 bootstrap replicates over held-out sequences, shifted to
          have the estimate as their mean, because resampling raises an r2 by itself.

    Raises
    ------
    NotApplicableError
        If the model has no such tensor.
    UsageError
        If there are fewer than 4 sequences, or ten samples per dimension to fit, or lags do not
        fit.

    Notes
    -----
    Source: Jaeger 2001 (GMD report 152); the null correction replaces his threshold. Ridge 1e-6 per
    sample on standardised z; half of the sequences fit, half test; only times t >= K count. The
    streaming state of a TCN holds its inputs, so that decoding from it is trivial. Cost: one pass,
    and O(n d^2 + d^3) for n samples.
    """
    x = sequences(model, batch)
    z = collect(model, x, part).double().cpu().numpy()
    max_lag = decoded_lag(z, max_lag)
    check_samples(z, max_lag)
    u = channels(x)
    curve = memory_curve(z, u, max_lag, generator(seed, "bootstrap"))
    r2 = np.concatenate([curve.r2[:1], np.clip(recentred(curve.r2)[1:], 0, 1)])
    sums = {
        "mc": (curve.r2.sum(axis=(1, 2)), "memory capacity from lag 0"),
        "mc_past": (curve.r2[:, 1:].sum(axis=(1, 2)), "memory capacity from lag 1"),
        "mc_null_corrected": (
            (curve.r2 - curve.null.mean()).sum(axis=(1, 2)),
            "memory capacity less the null level",
        ),
    }
    label = "squared correlation with the input, held out"
    data = {
        **estimate("r2", ("lag",), r2.mean(axis=2), label, "1"),
        "r2_null": variable(("lag",), curve.null.mean(axis=1), "r2 of unrelated inputs", "1"),
        **estimate("bits", ("lag",), _gaussian(r2), "Gaussian information on the input", "bits"),
        "null_level": variable((), curve.null.mean(), "mean r2 of unrelated inputs", "1"),
        **canonical_memory(z, u, max_lag),
        "dimension": variable((), z.shape[2], "dimension of the tensor", "1"),
        "channels": variable((), u.shape[2], "uncorrelated input channels", "1"),
    }
    for name, (values, long_name) in sums.items():
        data |= estimate(name, (), recentred(values), long_name, "inputs")
    coords = {
        "lag": steps(("lag",), np.arange(max_lag + 1), "lag"),
        "ci_bound": ci_coordinate(),
    }
    attrs = describe("linear_memory", model, x, {"max_lag": max_lag, "part": part}, seed)
    attrs["part"] = part
    attrs["interval"] = INTERVAL.replace("sequences", "held-out sequences")
    return xr.Dataset(data, coords, attrs)


def _gaussian(r2: np.ndarray) -> np.ndarray:
    """Return ``-1/2 log2(1 - r2)`` of one channel (R, lag, 1), NaN for several."""
    if r2.shape[2] > 1:
        return np.full(r2.shape[:2], np.nan)
    bits: np.ndarray = -0.5 * np.log2(1 - np.minimum(r2[..., 0], 1 - 1e-12))
    return bits


def decoded_lag(z: np.ndarray, max_lag: int | None) -> int:
    """Return the largest lag to decode from (N, T, d); every step is read, not the last alone.

    If None, two thirds of T, or what leaves enough samples to fit a reader.

    Raises
    ------
    UsageError
        If it does not fit.
    """
    length = z.shape[1]
    if max_lag is None:
        needed = -(-_SAMPLES * z.shape[2] // max(1, len(z) // 2))
        max_lag = max(0, min(2 * length // 3, length - needed))
    check_lag(max_lag, length)
    return max_lag


def check_samples(z: np.ndarray, max_lag: int) -> None:
    """Refuse to fit a reader of (N, T, d) on half of so few samples that it would fit noise."""
    if len(z) < 4:
        raise UsageError(f"{len(z)} sequences are too few to fit and to test (allowed: 4 or more)")
    samples = len(z) // 2 * (z.shape[1] - max_lag)
    if samples < _SAMPLES * z.shape[2]:
        raise UsageError(
            f"{samples} samples to fit a reader of {z.shape[2]} numbers (allowed: {_SAMPLES} per"
            " number or more); give more sequences, or a smaller largest lag"
        )


def channels(x: Tensor) -> np.ndarray:
    """Return inputs as uncorrelated channels of unit variance (N, T, c), tokens as indicators.

    Capacities of correlated channels (one-hot, music) would count what they share more than once.
    Directions with less than a thousandth of the variance (keys struck once, rare symbols) are left
    out: they would count as much as all others and are known from a few events.
    """
    if x.is_floating_point():
        u = x.double().cpu().numpy()
    else:
        u = np.eye(int(x.max()) + 1)[x.cpu().numpy()]
    flat = u.reshape(-1, u.shape[2])
    sizes, axes = np.linalg.eigh(np.atleast_2d(np.cov(flat.T)))
    if not sizes.max() > 0:
        raise NotApplicableError("inputs never vary, so that there is nothing to remember")
    there = sizes > _RARE * sizes.sum()
    white: np.ndarray = (u - flat.mean(axis=0)) @ (axes[:, there] / np.sqrt(sizes[there]))
    return white


class Curve(NamedTuple):
    """Squared correlations (R, lag, channel) with replicates, and those of unrelated inputs."""

    r2: np.ndarray
    null: np.ndarray


def memory_curve(z: np.ndarray, u: np.ndarray, max_lag: int, rng: np.random.Generator) -> Curve:
    """Fit on the first half of the sequences and correlate on the second.

    Parameters
    ----------
    z
        Tensors (N, T, d).
    u
        Inputs (N, T, c).
    max_lag
        Largest lag K; times t >= K count.
    rng
        Draws the bootstrap.
    """
    half = len(z) // 2
    z = z[:, max_lag:]
    fit, test = z[:half], z[half:]
    mean, sd = fit.mean(axis=(0, 1)), fit.std(axis=(0, 1))
    sd = np.where(sd > 0, sd, 1.0)
    fit, test = (fit - mean) / sd, (test - mean) / sd
    flat = fit.reshape(-1, z.shape[2])
    gram = flat.T @ flat + _RIDGE * len(flat) * np.eye(z.shape[2])

    def correlations(inputs: np.ndarray, weights: np.ndarray) -> np.ndarray:
        lagged = lagged_inputs(inputs, max_lag)
        into = lagged[:half].reshape(len(flat), -1)
        centred = into - into.mean(axis=0)
        solution = np.linalg.solve(gram, flat.T @ centred)
        r2 = _squared_correlation(test @ solution, lagged[half:], weights)
        return r2.reshape(len(weights), max_lag + 1, -1)

    weights = resample(len(test), rng)
    # Each half lends its inputs to its neighbour's sequence.
    shifted = np.concatenate([np.roll(u[:half], 1, axis=0), np.roll(u[half:], 1, axis=0)])
    return Curve(correlations(u, weights), correlations(shifted, weights[:1])[0])


def lagged_inputs(u: np.ndarray, max_lag: int) -> np.ndarray:
    """Return x_{t-k} for t >= K, (N, T - K, (K + 1) c), lags in the slower place."""
    length = u.shape[1]
    columns = [u[:, max_lag - k : length - k] for k in range(max_lag + 1)]
    return np.concatenate(columns, axis=2)


def _squared_correlation(p: np.ndarray, x: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the squared correlation of (N, t, L) pairs, with weighted sequences, (R, L)."""

    def mean(values: np.ndarray) -> np.ndarray:
        found: np.ndarray = weights @ values.mean(axis=1)
        return found

    mp, mx = mean(p), mean(x)
    cov, vp, vx = mean(p * x) - mp * mx, mean(p * p) - mp**2, mean(x * x) - mx**2
    with np.errstate(divide="ignore", invalid="ignore"):
        r2 = cov**2 / (vp * vx)
    result: np.ndarray = np.where((vp > 0) & (vx > 0), r2, 0.0)
    return result


def orthonormal_basis(samples: np.ndarray, precision: float = 1e-10) -> np.ndarray:
    """Return a basis (n, r) of the centred columns of (n, d).

    Directions smaller than `precision` times the largest are rounding and left out.
    """
    left, sizes, _ = np.linalg.svd(samples - samples.mean(axis=0), full_matrices=False)
    basis: np.ndarray = left[:, sizes > precision * sizes[0]]
    return basis


def canonical_spectrum(z: np.ndarray, lagged: np.ndarray) -> np.ndarray:
    """Return the canonical correlations of (n, d) with (n, L) samples, descending."""
    return _correlations(orthonormal_basis(z), orthonormal_basis(lagged))


def _correlations(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Return the cosines between the spaces of two orthonormal bases, descending."""
    found: np.ndarray = np.minimum(np.linalg.svd(left.T @ right, compute_uv=False), 1.0)
    return found


def canonical_memory(z: np.ndarray, u: np.ndarray, max_lag: int) -> dict[str, xr.Variable]:
    """Return the canonical memory spectrum of (N, T, d) states and (N, T, c) inputs.

    The variables ``canonical``, ``mode``, ``directions``, ``mc_canonical`` and ``canonical_null``
    of `linear_memory`; NaN if there are fewer than two samples per number.
    """
    flat = z[:, max_lag:].reshape(-1, z.shape[2])
    wide = (max_lag + 1) * u.shape[2]
    modes = min(flat.shape[1], wide)
    rho, directions = np.full(modes, np.nan), np.nan
    if wide <= _LARGEST_SPECTRUM and len(flat) >= 2 * (flat.shape[1] + wide):
        basis = orthonormal_basis(flat)
        found, null = (
            _correlations(
                basis, orthonormal_basis(lagged_inputs(inputs, max_lag).reshape(len(flat), -1))
            )
            for inputs in (u, np.roll(u, 1, axis=0))
        )
        rho[:] = 0.0
        rho[: len(found)] = found
        directions = float((found**2 > max(0.5, np.max(null, initial=0.0) ** 2)).sum())
    total = float((rho**2).sum())
    return {
        "canonical": variable(("mode",), rho, "canonical correlation with the past", "1"),
        "mode": variable(("mode",), np.arange(modes), "canonical mode", "1"),
        "directions": variable((), directions, "directions kept", "1"),
        "mc_canonical": variable((), total, "sum of squared canonical correlations", "inputs"),
        "canonical_null": variable(
            (),
            flat.shape[1] * wide / len(flat) if len(flat) else np.nan,
            "the same by chance",
            "inputs",
        ),
    }
