"""AdamW with a schedule and a limit on the gradient, for one network and for several together."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from seqprobe.training.config import TrainConfig

__all__ = ["adamw", "clip_each", "decayed_names", "learning_rate"]

_DECAYED = ("weight", "weight_ih", "weight_hh", "direction")
_FINAL_RATE = 0.01  # of the peak, at the end of the cosine


def decayed_names(model: nn.Module) -> set[str]:
    """Return the parameters that decay: weight matrices, not biases, gains and poles."""
    return {
        name
        for name, parameter in model.named_parameters()
        if parameter.dim() > 1 and name.rpartition(".")[2] in _DECAYED
    }


def adamw(
    network: nn.Module, decayed: set[str], weight_decay: float, *, fused: bool | None = None
) -> torch.optim.AdamW:
    """Return the optimiser of a network, whose learning rate is set at every update.

    Parameters
    ----------
    network
        A model, or several together: AdamW works number by number.
    decayed
        Names of the parameters that decay.
    weight_decay
        How much.
    fused
        Use torch's fused kernel, which rounds differently in the last place; None for torch's
        default.
    """
    named = list(network.named_parameters())
    groups = [
        {"params": [p for name, p in named if name in decayed], "weight_decay": weight_decay},
        {"params": [p for name, p in named if name not in decayed], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, fused=fused)


def learning_rate(step: int, config: TrainConfig) -> float:
    """Return the learning rate of an update, counted from 0."""
    assert config.lr is not None  # `Recipe.of` fills it in; the optional is for the user
    rate = config.lr * min(1.0, (step + 1) / max(1, config.warmup))
    if config.schedule == "cosine":
        done = step / max(1, config.steps)
        rate *= _FINAL_RATE + (1 - _FINAL_RATE) * (1 + math.cos(math.pi * done)) / 2
    return rate


def clip_each(parameters: Iterable[nn.Parameter], limit: float) -> Tensor:
    """Clip the gradient of each of S networks by its own norm, as ``clip_grad_norm_`` does of one.

    Parameters
    ----------
    parameters
        Stacked parameters (S, n, m) with gradients.
    limit
        Largest norm of the gradient of one network.

    Returns
    -------
    Tensor
        The norms before, (S,).
    """
    gradients = [p.grad for p in parameters if p.grad is not None]
    norms = torch.stack([torch.linalg.vector_norm(g, dim=(1, 2)) for g in gradients])
    total: Tensor = torch.linalg.vector_norm(norms, dim=0)
    factor = (limit / (total + 1e-6)).clamp(max=1.0)  # the 1e-6 is torch's
    for gradient in gradients:
        gradient.mul_(factor[:, None, None])
    return total
