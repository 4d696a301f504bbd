"""Which fraction of the output is lost when the input k steps back is replaced."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
import xarray as xr
from torch import Tensor, nn

from seqprobe.errors import SeqprobeError, UsageError
from seqprobe.memory.estimates import CI, Z, ci_coordinate, lag_grid
from seqprobe.memory.interventions import (
    changes_by_lag,
    divergence,
    output_at,
    output_functional,
)
from seqprobe.memory.summary import steps
from seqprobe.memory.window import describe, make_window, sequences
from seqprobe.models.access import borrowed, check_causal
from seqprobe.schema import variable
from seqprobe.tasks import Batch

__all__ = ["total_effect"]


def total_effect(
    model: nn.Module,
    batch: Tensor | Batch,
    *,
    max_lag: int | None = None,
    lags: Sequence[int] | None = None,
    n_times: int = 4,
    on_progress: Callable[[int, int], None] | None = None,
) -> xr.Dataset:
    """Return the total-effect lag index S_T(k).

    ``S_T(k) = E d(y_t, y_t^(k)) / E d(y_t, y_t')``: how far the output moves when x_{t-k} alone is
    drawn anew, over how far it moves when everything is. For outputs compared by half their squared
    distance the denominator is the variance, and this is the estimator of Jansen 1999 of Sobol's
    total-effect index. It is 1 where x_{t-k} decides the output, 0 where it is not used; for a
    linear model of independent inputs it is the share of G^2. Its sum over lags exceeds 1 where
    inputs interact. It needs no gradient: parity has S_T = 1 where its gradient is 0.

    Parameters
    ----------
    model
        Any causal module that maps (B, T, D), or tokens (B, T), to (B, T, K). It is left as it was.
    batch
        Sequences (N, T, D) or tokens (N, T). The second half of them lends the inputs that replace
        those of the first half, at the same position, so that N / 2 pairs are independent.
    max_lag
        Largest lag; see `seqprobe.memory.gradient_profile`.
    lags
        Lags to measure; None for 0 to 5, then about ten per decade.
    n_times
        Number of output times, spread over max_lag <= t < T.
    on_progress
        Called with the number of (time, lag) pairs done and their total.

    Returns
    -------
    xarray.Dataset
        * ``S_T`` (lag): dimensionless. ``S_T_se``: its standard error over pairs, by the delta
          method; ``S_T_ci`` (ci_bound, lag): 1.96 of them to either side, not below 0. Where no
          output moved at all the upper end is 3 / n (the rule of three, if one pair moved as far as
          a wholly new sequence does), but 0 beyond the receptive field.
        * ``movers`` (lag): effective number of pairs that carry the effect, ``(sum a)^2 / sum
          a^2`` of their movements a; where it is below about 10 the interval is too short.
        * ``change`` (trial, time, lag), ``spread`` (trial, time): numerators and denominators.
        * ``S_T_sum``: over all lags up to `max_lag`, if every one was measured, else NaN.

        Outputs are compared by what ``functional`` in the attributes says: half the squared
        distance, or for class and binary logits the Kullback-Leibler divergence in nats.

    Raises
    ------
    NotApplicableError
        If the model is not causal.
    UsageError
        If lags do not fit, or there are fewer than 4 sequences.
    SeqprobeError
        If the outputs never vary.

    Notes
    -----
    Inputs are drawn from their marginal law at that position. Where inputs depend on each other
    (images, text, music) the replaced ones may be unlike the data: the index is of intervention,
    and surprise counts as sensitivity. Cost: one forward pass of N / 2 sequences per time and lag.
    The standard error of a pure copy is sqrt(1 / n) for n pairs of one time; with a known variance
    below, it would be sqrt(1.4 / n) for uniform and sqrt(2 / n) for Gaussian inputs.

    Examples
    --------
    >>> model = sp.load("checkpoints/delay/gru-s0.pt")
    >>> effect = sp.memory.total_effect(model, sp.make_task("delay").batch("test", 512))
    >>> round(float(effect["S_T"].sel(lag=20)), 1)
    1.0
    """
    x = sequences(model, batch)
    if len(x) < 4:
        raise UsageError(f"{len(x)} sequences make too few pairs (allowed: 4 or more)")
    window = make_window(model, x.shape[1], max_lag, n_times)
    lags = check_lags(lags, window.max_lag)
    pairs = len(x) // 2
    x, others = x[:pairs], x[pairs : 2 * pairs]
    functional = output_functional(model)
    with borrowed(model):
        check_causal(model, x)
        change = changes_by_lag(
            model,
            x,
            window.times,
            lags,
            lambda _, s: others[:, s],
            lambda before, after: divergence(functional, before, after),
            on_progress,
        )
        spread = _spread(model, x, others, window.times, functional)
    if not spread.mean() > 0:
        raise SeqprobeError("outputs are the same for all sequences, so that nothing has an effect")
    index, se = _ratio(change.mean(axis=1), spread.mean(axis=1))
    units = "nats" if functional != "squared" else "output^2"
    data = {
        "S_T": variable(("lag",), index, "total-effect index", "1"),
        "S_T_se": variable(("lag",), se, "standard error of the total-effect index", "1"),
        "S_T_ci": variable(
            ("ci_bound", "lag"),
            _interval(change.mean(axis=1), index, se, _reached(model, lags)),
            "95 % interval of: total-effect index",
            "1",
        ),
        "movers": variable(
            ("lag",), _effective(change.mean(axis=1)), "pairs that carry the effect", "pairs"
        ),
        "change": variable(("trial", "time", "lag"), change, "movement of the output", units),
        "spread": variable(("trial", "time"), spread, "movement if all is replaced", units),
        "S_T_sum": variable(
            (), index.sum() if len(lags) == window.max_lag + 1 else np.nan, "sum over lags", "1"
        ),
    }
    coords = {
        "trial": variable(("trial",), np.arange(pairs), "pair of sequences", "1"),
        "time": steps(("time",), np.array(window.times), "output time"),
        "lag": steps(("lag",), np.array(lags), "lag"),
        "ci_bound": ci_coordinate(),
    }
    attrs = describe("total_effect", model, x, {"max_lag": window.max_lag, "n_pairs": pairs}, 0)
    attrs["functional"] = functional
    attrs["redraw"] = "marginal: the input of another sequence at the same position"
    attrs["interval"] = f"{CI[0]} to {CI[1]} %, normal, standard error over pairs of sequences"
    return xr.Dataset(data, coords, attrs)


def _reached(model: nn.Module, lags: list[int]) -> np.ndarray:
    """Return which lags lie within the receptive field; all of them if none is declared."""
    field = getattr(model, "receptive_field", None)
    return np.array(lags) < (np.inf if field is None else field)


def _interval(
    change: np.ndarray, index: np.ndarray, se: np.ndarray, reached: np.ndarray
) -> np.ndarray:
    """Return the 95 % interval (2, lag) from movements (n, lag) of pairs."""
    still = (change == 0).all(axis=0) & reached
    high = np.where(still, 3 / len(change), index + Z * se)
    return np.stack([np.maximum(index - Z * se, 0.0), high])


def _effective(change: np.ndarray) -> np.ndarray:
    """Return how many of the pairs (n, lag) carry the sum."""
    square = (change**2).sum(axis=0)
    number: np.ndarray = np.divide(
        change.sum(axis=0) ** 2, square, out=np.zeros_like(square), where=square > 0
    )
    return number


def check_lags(lags: Sequence[int] | None, max_lag: int) -> list[int]:
    """Return the lags to measure, or refuse those that do not fit."""
    if lags is None:
        return lag_grid(max_lag)
    wrong = [lag for lag in lags if not 0 <= lag <= max_lag]
    if wrong or not len(lags):
        named = f"lag {wrong[0]} does not fit" if wrong else "no lag is given"
        raise UsageError(
            f"{named} (allowed: 0 to {max_lag}, the largest lag; give a larger one, or longer"
            " sequences)"
        )
    return sorted(set(lags))


def _spread(
    model: nn.Module, x: Tensor, others: Tensor, times: Sequence[int], functional: str
) -> np.ndarray:
    """Return how far outputs move if everything is replaced, (pairs, times).

    For squared distances both sequences of a pair estimate the variance about the common mean,
    which is less noisy than their distance and has the same expectation.
    """
    columns = []
    with torch.no_grad():
        for t in times:
            y, other = output_at(model, x[:, : t + 1]), output_at(model, others[:, : t + 1])
            if functional == "squared":
                everything = torch.cat([y, other]).double()
                n = len(everything)
                square = (everything - everything.mean(dim=0)).square().sum(dim=1) * n / (n - 1)
                columns.append(square.view(2, -1).mean(dim=0))
            else:
                columns.append(divergence(functional, y, other))
    return torch.stack(columns, dim=1).cpu().numpy()


def _ratio(change: np.ndarray, spread: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the ratio of means (lag,) of pairs (n, lag) over (n,), and its standard error."""
    ratio = change.mean(axis=0) / spread.mean()
    residual = change - ratio * spread[:, None]
    se: np.ndarray = residual.std(axis=0, ddof=1) / (spread.mean() * np.sqrt(len(change)))
    return ratio, se
