"""How strongly the output at t reacts to the input k steps earlier."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
import xarray as xr
from torch import Tensor, nn

from seqprobe import provenance
from seqprobe.errors import NotApplicableError, SeqprobeError, UsageError
from seqprobe.memory import functionals
from seqprobe.memory.jacobian import orthonormal_probes, squared_jacobians
from seqprobe.models.access import borrowed, check_causal, in_dtype
from seqprobe.schema import variable
from seqprobe.seeding import generator
from seqprobe.tasks import Batch

__all__ = ["gradient_profile"]

QUANTILES = np.array([0.5, 0.9, 0.99])
THRESHOLDS = np.array([0.1, 0.01, 0.001])
_ALL_PROBES = 16  # outputs up to which the Frobenius norm is computed exactly
_REPLICATES = 1000
_CI = (2.5, 97.5)


def gradient_profile(
    model: nn.Module,
    batch: Tensor | Batch,
    *,
    max_lag: int | None = None,
    n_times: int = 16,
    n_probes: int | None = None,
    dtype: torch.dtype | None = None,
    seed: int = 0,
    on_progress: Callable[[int, int], None] | None = None,
) -> xr.Dataset:
    """Return the gradient-by-lag profile of a model.

    ``G(k) = sqrt( E_{sequence, t} ||dy_t / dx_{t-k}||_F^2 )``, in output units per input unit. For
    classifiers y are the centred logits, never a loss or a log-probability, whose gradients vanish
    where the model is sure. For token models x is the embedding. Raw G compares badly between
    architectures, because the scale of logits differs; compare ``share`` or G over its peak.

    Parameters
    ----------
    model
        Any causal module that maps (B, T, D) to (B, T, K), or to a tuple that begins with it. It is
        left as it was: mode, parameters, gradients.
    batch
        Sequences (N, T, D), or tokens (N, T) for a model with an ``embed`` method.
    max_lag
        Largest lag K. Default: T - 1 if only the last step is scored (``model.spec.readout``),
        else two thirds of T.
    n_times
        Number of output times, spread over K <= t < T, so that every lag is averaged over the same
        ones; just the last step if only that is scored.
    n_probes
        Random orthonormal output directions per (sequence, time). Default: all if there are at most
        16 outputs, which makes the norm exact, else 16.
    dtype
        Precision; default that of the model.
    seed
        Seed of probes and bootstrap.
    on_progress
        Called with the number of (sequence, time) pairs done and their total.

    Returns
    -------
    xarray.Dataset
        Absent values are NaN.

        * ``jac_norm2`` (trial, time, lag): all estimates.
        * ``G``, ``G1``, ``Ggeo`` (lag): root mean square, mean and geometric mean norm.
        * ``share``, ``cumulative_share`` (lag): ``G^2`` over its sum, and the running sum.
        * ``peak_lag``, ``mean_lag``: in steps.
        * ``mass_quantile`` (quantile): smallest K that holds a share q of ``G^2``.
        * ``threshold_length`` (threshold): last k with G at least eps of its peak, up to `max_lag`.
        * ``half_life``: of an exponential tail, where one fits; see `functionals.exponential_tail`.
        * ``structural_zero``: first lag from which G is exactly 0, in float64 too.
        * ``receptive_field``: of the architecture.
        * ``float64_deviation``: largest relative difference from a float64 run of the first
          sequence, over lags with G above a thousandth of its peak.
        * ``noise_floor``: largest G that this run finds to be off by more than 1 %.
        * ``underflow_lag``: first lag that is 0 in the model's precision but not in float64.
        * ``*_ci`` (ci_bound, ...): 95 % percentile intervals of 1000 bootstrap replicates over
          sequences.

    Raises
    ------
    NotApplicableError
        If the model is not causal, or takes tokens and has no ``embed``.
    UsageError
        If `max_lag` does not fit the sequences.
    SeqprobeError
        If outputs or gradients are not finite, with the step or lag where that began.

    Notes
    -----
    Cost: one forward and one backward pass of N * n_times * n_probes rows. Source of the norm and
    the replicated rows: the Jacobian of recurrent networks as in Pascanu et al. 2013 (arXiv
    1211.5063), averaged over data; the lag convention is k = t - s, 0 for the current input.

    Examples
    --------
    >>> model = sp.load("checkpoints/delay/gru-s0.pt")
    >>> batch = sp.make_task("delay").batch("test", 32)
    >>> int(sp.memory.gradient_profile(model, batch).peak_lag)
    20
    """
    worker = model if dtype is None else in_dtype(model, dtype)
    with borrowed(worker):
        x = _inputs(worker, batch)
        window = _window(model, x.shape[1], max_lag, n_times)
        check_causal(worker, x)
        probes = _probes(worker, x, n_probes, seed)
        squares = squared_jacobians(worker, x, window.times, probes, window.max_lag, on_progress)
    _check_finite(squares, x.dtype)
    precision = _compare_with_float64(worker, x, window, probes, squares)
    result = _summarise(squares, precision, generator(seed, "bootstrap"))
    result["receptive_field"] = _steps(
        (), _or_nan(getattr(model, "receptive_field", None)), "receptive field of the architecture"
    )
    result.coords["time"] = _steps(("time",), np.array(window.times), "output time")
    result.attrs = _attrs(model, x, window, probes, seed)
    return result


@dataclass(frozen=True)
class _Window:
    """Which lags are measured at which output times."""

    max_lag: int
    times: list[int]


@dataclass(frozen=True)
class _Precision:
    """What a float64 run of the first sequence says about the numbers; NaN where not compared."""

    deviation: float = math.nan
    noise_floor: float = 0.0
    underflow_lag: float = math.nan


def _inputs(model: nn.Module, batch: Tensor | Batch) -> Tensor:
    x = batch.inputs if isinstance(batch, Batch) else batch
    like = next(model.parameters(), None)
    if like is not None:
        x = x.to(like.device)
    if not x.is_floating_point():
        if not hasattr(model, "embed"):
            raise NotApplicableError(
                "model takes tokens and has no 'embed' method, so there is no input to"
                " differentiate; give it one that returns (B, T, E)"
            )
        x = cast("Callable[[Tensor], Tensor]", model.embed)(x).detach()
    elif like is not None:
        x = x.to(like.dtype)
    if x.dim() != 3:
        raise UsageError(
            f"inputs have shape {tuple(x.shape)} (allowed: (N, T, D) or tokens (N, T))"
        )
    return x


def _window(model: nn.Module, length: int, max_lag: int | None, n_times: int) -> _Window:
    spec = getattr(model, "spec", None)
    last_only = spec is not None and spec.readout == "last"
    if max_lag is None:
        max_lag = length - 1 if last_only else 2 * length // 3
    if not 0 <= max_lag < length:
        raise UsageError(
            f"lag {max_lag} does not fit sequences of {length} steps (allowed: 0 to {length - 1})"
        )
    if n_times < 1:
        raise UsageError(f"number of output times is {n_times} (allowed: at least 1)")
    if last_only:
        return _Window(max_lag, [length - 1])
    spread = np.linspace(max_lag, length - 1, min(n_times, length - max_lag)).round().astype(int)
    return _Window(max_lag, [int(t) for t in np.unique(spread)])


def _probes(model: nn.Module, x: Tensor, n_probes: int | None, seed: int) -> Tensor:
    with torch.no_grad():
        y = model(x[:1, :1])
    n_outputs = (y[0] if isinstance(y, tuple) else y).shape[-1]
    if n_probes is None:
        n_probes = min(n_outputs, _ALL_PROBES)
    if not 1 <= n_probes <= n_outputs:
        raise UsageError(f"{n_probes} probes for {n_outputs} outputs (allowed: 1 to {n_outputs})")
    probes = orthonormal_probes(n_outputs, n_probes, generator(seed, "probes"))
    if _is_classifier(model):
        probes = probes - probes.mean(axis=1, keepdims=True)
    return torch.as_tensor(probes, dtype=x.dtype, device=x.device)


def _is_classifier(model: nn.Module) -> bool:
    spec = getattr(model, "spec", None)
    return spec is not None and spec.output_kind == "class"


def _check_finite(squares: np.ndarray, dtype: torch.dtype) -> None:
    bad = np.flatnonzero(~np.isfinite(squares).all(axis=(0, 1)))
    if len(bad):
        advice = "compute in float64" if dtype != torch.float64 else "its Jacobians explode"
        raise SeqprobeError(f"gradient is not finite from lag {bad[0]} on; {advice}")


def _compare_with_float64(
    model: nn.Module, x: Tensor, window: _Window, probes: Tensor, squares: np.ndarray
) -> _Precision:
    if x.dtype == torch.float64:
        return _Precision()
    exact_model = in_dtype(model, torch.float64)
    with borrowed(exact_model):
        exact_squares = squared_jacobians(
            exact_model, x[:1].double(), window.times, probes.double(), window.max_lag
        )
    got = np.sqrt(squares[:1].mean(axis=(0, 1)))
    exact = np.sqrt(exact_squares.mean(axis=(0, 1)))
    off = np.abs(got - exact) > 0.01 * exact
    seen = exact >= THRESHOLDS.min() * exact.max()
    with np.errstate(invalid="ignore", divide="ignore"):
        relative = np.abs(got - exact) / exact
    lost = np.flatnonzero((got == 0) & (exact > 0))
    return _Precision(
        deviation=float(relative[seen].max()) if exact.max() > 0 else 0.0,
        noise_floor=float(exact[off].max(initial=0.0)),
        underflow_lag=float(lost[0]) if len(lost) else math.nan,
    )


def _summarise(squares: np.ndarray, precision: _Precision, rng: np.random.Generator) -> xr.Dataset:
    """Return estimates and bootstrap intervals from (trial, time, lag)."""
    by_trial = squares.mean(axis=1)
    n = len(by_trial)
    weights = np.full((1, n), 1 / n)
    if n > 1:
        weights = np.concatenate([weights, rng.multinomial(n, weights[0], _REPLICATES) / n])
    profiles = np.sqrt(weights @ by_trial)
    share = functionals.shares(profiles)
    norms = np.sqrt(squares)
    with np.errstate(divide="ignore"):
        geometric = np.exp(np.log(norms).mean(axis=(0, 1)))
    tail = functionals.exponential_tail(profiles, precision.noise_floor)
    zero = functionals.structural_zero(profiles[0])
    if not math.isnan(precision.underflow_lag):
        zero = math.nan  # zero for want of precision, not by structure
    per_input = "output per input"
    lag, quantile, threshold = ("lag",), ("quantile",), ("threshold",)
    data = {
        "jac_norm2": variable(
            ("trial", "time", "lag"), squares, "squared Jacobian norm", "(output per input)^2"
        ),
        **_estimate("G", lag, profiles, "root mean square Jacobian norm", per_input),
        "G1": variable(lag, norms.mean(axis=(0, 1)), "mean Jacobian norm", per_input),
        "Ggeo": variable(lag, geometric, "geometric mean Jacobian norm", per_input),
        **_estimate("share", lag, share, "share of squared sensitivity", "1"),
        **_estimate(
            "cumulative_share", lag, np.cumsum(share, axis=1), "share within that lag", "1"
        ),
        **_estimate("peak_lag", (), functionals.peak_lag(profiles), "lag of the peak", "steps"),
        **_estimate("mean_lag", (), functionals.mean_lag(profiles), "mean lag", "steps"),
        **_estimate(
            "mass_quantile",
            quantile,
            functionals.mass_quantiles(profiles, QUANTILES),
            "lags that hold a share of the squared sensitivity",
            "steps",
        ),
        **_estimate(
            "threshold_length",
            threshold,
            functionals.threshold_lengths(profiles, THRESHOLDS),
            "last lag above a fraction of the peak",
            "steps",
        ),
        **_estimate("half_life", (), tail.half_life, "half-life of the tail", "steps"),
        "tail_r2": variable((), tail.r2, "variance of log G explained by the tail fit", "1"),
        "structural_zero": _steps((), zero, "first lag from which G is exactly 0"),
        "float64_deviation": variable(
            (), precision.deviation, "largest relative difference from float64", "1"
        ),
        "noise_floor": variable(
            (), precision.noise_floor, "largest G off by more than 1 %", per_input
        ),
        "underflow_lag": _steps((), precision.underflow_lag, "first lag lost to underflow"),
    }
    coords = {
        "trial": variable(("trial",), np.arange(n), "sequence", "1"),
        "lag": _steps(lag, np.arange(squares.shape[2]), "lag"),
        "quantile": variable(quantile, QUANTILES, "share of the squared sensitivity", "1"),
        "threshold": variable(threshold, THRESHOLDS, "fraction of the peak", "1"),
        "ci_bound": variable(
            ("ci_bound",), np.array(_CI), "percentile of the bootstrap over sequences", "percent"
        ),
    }
    return xr.Dataset(data, coords)


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


def _steps(dims: tuple[str, ...], values: np.ndarray | float, long_name: str) -> xr.Variable:
    return variable(dims, values, long_name, "steps")


def _or_nan(value: int | None) -> float:
    return math.nan if value is None else float(value)


def _attrs(
    model: nn.Module, x: Tensor, window: _Window, probes: Tensor, seed: int
) -> dict[str, str | int]:
    parameters = {
        "max_lag": window.max_lag,
        "n_sequences": len(x),
        "length": x.shape[1],
        "n_times": len(window.times),
        "n_probes": len(probes),
    }
    attrs = provenance.attrs(
        "memory.gradient_profile",
        parameters,
        seed=seed,
        device=str(x.device),
        dtype=str(x.dtype).removeprefix("torch."),
    )
    attrs["lag_convention"] = "k = t - s; lag 0 is the current input"
    attrs["functional"] = "centred logits" if _is_classifier(model) else "output"
    attrs["interval"] = f"95 % percentile, {_REPLICATES} bootstrap replicates over sequences"
    attrs |= provenance.model_attrs(model)
    return attrs
