"""RecurrentGemma: local attention in a cache, and a recurrence that is kept on the modules."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from unittest import mock

import torch
from torch import Tensor, nn

from seqprobe.adapters.huggingface.caches import DynamicMemory
from seqprobe.state import State

__all__ = ["RecurrentGemmaMemory"]


class RecurrentGemmaMemory(DynamicMemory):
    """Botev et al. 2024 (arXiv 2404.07839).

    ``layer<i>.conv`` (B, C, k-1) are the last inputs of the convolution, oldest first,
    ``layer<i>.h`` (B, C) the state of the gated recurrence. Caches and ``position`` are as in
    `DynamicMemory`; the recurrence asks whether the position is 0.
    """

    def __init__(self, network: nn.Module, state: State | None, recurrent: str, rows: int) -> None:
        super().__init__(network, state, recurrent, rows)
        self.after: dict[int, tuple[Tensor, Tensor]] = {}

    def linear_parts(self, layer: Any) -> Iterator[tuple[str, dict[int, Tensor | None]]]:
        """Yield nothing: the place that the cache has for these states stays empty."""
        del layer
        return iter(())

    @contextmanager
    def around(self) -> Iterator[None]:
        """Put states on the modules for the call, and take them off again."""
        from transformers.models.recurrent_gemma import modeling_recurrent_gemma as source

        blocks = {
            i: layer.temporal_block
            for i, layer in enumerate(self.network.model.layers)
            if hasattr(layer.temporal_block, "rg_lru")
        }
        for i, block in blocks.items():
            if self.state is not None:
                block.conv1d_state = self.state[f"layer{i}.conv"]
                block.rg_lru.recurrent_states = self.state[f"layer{i}.{self.recurrent}"]
        try:
            with mock.patch.object(source, "SqrtBoundDerivative", _BoundedSqrt):
                yield
            self.after = {
                i: (block.conv1d_state, block.rg_lru.recurrent_states)
                for i, block in blocks.items()
            }
        finally:
            for block in blocks.values():
                block.conv1d_state = block.rg_lru.recurrent_states = None

    def read(self, written: Mapping[int, Tensor]) -> State:
        """Return the state after the call; see `Memory.read`."""
        state: State = {}
        for i, (conv, h) in self.after.items():
            state[f"layer{i}.conv"], state[f"layer{i}.{self.recurrent}"] = conv, h
            self.kinds[f"layer{i}.conv"] = "buffer"
        return state | super().read(written)


class _BoundedSqrt:
    """The square root whose slope is at most 1000, in a form that `torch.func` can transform."""

    @staticmethod
    def apply(x: Tensor) -> Tensor:
        """Return the square root; of x below 2.5e-7 with the slope 1000."""
        steep = 4.0 * x < 1e-6
        line = x.detach().sqrt() + 1000.0 * (x - x.detach())
        return torch.where(steep, line, torch.where(steep, 1.0, x).sqrt())
