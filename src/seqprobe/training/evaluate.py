"""Score a model on a split."""

from __future__ import annotations

import math
from typing import Any

import torch

from seqprobe.models import SequenceModule
from seqprobe.tasks import Split, Task

__all__ = ["evaluate"]

_EVALUATION_SEED = 0  # every training seed is compared on the same held-out data


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
    batch = task.batch(split, seed=_EVALUATION_SEED).to(device)
    scores = task.scores(model(batch.inputs)[0], batch).double()
    model.train(training)
    return {
        "metric": task.metric.name,
        "score": scores.mean().item(),
        "standard_error": scores.std().item() / math.sqrt(len(scores)),
        "n": len(scores),
    }
