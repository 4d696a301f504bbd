"""``seqprobe timescales``: time constants of units, Jacobians, trajectories and gradients."""

from __future__ import annotations

import warnings
from typing import Any

import click
import numpy as np
import xarray as xr

import seqprobe.dynamics
from seqprobe.cli.analysis import Subject, View, analysis_command, number, text, with_interval
from seqprobe.cli.common import LENGTH, sequences
from seqprobe.cli.timescales.group import EXAMPLES, command

__all__ = ["EXAMPLES"]

_SEQUENCES = 64


def _median(result: xr.Dataset, name: str) -> float:
    with warnings.catch_warnings():  # all of them may be absent
        warnings.simplefilter("ignore", RuntimeWarning)
        return float(np.nanmedian(result[name].values))


def _quartiles(result: xr.Dataset, name: str) -> str:
    values = result[name].values[np.isfinite(result[name].values)]
    if not len(values):
        return "-"
    low, middle, high = np.percentile(values, [25, 50, 75])
    return f"{middle:.1f} ({low:.1f}, {high:.1f})"


def _population(result: xr.Dataset) -> str:
    """Return the time constant of the population, or that it is longer than can be told."""
    if np.isposinf(float(result["tau_population"])):
        return f"> {20 * int(result['lag'][-1])}"
    return with_interval(result["tau_population"], result["tau_population_ci"], digits=1)


def _slowest(result: xr.Dataset, name: str) -> str:
    """Return the leading time constant: ``12.3``, or ``grows`` where it is negative."""
    leading = result[name].values[0]
    return "-" if not np.isfinite(leading) else "grows" if leading < 0 else f"{leading:.1f}"


def _as_json(result: xr.Dataset) -> dict[str, Any]:
    names = ["tau_ac", "tau_ac_ci", "tau_ac_model", "tau_unit", "tau_lag1", "tau_integrated"]
    names += ["network_share", "tau_eigenvalue", "tau_lyapunov", "tau_population_ci"]
    return {
        "tau_population": number(result["tau_population"]),
        "tau_gradient": number(result["tau_gradient"]) if "tau_gradient" in result else None,
        "lags": result["lag"].values,
        **{name: result[name].values for name in names},
    }


VIEW = View(
    schema="seqprobe.timescales/1",
    columns={
        "population": _population,
        "units": lambda r: _quartiles(r, "tau_ac"),
        "alone": lambda r: _quartiles(r, "tau_unit"),
        "network share": lambda r: text(_median(r, "network_share"), 2),
        "eigenvalue": lambda r: _slowest(r, "tau_eigenvalue"),
        "Lyapunov": lambda r: _slowest(r, "tau_lyapunov"),
        "gradient": lambda r: (
            with_interval(r["tau_gradient"], r["tau_gradient_ci"], digits=1)
            if "tau_gradient" in r
            else "-"
        ),
    },
    as_json=_as_json,
    figure="timescales_figure",
    remarks=lambda results: [
        "time constants in steps; population, units: of autocorrelations under test inputs (median"
        " and quartiles over units); alone: of a unit's leak or gate; network share: median of 1 -"
        " alone / unit, negative where the network makes it shorter; eigenvalue, Lyapunov: slowest,"
        " '-' if not computed (eigenvalues of states of more than 512 reals); gradient: exponential"
        " fitted to its tail"
    ],
)


@analysis_command(
    command,
    "compare",
    VIEW,
    LENGTH,
    sequences(_SEQUENCES),
    click.option(
        "--max-lag",
        type=click.IntRange(2),
        help="Largest lag of autocorrelations.  [default: half the steps, up to 200]",
    ),
    examples=EXAMPLES,
)
def compare(
    subject: Subject, length: int | None, sequences: int | None, max_lag: int | None
) -> xr.Dataset:
    """Put the time constants of a network side by side.

    Autocorrelation of units, their leaks and gates alone, eigenvalues of the Jacobian, Lyapunov
    exponents of the driven network, and the tail of its gradient. They answer different questions.
    """
    return seqprobe.dynamics.timescales(
        subject.model,
        subject.batch(sequences, length, _SEQUENCES),
        max_lag=max_lag,
        seed=subject.seed,
        on_progress=subject.update,
    )
