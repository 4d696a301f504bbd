"""How well a noisy state tells the size of an input k steps back."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
import xarray as xr
from scipy.linalg import solve_discrete_lyapunov
from torch import Tensor, nn

from seqprobe.errors import NotApplicableError, UsageError
from seqprobe.memory.estimates import INTERVAL, ci_coordinate, estimate, resample
from seqprobe.memory.summary import steps
from seqprobe.memory.window import describe, make_window, reals
from seqprobe.models import SequenceModule
from seqprobe.models.access import borrowed, in_dtype
from seqprobe.schema import variable
from seqprobe.seeding import generator
from seqprobe.state import flatten, layout, unflatten
from seqprobe.tasks import Batch

__all__ = ["fisher_memory", "fisher_memory_curve"]

_LARGEST_STATE = 512
_WORST = 1e12  # condition number from which float64 has no digits left for the smallest noise


def fisher_memory(w: np.ndarray, v: np.ndarray, max_lag: int) -> np.ndarray:
    """Return the Fisher memory curve of ``h_t = W h_{t-1} + v s_t + z_t`` in closed form.

    ``J(k) = v^T (W^k)^T C^-1 W^k v`` with ``C = sum_j W^j (W^j)^T``, for noise z of unit variance.
    Summed over all lags it is 1 for every normal W and a unit vector v, and at most the number of
    units for any.

    Parameters
    ----------
    w
        (n, n), eigenvalues inside the unit circle.
    v
        (n,) or (n, d), summed over inputs.
    max_lag
        Largest lag.

    Returns
    -------
    numpy.ndarray
        (max_lag + 1,), in variances of signal over noise.

    Raises
    ------
    UsageError
        If W does not contract, so that noise grows without end.

    Notes
    -----
    Source: Ganguli, Huh and Sompolinsky 2008 (PNAS 105, 18970).
    """
    radius = float(np.abs(np.linalg.eigvals(w)).max())
    if radius >= 1:
        raise UsageError(f"spectral radius of W is {radius:.4g} (allowed: below 1)")
    noise = np.linalg.inv(solve_discrete_lyapunov(w, np.eye(len(w))))
    signal = v.reshape(len(w), -1).astype(np.float64)
    curve = np.empty(max_lag + 1)
    for k in range(max_lag + 1):
        curve[k] = np.einsum("id,ij,jd->", signal, noise, signal)
        signal = w @ signal
    return curve


def fisher_memory_curve(
    model: nn.Module,
    batch: Tensor | Batch,
    *,
    max_lag: int | None = None,
    n_times: int = 4,
    seed: int = 0,
    on_progress: Callable[[int, int], None] | None = None,
) -> xr.Dataset:
    """Return the Fisher memory curve of a model's state, linearised along its trajectories.

    ``J_t(k) = tr(V_k^T C_t^-1 V_k)`` with ``V_k = dh_t / dx_{t-k}`` and ``C_t = A_t C_{t-1} A_t^T +
    I`` for the Jacobians A_t of the step: how well a reader of the state, disturbed at every step
    by noise of unit variance in every unit, could tell a small change of the input k steps back.
    For a linear model it is that of Ganguli et al. 2008; for others it is that of its linearisation
    along the way, which is an extension of theirs.

    Parameters
    ----------
    model
        A causal model of the contract whose state has a fixed size of at most 512 reals. It is left
        as it was; everything is computed in float64.
    batch
        Sequences (N, T, D) or tokens (N, T).
    max_lag
        Largest lag; see `seqprobe.memory.gradient_profile`.
    n_times
        Number of output times, spread over max_lag <= t < T.
    seed
        Of the bootstrap.
    on_progress
        Called with the number of steps done and their total.

    Returns
    -------
    xarray.Dataset
        * ``fmc`` (lag): variances of signal over noise, summed over input channels, mean over
          sequences and times. ``fmc_total``: its sum over lags, at most the number of state reals
          for one channel whose Jacobian is a unit vector; ``*_ci``: 95 % percentile intervals of
          1000 bootstrap replicates over sequences.
        * ``condition``: largest condition number of C_t met. Above 1e12, where noise has grown in
          some directions until the others are lost in rounding, the curve is NaN.
        * ``dimension``: of the state.

    Raises
    ------
    NotApplicableError
        If the model has no state of fixed size, or a larger one.
    UsageError
        If lags do not fit.

    Notes
    -----
    Noise is counted in units of the state, so that curves of models whose states differ in scale
    compare in shape only. Cost: T batches of as many backward rows as the state has reals, and
    O(T n^3).
    """
    worker = in_dtype(model, torch.float64)
    if not isinstance(worker, SequenceModule) or not worker.causal:
        raise NotApplicableError(
            "Fisher memory needs a causal model with a step (seqprobe.models.SequenceModule)"
        )
    x = reals(worker, batch)
    window = make_window(worker, x.shape[1], max_lag, n_times)
    n = worker.state_size(1)
    if n != worker.state_size(x.shape[1]) or not 0 < n <= _LARGEST_STATE:
        raise NotApplicableError(
            f"state has {worker.state_size(x.shape[1])} reals after {x.shape[1]} steps (allowed: a"
            f" fixed size up to {_LARGEST_STATE}); use a smaller model, or the total effect"
        )
    curves, condition = [], 1.0
    with borrowed(worker):
        recursion = _Recursion(worker, x, window.max_lag)
        for t in range(window.times[-1] + 1):
            recursion.advance(t)
            if t in window.times:
                curve, worst = recursion.curve()
                curves.append(curve)
                condition = max(condition, worst)
            if on_progress is not None:
                on_progress(t + 1, window.times[-1] + 1)
    by_trial = np.stack(curves).mean(axis=0)
    if condition > _WORST:
        by_trial[:] = np.nan
    weights = resample(len(x), generator(seed, "bootstrap"))
    replicates = weights @ by_trial
    ratio = "variance of signal over noise"
    data = {
        **estimate("fmc", ("lag",), replicates, "Fisher memory", ratio),
        **estimate("fmc_total", (), replicates.sum(axis=1), "Fisher memory of all lags", ratio),
        "condition": variable((), condition, "largest condition number of the noise", "1"),
        "dimension": variable((), n, "reals in the state", "1"),
    }
    coords = {
        "lag": steps(("lag",), np.arange(window.max_lag + 1), "lag"),
        "ci_bound": ci_coordinate(),
    }
    parameters = {"max_lag": window.max_lag, "n_times": len(window.times)}
    attrs = describe("fisher_memory_curve", model, x, parameters, seed)
    attrs["noise"] = "unit variance per step in every real of the state"
    attrs["interval"] = INTERVAL
    return xr.Dataset(data, coords, attrs)


class _Recursion:
    """Signal and noise of the linearised state, step by step, for N sequences."""

    def __init__(self, model: SequenceModule, x: Tensor, max_lag: int) -> None:
        self.model, self.x = model, x
        self.state = flatten(model.init_state(len(x))).double()
        self.parts = layout(model.init_state(1))
        n = self.state.shape[1]
        self.noise = x.new_zeros(len(x), n, n)
        # dh_t / dx_{t-k} for k = 0, 1, ...: (N, n, lags, D)
        self.signal = x.new_zeros(len(x), n, max_lag + 1, x.shape[2])

    def advance(self, t: int) -> None:
        """Take one step."""
        n = self.state.shape[1]
        rows = self.state.repeat_interleave(n, dim=0).requires_grad_()
        inputs = self.x[:, t].repeat_interleave(n, dim=0).requires_grad_()
        with torch.enable_grad():
            after = flatten(self.model.step(inputs, unflatten(rows, self.parts))[1])
            picked = after.view(len(self.x), n, n).diagonal(dim1=1, dim2=2).sum()
            a, b = torch.autograd.grad(picked, [rows, inputs], materialize_grads=True)
        self.state = after.detach()[::n]
        a, b = a.view(len(self.x), n, n), b.view(len(self.x), n, -1)
        self.noise = a @ self.noise @ a.mT + torch.eye(n, dtype=a.dtype, device=a.device)
        moved = (a @ self.signal.flatten(2)).view_as(self.signal)
        self.signal = torch.cat([b[:, :, None], moved[:, :, :-1]], dim=2)

    def curve(self) -> tuple[np.ndarray, float]:
        """Return J(k) of every sequence, (N, lags), and the worst condition number of the noise."""
        signal = self.signal.flatten(2)
        solved = torch.linalg.solve(self.noise, signal)
        curve = (signal * solved).sum(dim=1).view(len(self.x), self.signal.shape[2], -1).sum(dim=2)
        return curve.cpu().numpy(), float(torch.linalg.cond(self.noise).max())
