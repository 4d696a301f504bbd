"""Behaviour outside of the training distribution: how much networks of equal loss differ."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations

import numpy as np
import torch
import xarray as xr
from torch import Tensor, nn

from seqprobe import provenance
from seqprobe.degeneracy.ensemble import INTERVAL, check_ensemble, spread
from seqprobe.errors import NotApplicableError, UsageError
from seqprobe.memory.estimates import ci_coordinate
from seqprobe.models.access import borrowed, first_output, like_parameters, placement
from seqprobe.schema import variable
from seqprobe.tasks import Batch, Task

__all__ = ["answers_on", "sigma_ood"]

_CHUNK = 128  # sequences at once


def sigma_ood(
    models: Sequence[nn.Module],
    conditions: Mapping[str, Task],
    *,
    sequences: int = 256,
    which: Iterable[tuple[int, int]] | None = None,
    seed: int = 0,
) -> xr.Dataset:
    """Return the spread of losses over networks, in and out of the training distribution.

    All networks answer the same trials. ``sigma_OOD`` is the standard deviation of their mean
    losses, divided by N; that networks of equal training loss differ where they were not trained is
    behavioural degeneracy.

    Parameters
    ----------
    models
        Trained networks of one task.
    conditions
        Tasks by name, such as ``{"as trained": task, "2 x as long": task.longer(2)}``.
    sequences
        Test sequences per condition, or all if there are fewer.
    which
        Pairs of positions whose answers are compared; None for all.
    seed
        Of the sequences and of the bootstrap.

    Returns
    -------
    xarray.Dataset
        * ``loss`` (net_a, condition): in units of the task's loss.
        * ``sigma_ood`` (condition), with ``sigma_ood_ci`` over networks. Of the training
          distribution it says how equal the losses are that everything else rests on.
        * ``disagreement`` (net_a, net_b, condition): how differently two networks answer a trial,
          averaged over trials: the mean squared difference of outputs over scored steps, or for
          classes and binary outputs the share of answers that differ.

    Raises
    ------
    UsageError
        If there are fewer than two networks, or outputs do not have the task's size.
    NotApplicableError
        If the task's outputs are the parameters of a density, whose difference means nothing.

    Notes
    -----
    Cost: one forward pass per network and condition. Source: Huang, Singh, Martinelli, Rajan 2024,
    arXiv 2410.03972; there the trials are twice as long, or the delay is. The disagreement of pairs
    is not theirs.
    """
    check_ensemble(len(models))
    pairs = list(combinations(range(len(models)), 2)) if which is None else list(which)
    loss = np.full((len(models), len(conditions)), np.nan)
    apart = np.full((len(models), len(models), len(conditions)), np.nan)
    apart[np.arange(len(models)), np.arange(len(models))] = 0.0
    for k, task in enumerate(conditions.values()):
        there = task.count("test")
        chosen = sequences if there is None else min(sequences, there)
        batch = task.batch("test", chosen, seed=seed)
        answered = [answers_on(model, task, batch) for model in models]
        loss[:, k] = [float(losses.mean()) for losses, _ in answered]
        for i, j in pairs:
            difference = _difference(answered[i][1], answered[j][1], task, batch)
            apart[i, j, k] = apart[j, i, k] = difference
    task = next(iter(conditions.values()))
    unit = "squared output units" if task.spec.output_kind == "regression" else "nats"
    sigma, interval = spread(loss, seed)
    coords = {
        "condition": variable(("condition",), np.array(list(conditions), object), "trials", "1"),
        "ci_bound": ci_coordinate(),
    }
    apart_unit = unit if task.spec.output_kind == "regression" else "share of answers"
    data = {
        "loss": variable(("net_a", "condition"), loss, "test loss", unit),
        "sigma_ood": variable(("condition",), sigma, "spread of losses over networks", unit),
        "sigma_ood_ci": variable(
            ("ci_bound", "condition"), interval, "95 % interval of the spread of losses", unit
        ),
        "disagreement": variable(
            ("net_a", "net_b", "condition"), apart, "difference of answers to a trial", apart_unit
        ),
    }
    parameters = {"conditions": list(conditions), "sequences": sequences}
    attrs = provenance.attrs("degeneracy.sigma_ood", parameters, seed=seed, **placement(models[0]))
    return xr.Dataset(data, coords, attrs | {"interval": INTERVAL})


@torch.no_grad()
def answers_on(model: nn.Module, task: Task, batch: Batch) -> tuple[Tensor, Tensor]:
    """Return the losses (B,) and the answers (B, T, K) of a model, or its decisions (B, T, ...).

    Raises
    ------
    UsageError
        If the model's outputs do not have the size that the task asks for.
    NotApplicableError
        If the task's outputs are parameters of a density.
    """
    if task.spec.output_kind == "density":
        raise NotApplicableError(
            f"outputs of task '{task.name}' are parameters of a density: answers cannot be compared"
        )
    losses, answers = [], []
    with borrowed(model):
        for piece in batch.split(_CHUNK):
            outputs = first_output(model, like_parameters(model, piece.inputs)).cpu()
            if outputs.shape[-1] != task.spec.output_size:
                raise UsageError(
                    f"the model has {outputs.shape[-1]} outputs, task '{task.name}'"
                    f" {task.spec.output_size}; compare networks of one task"
                )
            losses.append(task.errors(outputs, piece).double())
            answers.append(_decided(outputs, task))
    return torch.cat(losses), torch.cat(answers)


def _decided(outputs: Tensor, task: Task) -> Tensor:
    if task.spec.readout == "last":
        outputs = outputs[:, -1:]
    if task.spec.output_kind == "class":
        return outputs.argmax(dim=2, keepdim=True)
    return outputs > 0 if task.spec.output_kind == "binary" else outputs.double()


def _difference(a: Tensor, b: Tensor, task: Task, batch: Batch) -> float:
    """Return how far answers are apart, the mean over trials of the mean over scored steps."""
    apart = (a - b).square() if task.spec.output_kind == "regression" else (a != b).double()
    per_step = apart.mean(dim=2)
    if batch.mask is None or task.spec.readout == "last":
        return float(per_step.mean())
    mask = batch.mask.double()
    return float(((per_step * mask).sum(dim=1) / mask.sum(dim=1)).mean())
