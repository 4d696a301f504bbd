"""Handwritten digits read pixel by pixel: real data that needs no download."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from torch import Tensor

from seqprobe.config import bounded
from seqprobe.errors import UsageError
from seqprobe.seeding import generator
from seqprobe.spec import Spec
from seqprobe.tasks.base import (
    Baseline,
    Batch,
    Metric,
    Split,
    Task,
    TaskConfig,
    check_split,
    last_step_cross_entropy,
)

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


class Digits(Task):
    """The 1797 8x8 digits bundled with scikit-learn, one pixel per step, row by row.

    Pixels are scaled from 0..16 to [0, 1]; the class is asked for after the last pixel. Train,
    validation and test sets are a stratified 50/25/25 split from a fixed seed. Loss: cross-entropy
    in nats. Metric: accuracy. Chance: 0.10. Baseline: logistic regression on the 64 pixels, which
    sees all of them at once. Source: Alpaydin and Kaynak 1998, UCI optical digits.
    """

    name = "digits"
    summary = "8x8 handwritten digits read pixel by pixel, class at the end"
    Config = DigitsConfig
    metric = Metric("accuracy", "fraction correct", "higher")
    chance = 0.10
    solved_at = 0.94
    spec = Spec("continuous", 1, "class", 10, "last")

    def baseline(self) -> Baseline:
        """Return the test accuracy of logistic regression on the 64 pixels."""
        return Baseline("logistic regression on all pixels", _logistic_accuracy())

    def batch(
        self,
        split: Split,
        size: int | None = None,
        *,
        seed: int = 0,
        index: int = 0,
        length: int | None = None,
    ) -> Batch:
        """Read digits; see `Task.batch`. The training stream is reshuffled in every epoch."""
        check_split(split)
        if length not in (None, self.length):
            raise UsageError(f"digits have {self.length} pixels, not {length} (allowed: 64)")
        pixels, classes = _splits()[split]
        count = len(classes)
        size = count if size is None else size
        if split != "train" and (index + 1) * size > count:
            raise UsageError(
                f"the {split} set has {count} digits, too few for {size} at batch {index}"
            )
        first = index * size
        rows = np.concatenate(
            [
                generator(seed, self.name, split, "order", epoch).permutation(count)
                for epoch in range(first // count, (first + size - 1) // count + 1)
            ]
        )[first % count :][:size]
        return Batch(torch.from_numpy(pixels[rows]), torch.from_numpy(classes[rows]))

    def errors(self, outputs: Tensor, batch: Batch) -> Tensor:
        """Return the cross-entropy of the last output, (B,), in nats."""
        return last_step_cross_entropy(outputs, batch.targets)

    def scores(self, outputs: Tensor, batch: Batch) -> Tensor:
        """Return 1 where the last output is right and 0 where it is not, (B,)."""
        return (outputs[:, -1].argmax(dim=1) == batch.targets).to(outputs.dtype)


@cache
def _splits() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Return pixels (N, 64, 1) and classes (N,) of the three sets."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    data = load_digits()
    pixels = (data.data / 16).astype(np.float32)[:, :, None]
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
    model = LogisticRegression(max_iter=1000).fit(x_train[:, :, 0], y_train)
    return float(model.score(x_test[:, :, 0], y_test))
