"""MNIST read pixel by pixel, in order or permuted."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from torch import Tensor

from seqprobe.config import bounded
from seqprobe.data import dataset, read
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

__all__ = ["PMNIST", "SMNIST", "PMNISTConfig", "SMNISTConfig"]

_MEAN, _STD = 0.1307, 0.3081
_VALID = 5000  # images held out of the 60,000 for validation
_FILES = {
    "train": ("train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz"),
    "test": ("t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz"),
}


@dataclass(frozen=True)
class SMNISTConfig(TaskConfig):
    """Settings of sequential MNIST: none but the length, which is 784 pixels.

    Attributes
    ----------
    length
        Number of pixels, 784.
    """

    length: int = bounded(784, 784, 784)


class SMNIST(Task):
    """The 28x28 images of LeCun et al. (1998), one pixel per step, row by row.

    Pixels are normalised by mean 0.1307 and deviation 0.3081, as in Bai et al. 2018 (arXiv
    1803.01271); the class is asked for after the last. 5,000 of the 60,000 training images are held
    out for validation. Loss: cross-entropy in nats. Metric: accuracy. Chance: the commonest class,
    0.1135. Baseline: logistic regression on all pixels at once.
    """

    name = "smnist"
    summary = "28x28 handwritten digits pixel by pixel, class at the end"
    Config = SMNISTConfig
    metric = Metric("accuracy", "fraction correct", "higher")
    chance = 0.1135
    solved_at = 0.98
    spec = Spec("continuous", 1, "class", 10, "last")

    def baseline(self) -> Baseline:
        """Return the test accuracy of logistic regression."""
        return Baseline("logistic regression on all pixels", _logistic_accuracy())

    def order(self) -> np.ndarray:
        """Return the pixel that is read at every step, (784,)."""
        return np.arange(self.length)

    def batch(
        self,
        split: Split,
        size: int | None = None,
        *,
        seed: int = 0,
        index: int = 0,
        length: int | None = None,
    ) -> Batch:
        """Read images; see `Task.batch`. The training stream is reshuffled in every epoch."""
        check_split(split)
        if length not in (None, self.length):
            raise UsageError(f"images have {self.length} pixels, not {length} (allowed: 784)")
        pixels, classes = _splits()[split]
        count = len(classes)
        size = count if size is None else size
        if split != "train" and (index + 1) * size > count:
            raise UsageError(
                f"the {split} set has {count} images, too few for {size} at batch {index}"
            )
        first = index * size
        epochs = range(first // count, (first + size - 1) // count + 1)
        orders = [generator(seed, "mnist", split, "order", e).permutation(count) for e in epochs]
        rows = np.concatenate(orders)[first % count :][:size]
        x = (pixels[rows][:, self.order()].astype(np.float32) / 255 - _MEAN) / _STD
        return Batch(torch.from_numpy(x)[:, :, None], torch.from_numpy(classes[rows]))

    def errors(self, outputs: Tensor, batch: Batch) -> Tensor:
        """Return the cross-entropy of the last output, (B,), in nats."""
        return last_step_cross_entropy(outputs, batch.targets)

    def scores(self, outputs: Tensor, batch: Batch) -> Tensor:
        """Return 1 where the last output is right and 0 where it is not, (B,)."""
        return (outputs[:, -1].argmax(dim=1) == batch.targets).to(outputs.dtype)


@dataclass(frozen=True)
class PMNISTConfig(SMNISTConfig):
    """Settings of permuted MNIST.

    Attributes
    ----------
    permutation
        Seed of the one order in which all images are read.
    """

    permutation: int = bounded(0, 0, 2**31)


class PMNIST(SMNIST):
    """As `SMNIST`, with the pixels of all images in one random order, from a seed of its own."""

    name = "pmnist"
    summary = "28x28 handwritten digits in a fixed random order of pixels"
    Config = PMNISTConfig
    solved_at = 0.95

    def order(self) -> np.ndarray:
        """Return the permutation, (784,)."""
        return generator(self.config.permutation, "pmnist", "order").permutation(self.length)


@cache
def _splits() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Return pixels (N, 784) as bytes and classes (N,) of the three sets."""
    files = read(dataset("mnist"))
    sets = {}
    for name, (images, labels) in _FILES.items():
        # idx files: a big-endian header of 16 and 8 bytes, then bytes.
        pixels = np.frombuffer(files[images], np.uint8, offset=16).reshape(-1, 784)
        classes = np.frombuffer(files[labels], np.uint8, offset=8).astype(np.int64)
        sets[name] = (pixels, classes)
    pixels, classes = sets["train"]
    order = generator(0, "mnist", "split").permutation(len(classes))
    held, kept = order[:_VALID], order[_VALID:]
    return {
        "train": (pixels[kept], classes[kept]),
        "valid": (pixels[held], classes[held]),
        "test": sets["test"],
    }


@cache
def _logistic_accuracy() -> float:
    from sklearn.linear_model import LogisticRegression

    (x_train, y_train), (x_test, y_test) = _splits()["train"], _splits()["test"]
    model = LogisticRegression(C=0.1, tol=1e-3)
    model.fit((x_train / 255).astype(np.float32), y_train)
    return float(model.score((x_test / 255).astype(np.float32), y_test))
