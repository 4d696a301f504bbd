"""From squared Jacobians to a labelled result: estimates, intervals, units."""

from __future__ import annotations

import math

import numpy as np
import xarray as xr

from seqprobe.memory import functionals
from seqprobe.memory.estimates import ci_coordinate, estimate, resample
from seqprobe.memory.precision import Precision
from seqprobe.schema import variable

__all__ = ["steps", "summarise", "time_bins"]

QUANTILES = np.array([0.5, 0.9, 0.99])
THRESHOLDS = np.array([0.1, 0.01, 0.001])
_PER_INPUT = "output per input"
_BINS = 4


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
    weights = resample(n, rng)
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
        "ci_bound": ci_coordinate(),
    }
    return xr.Dataset(data, coords)


def time_bins(squares: np.ndarray, times: list[int]) -> xr.Dataset:
    """Return G of consecutive output times, in up to four bins, (bin, lag)."""
    bins = np.array_split(np.arange(len(times)), min(_BINS, len(times)))
    profiles = np.stack([np.sqrt(squares[:, rows].mean(axis=(0, 1))) for rows in bins])
    first = np.array([times[rows[0]] for rows in bins])
    last = np.array([times[rows[-1]] for rows in bins])
    return xr.Dataset(
        {
            "G_bin": variable(
                ("bin", "lag"),
                profiles,
                "root mean square Jacobian norm by output time",
                _PER_INPUT,
            ),
            "bin_start": steps(("bin",), first, "first output time of the bin"),
            "bin_stop": steps(("bin",), last, "last output time of the bin"),
        },
        {"bin": variable(("bin",), np.arange(len(bins)), "bin of output times", "1")},
    )


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
        **estimate("G", lag, profiles, rms, _PER_INPUT),
        **estimate("G_sd", lag, profiles_sd, rms, "output per input s.d."),
        "G1": variable(lag, norms.mean(axis=(0, 1)), "mean Jacobian norm", _PER_INPUT),
        "Ggeo": variable(lag, geometric, "geometric mean Jacobian norm", _PER_INPUT),
        **estimate("share", lag, share, "share of squared sensitivity", "1"),
        **estimate("cumulative_share", lag, within, "share within that lag", "1"),
    }


def _lengths(profiles: np.ndarray) -> dict[str, xr.Variable]:
    """Return the lags that sum a profile up, with their intervals."""
    return {
        **estimate("peak_lag", (), functionals.peak_lag(profiles), "lag of the peak", "steps"),
        **estimate("mean_lag", (), functionals.mean_lag(profiles), "mean lag", "steps"),
        **estimate(
            "mass_quantile",
            ("quantile",),
            functionals.mass_quantiles(profiles, QUANTILES),
            "lags that hold a share of the squared sensitivity",
            "steps",
        ),
        **estimate(
            "threshold_length",
            ("threshold",),
            functionals.threshold_lengths(profiles, THRESHOLDS),
            "last lag above a fraction of the peak",
            "steps",
        ),
    }


def _tail_and_zero(profiles: np.ndarray, precision: Precision) -> dict[str, xr.Variable]:
    """Return how a profile ends: its half-life, where one fits, and where it is exactly zero."""
    tail = functionals.fit_tail(profiles, precision.noise_floor)
    zero = functionals.structural_zero(profiles[0])
    if precision.lost_lag >= zero:
        zero = math.nan  # zero for want of precision, not by structure
    return {
        **estimate("half_life", (), tail.half_life, "half-life of the tail", "steps"),
        **estimate("tail_tau", (), tail.tau, "time constant of an exponential tail", "steps"),
        **estimate("tail_beta", (), tail.beta, "exponent of a power-law tail", "1"),
        "tail_win_exp": variable((), tail.wins, "replicates won by the exponential", "1"),
        "tail_r2": variable((), tail.r2, "variance of log G explained by the tail fit", "1"),
        "tail_start": steps((), tail.lags[0], "first lag of the tail fit"),
        "tail_stop": steps((), tail.lags[1], "last lag of the tail fit"),
        "structural_zero": steps((), zero, "first lag from which G is exactly 0"),
    }


def steps(dims: tuple[str, ...], values: np.ndarray | float, long_name: str) -> xr.Variable:
    """Return a variable in steps."""
    return variable(dims, values, long_name, "steps")
