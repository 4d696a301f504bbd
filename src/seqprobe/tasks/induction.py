"""Induction heads: what came after the special symbol the first time."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from seqprobe.config import bounded
from seqprobe.spec import Spec
from seqprobe.tasks.base import Baseline, Batch, Condition, Metric, TaskConfig
from seqprobe.tasks.symbol_recall import SymbolRecall

__all__ = ["Induction", "InductionConfig"]


@dataclass(frozen=True)
class InductionConfig(TaskConfig):
    """Settings of induction heads.

    Attributes
    ----------
    length
        Length T of the training sequences.
    symbols
        Number K of ordinary symbols.
    """

    length: int = bounded(256, 3, 2**20)
    symbols: int = bounded(16, 2, 4096)


class Induction(SymbolRecall):
    """Random symbols, one special token among them, and the special token again at the end.

    The answer, due at the last step, is the symbol that followed the special token, which stands at
    a step drawn evenly. Symbols are ``0..K-1``, the special token is K. Loss: cross-entropy in
    nats. Metric: accuracy. Chance and baseline: 1/K. Source: Olsson et al. 2022 (arXiv 2209.11895),
    in the form of Fu et al. 2022 (arXiv 2212.14052) and Gu and Dao 2023 (arXiv 2312.00752, table
    2).
    """

    name = "induction"
    summary = "induction heads: what followed a special symbol"
    Config = InductionConfig
    metric = Metric("accuracy", "fraction of sequences", "higher")
    solved_at = 0.99
    shortest = 3
    loads = {"length": "steps"}  # noqa: RUF012

    def __init__(self, config: InductionConfig | None = None) -> None:
        super().__init__(config)
        size = self.config.symbols
        self.spec = Spec("token", size + 1, "class", size, "last")
        self.alphabet = size
        self.chance = 1 / size

    def stored_after(self, length: int) -> int:
        """Return all steps but the last."""
        return length - 1

    def baseline(self) -> Baseline:
        """Return the accuracy of guessing."""
        return Baseline("guess", self.chance)

    def answers(self, values: Tensor, batch: Batch) -> Tensor:
        """Return the last step (B, 1, ...)."""
        del batch
        return values[:, -1:]

    def asked(self, batch: Batch) -> Tensor:
        """Return the symbol due, (B, 1)."""
        return batch.targets[:, None]

    def conditions(self, batch: Batch) -> dict[str, Condition]:
        """Return the place of the first special token."""
        place = (batch.inputs == self.config.symbols).int().argmax(dim=1)
        return {"place": Condition(place, "step of the first special token", "steps")}

    def draw(self, rng: np.random.Generator, size: int, length: int) -> Batch:
        """Draw symbols and the place of the special token; see `GeneratedTask.draw`."""
        tokens = rng.integers(0, self.config.symbols, (size, length))
        place = rng.integers(0, length - 2, size)
        tokens[np.arange(size), place] = tokens[:, -1] = self.config.symbols
        return Batch(torch.from_numpy(tokens), torch.from_numpy(tokens[np.arange(size), place + 1]))
