"""RWKV-4: a list of five tensors, one column per layer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from seqprobe.adapters.huggingface.memory import Memory
from seqprobe.state import State

__all__ = ["RwkvMemory"]

_PARTS = ("channel", "time", "numerator", "denominator", "maximum")
_NOTHING = -1e30  # what transformers starts the running maximum at: exp of it is zero


class RwkvMemory(Memory):
    """Peng et al. 2023 (arXiv 2305.13048).

    ``layer<i>.channel`` and ``layer<i>.time`` (B, D) are the last inputs of the channel and the
    time mixing; ``layer<i>.numerator``, ``layer<i>.denominator`` and ``layer<i>.maximum`` (B, A)
    the weighted sums of values and of weights, both divided by exp(maximum) to stay in range. The
    maximum starts at -1e30; adding a number to it, and dividing both sums by its exponential,
    changes no output.
    """

    start: ClassVar[dict[str, float]] = {".maximum": _NOTHING}

    def __init__(self, network: nn.Module, state: State | None, recurrent: str, rows: int) -> None:
        super().__init__(network, state, recurrent, rows)
        self.columns: list[_Columns] = []

    @classmethod
    def prepare(cls, network: Any) -> None:
        """Give weights the values they were trained to, and keep them.

        In evaluation mode transformers halves deep layers in place, against overflow in float16.
        """
        if network.rwkv.layers_are_rescaled:
            network.rwkv.train()
            network.rwkv._rescale_layers()
            network.rwkv.eval()
        network.config.rescale_every = 0

    def arguments(self) -> dict[str, Any]:
        """Return the five tensors, as columns that are replaced and not written into."""
        given = self.state or self._blank()
        layers = range(self.network.config.num_hidden_layers)
        self.columns = []
        for part in _PARTS:
            # For one token transformers takes the last inputs (B, D) for (1, B, D) and mixes rows.
            one_token = self.state is not None and part in ("channel", "time")
            tensors = [given[f"layer{i}.{part}"] for i in layers]
            self.columns.append(_Columns(tensors, one_token))
        return {"state": self.columns}

    def _blank(self) -> State:
        """Return the state before the first token."""
        attention = self.network.rwkv.blocks[0].attention
        narrow = attention.time_mix_key.new_zeros(self.rows, attention.time_mix_key.shape[-1])
        wide = narrow.new_zeros(
            (self.rows, attention.attention_hidden_size),
            dtype=torch.promote_types(narrow.dtype, torch.float32),
        )
        parts = (narrow, narrow, wide, wide, torch.full_like(wide, _NOTHING))
        return {
            f"layer{i}.{part}": tensor
            for i in range(self.network.config.num_hidden_layers)
            for part, tensor in zip(_PARTS, parts, strict=True)
        }

    def read(self, written: Mapping[int, Tensor]) -> State:
        """Return the state after the call; see `Memory.read`."""
        del written
        return {
            f"layer{i}.{part}": columns.layers[i]
            for i in range(self.network.config.num_hidden_layers)
            for part, columns in zip(_PARTS, self.columns, strict=True)
        }


class _Columns:
    """A tensor (B, D, layers) that is only read and written as ``[:, :, layer]``."""

    def __init__(self, layers: list[Tensor], one_token: bool) -> None:
        self.layers = layers
        self.one_token = one_token

    def __getitem__(self, index: tuple[slice, slice, int]) -> Tensor:
        column = self.layers[index[2]]
        return column[:, None] if self.one_token else column

    def __setitem__(self, index: tuple[slice, slice, int], value: Tensor) -> None:
        self.layers[index[2]] = value
