"""How many numbers must cross from the past to the future."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
import xarray as xr
from torch import Tensor, nn

from seqprobe import provenance
from seqprobe.capacity.past_to_future import (
    Block,
    full_jacobian,
    leading_singular_values,
    past_to_future,
)
from seqprobe.capacity.spectra import count_above, entropy_size
from seqprobe.errors import UsageError
from seqprobe.memory.estimates import INTERVAL, ci_coordinate, estimate, resample
from seqprobe.memory.window import reals
from seqprobe.models.access import borrowed, check_causal, first_output, float64_twin, kept_reals
from seqprobe.schema import variable
from seqprobe.seeding import generator
from seqprobe.tasks import Batch

__all__ = ["TOLERANCES", "check_tolerances", "cut_positions", "effective_state_size"]

Method = Literal["auto", "dense", "randomised"]
TOLERANCES = (0.5, 0.2, 0.1, 0.05, 0.02, 0.01, 0.005, 0.002, 0.001, 1e-4, 1e-5, 1e-6)
_DENSE = 2**24  # elements of the whole Jacobian of one sequence
_RESOLVED = 0.01  # of the largest singular value, by the randomised form


def effective_state_size(
    model: nn.Module,
    batch: Tensor | Batch,
    *,
    positions: Sequence[int] | None = None,
    tolerances: Sequence[float] = TOLERANCES,
    method: Method = "auto",
    seed: int = 0,
    on_progress: Callable[[int, int], None] | None = None,
) -> xr.Dataset:
    """Return the rank of the past-to-future block of the input-output Jacobian.

    At position i, inputs at s < i are the past and outputs at t >= i the future. The block of
    dy_t/dx_s between them is the product of two maps that meet in the state at i, so that its rank
    is the least number of reals the state must have, along this trajectory; for a linear
    time-invariant model it is the order of a minimal realisation.

    Parameters
    ----------
    model
        A causal module that maps (B, T, D) to (B, T, K), or to a tuple that begins with it. A whole
        model, a core, or one layer with what goes into it. It is left as it was.
    batch
        Sequences (N, T, D) or tokens (N, T), whose embeddings are then the inputs. Targets are not
        used: all outputs count, also where a task scores the last step only.
    positions
        Positions i, 0 < i < T; None for a quarter, a half and three quarters of T.
    tolerances
        Singular values are counted above these parts of the largest, ascending or not.
    method
        ``"dense"``: the whole Jacobian, all singular values. ``"randomised"``: those above 0.01 of
        the largest, in a number of passes of the order of their number; smaller tolerances are
        NaN, and the entropy form is a lower bound because it leaves out what lies below.
        ``"auto"``: dense up to 16 million entries.
    seed
        Of the bootstrap and the random projections.
    on_progress
        Called with the number of sequences done and their total.

    Returns
    -------
    xarray.Dataset
        ``time`` is the position i.

        * ``ess`` (time, tolerance): number of singular values above tolerance times the largest,
          median over sequences, because it is a count;
        * ``ess_entropy`` (time): ``exp(-sum p ln p)``, ``p = sigma / sum(sigma)``, mean over
          sequences;
        * ``sigma`` (trial, time, mode): singular values of every sequence, NaN beyond the last;
        * ``tss`` (time): theoretically realisable size ``min(state size, i D, (T - i) K)``;
          ``state_size`` (time): reals the model keeps after i steps, NaN if it does not say;
        * ``utilisation`` (time): ``ess_entropy / tss``;
        * ``*_ci`` (ci_bound, ...): 95 % percentile intervals of 1000 bootstrap replicates over
          sequences.

    Raises
    ------
    NotApplicableError
        If the model is not causal.
    UsageError
        If positions or tolerances do not fit.

    Notes
    -----
    Source: Parnichkun et al. 2025, arXiv 2504.19561, who take one layer's input-dependent operator
    per channel; here the operator is the Jacobian of the whole model, which equals theirs for a
    linear layer and holds for any architecture. Tolerances are relative to the largest singular
    value. The size of attention grows with i by construction: compare models at equal i. Computed
    in float64 on the CPU. Cost: dense, T K rows of one backward pass each, and one singular value
    decomposition per sequence and position.
    """
    x = reals(model, batch)
    twin = float64_twin(model)
    x = x.double().cpu()
    positions = cut_positions(x.shape[1], positions)
    levels = check_tolerances(tolerances)
    found: list[list[Block]] = []
    with borrowed(twin):
        check_causal(twin, x)
        outputs = first_output(twin, x[:1, :1]).shape[2]
        if method == "auto":
            entries = x.shape[1] ** 2 * x.shape[2] * outputs
            method = "dense" if entries <= _DENSE else "randomised"
        rng = generator(seed, "projections")
        for sequence in x:
            found.append(_of_sequence(twin, sequence, positions, outputs, method, rng))
            if on_progress is not None:
                on_progress(len(found), len(x))
    result = _summarise(found, levels, _sizes(model, x, positions, outputs), seed)
    result = result.assign_coords(
        time=variable(("time",), np.array(positions), "position i of the cut", "steps"),
        tolerance=variable(("tolerance",), levels, "part of the largest singular value", "1"),
        ci_bound=ci_coordinate(),
    )
    parameters = {"method": method, "n_sequences": len(x), "length": x.shape[1]}
    result.attrs = provenance.of_model("capacity.effective_state_size", model, parameters, seed)
    return result.assign_attrs(method=method, interval=INTERVAL)


def cut_positions(length: int, positions: Sequence[int] | None) -> list[int]:
    """Return where sequences of T steps are cut: as asked for, or at three quarters of T.

    Raises
    ------
    UsageError
        If there is no past or no future at one of them.
    """
    if positions is None:
        positions = [length // 4, length // 2, 3 * length // 4]
        positions = [i for i in positions if 0 < i < length]
    chosen = sorted(set(positions))
    wrong = [i for i in chosen if not 0 < i < length]
    if wrong or not chosen:
        what = f"position {wrong[0]}" if wrong else "no position"
        raise UsageError(
            f"{what} does not cut sequences of {length} steps in two (allowed: 1 to {length - 1})"
        )
    return chosen


def check_tolerances(tolerances: Sequence[float]) -> np.ndarray:
    """Return tolerances as an array, or refuse those that are no part of a whole."""
    levels = np.asarray(tolerances, dtype=float)
    if not len(levels) or not ((levels > 0) & (levels < 1)).all():
        raise UsageError(f"tolerances are {list(tolerances)} (allowed: between 0 and 1)")
    return levels


def _of_sequence(
    model: nn.Module,
    x: Tensor,
    positions: list[int],
    outputs: int,
    method: str,
    rng: np.random.Generator,
) -> list[Block]:
    """Return the singular values at every position of one sequence."""
    if method == "randomised":
        blocks = (past_to_future(model, x, i, outputs) for i in positions)
        return [leading_singular_values(block, _RESOLVED, rng) for block in blocks]
    jacobian = full_jacobian(model, x)
    found = []
    for i in positions:
        rows = jacobian[i:, :, :i].reshape((len(x) - i) * outputs, -1)
        found.append(Block(np.linalg.svd(rows, compute_uv=False), 0.0))
    return found


def _sizes(
    model: nn.Module, x: Tensor, positions: list[int], outputs: int
) -> dict[str, np.ndarray]:
    """Return what the state could hold at every position."""
    held = np.array([kept_reals(model, i) for i in positions])
    i = np.array(positions)
    bound = np.minimum(i * x.shape[2], (x.shape[1] - i) * outputs)
    return {"state_size": held, "tss": np.fmin(held, bound)}


def _summarise(
    found: list[list[Block]], levels: np.ndarray, sizes: dict[str, np.ndarray], seed: int
) -> xr.Dataset:
    modes = max(len(block.sigma) for row in found for block in row)
    sigma = np.full((len(found), len(found[0]), max(1, modes)), np.nan)
    counts = np.full((*sigma.shape[:2], len(levels)), np.nan)
    entropy = np.empty(sigma.shape[:2])
    for n, row in enumerate(found):
        for j, block in enumerate(row):
            sigma[n, j, : len(block.sigma)] = block.sigma
            seen = levels >= block.floor
            counts[n, j, seen] = count_above(block.sigma, levels[seen])
            entropy[n, j] = entropy_size(block.sigma)
    weights = resample(len(found), generator(seed, "bootstrap"))
    medians = np.stack([np.median(_resampled(counts, w), axis=0) for w in weights])
    entropies = weights @ entropy
    data = {
        **estimate("ess", ("time", "tolerance"), medians, "effective state size", "reals"),
        **estimate("ess_entropy", ("time",), entropies, "entropy effective state size", "reals"),
        **estimate(
            "utilisation", ("time",), entropies / sizes["tss"], "part of the size in use", "1"
        ),
        "sigma": variable(
            ("trial", "time", "mode"), sigma, "singular values of the past-to-future block", "1"
        ),
        "tss": variable(("time",), sizes["tss"], "theoretically realisable size", "reals"),
        "state_size": variable(("time",), sizes["state_size"], "state size", "reals"),
    }
    return xr.Dataset(data)


def _resampled(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the rows (N, ...) as often as a bootstrap replicate has them."""
    times = np.rint(weights * len(weights)).astype(int)
    return np.repeat(values, times, axis=0)
