"""What a task must offer: data, loss, metric, chance level, and a baseline that does not learn."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from seqprobe.errors import NotApplicableError, UsageError
from seqprobe.spec import Spec

__all__ = ["Baseline", "Batch", "Condition", "Metric", "Split", "Task", "TaskConfig"]

Split = Literal["train", "valid", "test"]

_EVALUATION_SEED = 0  # every training seed is compared on the same held-out data
_EVALUATION_BATCH = 512


@dataclass(frozen=True)
class Batch:
    """Sequences with their targets.

    Attributes
    ----------
    inputs
        (B, T, D) reals or (B, T) integer tokens.
    targets
        (B, T, K) reals or (B, T) classes; (B,) classes if only the last step is scored.
    mask
        (B, T), True where an output is scored; None where all are.
    about
        What else is known of the sequences, by name; see `Task.conditions`.
    """

    inputs: Tensor
    targets: Tensor
    mask: Tensor | None = None
    about: Mapping[str, Condition] = field(default_factory=dict, kw_only=True)

    def split(self, size: int) -> Iterator[Batch]:
        """Yield the batch in pieces of at most `size` sequences."""
        for start in range(0, len(self.inputs), size):
            yield self.rows(slice(start, start + size))

    def rows(self, rows: slice) -> Batch:
        """Return some of the sequences."""
        mask = None if self.mask is None else self.mask[rows]
        about = {name: known.of(known.values[rows]) for name, known in self.about.items()}
        return Batch(self.inputs[rows], self.targets[rows], mask, about=about)

    def to(self, device: torch.device) -> Batch:
        """Return the batch on another device."""
        mask = None if self.mask is None else self.mask.to(device)
        about = {name: known.of(known.values.to(device)) for name, known in self.about.items()}
        return Batch(self.inputs.to(device), self.targets.to(device), mask, about=about)


@dataclass(frozen=True)
class Metric:
    """A score: its name, its unit, and which direction is better."""

    name: str
    unit: str
    better: Literal["lower", "higher"]

    def improves(self, score: float, than: float) -> bool:
        """Say whether `score` is better than another; nothing is worse than a NaN."""
        if than != than:
            return score == score
        return score < than if self.better == "lower" else score > than

    def reaches(self, score: float, threshold: float) -> bool:
        """Say whether `score` is at least as good as a threshold."""
        return score <= threshold if self.better == "lower" else score >= threshold


@dataclass(frozen=True)
class Baseline:
    """The score of something that does not learn the task's point, and what that something is."""

    name: str
    score: float


@dataclass(frozen=True)
class Condition:
    """What tells the sequences of a task apart: values (B,) or (B, T), their name and unit."""

    values: Tensor
    long_name: str
    unit: str

    def of(self, values: Tensor) -> Condition:
        """Return the condition with other values, as of other sequences."""
        return Condition(values, self.long_name, self.unit)


@dataclass(frozen=True)
class TaskConfig:
    """Settings of a task; most have a ``length``, all others follow from what they are."""


class Task(ABC):
    """A problem with seeded data.

    Every batch is a function of (split, seed, index) alone: nothing is drawn in between, so that
    training resumes anywhere without saving a generator. Different splits draw from different
    streams; where a task has few possible sequences (two symbols to copy), equal ones may come up
    in both.

    Attributes
    ----------
    name, summary
        What the user types, and one phrase for lists.
    config
        The settings.
    spec
        Kinds and sizes of input and output.
    metric
        The score.
    chance
        Score of an answer that knows nothing of the input.
    solved_at
        Score from which the task counts as solved.
    next_step
        True if a target is a later input, so that a model that looks ahead would read the answer.
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    Config: ClassVar[type[TaskConfig]] = TaskConfig
    metric: ClassVar[Metric]
    chance: float
    solved_at: float
    next_step: ClassVar[bool] = False
    spec: Spec

    def __init__(self, config: Any = None) -> None:
        self.config: Any = config if config is not None else self.Config()

    @property
    def length(self) -> int:
        """Length T of the training sequences."""
        length: int = self.config.length
        return length

    @abstractmethod
    def baseline(self) -> Baseline:
        """Return a baseline that does not learn what the task is about."""

    @abstractmethod
    def batch(
        self,
        split: Split,
        size: int | None = None,
        *,
        seed: int = 0,
        index: int = 0,
        length: int | None = None,
    ) -> Batch:
        """Return one batch.

        Parameters
        ----------
        split
            Which stream to read.
        size
            Number of sequences; None for all of a finite split, or 512 generated ones.
        seed
            Seed of the stream.
        index
            Number of the batch in the stream.
        length
            Length of the sequences; None for the training length.

        Raises
        ------
        UsageError
            If the task has no sequences of that length or not as many.
        """

    @abstractmethod
    def errors(self, outputs: Tensor, batch: Batch) -> Tensor:
        """Return the loss of every sequence, (B,), from outputs (B, T, K); differentiable."""

    def scores(self, outputs: Tensor, batch: Batch) -> Tensor:
        """Return the metric of every sequence, (B,); the loss itself unless a task says more."""
        return self.errors(outputs, batch)

    def loss(self, outputs: Tensor, batch: Batch) -> Tensor:
        """Return the mean loss over sequences, a scalar."""
        return self.errors(outputs, batch).mean()

    def count(self, split: Split, length: int | None = None) -> int | None:
        """Return how many independent sequences of that length a split has; None if any number."""
        del split, length
        return None

    def epoch(self) -> float | None:
        """Return how many training sequences make one pass over the data; None without end."""
        return self.count("train")

    def weights(self, batch: Batch) -> Tensor:
        """Return what each sequence counts in a score, (B,): the same, unless a task says more."""
        return torch.ones(len(batch.inputs), device=batch.inputs.device)

    def conditions(self, batch: Batch) -> dict[str, Condition]:
        """Return by name what tells sequences apart beyond their targets; recordings carry it."""
        return dict(batch.about)

    def evaluation(self, split: Split) -> Iterator[Batch]:
        """Yield all sequences that score a model, in batches that fit into memory."""
        yield from self.batch(split, seed=_EVALUATION_SEED).split(_EVALUATION_BATCH)

    def reach(self, length: int) -> int | None:
        """Return how many steps back the answers of a sequence lie; None where the data decide."""
        del length
        return None

    def longer(self, factor: int = 2) -> Task:
        """Return the same task with longer trials, to test generalisation in time.

        Parameters
        ----------
        factor
            How many times as long. What grows is the whole trial, unless a task says otherwise.

        Returns
        -------
        Task
            With the same spec, loss and metric, so that scores compare. Chance and baseline are
            its own.

        Raises
        ------
        NotApplicableError
            If the trials are recorded data.
        UsageError
            If `factor` is not a whole number from 1 on.
        """
        del factor
        raise NotApplicableError(
            f"task '{self.name}' has no trials longer than its data; use a generated task,"
            " such as 'flipflop'"
        )

    def pinned(self) -> Task:
        """Return the task with all that its data decide in its settings, as a checkpoint needs."""
        return self

    def libraries(self) -> dict[str, str]:
        """Return the versions of further packages that decide the data; a checkpoint has them."""
        return {}

    def solved(self, score: float) -> bool:
        """Say whether a test score counts as solved."""
        return self.metric.reaches(score, self.solved_at)


def masked_mean(values: Tensor, mask: Tensor | None) -> Tensor:
    """Average (B, T) over the scored steps of every sequence."""
    if mask is None:
        return values.mean(dim=1)
    weights = mask.to(values.dtype)
    return (values * weights).sum(dim=1) / weights.sum(dim=1)


def mean_square(outputs: Tensor, batch: Batch) -> Tensor:
    """Return the mean squared error over outputs and scored steps, (B,)."""
    return masked_mean((outputs - batch.targets).square().mean(dim=2), batch.mask)


def last_step_cross_entropy(outputs: Tensor, targets: Tensor) -> Tensor:
    """Return the cross-entropy in nats of the last step's logits, (B,)."""
    return F.cross_entropy(outputs[:, -1], targets, reduction="none")


def check_request(split: str, size: int | None = None, length: int | None = None) -> None:
    """Refuse a split that does not exist, and empty batches and sequences."""
    if split not in ("train", "valid", "test"):
        raise UsageError(f"unknown split '{split}' (allowed: train, valid, test)")
    if size is not None and size < 1:
        raise UsageError(f"{size} sequences were asked for (allowed: 1 or more)")
    if length is not None and length < 1:
        raise UsageError(f"length {length} is too short (allowed: 1 or more)")
