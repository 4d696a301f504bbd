"""The graph of a dynamical system: which saddle leads to which attractors."""

from __future__ import annotations

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from seqprobe.dynamics.basins import one_input, settle
from seqprobe.dynamics.certify import eigenpairs
from seqprobe.dynamics.describe import describe
from seqprobe.dynamics.maps import StateMap, state_map
from seqprobe.dynamics.readout import readout
from seqprobe.errors import UsageError
from seqprobe.schema import variable
from seqprobe.seeding import generator

__all__ = ["connections"]


def connections(
    model: object,
    points: xr.Dataset,
    *,
    n_rays: int = 16,
    max_steps: int = 4000,
    seed: int = 0,
) -> xr.Dataset:
    """Follow the unstable directions of every saddle to the attractors they end at.

    A saddle with one unstable dimension is left to both sides, which gives its connections exactly.
    One with more is left along `n_rays` random directions per dimension of its unstable subspace:
    what is found there is a lower bound.

    Parameters
    ----------
    model
        The one that `points` was made from.
    points
        Result of `fixed_points` for one input.
    n_rays
        Directions per unstable dimension, where there are two or more.
    max_steps
        Steps after which a ray that has not arrived counts as unresolved.
    seed
        Of the directions.

    Returns
    -------
    xarray.Dataset
        Over ``edge``: ``source`` (the saddle), ``target`` (the attractor), ``count`` of rays,
        ``source_unstable``, the unstable dimensions of the saddle, which is the type of the edge.
        Over ``fixed_point``: ``n_rays`` and ``unresolved``, with ``n_unstable``, ``stability`` and
        ``x`` of `points`. If the model has a head, ``readout`` (fixed_point, output), and
        ``hamming`` (fixed_point): of a saddle of one unstable dimension that joins two attractors,
        the number of outputs whose sign differs between them; NaN elsewhere.

    Raises
    ------
    UsageError
        If `points` are of several inputs, or a number is out of range.

    Notes
    -----
    Rays start a thousandth of the least spacing of two points away. Unstable dimensions are counted
    by modulus, so that complex pairs and negative eigenvalues count.
    """
    if n_rays < 1:
        raise UsageError(f"{n_rays} rays were asked for (allowed: 1 or more)")
    of = state_map(model)
    u = one_input(points)
    x = torch.from_numpy(points["x"].values)
    unstable = points["n_unstable"].values
    stable = np.flatnonzero(unstable == 0)
    spacing = float(points["spacing_min"])
    offset = 1e-3 * (spacing if np.isfinite(spacing) else 1.0)
    rng = generator(seed, "rays")
    sources, starts = [], []
    with torch.no_grad():
        for k in np.flatnonzero(unstable > 0):
            rays = _rays(of, x[k], u, int(unstable[k]), n_rays, rng)
            sources += [int(k)] * len(rays)
            starts.append(x[k] + offset * rays)
        reached = np.zeros(0, dtype=int)
        if starts:
            reached = settle(of, torch.cat(starts), u, x[stable], max_steps).numpy()
    source = np.array(sources, dtype=int)
    arrived = reached >= 0
    pairs = np.stack([source[arrived], stable[reached[arrived]]], axis=1).reshape(-1, 2)
    edges, count = np.unique(pairs, axis=0, return_counts=True)
    size = len(x)
    at, along = ("fixed_point",), ("edge",)
    data = {
        "source": variable(along, edges[:, 0], "saddle", "1"),
        "target": variable(along, edges[:, 1], "attractor", "1"),
        "count": variable(along, count, "rays that arrived", "rays"),
        "source_unstable": variable(
            along, unstable[edges[:, 0]], "unstable dimensions of the saddle", "1"
        ),
        "n_rays": variable(at, np.bincount(source, minlength=size), "rays sent", "rays"),
        "unresolved": variable(
            at, np.bincount(source[~arrived], minlength=size), "rays that did not settle", "rays"
        ),
        **{name: points[name].variable for name in ("x", "n_unstable", "stability")},
    }
    head = readout(model, of)
    if head is not None:
        with torch.no_grad():
            y = head(x, u).numpy()
        data["readout"] = variable((*at, "output"), y, "output", "1")
        apart = _hamming(np.sign(y), edges, unstable)
        data["hamming"] = variable(
            at, apart, "outputs of other sign in the attractors that a saddle joins", "outputs"
        )
    parameters = {"n_rays": n_rays, "max_steps": max_steps}
    attrs = describe("connections", model, parameters, seed)
    return xr.Dataset(data, attrs=attrs)


def _hamming(signs: np.ndarray, edges: np.ndarray, unstable: np.ndarray) -> np.ndarray:
    """Return for every point how many signs (n, K) differ between the two ends of its line."""
    found = np.full(len(signs), np.nan)
    for saddle in np.flatnonzero(unstable == 1):
        ends = edges[edges[:, 0] == saddle, 1]
        if len(ends) == 2:
            found[saddle] = (signs[ends[0]] != signs[ends[1]]).sum()
    return found


def _rays(
    of: StateMap, x: Tensor, u: Tensor, unstable: int, n_rays: int, rng: np.random.Generator
) -> Tensor:
    """Return unit vectors (R, n) in the span of the unstable eigenvectors of one point."""
    jacobian = of.linearise(x[None], u)[1].dense()[0]
    (values,), (vectors,) = eigenpairs(jacobian[None], vectors=True)
    leading = vectors[:, values.abs().argsort(descending=True)[:unstable]]
    if unstable == 1:
        v = leading.real[:, 0] / torch.linalg.vector_norm(leading.real[:, 0])
        return torch.stack([v, -v])
    # Real and imaginary parts of pairs span the same plane twice: keep the leading directions.
    span = torch.cat([leading.real, leading.imag], dim=1)
    basis = torch.linalg.svd(span, full_matrices=False)[0][:, :unstable]
    weights = torch.from_numpy(rng.standard_normal((n_rays * unstable, unstable)))
    rays: Tensor = weights @ basis.T
    rays /= torch.linalg.vector_norm(rays, dim=1, keepdim=True)
    return rays
