"""Passkey: digits hidden in a long and dull text."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from seqprobe.config import bounded
from seqprobe.spec import Spec
from seqprobe.tasks.base import Baseline, Batch, Condition, Metric, TaskConfig
from seqprobe.tasks.symbol_recall import SymbolRecall, last_steps

__all__ = ["Passkey", "PasskeyConfig"]

_KEY, _ASK, _NEXT, _FILLER = 10, 11, 12, 13  # tokens after the ten digits


@dataclass(frozen=True)
class PasskeyConfig(TaskConfig):
    """Settings of the passkey task.

    Attributes
    ----------
    length
        Length T of the training sequences.
    digits
        Number of digits of the key.
    sentence
        Number of tokens of the sentence that is repeated around the key.
    """

    length: int = bounded(256, 4, 2**20)
    digits: int = bounded(5, 1, 64)
    sentence: int = bounded(16, 1, 4096)


class Passkey(SymbolRecall):
    """A sentence over and over, a passkey at a random depth, and the question for it at the end.

    The key is ``KEY d_1 ... d_n KEY``; the last n steps ask, and the digits are due there, one by
    one, without being shown. Tokens ``0..9`` are digits, then KEY, the question, the request for
    the next digit, and the words of the sentence, which starts anywhere. Loss: cross-entropy in
    nats over the digits. Metric: passkeys with all digits right. Chance and baseline: ``10^-n``.
    After Mohtashami and Jaggi 2023 (arXiv 2305.16300) and Chen et al. 2024 (arXiv 2410.07145), in
    tokens of its own: there it is English text, and the digits are generated one after the other.
    """

    name = "passkey"
    summary = "a passkey hidden in a repeated sentence"
    Config = PasskeyConfig
    metric = Metric("accuracy", "fraction of passkeys", "higher")
    solved_at = 0.99
    alphabet = 10
    loads = {"length": "steps", "digits": "digits"}  # noqa: RUF012

    def __init__(self, config: PasskeyConfig | None = None) -> None:
        super().__init__(config)
        self.spec = Spec("token", _FILLER + self.config.sentence, "class", 10, "each")
        self.chance = 10.0**-self.config.digits
        self.shortest = 2 * self.config.digits + 2
        self.check_length(self.length)

    def _loaded(self, load: str, value: int) -> Any:
        changed = dataclasses.replace(self.config, **{load: value})
        if load == "digits":
            changed = dataclasses.replace(changed, length=max(changed.length, 2 * value + 2))
        return changed

    def stored_after(self, length: int) -> int:
        """Return all steps before the question."""
        digits: int = self.config.digits
        return length - digits

    def baseline(self) -> Baseline:
        """Return the accuracy of guessing."""
        return Baseline("guess", self.chance)

    def scores(self, outputs: Tensor, batch: Batch) -> Tensor:
        """Return 1 for every passkey without an error, (B,)."""
        right = self.answers(outputs, batch).argmax(dim=2) == self.asked(batch)
        return right.all(dim=1).to(outputs.dtype)

    def conditions(self, batch: Batch) -> dict[str, Condition]:
        """Return the depth of every key."""
        depth = (batch.inputs == _KEY).int().argmax(dim=1)
        return {"depth": Condition(depth, "step at which the passkey begins", "steps")}

    def draw(self, rng: np.random.Generator, size: int, length: int) -> Batch:
        """Draw keys, their depths and where the sentence starts; see `GeneratedTask.draw`."""
        count = self.config.digits
        digits = rng.integers(0, 10, (size, count))
        start = rng.integers(0, self.config.sentence, (size, 1))
        tokens = _FILLER + (start + np.arange(length)) % self.config.sentence
        room = length - count
        depth = rng.integers(0, room - count - 1, size)
        key = np.pad(digits, ((0, 0), (1, 1)), constant_values=_KEY)
        np.put_along_axis(tokens, depth[:, None] + np.arange(count + 2), key, axis=1)
        tokens[:, room], tokens[:, room + 1 :] = _ASK, _NEXT
        targets = np.zeros_like(tokens)
        targets[:, room:] = digits
        mask = last_steps(size, length, count)
        return Batch(torch.from_numpy(tokens), torch.from_numpy(targets), mask)
