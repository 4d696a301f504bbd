"""What recurrent weights cost in the training loss: their moduli, or their singular values.

Both are of the effective recurrent matrices, ``RecurrentLayer.recurrent_weight``: every block of a
gate is a matrix of its own, and all layers count. Source: Huang et al. 2024, arXiv 2410.03972,
whose tanh network has one matrix.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from seqprobe.errors import NotApplicableError
from seqprobe.models import MODELS, architecture, skeleton
from seqprobe.models.recurrent import recurrent_layers
from seqprobe.spec import Spec
from seqprobe.training.config import TrainConfig

__all__ = ["check_penalties", "penalised"]

_PLAIN = Spec("continuous", 1, "regression", 1)


def check_penalties(model: str, config: TrainConfig) -> None:
    """Refuse a penalty on an architecture without recurrent weights.

    Raises
    ------
    NotApplicableError
        Naming the architectures that have them.
    """
    wanted = [name for name in ("l1", "nuclear") if getattr(config, name)]
    if wanted and not _has_recurrent_weights(model):
        able = ", ".join(name for name in MODELS if _has_recurrent_weights(name))
        raise NotApplicableError(
            f"train.{wanted[0]} = {getattr(config, wanted[0]):g} is a penalty on recurrent weights,"
            f" and '{model}' has none (allowed: {able}); leave it out"
        )


def _has_recurrent_weights(name: str) -> bool:
    return bool(recurrent_layers(skeleton(name, _PLAIN, architecture(name).config())))


def penalised(losses: Tensor, network: nn.Module, config: TrainConfig) -> Tensor:
    """Return ``losses + l1 * sum |w_ij| + nuclear * sum sigma_i(W)`` over the recurrent matrices.

    Parameters
    ----------
    losses
        Of a network, (), or of S networks, (S,).
    network
        A model, or S of them as a `seqprobe.models.Together`.
    config
        What the penalties weigh. Where both are 0, `losses` is returned and nothing computed.
    """
    if config.l1 == config.nuclear == 0:
        return losses
    for layer in recurrent_layers(network):
        weight = layer.recurrent_weight()
        if config.l1:
            losses = losses + config.l1 * weight.abs().sum(dim=(-2, -1))
        if config.nuclear:
            # A network that has diverged says so by its loss; LAPACK would end all of a group.
            blocks = weight.nan_to_num(0.0, 0.0, 0.0).unflatten(-1, (-1, layer.width))
            values = torch.linalg.svdvals(blocks.transpose(-3, -2))  # (..., G, H)
            losses = losses + config.nuclear * values.sum(dim=(-2, -1))
    return losses
