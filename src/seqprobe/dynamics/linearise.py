"""The linear system at each fixed point: modes, what drives them, what they say."""

from __future__ import annotations

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from seqprobe.dynamics.basins import one_input
from seqprobe.dynamics.certify import eigenpairs
from seqprobe.dynamics.describe import describe
from seqprobe.dynamics.maps import StateMap, state_map
from seqprobe.dynamics.readout import readout, readout_jacobian
from seqprobe.errors import NotApplicableError
from seqprobe.schema import variable

__all__ = ["jacobians", "linearise", "time_constants", "unstable_directions"]

_LARGEST = 1024
_DEFECTIVE = 1e8


def linearise(model: object, points: xr.Dataset) -> xr.Dataset:
    """Return modes, selection vectors and non-normality of the Jacobian at each fixed point.

    Parameters
    ----------
    model
        The one that `points` was made from.
    points
        Result of `fixed_points`.

    Returns
    -------
    xarray.Dataset
        Over (fixed_point, mode), by falling modulus: ``eigenvalue``; ``time_constant`` ``-1 / ln
        |lambda|`` in steps (negative: growth); ``frequency`` ``|arg lambda| / 2 pi`` in cycles per
        step; ``condition`` ``|w_i| |v_i|`` of the eigenvalue, 1 for a normal Jacobian. ``right``
        (fixed_point, state, mode): eigenvectors v_i of unit length; ``left``: w_i with ``w_i . v_j
        = [i = j]``. ``input_jacobian`` (fixed_point, state, channel): dF/du. ``input_to_mode``
        (fixed_point, mode, channel): ``w_i . dF/du``, how much an input pushes a mode; w_i of the
        eigenvalue nearest 1 is the selection vector of Mante et al. 2013. With a head,
        ``readout_jacobian`` (fixed_point, output, state) and ``mode_to_output`` (fixed_point,
        output, mode). Over fixed_point: ``henrici``, ``sqrt(|J|^2 - sum |lambda|^2)``, 0 for a
        normal J; ``defective``: 1 where a condition exceeds 1e8, so that modes are not to be
        trusted; and ``x``, ``u``, ``n_unstable``, ``stability`` of `points`.

    Raises
    ------
    NotApplicableError
        If the state has more than 1024 reals.

    Notes
    -----
    A mode and its weights are defined up to a factor for v_i: compare products ``mode_to_output *
    input_to_mode``. Sources: Sussillo and Barak 2013; Mante, Sussillo, Shenoy and Newsome 2013
    (Nature 503, 78); Henrici 1962. Cost: O(n^3) per point.
    """
    of = state_map(model)
    if of.size > _LARGEST:
        raise NotApplicableError(
            f"state has {of.size} reals (allowed: up to {_LARGEST} for eigenvectors); the leading"
            " eigenvalues are in the result of fixed_points"
        )
    x = torch.from_numpy(points["x"].values)
    u = torch.from_numpy(points["u"].values)
    with torch.no_grad():
        _, by_state, by_input = of.linearise(x, u)
        jacobian, drive = by_state.dense(), by_input.dense()
    data = _modes(jacobian, drive)
    data |= {name: points[name].variable for name in ("x", "u", "n_unstable", "stability")}
    head = readout(model, of)
    if head is not None and len(x):
        c = readout_jacobian(head, x, u)
        data["readout_jacobian"] = variable(
            ("fixed_point", "output", "state"), c.numpy(), "Jacobian of the output", "1"
        )
        said = c.to(torch.complex128) @ torch.from_numpy(data["right"].values)
        data["mode_to_output"] = variable(
            ("fixed_point", "output", "mode"), said.numpy(), "output of a mode", "1"
        )
    attrs = describe("linearise", model, {})
    return xr.Dataset(data, attrs=attrs)


def _modes(jacobian: Tensor, drive: Tensor) -> dict[str, xr.Variable]:
    values, right = eigenpairs(jacobian, vectors=True)
    order = values.abs().argsort(dim=1, descending=True, stable=True)
    values = values.gather(1, order)
    right = right.gather(2, order[:, None].expand_as(right))
    left, info = torch.linalg.inv_ex(right)
    condition = torch.linalg.vector_norm(left, dim=2) * torch.linalg.vector_norm(right, dim=1)
    condition = torch.where(info[:, None] == 0, condition, torch.inf)
    defective = (condition > _DEFECTIVE).any(dim=1).int()
    excess = jacobian.square().sum(dim=(1, 2)) - values.abs().square().sum(dim=1)
    tau, frequency = time_constants(values.numpy())
    pushes = left @ drive.to(left.dtype)
    at, modes = ("fixed_point",), ("fixed_point", "mode")
    return {
        "eigenvalue": variable(modes, values.numpy(), "eigenvalue of the Jacobian", "1"),
        "time_constant": variable(modes, tau, "time constant", "steps"),
        "frequency": variable(modes, frequency, "frequency", "cycles/step"),
        "condition": variable(modes, condition.numpy(), "condition of the eigenvalue", "1"),
        "right": variable((*at, "state", "mode"), right.numpy(), "right eigenvector", "1"),
        "left": variable(
            (*at, "state", "mode"), left.mT.numpy(), "left eigenvector (no conjugate)", "1"
        ),
        "input_jacobian": variable(
            (*at, "state", "channel"), drive.numpy(), "Jacobian in the input", "1"
        ),
        "input_to_mode": variable((*modes, "channel"), pushes.numpy(), "input to a mode", "1"),
        "henrici": variable(
            at, excess.clamp(min=0).sqrt().numpy(), "Henrici's departure from normality", "1"
        ),
        "defective": variable(at, defective.numpy(), "1 if modes are not to be trusted", "1"),
    }


def time_constants(eigenvalues: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return ``-1 / ln |lambda|`` in steps and ``|arg lambda| / 2 pi`` in cycles per step."""
    modulus = np.abs(eigenvalues)
    with np.errstate(divide="ignore"):
        tau = -1 / np.log(modulus)
    tau[modulus == 0] = 0.0
    tau[modulus == 1] = np.inf
    return tau, np.abs(np.angle(eigenvalues)) / (2 * np.pi)


def jacobians(of: StateMap, points: xr.Dataset) -> Tensor:
    """Return the Jacobians at all points of one input, (K, n, n)."""
    with torch.no_grad():
        x = torch.from_numpy(points["x"].values)
        return of.linearise(x, one_input(points))[1].dense()


def unstable_directions(model: object, points: xr.Dataset) -> xr.Dataset:
    """Return the leading unstable direction of every saddle, to be drawn.

    Parameters
    ----------
    model
        The one that `points` was made from.
    points
        Result of `fixed_points`.

    Returns
    -------
    xarray.Dataset
        ``unstable_direction`` (fixed_point, state): unit vector along the real part of the
        eigenvector of largest modulus, NaN for stable points, and for states of more than 1024
        reals.
    """
    of = state_map(model)
    x, u = (torch.from_numpy(points[name].values) for name in ("x", "u"))
    found = torch.full_like(x, torch.nan)
    saddles = np.flatnonzero(points["n_unstable"].values > 0)
    if len(saddles) and of.size <= _LARGEST:
        with torch.no_grad():
            jacobian = of.linearise(x[saddles], u[saddles])[1].dense()
        values, vectors = eigenpairs(jacobian, vectors=True)
        leading = values.abs().argmax(dim=1)
        v = vectors[torch.arange(len(saddles)), :, leading].real
        found[saddles] = v / torch.linalg.vector_norm(v, dim=1, keepdim=True)
    return xr.Dataset(
        {
            "unstable_direction": variable(
                ("fixed_point", "state"), found.numpy(), "leading unstable direction", "1"
            )
        }
    )
