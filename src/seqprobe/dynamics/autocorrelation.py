"""Autocorrelation times: how long a signal resembles itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.signal import lfilter

__all__ = [
    "Decay",
    "Null",
    "autocovariance",
    "fit_decay",
    "integrated_time",
    "lag_one_time",
    "null_model",
]

Floats = NDArray[np.float64]

FLOOR = 0.05  # autocorrelation below which lags are not fitted
_LEAST_LAGS = 5
_SINGLE_GRID, _PAIR_GRID = 400, 40
_BLOCK = 512  # signals fitted together
_SIMULATIONS, _SIMULATED_TRIALS = 200, 8


def autocovariance(x: Floats, max_lag: int) -> Floats:
    """Return the autocovariance of every trial, (N, max_lag + 1, U).

    Parameters
    ----------
    x
        Signals (N, T, U). The mean over all trials and steps is removed.
    max_lag
        Largest lag, below T.

    Notes
    -----
    By zero-padded FFT, each lag divided by the number of pairs it has.
    """
    length = x.shape[1]
    centred = x - x.mean(axis=(0, 1))
    padded = 2 ** int(np.ceil(np.log2(length + max_lag + 1)))
    spectrum = np.fft.rfft(centred, padded, axis=1)
    products = np.fft.irfft(np.abs(spectrum) ** 2, padded, axis=1)[:, : max_lag + 1]
    return np.asarray(products / (length - np.arange(max_lag + 1))[:, None])


class Decay(NamedTuple):
    """Exponentials fitted to autocorrelations, one of each per signal.

    Attributes
    ----------
    tau
        Time constant in steps of the chosen model; of two, the slower. 0 below a tenth of a step,
        infinite above twenty times the largest lag: these records do not tell.
    single
        That of one exponential.
    fast, share
        The faster of two, and the share of the slower at lag 0; NaN where one was chosen.
    n_terms
        1 or 2, by Akaike's criterion.
    n_lags
        Number of lags fitted.
    gain
        Akaike's criterion of one less that of two.
    """

    tau: Floats
    single: Floats
    fast: Floats
    share: Floats
    n_terms: NDArray[np.int64]
    n_lags: NDArray[np.int64]
    gain: Floats


def fit_decay(
    acf: Floats,
    length: int,
    n_trials: int,
    *,
    both: bool = True,
    needed: Callable[[Floats], Floats] | None = None,
    first: int = 0,
) -> Decay:
    """Fit ``a e^(-k/tau)``, or a sum of two with positive weights, to autocorrelations.

    Parameters
    ----------
    acf
        (U, K + 1), 1 at the first lag.
    length, n_trials
        Steps T and number N of the trials that they were estimated from.
    both
        Compare one with two exponentials; one only otherwise.
    needed
        How much lower Akaike's criterion of two must be than that of one, given the time constant
        of the latter; 0 if None. See `null_model`.
    first
        Lag that is fitted first: 1 leaves out the noise that signals have at lag 0 alone.

    Notes
    -----
    Removing the mean of a short record lowers its whole autocovariance. Each exponential is lowered
    by what it would lose itself before it is compared, which removes the bias that direct fits
    have. Lags up to the first below 0.05 are fitted, at least five. ``AIC = 2 p + n ln(RSS / n)``,
    p = 2 or 4.
    """
    pieces = [
        _fit_block(rows, length, n_trials, both, needed, first)
        for rows in np.array_split(acf, max(1, -(-len(acf) // _BLOCK)))
    ]
    return Decay(*(np.concatenate(values) for values in zip(*pieces, strict=True)))


def _fit_block(
    acf: Floats,
    length: int,
    n_trials: int,
    both: bool,
    needed: Callable[[Floats], Floats] | None,
    first: int,
) -> Decay:
    lags = np.arange(acf.shape[1])
    below = np.isnan(acf) | (acf < FLOOR)
    used = np.where(below.any(axis=1), below.argmax(axis=1), len(lags))
    used = np.clip(used, min(_LEAST_LAGS + first, len(lags)), len(lags))
    longest = 20 * (len(lags) - 1)
    lags, acf = lags[: used.max()], acf[:, : used.max()]
    mask = ((lags >= first) & (lags < used[:, None])).astype(float)
    used = used - first
    single, rss_one = _fit_single(acf, mask, lags, length, n_trials, longest)
    nothing = np.full(len(acf), np.nan)
    if not both:
        ones = np.ones(len(acf), dtype=np.int64)
        return Decay(single, single, nothing, nothing, ones, used, nothing)
    slow, fast, share, rss_two = _fit_pair(acf, mask, lags, length, n_trials, longest)
    with np.errstate(divide="ignore"):
        aic_one = 4 + used * np.log(rss_one / used)
        aic_two = 8 + used * np.log(rss_two / used)
    gain = np.where(np.isfinite(aic_two), aic_one - aic_two, -np.inf)
    margin = np.zeros_like(single) if needed is None else needed(single)
    # A slow part as long as half a record is not told from a drift.
    two = (gain > margin) & (used > _LEAST_LAGS) & (slow < length / 2)
    return Decay(
        np.where(two, slow, single),
        single,
        np.where(two, fast, nothing),
        np.where(two, share, nothing),
        np.where(two, 2, 1),
        used,
        gain,
    )


def _basis(tau: Floats, lags: NDArray[np.int64], length: int, n_trials: int) -> Floats:
    """Return what is left of ``e^(-k/tau)`` when the mean is removed, for tau (...,), (..., K + 1).

    For the mean m of a record, ``E (x_t - m)(x_{t+k} - m) = rho(k) - 2 W(k) + v`` with v the
    variance of m and W(k) its covariance with x_t, averaged over the t that have a partner.
    """
    tau = tau[..., None]
    phi, decay, pairs = np.exp(-1 / tau), np.exp(-lags / tau), length - lags
    mean = (1 + phi) / (1 - phi) - 2 * phi * (1 - np.exp(-length / tau)) / (length * (1 - phi) ** 2)
    ends = phi * (1 + decay) * (1 - np.exp(-pairs / tau)) / (pairs * (1 - phi))
    shared = (1 + phi - ends) / (1 - phi)
    return np.asarray(decay - (2 * shared - mean) / (length * n_trials))


def _fit_single(
    y: Floats, mask: Floats, lags: NDArray[np.int64], length: int, n_trials: int, longest: int
) -> tuple[Floats, Floats]:
    """Return time constants (U,) and residual sums of squares of one exponential."""
    grid = np.geomspace(0.1, longest, _SINGLE_GRID)
    basis = _basis(grid, lags, length, n_trials)
    y = np.nan_to_num(y)
    norm = mask @ (basis**2).T
    gain = ((mask * y) @ basis.T) ** 2 / norm
    rss = (mask * y**2).sum(axis=1, keepdims=True) - gain
    best = rss.argmin(axis=1)
    rows = np.arange(len(y))
    inner = np.clip(best, 1, len(grid) - 2)
    left, middle, right = (rss[rows, inner + d] for d in (-1, 0, 1))
    bend = left - 2 * middle + right
    with np.errstate(divide="ignore", invalid="ignore"):
        shift = np.where(bend > 0, 0.5 * (left - right) / bend, 0.0)
    shift = np.where(best == inner, np.clip(shift, -1, 1), best - inner)
    step = np.log(grid[1] / grid[0])
    tau = np.exp(np.log(grid[inner]) + shift * step)
    tau = np.where(best == 0, 0.0, np.where(best == len(grid) - 1, np.inf, tau))
    return tau, np.maximum(rss[rows, best], 1e-30)


def _fit_pair(
    y: Floats, mask: Floats, lags: NDArray[np.int64], length: int, n_trials: int, longest: int
) -> tuple[Floats, Floats, Floats, Floats]:
    """Return slow and fast time constants, the share of the slow one, and the residuals."""
    y = np.nan_to_num(y)
    grid = np.geomspace(0.1, longest, _PAIR_GRID)
    i, j = np.triu_indices(_PAIR_GRID, 1)
    fast, slow = (np.broadcast_to(grid[k], (len(y), len(k))).copy() for k in (i, j))
    step = np.log(grid[1] / grid[0])
    for _ in range(5):
        rss, share = _pair_errors(y, mask, lags, length, n_trials, fast, slow)
        rows, best = np.arange(len(y)), rss.argmin(axis=1)
        centre = np.log(np.stack([fast[rows, best], slow[rows, best]], axis=1))
        result = centre, share[rows, best], rss[rows, best]
        step /= 2
        around = step * np.array([[a, b] for a in (-2, -1, 0, 1, 2) for b in (-2, -1, 0, 1, 2)])
        fast, slow = np.exp(np.moveaxis(centre[:, None] + around, 2, 0))
        fast = np.minimum(fast, 0.95 * slow)
    centre, share_best, rss_best = result
    tau = np.exp(centre)
    tau[tau > 0.98 * longest] = np.inf
    return tau[:, 1], tau[:, 0], share_best, np.maximum(rss_best, 1e-30)


def _pair_errors(
    y: Floats,
    mask: Floats,
    lags: NDArray[np.int64],
    length: int,
    n_trials: int,
    fast: Floats,
    slow: Floats,
) -> tuple[Floats, Floats]:
    """Return residuals and shares of the slow part, (U, pairs); infinite for negative weights."""
    shared = len(y) > 1 and bool((fast == fast[:1]).all() and (slow == slow[:1]).all())
    rows = slice(0, 1) if shared else slice(None)
    b1, b2 = (_basis(tau[rows], lags, length, n_trials) for tau in (fast, slow))
    if shared:
        b1, b2 = b1[0], b2[0]
        g11, g12, g22 = (mask @ (p * q).T for p, q in ((b1, b1), (b1, b2), (b2, b2)))
        h1, h2 = ((mask * y) @ b.T for b in (b1, b2))
    else:
        g11, g12, g22 = (
            np.einsum("ul,upl,upl->up", mask, p, q) for p, q in ((b1, b1), (b1, b2), (b2, b2))
        )
        h1, h2 = (np.einsum("ul,upl->up", mask * y, b) for b in (b1, b2))
    determinant = g11 * g22 - g12**2
    with np.errstate(divide="ignore", invalid="ignore"):
        w1 = (g22 * h1 - g12 * h2) / determinant
        w2 = (g11 * h2 - g12 * h1) / determinant
        rss = (mask * y**2).sum(axis=1, keepdims=True) - w1 * h1 - w2 * h2
        allowed = (w1 > 0) & (w2 > 0) & (determinant > 1e-12 * g11 * g22)
        return np.where(allowed, rss, np.inf), w2 / (w1 + w2)


@dataclass
class Null:
    """What the fit makes of a single exponential, known from simulated records.

    Attributes
    ----------
    tau
        True time constants, (G,).
    gain
        95 % quantile of Akaike's criterion of one less that of two, (G,).
    ratio
        2.5 and 97.5 % quantiles of fitted over true time constant, (2, G).
    """

    tau: Floats
    gain: Floats
    ratio: Floats

    def needed(self, tau: Floats) -> Floats:
        """Return the gain that two exponentials need to be believed."""
        inside = np.clip(tau, self.tau[0], self.tau[-1])
        return np.maximum(np.interp(np.log(inside), np.log(self.tau), self.gain), 0)

    def interval(self, tau: Floats) -> Floats:
        """Return 95 % intervals (2, U) of fitted time constants."""
        # True values for which the fitted one is not unusual, from the quantiles as functions of
        # the true value.
        low, high = (np.maximum.accumulate(self.tau * r) for r in self.ratio)
        below = np.interp(tau, high, self.tau, left=0.0)
        above = np.interp(tau, low, self.tau, right=np.inf)
        return np.stack([below, above])


def null_model(
    length: int, n_trials: int, max_lag: int, rng: np.random.Generator, first: int = 0
) -> Null:
    """Simulate first-order autoregressive records and fit them.

    Errors of neighbouring lags go together, so that Akaike's criterion, which counts them as
    independent, prefers two exponentials for about half of all records with one. The quantile makes
    that 5 %.

    Parameters
    ----------
    length, n_trials
        Steps and number of trials; more than eight behave alike and are not simulated.
    max_lag
        Largest lag of the autocorrelation.
    rng
        Of the noise.
    first
        See `fit_decay`.
    """
    n_trials = min(n_trials, _SIMULATED_TRIALS)
    tau = np.geomspace(0.5, max(2.0, min(5 * max_lag, length / 4)), 16)
    phi = np.exp(-1 / tau)
    rows = []
    for _ in range(_SIMULATIONS):
        noise = rng.standard_normal((n_trials, length, len(tau)))
        start = rng.standard_normal((n_trials, 1, len(tau)))
        x = np.stack(
            [
                lfilter([np.sqrt(1 - p**2)], [1, -p], noise[..., i], axis=1, zi=p * start[..., i])[
                    0
                ]
                for i, p in enumerate(phi)
            ],
            axis=-1,
        )
        covariance = autocovariance(x, max_lag).mean(axis=0).T
        rows.append(covariance / covariance[:, first : first + 1])
    fit = fit_decay(np.concatenate(rows), length, n_trials, first=first)
    gain = fit.gain.reshape(_SIMULATIONS, -1)
    ratio = fit.single.reshape(_SIMULATIONS, -1) / tau
    return Null(
        tau,
        np.quantile(gain, 0.95, axis=0, method="inverted_cdf"),
        np.quantile(ratio, [0.025, 0.975], axis=0, method="inverted_cdf"),
    )


def lag_one_time(acf: Floats) -> Floats:
    """Return ``-1 / ln rho(1)`` of autocorrelations (U, K + 1); NaN where rho(1) <= 0."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(acf[:, 1] > 0, -1 / np.log(acf[:, 1]), np.nan)


def integrated_time(acf: Floats) -> Floats:
    """Return ``1 + 2 sum rho(k)`` up to the first lag that is not positive, (U,)."""
    positive = np.cumprod(acf[:, 1:] > 0, axis=1)
    return np.asarray(1 + 2 * (np.nan_to_num(acf[:, 1:]) * positive).sum(axis=1))
