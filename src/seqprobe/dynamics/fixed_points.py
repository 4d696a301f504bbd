"""Certified fixed points of one step of a model under constant input."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from seqprobe.dynamics.certify import Stability, least_singular_values, spectra, stability
from seqprobe.dynamics.closed_form import closed_form
from seqprobe.dynamics.describe import describe
from seqprobe.dynamics.drive import constant_input, flat_states
from seqprobe.dynamics.maps import StateMap, state_map
from seqprobe.dynamics.search import Found, search
from seqprobe.dynamics.solver import Status
from seqprobe.errors import UsageError
from seqprobe.schema import flags, variable
from seqprobe.seeding import generator

__all__ = ["fixed_points"]


def fixed_points(
    model: object,
    starts: Tensor | dict[str, Tensor],
    *,
    input: Tensor | None = None,  # noqa: A002  # what it is
    exhaustive: bool = False,
    seed: int = 0,
    on_progress: Callable[[int, int], None] | None = None,
) -> xr.Dataset:
    """Find the fixed points ``F(x, u) = x`` of one step of a model, each once, and certify them.

    A point is accepted by its distance to a root, ``|R^-1 r|`` for the residual r and its Jacobian
    R, never by its speed: slow points and states held by a saturated gate are not fixed points.
    Newton's method goes from all starts, from where some of them settle, then from half-way between
    all pairs of roots until a round adds nothing. For cells whose states stay in [-1, 1] the signs
    of ``det(I - J)`` must sum to 1 over all fixed points; where they do not, the search is widened
    by 12,288 starts, and ``complete`` is 0 if that does not help. It is a necessary condition, not
    a proof.

    Parameters
    ----------
    model
        A model of the contract with a state of fixed size, one of torch's recurrent modules, or a
        `seqprobe.dynamics.StateMap` (`CallableMap` for a plain function). It is copied and left as
        it was; everything is computed in float64 on the CPU.
    starts
        States (S, n), or named parts of them; see `sample_states`.
    input
        Constant input (d,), zero if None; or one for every start, (S, d). Points of different
        inputs are never merged. For a model of tokens it is an embedded token.
    exhaustive
        Search from the 12,288 extra starts in any case.
    seed
        Of the extra starts.
    on_progress
        Called with the number of starts done and their total.

    Returns
    -------
    xarray.Dataset
        Over ``fixed_point``, stable ones first, in an order that does not depend on the starts:

        * ``x`` (fixed_point, state), ``u`` (fixed_point, channel), ``input_index``: position among
          the distinct inputs.
        * ``certificate``: distance to the true root to first order, in units of the state.
          ``q = |F(x) - x|^2 / 2``, and ``sigma_min``, the least singular value of J - I.
        * ``eigenvalue`` (fixed_point, mode): of J, by falling modulus; all of them, or the 32
          largest if the state has more than 512 reals.
        * ``n_unstable``: number of moduli above 1; ``margin``: least distance of one to 1;
          ``stability``: 0 stable, 1 saddle, 2 repeller, 3 marginal (margin below 1e-3).
        * ``index``: sign of det(I - J). ``hits``: starts whose solver came here, which is not the
          size of a basin (see `basins`).

        Over ``start``: ``status`` (0 stalled, 1 converged, 2 slow: a minimum of the speed that is
        not a root, 3 left the reachable region), ``root`` (its fixed point or -1), ``n_steps``.
        Over ``input``: ``held`` (input, channel), ``index_sum``, ``complete`` (1, 0, or -1 where
        states have no known bound).
        ``spacing_min``: least distance of two points; ``q_starts``: median q of the starts.
        Attributes ``rounds`` (new roots of the sweep and of each round) and ``method``.

    Raises
    ------
    NotApplicableError
        If the model looks ahead, keeps no state, or one that grows (attention).
    UsageError
        If there are no starts, or starts or inputs have the wrong size.
    SeqprobeError
        If a weight is not finite.

    Notes
    -----
    Reduced residuals with analytic Jacobians for Elman, rectified, leaky, GRU and LSTM cells and
    stacks of them; `torch.func` for other models; a closed form for feed-forward stacks that are
    linear in their own state (S4D, Mamba, TCN), which have exactly one fixed point. Compared with
    Sussillo and Barak 2013 (Neural Computation 25, 626) and Golub and Sussillo 2018 (JOSS 3, 1003),
    who minimise q, roots are solved for and certified. Cost: O(n^3) per Newton step up to 512
    unknowns, GMRES with O(n^2) products beyond.

    Examples
    --------
    >>> model = sp.load("checkpoints/flipflop/gru-s0.pt")
    >>> starts = sp.dynamics.sample_states(model, sp.make_task("flipflop").batch("test", 64))
    >>> points = sp.dynamics.fixed_points(model, starts)
    >>> points.sizes["fixed_point"], int((points["stability"] == 0).sum())
    (27, 8)
    """
    began = time.perf_counter()
    of = state_map(model)
    x = flat_states(of, starts)
    u = constant_input(of, input)
    inputs, which = _distinct(u, len(x))
    pieces = []
    for i, row in enumerate(inputs):
        mine = x[which == i]

        def progress(done: int, total: int, before: int = i) -> None:
            if on_progress is not None:
                on_progress(before * total + done, total * len(inputs))

        with torch.no_grad():
            found = closed_form(model, of, row, len(mine))
            method = "closed form"
            if found is None:
                rng = generator(seed, "fixed points", i)
                found = search(of, mine, row, rng, exhaustive, progress)
                method = "search"
            pieces.append(_piece(of, found, row, mine))
    parameters = {"n_starts": len(x), "n_inputs": len(inputs), "exhaustive": exhaustive}
    attrs = describe("fixed_points", model, parameters, seed)
    attrs["cell"] = type(of).__name__
    attrs["method"] = method
    attrs["rounds"] = json.dumps([piece.found.rounds for piece in pieces])
    data = _variables(pieces, which, of.size)
    data["seconds"] = variable((), time.perf_counter() - began, "duration of the search", "s")
    return xr.Dataset(data, attrs=attrs)


def _distinct(u: Tensor, n_starts: int) -> tuple[Tensor, Tensor]:
    """Return the different inputs (I, d) in order of appearance, and which each start has (S,)."""
    if u.dim() == 1:
        return u[None], torch.zeros(n_starts, dtype=torch.long)
    if len(u) != n_starts:
        raise UsageError(f"{len(u)} inputs for {n_starts} starts (allowed: one, or one per start)")
    _, first, which = np.unique(u.numpy(), axis=0, return_index=True, return_inverse=True)
    order = np.argsort(first)
    return u[np.sort(first)], torch.from_numpy(np.argsort(order)[which.ravel()])


@dataclass
class _Piece:
    """The fixed points of one input with what is known of them."""

    found: Found
    u: Tensor
    x: Tensor
    q: Tensor
    q_starts: float
    eigenvalues: Tensor
    sigma_min: Tensor


def _piece(of: StateMap, found: Found, u: Tensor, starts: Tensor) -> _Piece:
    x = of.lift(found.y, u)
    if found.eigenvalues is not None:
        eigenvalues, sigma_min = found.eigenvalues, x.new_full((len(x),), torch.nan)
    elif len(x):
        eigenvalues, sigma_min = spectra(of, x, u), least_singular_values(of, x, u)
    else:
        eigenvalues, sigma_min = torch.zeros(0, 0, dtype=torch.complex128), x.new_zeros(0)
    # Stable points come first, and within a kind the order of the search.
    order = (eigenvalues.abs() > 1).sum(dim=1).argsort(stable=True)
    found = found.reordered(order)
    x, eigenvalues, sigma_min = x[order], eigenvalues[order], sigma_min[order]
    q = 0.5 * (of.step(x, u) - x).square().sum(dim=1)
    q_starts = float((0.5 * (of.step(starts, u) - starts).square().sum(dim=1)).median())
    return _Piece(found, u, x, q, q_starts, eigenvalues, sigma_min)


def _variables(pieces: Sequence[_Piece], which: Tensor, size: int) -> dict[str, xr.Variable]:
    """Return the variables of the result."""
    offsets = np.cumsum([0, *(len(piece.x) for piece in pieces)])
    modes = max(piece.eigenvalues.shape[1] for piece in pieces)
    eigenvalue = np.full((offsets[-1], modes), np.nan, dtype=complex)
    status, root, steps = (np.full(len(which), -1) for _ in range(3))
    hits = np.zeros(offsets[-1], dtype=int)
    for i, piece in enumerate(pieces):
        mine = (which == i).numpy()
        eigenvalue[offsets[i] : offsets[i + 1], : piece.eigenvalues.shape[1]] = piece.eigenvalues
        status[mine], steps[mine] = piece.found.status, piece.found.steps
        own = piece.found.root.numpy()
        root[mine] = np.where(own >= 0, own + offsets[i], -1)
        hits[offsets[i] : offsets[i + 1]] = np.bincount(own[own >= 0], minlength=len(piece.x))
    exact = all(piece.found.eigenvalues is not None for piece in pieces)
    unstable, margin, kind = stability(eigenvalue, size, exact)

    def joined(values: list[Tensor]) -> np.ndarray:
        return torch.cat(values).numpy()

    at, start, each = ("fixed_point",), ("start",), ("input",)
    u = np.concatenate([piece.u.expand(len(piece.x), -1) for piece in pieces])
    return {
        "x": variable((*at, "state"), joined([p.x for p in pieces]), "fixed point", "1"),
        "u": variable((*at, "channel"), u, "constant input", "1"),
        "input_index": variable(
            at, np.repeat(np.arange(len(pieces)), np.diff(offsets)), "position of the input", "1"
        ),
        "certificate": variable(
            at, joined([p.found.certificate for p in pieces]), "distance to the root", "1"
        ),
        "q": variable(at, joined([p.q for p in pieces]), "half the squared speed", "1/step^2"),
        "sigma_min": variable(
            at, joined([p.sigma_min for p in pieces]), "least singular value of J - I", "1"
        ),
        "eigenvalue": variable((*at, "mode"), eigenvalue, "eigenvalue of the Jacobian", "1"),
        "n_unstable": variable(at, unstable, "unstable dimensions", "1"),
        "margin": variable(at, margin, "least distance of a modulus to 1", "1"),
        "stability": flags(at, kind, Stability, "stability"),
        "index": variable(at, joined([p.found.sign for p in pieces]), "sign of det(I - J)", "1"),
        "hits": variable(at, hits, "starts that led here", "starts"),
        "status": flags(start, status, Status, "status of the start"),
        "root": variable(start, root, "fixed point reached, -1 for none", "1"),
        "n_steps": variable(start, steps, "solver steps", "1"),
        "index_sum": variable(
            each, np.array([int(p.found.sign.sum()) for p in pieces]), "sum of the indices", "1"
        ),
        "held": variable(
            (*each, "channel"), np.stack([p.u.numpy() for p in pieces]), "constant input", "1"
        ),
        "complete": variable(
            each, np.array([p.found.complete for p in pieces]), "1 yes, 0 no, -1 not known", "1"
        ),
        "spacing_min": variable((), _spacing(pieces), "least distance of two points", "1"),
        "q_starts": variable(
            each, np.array([p.q_starts for p in pieces]), "median of q at the starts", "1/step^2"
        ),
    }


def _spacing(pieces: Sequence[_Piece]) -> float:
    distances = [torch.pdist(piece.x) for piece in pieces if len(piece.x) > 1]
    return float(torch.cat(distances).min()) if distances else np.nan
