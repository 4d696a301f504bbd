"""How long recorded units remember, whoever recorded them."""

from __future__ import annotations

import numpy as np
import xarray as xr

from seqprobe import provenance
from seqprobe.arrays import SEGMENTS, Recorded, as_trials, seconds_per_step
from seqprobe.dynamics.autocorrelation_times import (
    autocorrelation_times,
    checked_lag,
    interval_kind,
)
from seqprobe.errors import UsageError
from seqprobe.memory.estimates import ci_coordinate
from seqprobe.schema import variable
from seqprobe.seeding import generator

__all__ = ["recorded_timescales"]


def recorded_timescales(
    states: Recorded,
    *,
    dt: float | None = None,
    max_lag: int | None = None,
    first_lag: int = 0,
    segments: int = SEGMENTS,
    seed: int = 0,
) -> xr.Dataset:
    """Return the autocorrelation times of recorded units, without a model.

    Parameters
    ----------
    states
        Trials (N, T, d), or the dimensions ``trial``, ``time``, ``unit`` in any order.
    dt
        Seconds per step. If None, the step of the ``time`` coordinate if its ``units`` are ``"s"``;
        else times are in steps.
    max_lag
        Largest lag in steps; half of the steps, up to 200, if None.
    first_lag
        Lag that is fitted first, in steps. Take 1 for spike counts, which have noise of their own
        at lag 0 alone (left out by Murray et al. 2014 too); ``tau_lag1`` and ``tau_integrated``
        keep it.
    segments
        One long recording, with the dimensions ``time`` and ``unit``, is cut into so many trials
        (`seqprobe.arrays.cut`, which takes arrays without names). Time constants should be well
        below the length of one.
    seed
        Of the bootstrap and of simulated records.

    Returns
    -------
    xarray.Dataset
        Over ``unit``: ``acf`` (unit, lag), ``tau_ac`` with ``tau_ac_ci``, ``tau_ac_model``,
        ``tau_ac_fast``, ``tau_lag1``, ``tau_integrated``; ``tau_population`` with its interval, as
        `timescales` has them, in seconds or steps; NaN for units without positive autocorrelation
        at the first lag. Coordinates of the units are kept.

    Raises
    ------
    UsageError
        If shapes or lags do not fit, or values are not finite or never vary.

    Notes
    -----
    See `timescales` for the fit and its sources. Smoothing counts adds its own correlations.
    Intervals resample
    trials; those of segments are too narrow where segments depend on each other. What slowly drives
    the units (behaviour) is part of what is measured. Cost: about 3 s for simulated records of 250
    steps with 130 lags, and O(N d T log T).
    """
    x = as_trials(states, segments)
    if x.ndim != 3:
        raise UsageError(
            f"states have shape {x.shape} (allowed: (N, T, d)); cut one long recording with"
            " seqprobe.arrays.cut"
        )
    if not np.isfinite(x).all():
        raise UsageError(
            f"{np.count_nonzero(~np.isfinite(x))} states are not finite (allowed: finite numbers);"
            " leave these trials out"
        )
    if not (x != x[:1, :1]).any():
        raise UsageError("states never vary (allowed: some that do); nothing decays in them")
    step = seconds_per_step(states) if dt is None else dt
    if step is not None and not (np.isfinite(step) and step > 0):
        raise UsageError(f"dt = {step} (allowed: seconds per step, above 0)")
    max_lag = checked_lag(x.shape[1], 0, max_lag)
    if not 0 <= first_lag <= max_lag - 2:
        raise UsageError(f"first lag is {first_lag} (allowed: 0 to {max_lag - 2})")
    scale, units = (1.0, "steps") if step is None else (step, "s")
    rng = generator(seed, "autocorrelation")
    data = autocorrelation_times(x, max_lag, rng, scale, units, first_lag)
    coords = {
        "lag": variable(("lag",), scale * np.arange(max_lag + 1), "lag", units),
        "ci_bound": ci_coordinate(),
    }
    if isinstance(states, xr.DataArray):
        of_units = [k for k, c in states.coords.items() if c.dims == ("unit",)]
        coords |= {str(name): states.coords[name].variable for name in of_units}
    parameters = {
        "n_trials": len(x),
        "length": x.shape[1],
        "first_lag": first_lag,
        "max_lag": max_lag,
        "dt": step,
    }
    attrs = provenance.attrs(
        "dynamics.recorded_timescales", parameters, seed=seed, device="cpu", dtype="float64"
    )
    return xr.Dataset(data, coords, attrs | {"interval": interval_kind(len(x))})
