"""How a model is trained: the settings under ``train.``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from seqprobe.config import bounded
from seqprobe.errors import UsageError
from seqprobe.tasks import Metric, Task

__all__ = ["TrainConfig", "Until"]


@dataclass(frozen=True)
class TrainConfig:
    """Settings of the training loop.

    Attributes
    ----------
    steps
        Largest number of updates.
    batch
        Sequences per update.
    lr
        Peak learning rate of Adam; None for what the architecture suggests. `mup` multiplies it by
        its gamma.
    schedule
        ``"cosine"`` falls to a hundredth of `lr` over `steps`, ``"constant"`` stays.
    warmup
        Updates over which the rate rises from zero.
    clip
        Largest norm of the gradient, applied after the backward pass.
    weight_decay
        Decoupled decay (AdamW) of weight matrices; biases, gains and poles are left alone.
    l1, nuclear
        Weight in the training loss of the sum of the moduli, and of the singular values, of the
        recurrent weights; see `seqprobe.training.penalty`. Losses are reported without.
    eval_every
        Updates between validations; what a kill can lose.
    """

    steps: int = bounded(2000, 0, 10**9)
    batch: int = bounded(64, 1, 10**6)
    lr: float | None = bounded(None, 0.0)
    schedule: Literal["cosine", "constant"] = "cosine"
    warmup: int = bounded(50, 0, 10**9)
    clip: float = bounded(1.0, 1e-12)
    weight_decay: float = bounded(0.0, 0.0)
    l1: float = bounded(0.0, 0.0)
    nuclear: float = bounded(0.0, 0.0)
    eval_every: int = bounded(100, 1, 10**9)


@dataclass(frozen=True)
class Until:
    """Stop once the validation metric is at least this good; the metric knows the direction.

    Attributes
    ----------
    metric
        Name of the task's metric.
    threshold
        The score.
    patience
        Number of validations in a row, the last one included, that must be this good.
    """

    metric: str
    threshold: float
    patience: int = bounded(1, 1, 10**6)

    def met(self, scores: Sequence[float], metric: Metric) -> bool:
        """Say whether the last validations, as many as patience asks for, met the threshold."""
        last = scores[-self.patience :]
        return len(last) == self.patience and all(
            metric.reaches(score, self.threshold) for score in last
        )

    @classmethod
    def parse(cls, text: str, task: Task, patience: int = 1) -> Until:
        """Read ``nmse=0.003``.

        Raises
        ------
        UsageError
            If the metric is not the task's or the threshold is not a number.
        """
        name, equals, number = text.partition("=")
        try:
            threshold = float(number)
        except ValueError:
            threshold = float("nan")
        if not equals or name.strip() != task.metric.name or threshold != threshold:
            raise UsageError(
                f"cannot stop at '{text}': task '{task.name}' is scored by '{task.metric.name}'"
                f" (allowed: {task.metric.name}=NUMBER)"
            )
        return cls(task.metric.name, threshold, patience)
