"""From squared Jacobians to a labelled result: estimates, intervals, units."""

from __future__ import annotations

import math

import numpy as np
import xarray as xr

from seqprobe.memory import functionals
from seqprobe.memory.precision import Precision
from seqprobe.schema import variable

__all__ = ["INTERVAL", "steps", "summarise"]

QUANTILES = np.array([0.5, 0.9, 0.99])
THRESHOLDS = np.array([0.1, 0.01, 0.001])
_REPLICATES = 1000
_CI = (2.5, 97.5)
_PER_INPUT = "output per input"
INTERVAL = f"95 % percentile, {_REPLICATES} bootstrap replicates over sequences"


def summarise(
    squares: np.ndarray, squares_sd: np.ndarray, precision: Precision, rng: np.random.Generator
) -> xr.Dataset:
    """Return estimates with bootstrap intervals over sequences.

    Parameters
    ----------
    squares, squares_sd
        Squared Jacobian norms (trial, time, lag), per input and per standard deviation of it.
    precision
        What is known of their numerical error.
    rng
        Draws the bootstrap.

    Returns
    -------
    xarray.Dataset
        See `seqprobe.memory.gradient_profile`.
    """
    by_trial = squares.mean(axis=1)
    n = len(by_trial)
    weights = np.full((1, n), 1 / n)
    if n > 1:
        weights = np.concatenate([weights, rng.multinomial(n, weights[0], _REPLICATES) / n])
    profiles = np.sqrt(weights @ by_trial)
    data = {
        "jac_norm2": variable(
            ("trial", "time", "lag"), squares, "squared Jacobian norm", "(output per input)^2"
        ),
        **_curves(squares, profiles, np.sqrt(weights @ squares_sd.mean(axis=1))),
        **_lengths(profiles),
        **_tail_and_zero(profiles, precision),
        "float64_deviation": variable(
            (), precision.deviation, "largest relative difference from float64", "1"
        ),
        "noise_floor": variable(
            (), precision.noise_floor, "largest G off by more than 1 %", _PER_INPUT
        ),
        "underflow_lag": steps((), precision.underflow_lag, "first lag lost to underflow"),
    }
    coords = {
        "trial": variable(("trial",), np.arange(n), "sequence", "1"),
        "lag": steps(("lag",), np.arange(squares.shape[2]), "lag"),
        "quantile": variable(("quantile",), QUANTILES, "share of the squared sensitivity", "1"),
        "threshold": variable(("threshold",), THRESHOLDS, "fraction of the peak", "1"),
        "ci_bound": variable(
            ("ci_bound",), np.array(_CI), "percentile of the bootstrap over sequences", "percent"
        ),
    }
    return xr.Dataset(data, coords)


def _curves(
    squares: np.ndarray, profiles: np.ndarray, profiles_sd: np.ndarray
) -> dict[str, xr.Variable]:
    """Return what there is for every lag."""
    lag, rms = ("lag",), "root mean square Jacobian norm"
    share = functionals.shares(profiles)
    norms = np.sqrt(squares)
    with np.errstate(divide="ignore"):
        geometric = np.exp(np.log(norms).mean(axis=(0, 1)))
    within = np.cumsum(share, axis=1)
    return {
        **_estimate("G", lag, profiles, rms, _PER_INPUT),
        **_estimate("G_sd", lag, profiles_sd, rms, "output per input s.d."),
        "G1": variable(lag, norms.mean(axis=(0, 1)), "mean Jacobian norm", _PER_INPUT),
        "Ggeo": variable(lag, geometric, "geometric mean Jacobian norm", _PER_INPUT),
        **_estimate("share", lag, share, "share of squared sensitivity", "1"),
        **_estimate("cumulative_share", lag, within, "share within that lag", "1"),
    }


def _lengths(profiles: np.ndarray) -> dict[str, xr.Variable]:
    """Return the lags that sum a profile up, with their intervals."""
    return {
        **_estimate("peak_lag", (), functionals.peak_lag(profiles), "lag of the peak", "steps"),
        **_estimate("mean_lag", (), functionals.mean_lag(profiles), "mean lag", "steps"),
        **_estimate(
            "mass_quantile",
            ("quantile",),
            functionals.mass_quantiles(profiles, QUANTILES),
            "lags that hold a share of the squared sensitivity",
            "steps",
        ),
        **_estimate(
            "threshold_length",
            ("threshold",),
            functionals.threshold_lengths(profiles, THRESHOLDS),
            "last lag above a fraction of the peak",
            "steps",
        ),
    }


def _tail_and_zero(profiles: np.ndarray, precision: Precision) -> dict[str, xr.Variable]:
    """Return how a profile ends: its half-life, where one fits, and where it is exactly zero."""
    tail = functionals.exponential_tail(profiles, precision.noise_floor)
    zero = functionals.structural_zero(profiles[0])
    if precision.lost_lag >= zero:
        zero = math.nan  # zero for want of precision, not by structure
    return {
        **_estimate("half_life", (), tail.half_life, "half-life of the tail", "steps"),
        "tail_r2": variable((), tail.r2, "variance of log G explained by the tail fit", "1"),
        "tail_start": steps((), tail.lags[0], "first lag of the tail fit"),
        "tail_stop": steps((), tail.lags[1], "last lag of the tail fit"),
        "structural_zero": steps((), zero, "first lag from which G is exactly 0"),
    }


def _estimate(
    name: str, dims: tuple[str, ...], values: np.ndarray, long_name: str, units: str
) -> dict[str, xr.Variable]:
    """Return the estimate (row 0) and its interval from the replicates (the other rows)."""
    if len(values) > 1:
        bounds = np.stack([_percentile(values[1:], q) for q in _CI])
    else:
        bounds = np.full((2, *values.shape[1:]), np.nan)
    return {
        name: variable(dims, values[0], long_name, units),
        f"{name}_ci": variable(
            ("ci_bound", *dims), bounds, f"95 % interval of: {long_name}", units
        ),
    }


def _percentile(replicates: np.ndarray, q: float) -> np.ndarray:
    """Return a percentile that is a value of the sample, so that a lag stays a lag."""
    return np.asarray(np.percentile(replicates, q, axis=0, method="inverted_cdf"))


def steps(dims: tuple[str, ...], values: np.ndarray | float, long_name: str) -> xr.Variable:
    """Return a variable in steps."""
    return variable(dims, values, long_name, "steps")
