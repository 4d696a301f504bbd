"""How many bits on the symbol k steps back a tensor holds."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence

import numpy as np
import xarray as xr
from torch import Tensor, nn

from seqprobe.errors import NotApplicableError
from seqprobe.memory.estimates import INTERVAL, ci_coordinate, estimate, resample
from seqprobe.memory.linear_memory import check_samples, decoded_lag
from seqprobe.memory.states import collect
from seqprobe.memory.summary import steps
from seqprobe.memory.total_effect import check_lags
from seqprobe.memory.window import describe, sequences
from seqprobe.schema import variable
from seqprobe.seeding import generator
from seqprobe.tasks import Batch

__all__ = ["symbol_information"]

_LARGEST_FIT = 4000  # samples
_LARGEST_ALPHABET = 32


def symbol_information(
    model: nn.Module,
    batch: Tensor | Batch,
    *,
    part: str = "readout",
    max_lag: int | None = None,
    lags: Sequence[int] | None = None,
    seed: int = 0,
    on_progress: Callable[[int, int], None] | None = None,
) -> xr.Dataset:
    """Return a lower bound of the information that a tensor holds on the symbol k steps back.

    ``I(z_t; u_{t-k}) >= H(u_{t-k}) - CE``, with the cross-entropy CE of a multinomial logistic
    probe on sequences that were not used to fit it (Barber and Agakov 2003).

    Parameters
    ----------
    model
        A model of the contract. It is left as it was.
    batch
        Tokens (N, T), or one channel (N, T, 1) or one-hot channels of numbers that take few values.
    part
        See `seqprobe.memory.linear_memory`.
    max_lag, lags
        See `seqprobe.memory.total_effect`; None for `max_lag` is two thirds of T for every task.
    seed
        Of the samples and the bootstrap.
    on_progress
        Called with the number of lags done and their total.

    Returns
    -------
    xarray.Dataset
        * ``information`` (lag): bits, at least 0; ``information_ci`` (ci_bound, lag): 95 %
          percentile intervals of 1000 bootstrap replicates over held-out sequences.
        * ``entropy`` (lag): of the symbol, bits: what could be held.

    Raises
    ------
    NotApplicableError
        If inputs are not symbols: more than 32 values.
    UsageError
        If lags do not fit, or there are too few samples to fit a probe.

    Notes
    -----
    A bound by a linear probe: what is there in another form is not counted. At most 4000 samples
    fit each probe. Cost: one logistic regression per lag.
    """
    x = sequences(model, batch)
    symbols = _symbols(x)
    z = collect(model, x, part).double().cpu().numpy()
    if max_lag is None and lags:
        max_lag = max(lags)
    max_lag = decoded_lag(z, max_lag)
    lags = check_lags(lags, max_lag)
    check_samples(z, max_lag)
    z = z[:, max_lag:]
    half = len(z) // 2
    kinds = int(symbols.max()) + 1
    rng = generator(seed, "probe")
    flat = z[:half].reshape(-1, z.shape[2])
    rows = rng.permutation(len(flat))[:_LARGEST_FIT]
    mean, sd = flat.mean(axis=0), flat.std(axis=0)
    sd = np.where(sd > 0, sd, 1.0)
    weights = resample(len(z) - half, generator(seed, "bootstrap"))
    bits, entropies = [], []
    for i, lag in enumerate(lags):
        there = symbols[:, max_lag - lag : symbols.shape[1] - lag]
        asked = there[half:]
        met = there[:half].reshape(-1)[rows]
        log_p = _probe((flat[rows] - mean) / sd, met, (z[half:] - mean) / sd, kinds)
        nll = -np.take_along_axis(log_p, asked[..., None], axis=2)[..., 0].mean(axis=1)
        shares = np.stack([(asked == s).mean(axis=1) for s in range(kinds)], axis=1)
        p = weights @ shares
        entropy = -np.where(p > 0, p * np.log2(np.where(p > 0, p, 1)), 0).sum(axis=1)
        bits.append(np.maximum(entropy - weights @ nll / np.log(2), 0.0))
        entropies.append(entropy[0])
        if on_progress is not None:
            on_progress(i + 1, len(lags))
    data = {
        **estimate(
            "information", ("lag",), np.stack(bits, axis=1), "information on the symbol", "bits"
        ),
        "entropy": variable(("lag",), np.array(entropies), "entropy of the symbol", "bits"),
    }
    coords = {"lag": steps(("lag",), np.array(lags), "lag"), "ci_bound": ci_coordinate()}
    attrs = describe("symbol_information", model, x, {"max_lag": max_lag, "part": part}, seed)
    attrs["part"] = part
    attrs["interval"] = INTERVAL.replace("sequences", "held-out sequences")
    return xr.Dataset(data, coords, attrs)


def _symbols(x: Tensor) -> np.ndarray:
    """Return the inputs as small integers (N, T)."""
    values = x.cpu().numpy()
    if x.is_floating_point():
        one_hot = values.shape[2] > 1 and bool((values.sum(axis=2) == 1).all())
        if one_hot and set(np.unique(values)) <= {0.0, 1.0}:
            values = values.argmax(axis=2)
        elif values.shape[2] == 1:
            values = values[..., 0]
        else:
            raise NotApplicableError("inputs are not symbols; use the linear memory curve")
    kinds, codes = np.unique(values, return_inverse=True)
    if len(kinds) > _LARGEST_ALPHABET:
        raise NotApplicableError(
            f"inputs take {len(kinds)} values (allowed: up to {_LARGEST_ALPHABET}); use the linear"
            " memory curve"
        )
    symbols: np.ndarray = codes.reshape(values.shape)
    return symbols


def _probe(fit: np.ndarray, symbols: np.ndarray, test: np.ndarray, kinds: int) -> np.ndarray:
    """Return log-probabilities (N, T, K) of a logistic probe for K kinds of symbols."""
    # Here, because scikit-learn takes half a second to import, which other measures need not wait.
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    p = np.zeros((*test.shape[:2], kinds))
    met = np.unique(symbols)
    if len(met) == 1:
        p[..., met[0]] = 1.0
    else:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # stopping early lowers the bound
            probe = LogisticRegression(max_iter=200).fit(fit, symbols)
        flat = test.reshape(-1, test.shape[2])
        p[..., met] = probe.predict_proba(flat).reshape(*test.shape[:2], len(met))
    # As if one more sample had been any symbol: one that was never met must not cost infinity.
    spare = 1 / (len(fit) + 1)
    return np.log((1 - spare) * p + spare / kinds)
