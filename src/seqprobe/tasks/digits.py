"""Handwritten digits read pixel by pixel: real data that needs no download."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np

from seqprobe.config import bounded
from seqprobe.tasks.base import Baseline, Split, TaskConfig
from seqprobe.tasks.images import ImageTask

__all__ = ["Digits", "DigitsConfig"]

_SPLIT_SEED = 0


@dataclass(frozen=True)
class DigitsConfig(TaskConfig):
    """Settings of the digits: none but the length, which is 64 pixels.

    Attributes
    ----------
    length
        Number of pixels, 64.
    """

    length: int = bounded(64, 64, 64)


class Digits(ImageTask):
    """The 1797 8x8 digits bundled with scikit-learn, one pixel per step, row by row.

    Pixels are scaled from 0..16 to [0, 1]; the class is asked for after the last pixel. Train,
    validation and test sets are a stratified 50/25/25 split from a fixed seed. Chance: 0.10.
    Baseline: logistic regression on the 64 pixels, which sees all of them at once. Source: Alpaydin
    and Kaynak 1998, UCI optical digits.
    """

    name = "digits"
    summary = "8x8 handwritten digits read pixel by pixel, class at the end"
    Config = DigitsConfig
    chance = 0.10
    solved_at = 0.94

    def baseline(self) -> Baseline:
        """Return the test accuracy of logistic regression on the 64 pixels."""
        return Baseline("logistic regression on all pixels", _logistic_accuracy())

    def images(self, split: Split) -> tuple[np.ndarray, np.ndarray]:
        """Return pixels (N, 64) in [0, 1] and classes (N,)."""
        return _splits()[split]


@cache
def _splits() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Return pixels (N, 64) and classes (N,) of the three sets."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    data = load_digits()
    pixels = (data.data / 16).astype(np.float32)
    classes = data.target.astype(np.int64)
    x_train, x_rest, y_train, y_rest = train_test_split(
        pixels, classes, train_size=0.5, stratify=classes, random_state=_SPLIT_SEED
    )
    x_valid, x_test, y_valid, y_test = train_test_split(
        x_rest, y_rest, train_size=0.5, stratify=y_rest, random_state=_SPLIT_SEED
    )
    return {"train": (x_train, y_train), "valid": (x_valid, y_valid), "test": (x_test, y_test)}


@cache
def _logistic_accuracy() -> float:
    from sklearn.linear_model import LogisticRegression

    (x_train, y_train), (x_test, y_test) = _splits()["train"], _splits()["test"]
    model = LogisticRegression(max_iter=1000).fit(x_train, y_train)
    return float(model.score(x_test, y_test))
