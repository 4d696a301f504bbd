"""What tasks of delayed recall share: the input again, D steps later."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from seqprobe.errors import UsageError
from seqprobe.tasks.base import Batch
from seqprobe.tasks.generated import GeneratedTask

__all__ = ["Delayed"]


class Delayed(GeneratedTask):
    """``y_t = x_{t-D}``, scored over t >= D; the settings hold ``length`` and ``delay``."""

    def __init__(self, config: Any = None) -> None:
        super().__init__(config)
        self.check_length(self.length)

    def check_length(self, length: int) -> None:
        """Refuse a length that ends before the first recall."""
        if length <= self.config.delay:
            raise UsageError(
                f"length {length} leaves no step to recall at delay {self.config.delay}"
                " (allowed: a length above the delay)"
            )

    def reach(self, length: int) -> int:
        """Return the delay."""
        del length
        delay: int = self.config.delay
        return delay

    def delayed(self, x: Tensor) -> Batch:
        """Return inputs (B, T, ...) with themselves D steps later as targets."""
        size, length = x.shape[:2]
        y = torch.zeros_like(x)
        y[:, self.config.delay :] = x[:, : length - self.config.delay]
        mask = (torch.arange(length) >= self.config.delay).expand(size, length)
        return Batch(x, y, mask)
