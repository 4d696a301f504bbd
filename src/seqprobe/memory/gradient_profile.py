"""How strongly the output at t reacts to the input k steps earlier."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

import numpy as np
import torch
import xarray as xr
from torch import Tensor, nn

from seqprobe.errors import NotApplicableError, SeqprobeError, UsageError
from seqprobe.memory.adjoint import adjoint_jacobians, has_adjoint
from seqprobe.memory.estimates import INTERVAL
from seqprobe.memory.jacobian import orthonormal_probes, squared_jacobians
from seqprobe.memory.precision import compare_with_float64
from seqprobe.memory.summary import steps, summarise, time_bins
from seqprobe.memory.whitening import normalised, whitening
from seqprobe.memory.window import Window, describe, is_classifier, make_window, reals
from seqprobe.models.access import borrowed, check_causal, first_output, in_dtype
from seqprobe.schema import variable
from seqprobe.seeding import generator
from seqprobe.tasks import Batch

__all__ = ["gradient_profile"]

Route = Literal["auto", "replicate", "adjoint"]

_ALL_PROBES = 16  # outputs up to which the Frobenius norm is computed exactly


def gradient_profile(
    model: nn.Module,
    batch: Tensor | Batch,
    *,
    max_lag: int | None = None,
    n_times: int = 16,
    n_probes: int | None = None,
    dtype: torch.dtype | None = None,
    route: Route = "auto",
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
    route
        ``"replicate"``: rows of a batch, one backward pass, any module; ``"adjoint"``: the exact
        recursion, for stacks of ``rnn``, ``irnn``, ``gru`` and ``lstm``; ``"auto"``: the recursion
        where there is one.
    seed
        Seed of probes and bootstrap.
    on_progress
        Called with the number of (sequence, time) pairs done and their total, of both passes.

    Returns
    -------
    xarray.Dataset
        Absent values are NaN.

        * ``jac_norm2`` (trial, time, lag): all estimates.
        * ``G``, ``G1``, ``Ggeo`` (lag): root mean square, mean and geometric mean norm.
        * ``G_bin`` (bin, lag): G of up to four bins of output times, ``bin_start`` and ``bin_stop``
          their first and last; attention is not stationary, and beyond the training length it
          shows here.
        * ``G_sd`` (lag): as G, with every input in units of its standard deviation over the
          sequences; sensitivity to inputs that never vary drops out.
        * ``Gnorm2`` (lag): ``E ||Sy^(-1/2) J Sx^(1/2)||_F^2 / rank(Sy)`` with the covariances of
          inputs and outputs: for a linear model of white input the share of the output's variance,
          which sums to 1; ``Gnorm2_sum`` above 1 measures nonlinearity (Poincare's inequality, for
          Gaussian inputs). Compares between architectures, as ``share`` does.
        * ``constant_share``: share of ``G^2`` at inputs that never vary in these sequences.
        * ``share``, ``cumulative_share`` (lag): ``G^2`` over its sum, and the running sum.
        * ``peak_lag``, ``mean_lag``: in steps.
        * ``mass_quantile`` (quantile): smallest K that holds a share q of ``G^2``.
        * ``threshold_length`` (threshold): last k with G at least eps of its peak, up to `max_lag`.
        * ``half_life``: of an exponential tail, where one fits; see `functionals.fit_tail`;
          ``tail_r2``, ``tail_start``, ``tail_stop``: how well, and on which lags.
        * ``tail_tau``, ``tail_beta``: time constant of ``G = a exp(-k / tau)`` and exponent of
          ``G = a k^-beta`` on those lags, whether they fit or not; ``tail_win_exp``: fraction of
          replicates in which the exponential leaves less unexplained.
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
    Cost: replicated, one forward and one backward pass of N * n_times * n_probes rows; by
    recursion, T matrix products of as many rows; either once more for ``Gnorm2``. Source of the
    norm and the replicated rows: the Jacobian of recurrent networks as in Pascanu et al. 2013
    (arXiv 1211.5063), averaged over data; the lag convention is k = t - s, 0 for the current input.

    Examples
    --------
    >>> model = sp.load("checkpoints/delay/gru-s0.pt")
    >>> batch = sp.make_task("delay").batch("test", 32)
    >>> int(sp.memory.gradient_profile(model, batch).peak_lag)
    20
    """
    worker = model if dtype is None else in_dtype(model, dtype)
    with borrowed(worker):
        x = reals(worker, batch)
        window = make_window(model, x.shape[1], max_lag, n_times)
        check_causal(worker, x)
        probes = _probes(worker, x, n_probes, seed)
        recursion = _recursion(worker, route)
        jacobians: Callable[..., np.ndarray] = adjoint_jacobians if recursion else squared_jacobians
        squares, squares_sd, constant = jacobians(
            worker,
            x,
            window.times,
            probes,
            window.max_lag,
            _scales(x),
            on_progress=_half(on_progress, 0),
        )
        white = whitening(worker, x, window.times)
        normed = jacobians(
            worker,
            x,
            window.times,
            probes @ white.outputs,
            window.max_lag,
            root=white.inputs,
            on_progress=_half(on_progress, 1),
        )
    _check_finite(squares, x.dtype)
    precision = compare_with_float64(worker, x, window.times, probes, squares)
    result = summarise(squares, squares_sd, precision, generator(seed, "bootstrap"))
    result = result.merge(normalised(normed, white.rank, generator(seed, "bootstrap")))
    result["constant_share"] = variable(
        (), _ratio(constant, squares), "share of G^2 at inputs that never vary", "1"
    )
    result["receptive_field"] = steps(
        (), _or_nan(getattr(model, "receptive_field", None)), "receptive field of the architecture"
    )
    result.coords["time"] = steps(("time",), np.array(window.times), "output time")
    result = result.merge(time_bins(squares, window.times))
    result.attrs = _attrs(model, x, window, probes, seed)
    result.attrs["route"] = "adjoint" if recursion else "replicate"
    return result


def _half(
    on_progress: Callable[[int, int], None] | None, which: int
) -> Callable[[int, int], None] | None:
    """Return a report on the first (0) or the second (1) of two passes."""
    if on_progress is None:
        return None
    return lambda done, of: on_progress(which * of + done, 2 * of)


def _recursion(model: nn.Module, route: Route) -> bool:
    """Say whether to take the adjoint recursion."""
    there = has_adjoint(model)
    if route == "adjoint" and not there:
        raise NotApplicableError(
            f"no adjoint recursion for {getattr(model, 'name', type(model).__name__)}"
            " (allowed: rnn, irnn, gru with reset after, plain lstm); use route 'replicate'"
        )
    return there and route != "replicate"


def _probes(model: nn.Module, x: Tensor, n_probes: int | None, seed: int) -> Tensor:
    with torch.no_grad():
        n_outputs = first_output(model, x[:1]).shape[-1]  # some take one length only
    if n_probes is None:
        n_probes = min(n_outputs, _ALL_PROBES)
    if not 1 <= n_probes <= n_outputs:
        raise UsageError(f"{n_probes} probes for {n_outputs} outputs (allowed: 1 to {n_outputs})")
    probes = orthonormal_probes(n_outputs, n_probes, generator(seed, "probes"))
    if is_classifier(model):
        probes = probes - probes.mean(axis=1, keepdims=True)
    return torch.as_tensor(probes, dtype=x.dtype, device=x.device)


def _scales(x: Tensor) -> Tensor:
    """Return factors (3, T, D) of the inputs: one, their standard deviation, 1 where that is 0.

    The deviation is over sequences at each position, because a position may be special: a corner of
    an image never varies. Of one sequence it is over time.
    """
    over = 0 if len(x) > 1 else 1
    sd = x.std(dim=over, unbiased=over == 0)
    # Equal numbers may have a deviation of rounding size, so that constancy is asked of them.
    constant = x.amax(dim=over) == x.amin(dim=over)
    sd = sd.masked_fill(constant, 0.0).expand(x.shape[1:])
    return torch.stack([torch.ones_like(sd), sd, constant.to(sd.dtype).expand(x.shape[1:])])


def _ratio(part: np.ndarray, whole: np.ndarray) -> float:
    total = float(whole.sum())
    return float(part.sum()) / total if total > 0 else math.nan


def _check_finite(squares: np.ndarray, dtype: torch.dtype) -> None:
    bad = np.flatnonzero(~np.isfinite(squares).all(axis=(0, 1)))
    if len(bad):
        advice = "compute in float64" if dtype != torch.float64 else "its Jacobians explode"
        raise SeqprobeError(f"gradient is not finite from lag {bad[0]} on; {advice}")


def _or_nan(value: int | None) -> float:
    return math.nan if value is None else float(value)


def _attrs(
    model: nn.Module, x: Tensor, window: Window, probes: Tensor, seed: int
) -> dict[str, str | int]:
    parameters = {
        "max_lag": window.max_lag,
        "n_times": len(window.times),
        "n_probes": len(probes),
    }
    attrs = describe("gradient_profile", model, x, parameters, seed)
    attrs["functional"] = "centred logits" if is_classifier(model) else "output"
    attrs["interval"] = INTERVAL
    return attrs
