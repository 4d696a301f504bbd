"""Character text: which character comes next."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from seqprobe.config import bounded
from seqprobe.data import dataset, read
from seqprobe.errors import UsageError
from seqprobe.seeding import generator
from seqprobe.spec import Spec
from seqprobe.tasks.base import Baseline, Batch, Metric, Split, Task, TaskConfig, check_request

__all__ = ["CharText", "CharTextConfig"]

_TEXT = "tinyshakespeare"
_HELD_OUT = 0.05  # of the text, for validation and for test
_EVALUATION_BATCH = 128


@dataclass(frozen=True)
class CharTextConfig(TaskConfig):
    """Settings of character text.

    Attributes
    ----------
    length
        Characters of a window; a model starts each from its initial state, in scoring too.
    """

    length: int = bounded(200, 1, 2**20)


class CharText(Task):
    """Predict the next character of 40,000 lines of Shakespeare (Karpathy 2015), from tokens.

    The first 90 % of the text is for training, the next 5 % for validation, the last 5 % for test;
    the vocabulary is the 65 characters of the whole. Loss: cross-entropy in nats. Metric: bits per
    character. Chance: the logarithm of the vocabulary. Baseline: a Markov chain of characters
    counted on the training text, with one added to each count.
    """

    name = "chartext"
    summary = "next character of Shakespeare"
    Config = CharTextConfig
    metric = Metric("bpc", "bits per character", "lower")
    next_step = True

    @property
    def spec(self) -> Spec:  # type: ignore[override]  # the text decides it
        """Tokens of the vocabulary in, logits of the next one out."""
        size = len(_vocabulary())
        return Spec("token", size, "class", size, "each")

    @property
    def chance(self) -> float:  # type: ignore[override]
        """Bits of a character drawn evenly from the vocabulary."""
        return math.log2(len(_vocabulary()))

    @property
    def solved_at(self) -> float:  # type: ignore[override]
        """Score of the Markov chain."""
        return _markov_bits()

    def baseline(self) -> Baseline:
        """Return the test score of the Markov chain."""
        return Baseline("Markov chain of characters", _markov_bits())

    def batch(
        self,
        split: Split,
        size: int | None = None,
        *,
        seed: int = 0,
        index: int = 0,
        length: int | None = None,
    ) -> Batch:
        """Draw windows anywhere in the text of a split; see `Task.batch`."""
        check_request(split, size, length)
        length = self.length if length is None else length
        text = _long_enough(split, length)
        rng = generator(seed, self.name, split, index)
        starts = rng.integers(len(text) - length, size=256 if size is None else size)
        return _windows(text, starts, length)

    def evaluation(self, split: Split) -> Iterator[Batch]:
        """Yield the text of a split once, in windows that follow each other."""
        check_request(split)
        text = _long_enough(split, self.length)
        starts = np.arange(0, len(text) - self.length, self.length)
        for first in range(0, len(starts), _EVALUATION_BATCH):
            yield _windows(text, starts[first : first + _EVALUATION_BATCH], self.length)

    def errors(self, outputs: Tensor, batch: Batch) -> Tensor:
        """Return the cross-entropy of every window, (B,), in nats per character."""
        logits = outputs.transpose(1, 2)
        return F.cross_entropy(logits, batch.targets, reduction="none").mean(dim=1)

    def scores(self, outputs: Tensor, batch: Batch) -> Tensor:
        """Return the cross-entropy of every window, (B,), in bits per character."""
        return self.errors(outputs, batch) / math.log(2)


def _long_enough(split: Split, length: int) -> np.ndarray:
    text = _splits()[split]
    if length >= len(text):
        raise UsageError(
            f"the {split} text has {len(text)} characters, too few for a length of {length}"
            f" (allowed: up to {len(text) - 1})"
        )
    return text


def _windows(text: np.ndarray, starts: np.ndarray, length: int) -> Batch:
    rows = text[starts[:, None] + np.arange(length + 1)]
    return Batch(torch.from_numpy(rows[:, :-1].copy()), torch.from_numpy(rows[:, 1:].copy()))


@cache
def _text() -> str:
    (content,) = read(dataset(_TEXT)).values()
    return content.decode()


@cache
def _vocabulary() -> list[str]:
    return sorted(set(_text()))


@cache
def _splits() -> dict[str, np.ndarray]:
    """Return the characters of the three splits as indices into the vocabulary."""
    index = {character: i for i, character in enumerate(_vocabulary())}
    codes = np.array([index[character] for character in _text()], dtype=np.int64)
    held = int(_HELD_OUT * len(codes))
    train, valid, test = np.split(codes, [len(codes) - 2 * held, len(codes) - held])
    return {"train": train, "valid": valid, "test": test}


@cache
def _markov_bits() -> float:
    size = len(_vocabulary())
    train, test = _splits()["train"], _splits()["test"]
    counts = np.ones((size, size))
    np.add.at(counts, (train[:-1], train[1:]), 1)
    logs = np.log2(counts / counts.sum(axis=1, keepdims=True))
    return float(-logs[test[:-1], test[1:]].mean())
