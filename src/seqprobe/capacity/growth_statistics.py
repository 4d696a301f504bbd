"""Whether a curve over positions goes on growing beyond the training length."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

__all__ = ["Growth", "growth"]


class Growth(NamedTuple):
    """What became of a positive quantity v(t).

    Attributes
    ----------
    ratio
        Largest value beyond the training length over the largest within it.
    exponent
        Slope of ln v on ln t over the last half of the positions: 0 forgets, 1 accumulates.
    onset
        First position beyond the training length from which v stays above the largest value within
        it; NaN if there is none.
    """

    ratio: np.ndarray
    exponent: np.ndarray
    onset: np.ndarray


def growth(v: np.ndarray, positions: np.ndarray, train_length: int) -> Growth:
    """Return how v (..., T) at the positions (T,) went on beyond the training length."""
    within = positions <= train_length
    reference = v[..., within].max(axis=-1)
    later = v[..., ~within]
    tiny = np.finfo(float).tiny
    ratio = later.max(axis=-1) / np.maximum(reference, tiny)
    half = positions >= positions[-1] / 2
    x = np.log(positions[half])
    y = np.log(np.maximum(v[..., half], tiny))
    x = x - x.mean()
    exponent = np.full(ratio.shape, np.nan)
    if half.sum() > 1:
        exponent = (y * x).sum(axis=-1) / (x * x).sum()
    # The last run of values above the reference, if it reaches the end.
    above = later > reference[..., None]
    staying = np.flip(np.logical_and.accumulate(np.flip(above, axis=-1), axis=-1), axis=-1)
    first = staying.argmax(axis=-1)
    onset = np.where(staying.any(axis=-1), positions[~within][first], np.nan)
    return Growth(ratio, exponent, onset)
