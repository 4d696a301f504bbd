"""What an architecture file has to declare to be built, trained and listed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import nn

from seqprobe.config import bounded
from seqprobe.models.base import SequenceModule, Stack

__all__ = ["Architecture", "ModelConfig", "recurrent_stack"]


@dataclass(frozen=True)
class ModelConfig:
    """Settings that every architecture has.

    Attributes
    ----------
    width
        Units, channels or model dimension of a layer.
    layers
        Number of layers.
    embedding
        Size of the token embedding; None for `width`. Continuous inputs ignore it.
    """

    width: int = bounded(64, 1, 65536)
    layers: int = bounded(1, 1, 1024)
    embedding: int | None = bounded(None, 1, 65536)


def _unscaled(config: ModelConfig) -> float:
    del config
    return 1.0


@dataclass(frozen=True)
class Architecture:
    """An entry of the model registry.

    Attributes
    ----------
    name
        What the user types.
    summary
        One phrase for lists.
    config
        Its settings class, a `ModelConfig`.
    build
        Makes the core from the number of its inputs and the settings. Its output has
        ``directions * config.width`` features.
    learning_rate
        Default of ``train.lr``: what worked on the shipped tasks.
    residual
        True if the core adds to its input, so that continuous inputs need a projection to `width`.
    directions
        1, or 2 if it reads the sequence both ways.
    head
        Makes the head from the numbers of its features and outputs.
    rate_scale
        What ``train.lr`` is multiplied by, from the settings.
    """

    name: str
    summary: str
    config: type[ModelConfig]
    build: Callable[[int, Any], SequenceModule]
    learning_rate: float
    residual: bool = False
    directions: int = 1
    head: Callable[[int, int], nn.Linear] = nn.Linear
    rate_scale: Callable[[Any], float] = _unscaled


def recurrent_stack(
    layer: Callable[[int, Any], SequenceModule],
) -> Callable[[int, Any], SequenceModule]:
    """Return a builder that stacks ``config.layers`` layers, each reading the one below."""

    def build(d_in: int, config: ModelConfig) -> SequenceModule:
        sizes = [d_in] + [config.width] * (config.layers - 1)
        return Stack([layer(size, config) for size in sizes])

    return build
