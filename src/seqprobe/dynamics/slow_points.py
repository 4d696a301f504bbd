"""Points of least speed at a stated time constant: a product of their own, never fixed points."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from seqprobe.dynamics.describe import describe
from seqprobe.dynamics.drive import constant_input, flat_states
from seqprobe.dynamics.maps import StateMap, state_map
from seqprobe.errors import UsageError
from seqprobe.schema import variable

__all__ = ["slow_points"]

_STEPS = 12
_SHORTEST = 0.01
_BLOCK_BYTES = 2**22


def slow_points(
    model: object,
    starts: Tensor | dict[str, Tensor],
    *,
    tau: float,
    input: Tensor | None = None,  # noqa: A002  # what it is
    points: xr.Dataset | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> xr.Dataset:
    """Relax states in all directions faster than a time constant, and no others.

    Twelve damped Gauss-Newton steps ``x <- x - (R'R + s^2 I)^-1 R'r`` for ``r = F(x) - x``, ``R = J
    - I``, with a constant floor s: displacements along directions of singular value well above the
    floor decay, those below stay. The floor is chosen so that a displacement along a direction with
    time constant `tau` keeps one half: ``s = 1 / (tau sqrt(2^(1/12) - 1))``, about 4.1 / tau.

    Parameters
    ----------
    model
        See `fixed_points`.
    starts
        States (S, n); see `sample_states`.
    tau
        Time constant in steps.
    input
        Constant input (d,), zero if None.
    points
        Fixed points of the same input: slow points nearer to one of them than a hundredth of the
        cloud's size are marked.
    on_progress
        Called with the number of starts done and their total.

    Returns
    -------
    xarray.Dataset
        Over ``start``: ``x`` (start, state), ``speed`` = |F(x) - x| per step, ``q`` and ``q_start``
        (half its square there and at the start), ``moved``: distance from the start,
        ``time_constant`` 1 / sigma_min(J - I) in steps, the slowest, which for a normal J is that
        of an eigenvalue near 1, ``fixed_point``: index of a near fixed point or -1.
        ``drift`` (start): component of F(x) - x along the first principal component;
        ``position`` (start, component): principal components; ``share`` (component): of the
        variance of the slow points. ``left``: starts that ended further away than ten times the
        size of the cloud.

    Raises
    ------
    UsageError
        If tau is out of range, or starts or input have the wrong size.

    Notes
    -----
    The number of slow points is a matter of how many starts there were, and no finding. For a
    non-normal J singular values of R are not ``|1 - lambda|``. Source: Sussillo and Barak 2013
    (Neural Computation 25, 626) for slow points; the floor in place of a speed threshold is ours.
    """
    if not _SHORTEST <= tau < np.inf:
        raise UsageError(f"tau is {tau} (allowed: {_SHORTEST} or more, in steps)")
    of = state_map(model)
    x0 = flat_states(of, starts)
    u = constant_input(of, input)
    if u.dim() != 1:
        raise UsageError("slow points are of one input; call once for each")
    floor = 1 / (tau * np.sqrt(2 ** (1 / _STEPS) - 1))
    block = max(1, min(1024, _BLOCK_BYTES // (8 * of.size**2)))
    relaxed, slowest = [], []
    for i in range(0, len(x0), block):
        with torch.no_grad():
            x, sigma = _relax(of, x0[i : i + block], u, floor)
        relaxed.append(x)
        slowest.append(sigma)
        if on_progress is not None:
            on_progress(min(i + block, len(x0)), len(x0))
    data = _variables(of, x0, torch.cat(relaxed), torch.cat(slowest), u, points)
    parameters = {"tau": tau, "floor": floor, "relaxation_steps": _STEPS, "n_starts": len(x0)}
    attrs = describe("slow_points", model, parameters)
    return xr.Dataset(data, attrs=attrs)


def _relax(of: StateMap, x: Tensor, u: Tensor, floor: float) -> tuple[Tensor, Tensor]:
    """Return relaxed states (B, n) and the least singular value of J - I there (B,)."""
    for _ in range(_STEPS):
        after, jacobian, _ = of.linearise(x, u)
        reduced = jacobian.dense()
        reduced.diagonal(dim1=1, dim2=2).sub_(1.0)
        normal = reduced.mT @ reduced
        normal.diagonal(dim1=1, dim2=2).add_(floor**2)
        gradient = reduced.mT @ (after - x)[..., None]
        x = x - torch.cholesky_solve(gradient, torch.linalg.cholesky(normal))[..., 0]
    reduced = of.linearise(x, u)[1].dense()
    reduced.diagonal(dim1=1, dim2=2).sub_(1.0)
    return x, torch.linalg.svdvals(reduced)[:, -1]


def _variables(
    of: StateMap,
    x0: Tensor,
    x: Tensor,
    sigma: Tensor,
    u: Tensor,
    points: xr.Dataset | None,
) -> dict[str, xr.Variable]:
    with torch.no_grad():
        velocity, before = of.step(x, u) - x, of.step(x0, u) - x0
    spread = torch.linalg.vector_norm(x0 - x0.mean(dim=0), dim=1).max()
    size = max(float(spread), float(torch.linalg.vector_norm(x0, dim=1).median()), 1e-9)
    moved = torch.linalg.vector_norm(x - x0, dim=1)
    near = np.full(len(x), -1)
    if points is not None and points.sizes["fixed_point"]:
        distance, which = torch.cdist(x, torch.from_numpy(points["x"].values)).min(dim=1)
        near = torch.where(distance < 0.01 * size, which, -1).numpy()
    inside = moved <= 10 * size
    centred = x - x[inside].mean(dim=0) if bool(inside.any()) else x
    _, values, axes = torch.linalg.svd(centred[inside], full_matrices=False)
    axes = axes[:3]
    share = (values.square() / values.square().sum().clamp(min=1e-300))[:3]
    at = ("start",)
    return {
        "x": variable((*at, "state"), x.numpy(), "slow point", "1"),
        "speed": variable(at, torch.linalg.vector_norm(velocity, dim=1).numpy(), "speed", "1/step"),
        "q": variable(
            at, 0.5 * velocity.square().sum(1).numpy(), "half the squared speed", "1/step^2"
        ),
        "q_start": variable(
            at, 0.5 * before.square().sum(1).numpy(), "half the squared speed before", "1/step^2"
        ),
        "moved": variable(at, moved.numpy(), "distance from the start", "1"),
        "time_constant": variable(at, (1 / sigma).numpy(), "slowest time constant", "steps"),
        "fixed_point": variable(at, near, "fixed point nearby, -1 for none", "1"),
        "drift": variable(
            at,
            (velocity @ axes[0]).numpy() if len(axes) else np.zeros(len(x)),
            "speed along the first principal component",
            "1/step",
        ),
        "position": variable(
            (*at, "component"), (centred @ axes.T).numpy(), "principal components", "1"
        ),
        "share": variable(("component",), share.numpy(), "share of the variance", "1"),
        "left": variable((), int((~inside).sum()), "starts that ended far away", "starts"),
    }
