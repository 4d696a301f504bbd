"""xLSTM: the matrix memories of its layers."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from seqprobe.adapters.huggingface.memory import Memory
from seqprobe.state import State

__all__ = ["XLSTMMemory"]

_PARTS = ("matrix", "normaliser", "maximum")


class XLSTMMemory(Memory):
    """Beck et al. 2024 (arXiv 2405.04517).

    ``layer<i>.matrix`` (B, heads, d_qk, d_v) is the memory C, ``layer<i>.normaliser`` (B, heads,
    d_qk) is n and ``layer<i>.maximum`` (B, heads, 1) the exponent m that both are divided by.
    """

    def __init__(self, network: nn.Module, state: State | None, recurrent: str, rows: int) -> None:
        super().__init__(network, state, recurrent, rows)
        self.cache = _Cache({})
        for i in range(len(self.network.backbone.blocks)):
            given = self._blank(i) if state is None else state
            self.cache.rnn_state[i] = tuple(given[f"layer{i}.{part}"] for part in _PARTS)

    @classmethod
    def prepare(cls, network: Any) -> None:
        """Read sequences of any length in one piece: pieces are read without a gradient."""
        network.config.max_inference_chunksize = sys.maxsize

    def arguments(self) -> dict[str, Any]:
        """Return the cache."""
        return {"cache": self.cache}

    def _blank(self, i: int) -> State:
        """Return the state of a layer before the first token, in the precision of the weights."""
        # The sizes in the configuration are rounded to 64, those of the layers are not.
        layer = self.network.backbone.blocks[i].mlstm_layer
        heads = self.network.config.num_heads
        keys, values = layer.qk_dim // heads, layer.v_dim // heads
        like = next(self.network.parameters())
        return {
            f"layer{i}.{part}": like.new_zeros(self.rows, heads, *shape)
            for part, shape in zip(_PARTS, ((keys, values), (keys,), (1,)), strict=True)
        }

    def kept(self) -> list[Tensor]:
        """Return all tensors of the cache: they are written over after each layer."""
        return [tensor for layer in self.cache.rnn_state.values() for tensor in layer]

    def read(self, written: Mapping[int, Tensor]) -> State:
        """Return the state after the call; see `Memory.read`."""
        return {
            f"layer{i}.{part}": written.get(id(tensor), tensor)
            for i, layer in self.cache.rnn_state.items()
            for part, tensor in zip(_PARTS, layer, strict=True)
        }


class _Cache:
    """What xLSTM reads and writes of an `xLSTMCache`."""

    def __init__(self, rnn_state: dict[int, tuple[Tensor, ...]]) -> None:
        self.rnn_state = rnn_state
        self.seqlen_offset = 0
