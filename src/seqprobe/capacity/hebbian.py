"""What a plain matrix of associations recalls: the line that trained states are held against."""

from __future__ import annotations

import math

import numpy as np
from scipy.special import log_ndtr

__all__ = ["hebbian_accuracy", "hebbian_capacity"]

_NODES, _WEIGHTS = np.polynomial.hermite_e.hermegauss(128)
_MOST = 2.0**40  # pairs


def hebbian_accuracy(pairs: float, reals: float, labels: int) -> float:
    """Return the accuracy of a Hebbian store of so many reals.

    The store is ``S = sum v k^T``, d x d with d the root of its reals, for random keys of
    +-1/sqrt(d) and values that are random +-1 codes of V labels; the nearest code to ``S k`` is the
    answer. In Gaussian theory, with ``s^2 = (P - 1) ((1 - 1/V) + d/V)`` of noise from the other
    pairs, it is right with probability ``E_z Phi((d + s z) / sqrt(s^2 + d))^(V - 1)``.

    Parameters
    ----------
    pairs
        Number P of pairs held; need not be whole.
    reals
        Size d^2 of the matrix.
    labels
        Number V of values.

    Returns
    -------
    float
        NaN without a state.
    """
    if not reals > 0:
        return math.nan
    d = math.sqrt(reals)
    noise = max(pairs - 1, 0.0) * ((1 - 1 / labels) + d / labels)
    margins = (d + math.sqrt(noise) * _NODES) / math.sqrt(noise + d)
    right = np.exp((labels - 1) * log_ndtr(margins))
    return float(_WEIGHTS @ right / _WEIGHTS.sum())


def hebbian_capacity(threshold: float, reals: float, labels: int) -> float:
    """Return the number of pairs up to which a Hebbian store is at least so accurate.

    0 if it is not even for one pair, infinite if it is for any number, NaN without a state.
    """
    if not reals > 0:
        return math.nan
    if hebbian_accuracy(1, reals, labels) < threshold:
        return 0.0
    low, high = 1.0, 2.0
    while high < _MOST and hebbian_accuracy(high, reals, labels) >= threshold:
        low, high = high, 2 * high
    if high >= _MOST:
        return math.inf
    for _ in range(60):
        middle = (low + high) / 2
        if hebbian_accuracy(middle, reals, labels) >= threshold:
            low = middle
        else:
            high = middle
    return low
