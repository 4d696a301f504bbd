"""How long units remember, by what they do, by what they are made of, and by what drives them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
import xarray as xr
from torch import Tensor, nn

from seqprobe.dynamics.autocorrelation_times import (
    autocorrelation_times,
    checked_lag,
    interval_kind,
)
from seqprobe.dynamics.certify import eigenpairs
from seqprobe.dynamics.describe import describe
from seqprobe.dynamics.drive import initial_state, input_vectors, run
from seqprobe.dynamics.lyapunov import lyapunov_spectrum
from seqprobe.dynamics.maps import StateMap, state_map
from seqprobe.dynamics.unit_timescales import unit_timescales
from seqprobe.errors import NotApplicableError
from seqprobe.memory import gradient_profile
from seqprobe.memory.estimates import ci_coordinate
from seqprobe.models import WholeModel
from seqprobe.schema import variable
from seqprobe.seeding import generator
from seqprobe.tasks import Batch

__all__ = ["timescales"]

_EIGENVALUES_UP_TO = 512
_JACOBIANS = 64


def timescales(
    model: object,
    batch: Tensor | Batch,
    *,
    max_lag: int | None = None,
    burn_in: int | None = None,
    n_exponents: int = 8,
    seed: int = 0,
    on_progress: Callable[[int, int], None] | None = None,
) -> xr.Dataset:
    """Return the time constants of a network side by side, all in steps.

    Parameters
    ----------
    model
        See `fixed_points`.
    batch
        Inputs (N, T, D) or tokens (N, T), without padding.
    max_lag
        Largest lag of the autocorrelation; half the steps, up to 200, if None.
    burn_in
        Steps before recording; a tenth of all if None.
    n_exponents
        Number of Lyapunov exponents.
    seed
        Of the bootstrap and of simulated records.
    on_progress
        Called with the number of parts done and their total.

    Returns
    -------
    xarray.Dataset
        Over ``unit``, the reals of the state: ``acf`` (unit, lag), autocorrelation under these
        inputs; ``tau_ac``: time constant fitted to it, the slower one where two exponentials are
        needed (``tau_ac_model`` 2), with ``tau_ac_ci``; ``tau_ac_fast`` the faster; ``tau_lag1``
        -1 / ln rho(1); ``tau_integrated`` 1 + 2 sum rho; ``tau_unit``: what the unit has by itself
        (leak, gate, pole; 0 for units without a leak, NaN where there is no such thing);
        ``network_share`` = 1 - tau_unit / tau_ac, what interaction and inputs add (proposed here);
        negative where they shorten it. Times below a tenth of a step are 0, above twenty times the
        largest lag infinite: sequences of this length do not tell.
        ``tau_population``: of the mean autocorrelation, weighted by variance, with its interval.
        Over ``mode``: ``tau_eigenvalue``, -1 / E ln |lambda| of the sorted moduli of the Jacobian
        at 64 states (up to 512 reals), and ``tau_lyapunov``, -1 / exponent of the driven network,
        negative for growth. ``tau_gradient``: time constant of the exponential fitted to the tail
        of the gradient profile, for models that have outputs. Units that never move are NaN.

    Raises
    ------
    NotApplicableError
        If the model keeps no state of fixed size.
    UsageError
        If lags do not fit.

    Notes
    -----
    The bias of short records is removed in the fit (`autocorrelation.fit_decay`). Two exponentials
    are believed where Akaike's criterion prefers them more than in 95 % of simulated records with
    one. Intervals resample trials; with fewer than eight they come from simulated records of one
    exponential and are NaN where two were needed. They say nothing of inputs other than these: a
    network inherits the correlations of what drives it. Sources: Murray et al. 2014 (Nature
    Neuroscience 17, 1661); Zeraati, Engel and Levina 2022 (Nature Computational Science 2, 193) for
    the bias, corrected there by simulation; Khajehabdollahi et al. 2024 (arXiv 2309.12927) for the
    choice between one and two.
    """
    of = state_map(model)
    inputs = input_vectors(model, batch)
    burn_in = inputs.shape[1] // 10 if burn_in is None else burn_in
    max_lag = checked_lag(inputs.shape[1], burn_in, max_lag)

    def report(part: int) -> None:
        if on_progress is not None:
            on_progress(part, 4)

    states = _record(model, of, inputs)[:, burn_in:]
    report(1)
    rng = generator(seed, "autocorrelation")
    data = autocorrelation_times(states, max_lag, rng)
    report(2)
    tau_unit = _of_units(model, batch, of)
    data["tau_unit"] = variable(("unit",), tau_unit, "time constant of the unit alone", "steps")
    with np.errstate(invalid="ignore", divide="ignore"):
        share = 1 - tau_unit / data["tau_ac"].values
        share[~np.isfinite(share)] = np.nan
    data["network_share"] = variable(
        ("unit",), share, "share of the time constant that the network adds", "1"
    )
    data |= _linear(model, of, batch, states, inputs[:, burn_in:], n_exponents, seed)
    report(3)
    data |= _gradient(model, batch)
    report(4)
    parameters = {
        "n_sequences": len(inputs),
        "length": inputs.shape[1],
        "burn_in": burn_in,
        "max_lag": max_lag,
    }
    attrs = describe("timescales", model, parameters, seed)
    attrs["interval"] = interval_kind(len(inputs))
    coords = {
        "lag": variable(("lag",), np.arange(max_lag + 1), "lag", "steps"),
        "ci_bound": ci_coordinate(),
    }
    return xr.Dataset(data, coords, attrs)


def _record(model: object, of: StateMap, inputs: Tensor) -> np.ndarray:
    """Return the states after every step, (N, T, n)."""
    start = initial_state(model, of, len(inputs))
    return np.stack([x.numpy() for x in run(of, start, inputs)], axis=1)


def _of_units(model: object, batch: Tensor | Batch, of: StateMap) -> np.ndarray:
    if not isinstance(model, nn.Module):
        return np.full(of.size, np.nan)
    x = batch.inputs if isinstance(batch, Batch) else batch
    like = next(model.parameters())
    x = x.to(like.device, like.dtype) if x.is_floating_point() else x.to(like.device)
    return unit_timescales(model, x)


def _linear(
    model: object,
    of: StateMap,
    batch: Tensor | Batch,
    states: np.ndarray,
    inputs: Tensor,
    n_exponents: int,
    seed: int,
) -> dict[str, xr.Variable]:
    """Return time constants of Jacobians along the trajectories."""
    n_exponents = min(n_exponents, of.size)
    spectrum = lyapunov_spectrum(model, batch, n_exponents=n_exponents, seed=seed)
    lyapunov = np.full(min(of.size, _EIGENVALUES_UP_TO), np.nan)
    lyapunov[:n_exponents] = spectrum["time_constant"].values
    eigenvalue = np.full(len(lyapunov), np.nan)
    if of.size <= _EIGENVALUES_UP_TO:
        rng = generator(seed, "jacobians")
        trial = rng.integers(len(states), size=_JACOBIANS)
        time = rng.integers(states.shape[1] - 1, size=_JACOBIANS)
        with torch.no_grad():
            x = torch.from_numpy(states[trial, time])
            jacobian = of.linearise(x, inputs[trial, time + 1])[1].dense()
            moduli = eigenpairs(jacobian)[0].abs().sort(dim=1, descending=True)[0]
        with np.errstate(divide="ignore"):
            rate = np.log(moduli.numpy().clip(min=1e-300)).mean(axis=0)
            eigenvalue = np.where(rate == 0, np.inf, -1 / rate)
    return {
        "tau_eigenvalue": variable(
            ("mode",), eigenvalue, "time constant of the Jacobian's eigenvalues", "steps"
        ),
        "tau_lyapunov": variable(
            ("mode",), lyapunov, "time constant of Lyapunov exponents", "steps"
        ),
    }


def _gradient(model: object, batch: Tensor | Batch) -> dict[str, xr.Variable]:
    """Return the time constant of the tail of the gradient profile, if the model has outputs."""
    if not isinstance(model, WholeModel):
        return {}
    try:
        profile = gradient_profile(model, batch)
    except NotApplicableError:
        return {}
    name = "time constant of the gradient's tail"
    bounds = profile["tail_tau_ci"].values
    return {
        "tau_gradient": variable((), float(profile["tail_tau"]), name, "steps"),
        "tau_gradient_ci": variable(("ci_bound",), bounds, f"95 % interval of: {name}", "steps"),
    }
