"""The loss of a model against the position in the sequence."""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F
import xarray as xr
from torch import Tensor

from seqprobe.memory.estimates import estimate
from seqprobe.schema import variable
from seqprobe.spec import Spec
from seqprobe.tasks import Batch

__all__ = ["chance_loss", "losses_by_position", "step_losses"]


def step_losses(spec: Spec, outputs: Tensor, batch: Batch, span: slice) -> np.ndarray:
    """Return the sum of losses and the number of scored steps of each sequence, (2, B)."""
    size, count = outputs.shape[:2]
    if batch.targets.dim() == 1 or spec.output_kind == "density":
        return np.zeros((2, size))
    targets = batch.targets[:, span].cpu()
    if spec.output_kind == "class":
        losses = F.cross_entropy(outputs.transpose(1, 2), targets, reduction="none")
    elif spec.output_kind == "binary":
        wanted = targets.to(outputs.dtype)
        losses = F.binary_cross_entropy_with_logits(outputs, wanted, reduction="none").sum(dim=2)
    else:
        losses = (outputs - targets).square().mean(dim=2)
    mask = torch.ones(size, count) if batch.mask is None else batch.mask[:, span].cpu()
    mask = mask.to(losses.dtype)
    return torch.stack([(losses * mask).sum(dim=1), mask.sum(dim=1)]).double().numpy()


def losses_by_position(
    spec: Spec,
    batch: Batch,
    sums: np.ndarray,
    weights: np.ndarray,
    at: np.ndarray,
    train_length: int,
) -> dict[str, xr.Variable]:
    """Return the loss by position, within and beyond the training length, with intervals.

    Parameters
    ----------
    spec, batch
        What the outputs are, and the sequences.
    sums
        Of every span between two positions, what `step_losses` returned, (time, 2, B).
    weights
        Of the bootstrap over sequences, (R, B).
    at
        Positions (time,).
    train_length
        Length of the sequences of training.
    """
    unit = "squared error" if spec.output_kind == "regression" else "nats"

    def mean(rows: np.ndarray) -> np.ndarray:
        total = weights @ np.moveaxis(sums[rows], 2, 0).sum(axis=1)
        found: np.ndarray = total[:, 0] / total[:, 1]
        return found

    curve = np.stack([mean(np.array([i])) for i in range(len(at))], axis=1)
    within = mean(np.flatnonzero((at > train_length / 2) & (at <= train_length)))
    beyond = mean(np.flatnonzero(at > at[-1] / 2))
    chance = chance_loss(spec, batch)
    scored = sums[at > at[-1] / 2, 1].sum()
    # A model that knows nothing within the training length has nothing to lose.
    rise = np.where(within < chance, (beyond - within) / (chance - within), np.nan)
    ratio = beyond / within
    return {
        **estimate("loss", ("time",), curve, "loss since the position before", unit),
        **estimate("loss_within", (), within, "loss, last half of the training length", unit),
        **estimate("loss_beyond", (), beyond, "loss, last half of the sequences", unit),
        **estimate("loss_rise", (), rise, "rise of the loss, as a part of that to chance", "1"),
        **estimate("loss_ratio", (), ratio, "loss beyond over loss within", "1"),
        "scored_beyond": variable((), scored, "scored steps, last half of the sequences", "1"),
        "loss_chance": variable((), chance, "loss of an answer that knows nothing", unit),
    }


def chance_loss(spec: Spec, batch: Batch) -> float:
    """Return the loss of the best constant answer to all scored steps."""
    targets = batch.targets.cpu()
    if targets.dim() == 1 or spec.output_kind == "density":
        return math.nan
    scored = targets if batch.mask is None else targets[batch.mask.cpu()]
    if spec.output_kind == "class":
        counts = torch.bincount(scored.flatten()).double()
        p = counts[counts > 0] / counts.sum()
        return float(-(p * p.log()).sum())
    flat = scored.reshape(-1, scored.shape[-1]).double()
    if spec.output_kind == "binary":
        rate = flat.mean(dim=0)
        entropy = torch.special.entr(rate) + torch.special.entr(1 - rate)
        return float(entropy.sum())
    return float(flat.var(dim=0, correction=0).mean())
