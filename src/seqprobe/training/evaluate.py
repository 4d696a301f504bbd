"""Score a model on a split."""

from __future__ import annotations

import math
from typing import Any

import torch

from seqprobe.models import SequenceModule
from seqprobe.tasks import Split, Task

__all__ = ["evaluate"]


@torch.no_grad()
def evaluate(model: SequenceModule, task: Task, split: Split) -> dict[str, Any]:
    """Return the score of a model with its standard error over sequences.

    Parameters
    ----------
    model
        Any module of the contract; its training mode is left as it was.
    task
        The task.
    split
        ``"valid"`` or ``"test"``: the same sequences for every model and seed.

    Returns
    -------
    dict
        ``metric`` (name), ``score``, ``standard_error`` (in the same unit) and ``n`` sequences.
    """
    training = model.training
    model.eval()
    device = next(model.parameters()).device
    scores, weights = [], []
    for batch in task.evaluation(split):
        batch = batch.to(device)
        scores.append(task.scores(model(batch.inputs)[0], batch).double())
        weights.append(task.weights(batch).double())
    model.train(training)
    score, weight = torch.cat(scores), torch.cat(weights)
    mean = (weight * score).sum() / weight.sum()
    n = len(score)
    # Of a ratio of sums over sequences; std / sqrt(n) where all weigh the same.
    error = (weight * (score - mean)).norm() / weight.sum() * math.sqrt(n / max(1, n - 1))
    return {
        "metric": task.metric.name,
        "score": mean.item(),
        "standard_error": error.item(),
        "n": n,
    }
