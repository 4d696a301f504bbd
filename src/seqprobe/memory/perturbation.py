"""How strongly the output reacts to a push of finite size k steps back."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
import xarray as xr
from torch import Tensor, nn

from seqprobe.errors import UsageError
from seqprobe.memory.estimates import INTERVAL, ci_coordinate, estimate, resample
from seqprobe.memory.interventions import changes_by_lag
from seqprobe.memory.summary import steps
from seqprobe.memory.total_effect import check_lags
from seqprobe.memory.window import describe, is_classifier, make_window, reals
from seqprobe.models.access import borrowed, check_causal, float64_twin
from seqprobe.schema import variable
from seqprobe.seeding import generator
from seqprobe.tasks import Batch

__all__ = ["perturbation_profile"]

_FLOOR_SEQUENCES = 4  # are run again in float64


def perturbation_profile(
    model: nn.Module,
    batch: Tensor | Batch,
    *,
    sizes: Sequence[float] = (0.5, 0.1, 0.01),
    max_lag: int | None = None,
    lags: Sequence[int] | None = None,
    n_times: int = 4,
    seed: int = 0,
    on_progress: Callable[[int, int], None] | None = None,
) -> xr.Dataset:
    """Return the response to pushes of finite size, by lag.

    ``D_e(k) = sqrt( E ||y_t(x + e u at t - k) - y_t(x)||^2 ) / e`` for random directions u with
    ``E u u^T = I``, so that for a linear model D equals the gradient profile G at every size.

    Parameters
    ----------
    model
        Any causal module that maps (B, T, D) to (B, T, K). It is left as it was.
    batch
        Sequences (N, T, D), or tokens (N, T) for a model with ``embed``: the embedding is pushed.
    sizes
        Sizes e in units of the standard deviation of all inputs. In float32 below 0.01 the
        rounding of the output shows.
    max_lag, lags, n_times
        See `seqprobe.memory.total_effect`.
    seed
        Of the directions and the bootstrap.
    on_progress
        Called with the number of pushes done and their total.

    Returns
    -------
    xarray.Dataset
        * ``D`` (epsilon, lag): in output units per input unit, of centred logits for classifiers;
          ``D_ci`` (ci_bound, epsilon, lag).
        * ``noise_floor`` (epsilon, lag): root mean square difference from float64 of the response
          of the first 4 sequences, in the same units; NaN for a model that is in float64 itself. D
          below a few times this is rounding.
        * ``epsilon``: sizes; ``push`` (epsilon): the same in input units.

    Raises
    ------
    NotApplicableError
        If the model is not causal, or takes tokens and has no ``embed``.
    UsageError
        If lags do not fit, a size is not positive, or the inputs never vary.

    Notes
    -----
    Cost: one forward pass of N sequences per size, time and lag.
    """
    x = reals(model, batch)
    window = make_window(model, x.shape[1], max_lag, n_times)
    lags = check_lags(lags, window.max_lag)
    deviation = float(x.double().std())
    if not sizes or not all(0 < size < math.inf for size in sizes):
        raise UsageError(f"sizes are {list(sizes)} (allowed: above 0, finite)")
    if not deviation > 0:
        raise UsageError("inputs never vary, so that a push has no unit; give other sequences")
    pushes = [size * deviation for size in sizes]
    few = slice(0, _FLOOR_SEQUENCES)
    exact = None if x.dtype == torch.float64 else float64_twin(model)
    total = len(pushes) * len(window.times) * len(lags)
    squares, floors = [], []
    with borrowed(model):
        check_causal(model, x)
        for i, push in enumerate(pushes):

            def advance(done: int, of: int, i: int = i) -> None:
                if on_progress is not None:
                    on_progress(i * of + done, total)

            arguments = (window.times, lags, push, seed)
            response = _responses(model, x, *arguments, advance)
            squares.append((response**2).sum(axis=3).mean(axis=1))
            floors.append(np.full(len(lags), np.nan))
            if exact is not None:
                with borrowed(exact):
                    right = _responses(exact, x[few].cpu().double(), *arguments, None)
                wrong = ((response[few] - right) ** 2).sum(axis=3)
                floors[-1] = np.sqrt(wrong.mean(axis=(0, 1)))
    result = _result(squares, floors, sizes, pushes, lags, generator(seed, "bootstrap"))
    parameters = {"max_lag": window.max_lag, "sizes": list(sizes), "n_times": len(window.times)}
    result.attrs = describe("perturbation_profile", model, x, parameters, seed)
    result.attrs["functional"] = "centred logits" if is_classifier(model) else "output"
    result.attrs["interval"] = INTERVAL
    return result


def _result(
    squares: list[np.ndarray],
    floors: list[np.ndarray],
    sizes: Sequence[float],
    pushes: list[float],
    lags: list[int],
    rng: np.random.Generator,
) -> xr.Dataset:
    """Return squared responses (N, lag) of every size with intervals, and their noise floors."""
    weights = resample(len(squares[0]), rng)
    profiles = np.sqrt(np.stack([weights @ square for square in squares], axis=1))
    units = "output per input"
    data = {
        **estimate("D", ("epsilon", "lag"), profiles, "response to a finite push", units),
        "noise_floor": variable(
            ("epsilon", "lag"), np.stack(floors), "difference from float64", units
        ),
        "push": variable(("epsilon",), np.array(pushes), "size of the push", "input"),
    }
    coords = {
        "epsilon": variable(("epsilon",), np.array(sizes), "size of the push", "input s.d."),
        "lag": steps(("lag",), np.array(lags), "lag"),
        "ci_bound": ci_coordinate(),
    }
    return xr.Dataset(data, coords)


def _responses(
    model: nn.Module,
    x: Tensor,
    times: Sequence[int],
    lags: Sequence[int],
    push: float,
    seed: int,
    on_progress: Callable[[int, int], None] | None,
) -> np.ndarray:
    """Return changes of the output per size, (N, times, lags, K); directions follow the seed."""
    centred = is_classifier(model)

    def pushed(i: int, s: int) -> Tensor:
        rng = generator(seed, "directions", lags[i], s)
        # The first rows are the same however many sequences there are.
        direction = rng.standard_normal((len(x), x.shape[2]))
        direction *= np.sqrt(x.shape[2]) / np.linalg.norm(direction, axis=1, keepdims=True)
        return x[:, s] + push * torch.as_tensor(direction, dtype=x.dtype, device=x.device)

    def compare(before: Tensor, after: Tensor) -> Tensor:
        change = (after - before) / push
        return change - change.mean(dim=1, keepdim=True) if centred else change

    return changes_by_lag(model, x, times, lags, pushed, compare, on_progress)
