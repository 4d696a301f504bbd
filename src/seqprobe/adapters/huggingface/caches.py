"""Networks whose state is a `DynamicCache`: attention, scans with a convolution, and hybrids."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from typing import Any
from unittest import mock

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seqprobe.adapters.huggingface.memory import Memory
from seqprobe.errors import NotApplicableError
from seqprobe.state import State

__all__ = ["POSITION", "DynamicMemory"]

POSITION = "position"
_KERNEL = "mamba2_selective_state_update"


class DynamicMemory(Memory):
    """Caches of keys and values, buffers of a convolution, and states of a recurrence.

    ``layer<i>.key``, ``layer<i>.value`` (B, heads, t, d) are caches with one entry per token; those
    of a layer with a sliding window of w tokens keep the last w - 1. ``layer<i>.conv`` (B, C, k-1)
    are the last inputs of a convolution of k taps, oldest first: transformers keeps k, the oldest
    of which nothing reads any more. The recurrent part (B, ...) has its name from the family.
    Layers with several of either number them: ``conv0``, ``conv1``.

    Positions are read from the length of a full cache. A network in which every cache is windowed
    also has ``position`` (B, 1, t, 0), a cache of entries without numbers: its length is the
    position, so that no counter is among the reals of a state.
    """

    def __init__(self, network: nn.Module, state: State | None, recurrent: str, rows: int) -> None:
        from transformers import DynamicCache

        super().__init__(network, state, recurrent, rows)
        self.cache = DynamicCache(config=self.network.config)
        for layer in self.cache.layers:
            _make_functional(layer)
        if state is not None:
            for i, layer in enumerate(self.cache.layers):
                self._fill(i, layer, state)

    @classmethod
    def prepare(cls, network: Any) -> None:
        """Take plain operations in place of functions with a first derivative only."""
        for module in network.modules():
            if "use_mambapy" in vars(module):
                module.use_mambapy = False
            if type(module).__name__ == "BloomGelu":
                module.forward = sys.modules[type(module).__module__].bloom_gelu_forward

    def arguments(self) -> dict[str, Any]:
        """Return the cache, and the position of the token after it."""
        if self.state is None or not self.takes_position():
            return {"cache": self.cache}
        # Most networks count from the length of the cache, but some from 0 in every call.
        device = next(iter(self.state.values())).device
        position = torch.full((self.rows, 1), _seen(self.state), device=device)
        return {"cache": self.cache, "position_ids": position}

    def takes_position(self) -> bool:
        """Say whether the network is told the position of a token."""
        counted = any(name.endswith((".key", POSITION)) for name in self.state or ())
        return counted and "position_ids" in inspect.signature(self.network.forward).parameters

    @contextmanager
    def around(self) -> Iterator[None]:
        """Let a step keep to the limits of the time step, which sequences are held to."""
        limited = (m for m in self.network.modules() if "time_step_limit" in vars(m))
        mixer = None if self.state is None else next(limited, None)
        source = sys.modules[type(mixer).__module__]
        if mixer is None or not hasattr(source, _KERNEL):
            yield
            return
        kernel = _limited(getattr(source, _KERNEL), tuple(mixer.time_step_limit))
        with mock.patch.object(source, _KERNEL, kernel):
            yield

    def kept(self) -> list[Tensor]:
        """Return the tensors that kernels for one token write over."""
        return [
            tensor
            for layer in self.cache.layers
            for _, tensors in self.linear_parts(layer)
            for tensor in tensors.values()
            if tensor is not None
        ]

    def read(self, written: Mapping[int, Tensor]) -> State:
        """Return the state after the call; see `Memory.read`."""
        state: State = {}
        for i, layer in enumerate(self.cache.layers):
            if (keys := getattr(layer, "keys", None)) is not None:
                self._read_attention(i, layer, keys, state)
            for part, tensors in self.linear_parts(layer):
                for j, tensor in tensors.items():
                    if tensor is None:
                        continue
                    name = _numbered(i, part, j, len(tensors))
                    state[name] = written.get(id(tensor), tensor)
                    if part == "conv":
                        state[name] = state[name][..., 1:]
                        self.kinds[name] = "buffer"
        return state | self._position(state)

    def linear_parts(self, layer: Any) -> Iterator[tuple[str, dict[int, Tensor | None]]]:
        """Yield the buffers and the recurrent states of one layer, as transformers holds them."""
        if hasattr(layer, "conv_states"):
            yield "conv", layer.conv_states
            yield self.recurrent, layer.recurrent_states

    def _read_attention(self, i: int, layer: Any, keys: Tensor, state: State) -> None:
        for part, tensor in (("key", keys), ("value", layer.values)):
            name = f"layer{i}.{part}"
            state[name] = tensor
            self.kinds[name] = "cache"
            if layer.is_sliding:
                self.limits[name] = layer.sliding_window - 1

    def _position(self, state: State) -> State:
        """Return the part that has the position, where no cache grows with it."""
        windowed = [n for n, kind in self.kinds.items() if kind == "cache" and n in self.limits]
        full = [n for n, kind in self.kinds.items() if kind == "cache" and n not in self.limits]
        if full or not windowed:
            return {}
        tensor = state[windowed[0]]
        self.kinds[POSITION] = "cache"
        length = self.cache.get_seq_length()
        return {POSITION: tensor.new_zeros(len(tensor), 1, length, 0)}

    def _fill(self, i: int, layer: Any, state: State) -> None:
        """Put what was kept into one layer of the cache."""
        if (keys := state.get(f"layer{i}.key")) is not None:
            layer.keys, layer.values = keys, state[f"layer{i}.value"]
            layer.dtype, layer.device = keys.dtype, keys.device
            layer.is_initialized = True
            if layer.is_sliding:
                layer.cumulative_length = _seen(state)
        for part, tensors in self.linear_parts(layer):
            for j in tensors:
                kept = state.get(_numbered(i, part, j, len(tensors)))
                layer.has_previous_state[j] = True
                if kept is None:
                    continue
                if part == "conv":
                    kept = F.pad(kept, (1, 0))
                    layer.conv_kernel_size[j] = kept.shape[-1]
                    layer.is_conv_states_initialized[j] = True
                else:
                    layer.is_recurrent_states_initialized[j] = True
                layer.dtype, layer.device = kept.dtype, kept.device
                tensors[j] = kept


def _limited(kernel: Callable[..., Tensor], limit: tuple[float, float]) -> Callable[..., Tensor]:
    """Return a kernel for one token that clamps the time step, as that for sequences does.

    The limits are the same in all layers of a network.
    """

    def update(
        state: Tensor,
        x: Tensor,
        dt: Tensor,
        *others: Any,
        dt_bias: Tensor,
        dt_softplus: bool,
        **options: Any,
    ) -> Tensor:
        dt = dt + dt_bias.to(dt.dtype)
        dt = (F.softplus(dt) if dt_softplus else dt).clamp(*limit)
        return kernel(state, x, dt, *others, **options)

    return update


def _seen(state: State) -> int:
    """Return the number of tokens before, by the longest cache."""
    return max(part.shape[2] for name, part in state.items() if name.endswith((".key", POSITION)))


def _numbered(layer: int, part: str, which: int, of: int) -> str:
    return f"layer{layer}.{part}" + (str(which) if of > 1 else "")


def _make_functional(layer: Any) -> None:
    """Let a layer of a cache make new tensors instead of writing over its old ones."""
    from transformers import cache_utils as utils

    known = (
        *(utils.DynamicLayer, utils.DynamicSlidingWindowLayer, utils.DummyLayer),
        *(utils.LinearAttentionLayer, utils.LinearAttentionAndFullAttentionLayer),
        utils.LinearAttentionAndSlidingWindowAttentionLayer,
    )
    if type(layer) not in known:
        raise NotApplicableError(
            f"the cache of this model has a {type(layer).__name__}, which has no adapter: it has no"
            " step; use a measure of inputs and outputs"
        )
    if isinstance(layer, utils.LinearAttentionLayer):
        kind: Any = type(layer)
        layer.__class__ = _functional(kind)


@cache
def _functional(base: Any) -> Any:
    """Return a class of cache layers that never writes in place.

    transformers keeps the addresses of these tensors for CUDA graphs. A gradient through a state,
    and `torch.func`, need new ones.
    """

    def update_conv_state(
        self: Any,
        conv_states: Tensor,
        state_idx: int = 0,
        conv_kernel_size: int | None = None,
        **others: Any,
    ) -> Tensor:
        taps = self.conv_kernel_size[state_idx] or conv_kernel_size or conv_states.shape[-1]
        if self.has_previous_state[state_idx]:
            seen = torch.cat([self.conv_states[state_idx], conv_states], dim=-1)
        else:
            seen = F.pad(conv_states, (max(0, taps - conv_states.shape[-1]), 0))
        self.conv_kernel_size[state_idx] = taps
        self.conv_states[state_idx] = seen[..., -taps:]
        self.is_conv_states_initialized[state_idx] = True
        self.has_previous_state[state_idx] = True
        return seen

    def update_recurrent_state(
        self: Any, recurrent_states: Tensor, state_idx: int = 0, **others: Any
    ) -> Tensor:
        self.recurrent_states[state_idx] = recurrent_states
        self.is_recurrent_states_initialized[state_idx] = True
        return recurrent_states

    return type(
        f"Functional{base.__name__}",
        (base,),
        {
            # Not to be entered into transformers' table of layers in place of its parent.
            "_layer_type": None,
            "update_conv_state": update_conv_state,
            "update_recurrent_state": update_recurrent_state,
        },
    )
