"""The numeric core: squared input-output Jacobians by lag, one backward pass for many rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from seqprobe.models.access import first_output

__all__ = ["orthonormal_probes", "squared_jacobians"]

# Rows times steps of one chunk: large enough to fill a core, small enough to stay near the cache.
_CHUNK = 2**15


def orthonormal_probes(n_outputs: int, n_probes: int, rng: np.random.Generator) -> np.ndarray:
    """Return probes V (k, d_o) with ``E[V^T V] = I``.

    Rows of a random orthogonal matrix times sqrt(d_o / k): unbiased for ``||J||_F^2`` at any k, and
    exact at k = d_o, where the coordinate axes are returned.
    """
    if n_probes == n_outputs:
        return np.eye(n_outputs)
    q, r = np.linalg.qr(rng.standard_normal((n_outputs, n_outputs)))
    q = q * np.sign(np.diag(r))  # uniform over rotations (Mezzadri 2007)
    scaled: np.ndarray = q[:n_probes] * np.sqrt(n_outputs / n_probes)
    return scaled


def squared_jacobians(
    model: nn.Module,
    x: Tensor,
    times: Sequence[int],
    probes: Tensor,
    max_lag: int,
    scales: Tensor | None = None,
    root: Tensor | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> np.ndarray:
    """Return ``sum_v ||v^T dy_t/dx_{t-k}||^2`` for every sequence, output time and lag.

    Every (sequence, time, probe) is a row of a batch with its own cotangent, so that one backward
    pass gives all lags of all rows. Rows are cut after their output time.

    Parameters
    ----------
    model
        Maps (B, T, D) to (B, T, K), or to a tuple whose first element that is.
    x
        Inputs (N, T, D) of reals.
    times
        Output times, ascending, each at least `max_lag`.
    probes
        Cotangents (P, K).
    max_lag
        Largest lag.
    scales
        Factors (S, T, D) of the inputs, such as their standard deviations: one set of squares each.
    root
        A matrix (D, D) that gradients are multiplied by, such as the root of a covariance.
    on_progress
        Called with the number of (sequence, time) pairs done and their total.

    Returns
    -------
    numpy.ndarray
        (N, len(times), max_lag + 1), float64: gradients keep the model's precision, their squares
        must not underflow. With `scales` (S, N, len(times), max_lag + 1).
    """
    n_probes = len(probes)
    factors = torch.ones(1, *x.shape[1:]) if scales is None else scales
    factors = factors.double().cpu().square()
    squares = np.zeros((len(factors), len(x), len(times), max_lag + 1))
    # Pairs are sorted by time so that a chunk is cut after the last time in it.
    pairs = [(i, j) for j in range(len(times)) for i in range(len(x))]
    done = 0
    while done < len(pairs):
        last = times[pairs[done][1]] + 1
        count = max(1, _CHUNK // (last * n_probes))
        chunk = pairs[done : done + count]
        rows = torch.tensor([i for i, _ in chunk for _ in range(n_probes)], device=x.device)
        at = torch.tensor([times[j] for _, j in chunk for _ in range(n_probes)], device=x.device)
        gradient = _vjp(model, x[rows], at, probes.repeat(len(chunk), 1))
        if root is not None:
            gradient = gradient @ root
        square = gradient.cpu().double().square()
        for factor, out in zip(factors, squares, strict=True):
            by_row = (square * factor[: square.shape[1]]).sum(dim=2)
            by_pair = by_row.reshape(len(chunk), n_probes, -1).sum(dim=1).numpy()
            for row, (i, j) in zip(by_pair, chunk, strict=True):
                out[i, j] = row[times[j] - max_lag : times[j] + 1][::-1]
        done += len(chunk)
        if on_progress is not None:
            on_progress(done, len(pairs))
    return squares if scales is not None else squares[0]


def _vjp(model: nn.Module, x: Tensor, at: Tensor, cotangents: Tensor) -> Tensor:
    """Return d(cotangent . y[at]) / dx for every row, (rows, T', D), T' = largest time + 1."""
    x = x[:, : int(at.max()) + 1].detach().requires_grad_()
    with torch.enable_grad():
        y = first_output(model, x)
        picked = y[torch.arange(len(x), device=x.device), at]
        if not picked.requires_grad:  # the output does not depend on the input at all
            return torch.zeros_like(x)
        (gradient,) = torch.autograd.grad(
            (picked * cotangents).sum(), x, allow_unused=True, materialize_grads=True
        )
    return gradient
