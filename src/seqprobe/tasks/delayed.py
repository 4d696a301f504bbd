"""What tasks of delayed recall share: the input again, D steps later."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from seqprobe.errors import UsageError
from seqprobe.tasks.base import Batch
from seqprobe.tasks.generated import GeneratedTask

__all__ = ["Delayed", "check_delay", "held_back"]


def check_delay(length: int, delay: int) -> None:
    """Refuse a length that ends before the first recall."""
    if length <= delay:
        raise UsageError(
            f"length {length} leaves no step to recall at delay {delay}"
            " (allowed: a length above the delay)"
        )


def held_back(values: Tensor, delay: int) -> tuple[Tensor, Tensor]:
    """Return values (B, T, ...) `delay` steps later, 0 before, and a mask (B, T) of where not."""
    size, length = values.shape[:2]
    late = torch.zeros_like(values)
    late[:, delay:] = values[:, : length - delay]
    return late, (torch.arange(length) >= delay).expand(size, length)


class Delayed(GeneratedTask):
    """``y_t = x_{t-D}``, scored over t >= D; the settings hold ``length`` and ``delay``."""

    def __init__(self, config: Any = None) -> None:
        super().__init__(config)
        self.check_length(self.length)

    def check_length(self, length: int) -> None:
        """Refuse a length that ends before the first recall."""
        check_delay(length, self.config.delay)

    def reach(self, length: int) -> int:
        """Return the delay."""
        del length
        delay: int = self.config.delay
        return delay

    def delayed(self, x: Tensor) -> Batch:
        """Return inputs (B, T, ...) with themselves D steps later as targets."""
        return Batch(x, *held_back(x, self.config.delay))
