"""Lyapunov exponents along trajectories, driven or left alone."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from seqprobe.dynamics.describe import describe
from seqprobe.dynamics.drive import constant_input, flat_states, initial_state, input_vectors
from seqprobe.dynamics.maps import StateMap, state_map
from seqprobe.errors import SeqprobeError, UsageError
from seqprobe.memory.estimates import INTERVAL, ci_coordinate, estimate, resample
from seqprobe.schema import variable
from seqprobe.seeding import generator
from seqprobe.tasks import Batch

__all__ = ["growth_rates", "kaplan_yorke", "lyapunov_spectrum"]

_NOTHING = -600.0  # natural logarithm per step: a direction that vanishes, as in a buffer
_FEW = 8  # trajectories below which blocks of time are the units of the interval
_BLOCKS = 20


def lyapunov_spectrum(
    model: object,
    batch: Tensor | Batch | None = None,
    *,
    starts: Tensor | None = None,
    input: Tensor | None = None,  # noqa: A002  # what it is
    n_steps: int = 2000,
    n_exponents: int = 8,
    burn_in: int | None = None,
    transient: int = 2000,
    seed: int = 0,
    on_progress: Callable[[int, int], None] | None = None,
) -> xr.Dataset:
    """Return the leading Lyapunov exponents of the state by QR.

    With a `batch`, along its inputs: the conditional exponents of the driven network, whose sign
    says whether two copies with different states come together. Without one, from `starts` under a
    constant `input`: the exponents of the attractors that they go to.

    Parameters
    ----------
    model
        See `fixed_points`.
    batch
        Inputs (N, T, D) or tokens (N, T); every step counts, so that it should hold no padding.
    starts
        States (N, n) at the beginning; the model's initial state if None and there is a batch.
    input
        Constant input (d,) without a batch; zero if None.
    n_steps
        Steps without a batch.
    n_exponents
        Number m of exponents, at most the size of the state.
    burn_in
        Steps before counting, in which directions settle; a tenth of all if None.
    transient
        Steps before that without a batch, in which states come to their attractors.
    seed
        Of the bootstrap.
    on_progress
        Called with the number of steps done and their total.

    Returns
    -------
    xarray.Dataset
        ``exponent`` (mode), natural logarithm per step, falling; ``exponent_ci`` (ci_bound, mode).
        ``by_trial`` (trial, mode). ``kaplan_yorke`` and its interval: dimension of the attractor,
        0 if all exponents are negative, NaN if more than m would be needed; exponents whose
        interval holds 0 count as 0. ``time_constant`` (mode): -1 / exponent in steps, negative for
        growth.

    Raises
    ------
    UsageError
        If numbers are out of range, or neither a batch nor starts are given.
    SeqprobeError
        If the states do not stay finite.

    Notes
    -----
    A bias of the order of one over the number of steps is not in the intervals. Starts that come to
    different attractors are averaged: look at ``by_trial``. Directions that vanish have an exponent
    of minus infinity. Intervals resample trajectories; with fewer than eight of them, twenty blocks
    of time of each, which are taken to be independent. Exponents close to each other converge
    slowly. Sources: Benettin et al. 1980; Kaplan and Yorke 1979; for trained networks Engelken,
    Wolf and Abbott 2023 (Physical Review Research 5, 043044). Cost: O(n^2 m + n m^2) per step and
    trajectory.
    """
    of = state_map(model)
    x, inputs, total = _trajectories(model, of, batch, starts, input, n_steps, transient)
    burn_in = total // 10 if burn_in is None else burn_in
    if not 1 <= n_exponents <= of.size:
        raise UsageError(f"{n_exponents} exponents were asked for (allowed: 1 to {of.size})")
    if not 0 <= burn_in < total:
        raise UsageError(f"burn-in of {burn_in} steps (allowed: 0 to {total - 1} of {total})")
    rates = growth_rates(of, x, inputs, total, n_exponents, on_progress)[:, burn_in:]
    replicates = _replicates(rates, seed)
    order = np.argsort(-replicates[0], kind="stable")
    replicates = replicates[:, order]
    exponents = estimate("exponent", ("mode",), replicates, "Lyapunov exponent", "1/step")
    low, high = exponents["exponent_ci"].values
    least = 1 / rates.shape[1]  # a factor of order 1 over the whole record
    resolved = np.where((low <= least) & (high >= -least), 0.0, replicates)
    dimension = np.array([kaplan_yorke(row, of.size) for row in resolved])
    with np.errstate(divide="ignore"):
        tau = np.where(replicates == 0, np.inf, -1 / replicates)
    data = {
        **exponents,
        "by_trial": variable(
            ("trial", "mode"), rates.mean(axis=1)[:, order], "exponent by trajectory", "1/step"
        ),
        **estimate("kaplan_yorke", (), dimension, "Kaplan-Yorke dimension", "1"),
        "time_constant": variable(("mode",), tau[0], "-1 / exponent", "steps"),
    }
    parameters = {
        "n_trajectories": len(x),
        "n_steps": total,
        "burn_in": burn_in,
        "transient": transient if batch is None else 0,
        "n_exponents": n_exponents,
        "driven": batch is not None,
    }
    attrs = describe("lyapunov_spectrum", model, parameters, seed)
    attrs["interval"] = INTERVAL if len(x) >= _FEW else INTERVAL.replace("sequences", "blocks")
    coords = {"ci_bound": ci_coordinate()}
    return xr.Dataset(data, coords, attrs)


def _trajectories(
    model: object,
    of: StateMap,
    batch: Tensor | Batch | None,
    starts: Tensor | None,
    held: Tensor | None,
    n_steps: int,
    transient: int,
) -> tuple[Tensor, Tensor, int]:
    """Return states (N, n), inputs (N, T, d) or one input (d,), and the number of steps."""
    if batch is not None:
        inputs = input_vectors(model, batch)
        if starts is None:
            return initial_state(model, of, len(inputs)), inputs, inputs.shape[1]
        x = flat_states(of, starts)
        if len(x) != len(inputs):
            raise UsageError(f"{len(x)} starts for {len(inputs)} sequences (allowed: one for each)")
        return x, inputs, inputs.shape[1]
    if starts is None:
        raise UsageError("neither inputs nor starts were given; give one of them")
    if n_steps < 2:
        raise UsageError(f"{n_steps} steps were asked for (allowed: 2 or more)")
    if transient < 0:
        raise UsageError(f"transient of {transient} steps (allowed: 0 or more)")
    x, u = flat_states(of, starts), constant_input(of, held)
    with torch.no_grad():
        for _ in range(transient):
            x = of.step(x, u)
    return x, u, n_steps


def _replicates(rates: np.ndarray, seed: int) -> np.ndarray:
    """Return mean exponents (R, m) of rates (N, steps, m): the estimate, then replicates."""
    units = rates.mean(axis=1)
    if len(units) < _FEW:
        blocks = np.array_split(rates, min(_BLOCKS, rates.shape[1]), axis=1)
        units = np.concatenate([block.mean(axis=1) for block in blocks])
    weights = resample(len(units), generator(seed, "bootstrap"))
    replicates: np.ndarray = weights @ units
    replicates[0] = rates.mean(axis=(0, 1))
    replicates[replicates < _NOTHING] = -np.inf
    return replicates


def growth_rates(
    of: StateMap,
    x: Tensor,
    inputs: Tensor,
    n_steps: int,
    n_exponents: int,
    on_progress: Callable[[int, int], None] | None = None,
) -> np.ndarray:
    """Return ``ln |R_ii|`` of every step, (N, steps, m).

    Parameters
    ----------
    of
        The map.
    x
        States (N, n).
    inputs
        One for all steps (d,), or (N, steps, d).
    n_steps, n_exponents
        Numbers of steps and of directions m.
    on_progress
        Called with steps done and their total.

    Raises
    ------
    SeqprobeError
        If a state is not finite.
    """
    start = np.random.default_rng(0).standard_normal((of.size, n_exponents))
    q = torch.linalg.qr(torch.from_numpy(start))[0].expand(len(x), -1, -1)
    rates = torch.empty(len(x), n_steps, n_exponents, dtype=torch.float64)
    with torch.no_grad():
        for t in range(n_steps):
            x, jacobian, _ = of.linearise(x, inputs if inputs.dim() == 1 else inputs[:, t])
            q, r = torch.linalg.qr(jacobian.times(q))
            rates[:, t] = r.diagonal(dim1=1, dim2=2).abs().clamp(min=1e-300).log()
            if not bool(torch.isfinite(x).all()):
                raise SeqprobeError(
                    f"state is not finite from step {t} on: the model diverges; use other starts or"
                    " shorter sequences"
                )
            if on_progress is not None:
                on_progress(t + 1, n_steps)
    return rates.numpy()


def kaplan_yorke(exponents: np.ndarray, size: int | None = None) -> float:
    """Return the Kaplan-Yorke dimension of falling exponents; NaN if more would be needed.

    It is `size`, the number of reals of the state, where that many exponents do not sum below 0.
    """
    total = np.cumsum(exponents)
    if total[0] < 0:
        return 0.0
    k = int(np.flatnonzero(total >= 0)[-1])
    if k + 1 == len(exponents):
        return np.nan if len(exponents) != size else float(size)
    return float(k + 1 + total[k] / abs(exponents[k + 1]))
