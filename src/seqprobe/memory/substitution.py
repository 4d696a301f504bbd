"""How the prediction changes when the token k steps back is another one."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
import xarray as xr
from torch import Tensor, nn

from seqprobe.errors import NotApplicableError, UsageError
from seqprobe.memory.estimates import INTERVAL, ci_coordinate, estimate, resample
from seqprobe.memory.interventions import changes_by_lag, divergence
from seqprobe.memory.summary import steps
from seqprobe.memory.total_effect import check_lags
from seqprobe.memory.window import describe, is_classifier, make_window, sequences
from seqprobe.models.access import borrowed, check_causal
from seqprobe.seeding import generator
from seqprobe.tasks import Batch

__all__ = ["substitution_profile"]


def substitution_profile(
    model: nn.Module,
    batch: Tensor | Batch,
    *,
    max_lag: int | None = None,
    lags: Sequence[int] | None = None,
    n_times: int = 4,
    seed: int = 0,
    on_progress: Callable[[int, int], None] | None = None,
) -> xr.Dataset:
    """Return how much the predicted distribution changes with the token k steps back.

    The token u_{t-k} is replaced by another, u' != u, drawn as often as it occurs in `batch`.

    Parameters
    ----------
    model
        A causal module that maps tokens (B, T) to the logits of a class (B, T, K), and says so in
        its ``spec``. It is left as it was.
    batch
        Tokens (N, T).
    max_lag, lags, n_times
        See `seqprobe.memory.total_effect`.
    seed
        Of the substitutes and the bootstrap.
    on_progress
        Called with the number of (time, lag) pairs done and their total.

    Returns
    -------
    xarray.Dataset
        * ``subst_kl`` (lag): ``E KL(p(y_t | u) || p(y_t | u'))`` in nats.
        * ``subst_flip`` (lag): probability that the most probable class changes.
        * ``subst_dlogit`` (lag): root mean square change of the centred logits.
        * ``*_ci`` (ci_bound, lag): 95 % percentile intervals of 1000 bootstrap replicates over
          sequences.

    Raises
    ------
    NotApplicableError
        If the inputs are not tokens, the outputs not classes, or the model not causal.
    UsageError
        If lags do not fit, or `batch` holds one token only.

    Notes
    -----
    A substitute may be unlike the data (a digit where a marker stands), which shows as extra
    sensitivity. Unlike the gradient with respect to an embedding it does not depend on the scale of
    the embedding, nor does it saturate. Cost: one forward pass of N sequences per time and lag.
    """
    x = sequences(model, batch)
    if x.is_floating_point():
        raise NotApplicableError(
            "inputs are numbers, and only tokens can be substituted; use the total effect"
        )
    if not is_classifier(model):
        raise NotApplicableError(
            "outputs are not known to be the logits of classes (give sequences with targets, or a"
            " spec); use the total effect"
        )
    window = make_window(model, x.shape[1], max_lag, n_times)
    lags = check_lags(lags, window.max_lag)
    draw = _substitutes(x, generator(seed, "substitutes"))
    with borrowed(model):
        check_causal(model, x)
        found = changes_by_lag(
            model, x, window.times, lags, lambda _, s: draw(x[:, s]), _compare, on_progress
        )
    weights = resample(len(x), generator(seed, "bootstrap"))
    kl, flip, square = np.moveaxis(np.einsum("rn,nlc->rlc", weights, found.mean(axis=1)), 2, 0)
    data = {
        **estimate("subst_kl", ("lag",), kl, "KL divergence after substitution", "nats"),
        **estimate("subst_flip", ("lag",), flip, "probability of another answer", "1"),
        **estimate("subst_dlogit", ("lag",), np.sqrt(square), "change of the logits", "logits"),
    }
    coords = {
        "lag": steps(("lag",), np.array(lags), "lag"),
        "ci_bound": ci_coordinate(),
    }
    parameters = {"max_lag": window.max_lag, "n_times": len(window.times)}
    attrs = describe("substitution_profile", model, x, parameters, seed)
    attrs["substitutes"] = "another token, as often as it occurs in these sequences"
    attrs["interval"] = INTERVAL
    return xr.Dataset(data, coords, attrs)


def _compare(before: Tensor, after: Tensor) -> Tensor:
    """Return KL, flip and squared change of the centred logits, (N, 3)."""
    difference = (after - before).double()
    difference = difference - difference.mean(dim=1, keepdim=True)
    flip = (before.argmax(dim=1) != after.argmax(dim=1)).double()
    kl = divergence("categorical", before, after)
    return torch.stack([kl, flip, difference.square().sum(dim=1)], dim=1)


def _substitutes(x: Tensor, rng: np.random.Generator) -> Callable[[Tensor], Tensor]:
    """Return a map from tokens (N,) to others, drawn by the frequency of those that differ."""
    counts = np.bincount(x.flatten().cpu().numpy()).astype(np.float64)
    if np.count_nonzero(counts) < 2:
        raise UsageError("the sequences hold one token only; there is no other to put in its place")

    def draw(tokens: Tensor) -> Tensor:
        old = tokens.cpu().numpy()
        shares = np.repeat(counts[None], len(old), axis=0)
        shares[np.arange(len(old)), old] = 0
        ends = np.cumsum(shares, axis=1)
        picks = rng.random((len(old), 1)) * ends[:, -1:]
        return torch.as_tensor((picks >= ends).sum(axis=1), device=tokens.device)

    return draw
