"""Character text: which character comes next."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from seqprobe.config import bounded
from seqprobe.data import dataset, read
from seqprobe.errors import UnreadableFileError, UsageError
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
    text
        A text file in UTF-8; empty for Shakespeare.
    vocabulary
        The characters, in the order of their tokens; empty for those of the text, sorted. A
        checkpoint stores what it was trained with.
    """

    length: int = bounded(200, 1, 2**20)
    text: str = ""
    vocabulary: str = ""


class CharText(Task):
    """Predict the next character of 40,000 lines of Shakespeare (Karpathy 2015), from tokens.

    Or of any other text. The first 90 % of it is for training, the next 5 % for validation, the
    last 5 % for test; the vocabulary is the characters of the whole, 65 of Shakespeare's. Loss:
    cross-entropy in nats. Metric: bits per character. Chance: the logarithm of the vocabulary.
    Baseline: a Markov chain of characters counted on the training text, with one added to each
    count.
    """

    name = "chartext"
    summary = "next character of Shakespeare, or of a text of yours"
    Config = CharTextConfig
    metric = Metric("bpc", "bits per character", "lower")
    next_step = True

    def __init__(self, config: CharTextConfig | None = None) -> None:
        super().__init__(config)
        given = self.config.vocabulary
        if len(set(given)) < len(given):
            raise UsageError("task.vocabulary has a character twice; give each once")

    @cached_property
    def vocabulary(self) -> str:
        """The characters, in the order of their tokens."""
        return self.config.vocabulary or "".join(sorted(set(_text(self.config.text))))

    def pinned(self) -> CharText:
        """Return the task with the vocabulary of its text in its settings."""
        return CharText(dataclasses.replace(self.config, vocabulary=self.vocabulary))

    @property
    def spec(self) -> Spec:  # type: ignore[override]  # the text decides it
        """Tokens of the vocabulary in, logits of the next one out."""
        size = len(self.vocabulary)
        return Spec("token", size, "class", size, "each")

    @property
    def chance(self) -> float:  # type: ignore[override]
        """Bits of a character drawn evenly from the vocabulary."""
        return math.log2(len(self.vocabulary))

    @property
    def solved_at(self) -> float:  # type: ignore[override]
        """Score of the Markov chain."""
        return self.baseline().score

    def baseline(self) -> Baseline:
        """Return the test score of the Markov chain."""
        return Baseline("Markov chain of characters", _markov_bits(self._key()))

    def batch(
        self,
        split: Split,
        size: int | None = None,
        *,
        seed: int = 0,
        index: int = 0,
        length: int | None = None,
    ) -> Batch:
        """Draw windows of the text of a split; see `Task.batch`.

        In training they lie anywhere; a validation or test batch has windows that do not overlap,
        so that statistics over them are over blocks of text.
        """
        check_request(split, size, length)
        length = self.length if length is None else length
        text = self._long_enough(split, length)
        rng = generator(seed, self.name, split, index)
        if split == "train":
            starts = rng.integers(len(text) - length, size=256 if size is None else size)
            return _windows(text, starts, length)
        blocks = (len(text) - 1) // length
        size = min(256, blocks) if size is None else size
        if size > blocks:
            raise UsageError(
                f"the {split} text has {blocks} windows of {length} characters, too few for {size}"
                f" (allowed: 1 to {blocks}; or a smaller length)"
            )
        return _windows(text, rng.choice(blocks, size, replace=False) * length, length)

    def count(self, split: Split, length: int | None = None) -> int | None:
        """Return the number of windows that do not overlap."""
        length = self.length if length is None else length
        return (len(self._long_enough(split, length)) - 1) // length

    def evaluation(self, split: Split) -> Iterator[Batch]:
        """Yield the text of a split once, in windows that follow each other."""
        check_request(split)
        text = self._long_enough(split, self.length)
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

    def _key(self) -> tuple[str, str]:
        return self.config.text, self.vocabulary

    def _long_enough(self, split: Split, length: int) -> np.ndarray:
        text = _splits(self._key())[split]
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
def _text(path: str) -> str:
    if not path:
        (content,) = read(dataset(_TEXT)).values()
        return content.decode()
    try:
        text = Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise UnreadableFileError(f"text '{path}' cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise UnreadableFileError(
            f"text '{path}' is not UTF-8 (byte {error.start}); convert it, as with iconv"
        ) from None
    if not text:
        raise UsageError(f"text '{path}' is empty; give another")
    return text


@cache
def _splits(key: tuple[str, str]) -> dict[str, np.ndarray]:
    """Return the characters of the three splits as indices into the vocabulary."""
    path, vocabulary = key
    text = _text(path)
    index = {character: i for i, character in enumerate(vocabulary)}
    if strange := sorted(set(text) - index.keys()):
        raise UsageError(
            f"text '{path or _TEXT}' has the character {strange[0]!r}, which is not in the"
            f" vocabulary of {len(vocabulary)} (task.vocabulary); take it out, or train on this"
            " text"
        )
    codes = np.array([index[character] for character in text], dtype=np.int64)
    held = int(_HELD_OUT * len(codes))
    if held < 2:
        raise UsageError(
            f"text '{path or _TEXT}' has {len(codes)} characters, too few to hold some of them out"
            f" (allowed: {math.ceil(2 / _HELD_OUT)} or more)"
        )
    train, valid, test = np.split(codes, [len(codes) - 2 * held, len(codes) - held])
    return {"train": train, "valid": valid, "test": test}


@cache
def _markov_bits(key: tuple[str, str]) -> float:
    size = len(key[1])
    train, test = _splits(key)["train"], _splits(key)["test"]
    counts = np.ones((size, size))
    np.add.at(counts, (train[:-1], train[1:]), 1)
    logs = np.log2(counts / counts.sum(axis=1, keepdims=True))
    return float(-logs[test[:-1], test[1:]].mean())
