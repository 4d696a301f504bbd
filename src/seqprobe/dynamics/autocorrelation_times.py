"""Autocorrelation times of units with their intervals, of states of any origin."""

from __future__ import annotations

import numpy as np
import xarray as xr
from scipy.special import stdtrit

from seqprobe.dynamics.autocorrelation import (
    Decay,
    autocovariance,
    fit_decay,
    integrated_time,
    lag_one_time,
    null_model,
)
from seqprobe.errors import UsageError
from seqprobe.memory.estimates import CI, Z
from seqprobe.schema import variable

__all__ = ["autocorrelation_times", "checked_lag", "interval_kind"]

_FEW = 8  # trials below which intervals come from simulated records
_REPLICATES = 200
_SILENT = 1e-12
_SHORTEST = 8
_TOGETHER = 2**20  # trials times units times replicates that are averaged at once


def checked_lag(steps: int, burn_in: int, max_lag: int | None) -> int:
    """Return the largest lag for sequences of so many steps; refuse what does not fit."""
    if steps < _SHORTEST:
        raise UsageError(
            f"sequences of {steps} steps are too short for autocorrelations (allowed: {_SHORTEST}"
            " or more); use longer sequences"
        )
    if not 0 <= burn_in <= steps - 5:
        raise UsageError(
            f"burn-in of {burn_in} steps (allowed: 0 to {steps - 5} of {steps}); use longer"
            " sequences"
        )
    length = steps - burn_in
    max_lag = min(length // 2, 200) if max_lag is None else max_lag
    if not 2 <= max_lag < length:
        raise UsageError(f"largest lag is {max_lag} (allowed: 2 to {length - 1}, after burn-in)")
    return max_lag


def interval_kind(n_trials: int) -> str:
    """Return in words where intervals of so many trials come from."""
    if n_trials >= _FEW:
        return f"95 % percentile, {_REPLICATES} bootstrap replicates over sequences"
    return "95 %, from simulated autoregressive records of the same length"


def autocorrelation_times(
    states: np.ndarray,
    max_lag: int,
    rng: np.random.Generator,
    step: float = 1.0,
    units: str = "steps",
    first_lag: int = 0,
) -> dict[str, xr.Variable]:
    """Return the variables of `seqprobe.dynamics.timescales` that come from autocorrelations.

    Parameters
    ----------
    states
        Trials (N, T, U).
    max_lag
        Largest lag in steps, see `checked_lag`.
    rng
        Of the bootstrap and of simulated records.
    step, units
        What times are multiplied with, and the unit they then have.
    first_lag
        Lag that is fitted first. Units that have no positive autocorrelation there are NaN.

    Returns
    -------
    dict
        ``acf``, ``tau_ac``, ``tau_ac_model``, ``tau_ac_fast``, ``tau_lag1``, ``tau_integrated``,
        ``tau_population``, and two intervals.
    """
    n_trials, length, _ = states.shape
    covariance = autocovariance(states, max_lag)  # (N, K + 1, U)
    mean = covariance.mean(axis=0).T
    moving = mean[:, 0] > _SILENT * max(float(mean[:, 0].max()), 1e-300)
    with np.errstate(invalid="ignore", divide="ignore"):
        acf = np.where(moving[:, None], mean / mean[:, :1], np.nan)
    together = mean[moving].sum(axis=0)
    rows = np.concatenate([acf[moving], together[None] / together[0]])
    null = null_model(length, n_trials, max_lag, rng, first_lag)
    fitted = _from(rows, first_lag)
    fit = fit_decay(fitted, length, n_trials, needed=null.needed, first=first_lag)
    if n_trials >= _FEW:
        bounds = _resampled(covariance[:, :, moving], fit, length, rng, first_lag)
    else:
        bounds = np.where(fit.n_terms == 1, null.interval(fit.tau), np.nan)
    nothing = np.isnan(fitted[:, first_lag])
    fit.tau[nothing], bounds[:, nothing] = np.nan, np.nan

    def spread(values: np.ndarray) -> np.ndarray:
        full = np.full((*values.shape[:-1], len(acf)), np.nan)
        full[..., moving] = values[..., :-1]
        return full

    unit = ("unit",)
    lag_one, integrated = lag_one_time(rows), integrated_time(rows)
    return {
        "acf": variable(("unit", "lag"), acf, "autocorrelation", "1"),
        "tau_ac": variable(unit, step * spread(fit.tau), "autocorrelation time", units),
        "tau_ac_ci": variable(
            ("ci_bound", "unit"),
            step * spread(bounds),
            "95 % interval of: autocorrelation time",
            units,
        ),
        "tau_ac_model": variable(unit, spread(fit.n_terms), "number of exponentials", "1"),
        "tau_ac_fast": variable(
            unit, step * spread(fit.fast), "faster autocorrelation time", units
        ),
        "tau_lag1": variable(unit, step * spread(lag_one), "time constant from lag 1", units),
        "tau_integrated": variable(unit, step * spread(integrated), "integrated time", units),
        "tau_population": variable(
            (), step * fit.tau[-1], "time constant of the population", units
        ),
        "tau_population_ci": variable(
            ("ci_bound",),
            step * bounds[:, -1],
            "95 % interval of: time constant of the population",
            units,
        ),
    }


def _from(rows: np.ndarray, first: int) -> np.ndarray:
    """Return autocorrelations (..., K + 1) scaled to 1 at the first lag, NaN if not positive."""
    with np.errstate(divide="ignore", invalid="ignore"):
        scaled: np.ndarray = rows / rows[..., first : first + 1]
    return np.where(rows[..., first : first + 1] > 0, scaled, np.nan)


def _resampled(
    covariance: np.ndarray, fit: Decay, length: int, rng: np.random.Generator, first: int
) -> np.ndarray:
    """Return 95 % intervals (2, U + 1) by resampling trials, refitting the chosen model."""
    n_trials = len(covariance)
    weights = rng.multinomial(n_trials, np.full(n_trials, 1 / n_trials), _REPLICATES) / n_trials
    two = np.flatnonzero(fit.n_terms == 2)
    replicates = []
    for some in np.array_split(weights, max(1, weights.size * covariance.shape[2] // _TOGETHER)):
        mean = np.moveaxis(np.tensordot(some, covariance, axes=1), 1, 2)  # (R, U, K + 1)
        rows = np.concatenate([mean, mean.sum(axis=1, keepdims=True)], axis=1)
        rows = _from(rows, first)
        tau = _fitted(rows, length, n_trials, first, both=False)
        if len(two):
            tau[:, two] = _fitted(rows[:, two], length, n_trials, first, both=True)
        replicates.append(tau)
    bounds = np.percentile(np.concatenate(replicates), CI, axis=0, method="inverted_cdf")
    # Few trials make percentiles too narrow, by the same factor as normal quantiles.
    wider = stdtrit(n_trials - 1, 0.975) / Z
    with np.errstate(divide="ignore", invalid="ignore"):
        widened = fit.tau * np.exp(wider * np.log(bounds / fit.tau))
    return np.asarray(np.where(np.isfinite(widened), widened, bounds))


def _fitted(rows: np.ndarray, length: int, n_trials: int, first: int, *, both: bool) -> np.ndarray:
    """Return time constants (R, U) of autocorrelations (R, U, K + 1), by one or by two."""
    fit = fit_decay(
        rows.reshape(-1, rows.shape[2]),
        length,
        n_trials,
        both=both,
        needed=lambda tau: np.full_like(tau, -np.inf),
        first=first,
    )
    tau: np.ndarray = fit.tau.reshape(rows.shape[:2])
    return tau
