"""MNIST read pixel by pixel, in order or permuted."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np

from seqprobe.config import bounded
from seqprobe.data import dataset, read
from seqprobe.seeding import generator
from seqprobe.tasks.base import Baseline, Split, TaskConfig
from seqprobe.tasks.images import ImageTask

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


class SMNIST(ImageTask):
    """The 28x28 images of LeCun et al. (1998), one pixel per step, row by row.

    Pixels are normalised by mean 0.1307 and deviation 0.3081, as in Bai et al. 2018 (arXiv
    1803.01271); the class is asked for after the last. 5,000 of the 60,000 training images are held
    out for validation. Chance: the commonest class, 0.1135. Baseline: logistic regression on all
    pixels at once.
    """

    name = "smnist"
    summary = "28x28 handwritten digits pixel by pixel, class at the end"
    Config = SMNISTConfig
    chance = 0.1135
    solved_at = 0.98

    def baseline(self) -> Baseline:
        """Return the test accuracy of logistic regression."""
        return Baseline("logistic regression on all pixels", _logistic_accuracy())

    def order(self) -> np.ndarray:
        """Return the pixel that is read at every step, (784,)."""
        return np.arange(self.length)

    def images(self, split: Split) -> tuple[np.ndarray, np.ndarray]:
        """Return pixels (N, 784) as bytes, row by row, and classes (N,)."""
        return _splits()[split]

    def pixels(self, images: np.ndarray) -> np.ndarray:
        """Return normalised pixels (B, 784) in the order of reading."""
        ordered = images[:, self.order()].astype(np.float32)
        return (ordered / 255 - _MEAN) / _STD


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
