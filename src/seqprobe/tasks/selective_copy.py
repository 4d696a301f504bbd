"""Selective copying: say the symbols again, and not what was between them."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from seqprobe.config import bounded
from seqprobe.spec import Spec
from seqprobe.tasks.base import Baseline, Batch, Metric, TaskConfig
from seqprobe.tasks.symbol_recall import SymbolRecall, last_steps

__all__ = ["SelectiveCopy", "SelectiveCopyConfig"]


@dataclass(frozen=True)
class SelectiveCopyConfig(TaskConfig):
    """Settings of selective copying.

    Attributes
    ----------
    length
        Length T of the training sequences, answers included.
    symbols
        Number M of symbols to copy.
    alphabet
        Number K of different symbols.
    """

    length: int = bounded(256, 2, 2**20)
    symbols: int = bounded(16, 1, 2**16)
    alphabet: int = bounded(16, 2, 4096)


class SelectiveCopy(SymbolRecall):
    """M symbols at random steps among noise, then M times the question for the next of them.

    Where copying with fixed gaps is a matter of time, here a model has to look at what comes in.
    Token 0 is noise, ``1..K`` are symbols, K + 1 asks; the M answers, ``0..K-1``, are due at the
    last M steps. Loss: cross-entropy in nats over the answers. Metric: accuracy. Chance and
    baseline: 1/K. Source: Jing et al. 2019 (denoise task), as in Gu and Dao 2023 (arXiv 2312.00752,
    table 1: 4096 steps with M = K = 16).
    """

    name = "selective-copy"
    summary = "copy symbols and ignore the noise between them"
    Config = SelectiveCopyConfig
    metric = Metric("accuracy", "fraction of copied symbols", "higher")
    solved_at = 0.99
    loads = {"symbols": "symbols", "length": "steps"}  # noqa: RUF012

    def __init__(self, config: SelectiveCopyConfig | None = None) -> None:
        super().__init__(config)
        size = self.config.alphabet
        self.spec = Spec("token", size + 2, "class", size, "each")
        self.alphabet = size
        self.chance = 1 / size
        self.shortest = 2 * self.config.symbols
        self.check_length(self.length)

    def _loaded(self, load: str, value: int) -> Any:
        changed = dataclasses.replace(self.config, **{load: value})
        if load == "symbols":
            changed = dataclasses.replace(changed, length=max(changed.length, 2 * value))
        return changed

    def stored_after(self, length: int) -> int:
        """Return all steps but those of the answers."""
        symbols: int = self.config.symbols
        return length - symbols

    def baseline(self) -> Baseline:
        """Return the accuracy of guessing."""
        return Baseline("guess", self.chance)

    def draw(self, rng: np.random.Generator, size: int, length: int) -> Batch:
        """Draw symbols and their steps; see `GeneratedTask.draw`."""
        count = self.config.symbols
        symbols = rng.integers(0, self.config.alphabet, (size, count))
        room = length - count
        places = np.sort(rng.random((size, room)).argsort(axis=1)[:, :count], axis=1)
        tokens = np.zeros((size, length), dtype=np.int64)
        np.put_along_axis(tokens, places, symbols + 1, axis=1)
        tokens[:, room:] = self.config.alphabet + 1
        targets = np.zeros_like(tokens)
        targets[:, room:] = symbols
        mask = last_steps(size, length, count)
        return Batch(torch.from_numpy(tokens), torch.from_numpy(targets), mask)
