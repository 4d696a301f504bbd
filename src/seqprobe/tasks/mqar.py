"""Multi-query associative recall: the values that came with keys."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from seqprobe.config import bounded
from seqprobe.errors import UsageError
from seqprobe.seeding import generator
from seqprobe.spec import Spec
from seqprobe.tasks.base import Baseline, Batch, Metric, Split, TaskConfig
from seqprobe.tasks.symbol_recall import SymbolRecall

__all__ = ["MQAR", "MQARConfig"]

_EVALUATION_SIZE = 512  # sequences, shared by the loads


@dataclass(frozen=True)
class MQARConfig(TaskConfig):
    """Settings of multi-query associative recall.

    Attributes
    ----------
    length
        Length T of the training sequences; at least twice the context.
    pairs
        Number P of pairs in the context, each asked for once.
    min_pairs
        Train on numbers of pairs drawn evenly from here to `pairs`, one per batch, and score on all
        of them; None for one number.
    key_length
        Tokens n per key.
    keys, values
        Number of key tokens and of values. There are ``keys^n`` keys.
    power
        The earlier slots are asked more often, in proportion to ``slot^(power - 1)``.
    """

    length: int = bounded(64, 2, 2**20)
    pairs: int = bounded(8, 1, 2**16)
    min_pairs: int | None = bounded(None, 1, 2**16)
    key_length: int = bounded(1, 1, 16)
    keys: int = bounded(64, 1, 2**16)
    values: int = bounded(64, 2, 2**16)
    power: float = bounded(0.01, 1e-6, 1.0)


class MQAR(SymbolRecall):
    """Keys with values, then the keys again in another order among fillers.

    Context: ``k_1 v_1 ... k_P v_P``, n + 1 tokens per pair, keys drawn without replacement. The
    rest is slots of n + 1 tokens; P of them, drawn without replacement with probability in
    proportion to ``slot^(power - 1)``, hold one key each, all other tokens are the filler 0. The
    answer, the value that came with the key, is due at the key's last token and never shown again.
    Keys are ``1..keys``, values the tokens after them, answers ``0..values - 1``. Loss:
    cross-entropy in nats over the answers. Metric: accuracy. Chance: one of all values. Baseline:
    one of the values of the context, ``1/P + (1 - 1/P) / values``.

    The task of Arora et al. 2023 (Zoology, arXiv 2312.04927), which differs in three points: values
    are drawn independently here, so that bits add up over pairs; fillers are a token of their own,
    so that no query is ambiguous; and outputs are the values alone, not the whole vocabulary.
    """

    name = "mqar"
    summary = "multi-query associative recall: the values that came with keys"
    Config = MQARConfig
    metric = Metric("accuracy", "fraction of queries", "higher")
    solved_at = 0.99
    loads = {"pairs": "pairs", "key_length": "tokens per key", "length": "steps"}  # noqa: RUF012

    def __init__(self, config: MQARConfig | None = None) -> None:
        super().__init__(config)
        own = self.config
        self.spec = Spec("token", 1 + own.keys + own.values, "class", own.values, "each")
        self.alphabet = own.values
        self.chance = 1 / own.values
        self.distinct_keys = own.keys**own.key_length
        self.shortest = 2 * self._context(own.pairs)
        if own.min_pairs is not None and own.min_pairs > own.pairs:
            raise UsageError(
                f"task.min_pairs = {own.min_pairs} is above task.pairs = {own.pairs}"
                f" (allowed: 1 to {own.pairs})"
            )
        if self.distinct_keys >= 2**62:
            raise UsageError(
                f"task.key_length = {own.key_length} makes {own.keys}^{own.key_length} keys, too"
                " many to draw from (allowed: below 2^62); lower task.keys"
            )
        if own.pairs > self.distinct_keys:
            raise UsageError(
                f"task.pairs = {own.pairs} is more than there are keys ({self.distinct_keys});"
                " raise task.keys"
            )
        self.check_length(own.length)

    def _context(self, pairs: int) -> int:
        tokens: int = pairs * (self.config.key_length + 1)
        return tokens

    def _loaded(self, load: str, value: int) -> Any:
        changed = dataclasses.replace(self.config, min_pairs=None, **{load: value})
        needed = 2 * changed.pairs * (changed.key_length + 1)
        # Only a length that was asked for is refused where the pairs do not fit.
        if load != "length" and changed.length < needed:
            changed = dataclasses.replace(changed, length=needed)
        return changed

    def stored_after(self, length: int) -> int:
        """Return the length of the context."""
        del length
        return self._context(self.config.pairs)

    def baseline(self) -> Baseline:
        """Return the accuracy of naming a value of the context at random."""
        pairs = np.arange(self.config.min_pairs or self.config.pairs, self.config.pairs + 1)
        rates = 1 / pairs + (1 - 1 / pairs) / self.config.values
        return Baseline("a value of the context at random", float(rates.mean()))

    def batch(
        self,
        split: Split,
        size: int | None = None,
        *,
        seed: int = 0,
        index: int = 0,
        length: int | None = None,
    ) -> Batch:
        """Draw sequences, in training of a number of pairs drawn first; see `Task.batch`."""
        if split == "train" and self.config.min_pairs is not None:
            rng = generator(seed, self.name, "pairs", index)
            pairs = int(rng.integers(self.config.min_pairs, self.config.pairs + 1))
            length = self.length if length is None else length
            return self.at("pairs", pairs).batch(split, size, seed=seed, index=index, length=length)
        return super().batch(split, size, seed=seed, index=index, length=length)

    def evaluation(self, split: Split) -> Iterator[Batch]:
        """Yield sequences of every number of pairs alike, or of the one there is."""
        if self.config.min_pairs is None:
            yield from super().evaluation(split)
            return
        loads = range(self.config.min_pairs, self.config.pairs + 1)
        size = max(1, _EVALUATION_SIZE // len(loads))
        for pairs in loads:
            yield self.at("pairs", pairs).batch(split, size, index=pairs, length=self.length)

    def draw(self, rng: np.random.Generator, size: int, length: int) -> Batch:
        """Draw keys, values and slots; see `GeneratedTask.draw`."""
        own, width = self.config, self.config.key_length + 1
        numbers = np.stack(
            [rng.choice(self.distinct_keys, own.pairs, replace=False) for _ in range(size)]
        )
        digits = own.keys ** np.arange(own.key_length)
        keys = 1 + numbers[..., None] // digits % own.keys  # (B, P, n)
        values = rng.integers(0, own.values, (size, own.pairs))
        context = self._context(own.pairs)
        tokens = np.zeros((size, length), dtype=np.int64)
        shown = np.concatenate([keys, 1 + own.keys + values[..., None]], axis=2)
        tokens[:, :context] = shown.reshape(size, context)

        slots = np.arange(1, (length - context) // width + 1)
        # The largest of log p + Gumbel noise are a draw without replacement.
        noisy = (own.power - 1) * np.log(slots) + rng.gumbel(size=(size, len(slots)))
        chosen = np.argsort(-noisy, axis=1)[:, : own.pairs]
        places = context + width * chosen[..., None] + np.arange(own.key_length)
        rows = np.arange(size)[:, None]
        tokens[rows[..., None], places] = keys
        targets, mask = np.zeros_like(tokens), np.zeros(tokens.shape, dtype=bool)
        due = places[..., -1]
        targets[rows, due] = values
        mask[rows, due] = True
        return Batch(*map(torch.from_numpy, (tokens, targets, mask)))
