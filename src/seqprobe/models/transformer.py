"""A causal Transformer with pre-normalisation."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seqprobe.config import bounded
from seqprobe.errors import UsageError
from seqprobe.models.architecture import Architecture, ModelConfig
from seqprobe.models.base import SequenceModule, Stack, StateKind
from seqprobe.models.trace import Trace
from seqprobe.state import State

__all__ = ["ARCHITECTURE", "TransformerBlock", "TransformerConfig", "TransformerCore"]


@dataclass(frozen=True)
class TransformerConfig(ModelConfig):
    """Settings of the Transformer.

    Attributes
    ----------
    layers
        Number of blocks.
    heads
        Attention heads. Each has ``width / heads`` dimensions, rounded up to an even number.
    expansion
        Hidden size of the feed-forward part, in widths.
    positions
        ``"rope"``, rotary positions of any length, or ``"learned"``, an embedding of `max_length`.
    max_length
        Number of learned positions.
    dropout
        Probability after attention and after the feed-forward part.
    """

    layers: int = bounded(2, 1, 1024)
    heads: int = bounded(4, 1, 1024)
    expansion: int = bounded(4, 1, 64)
    positions: Literal["rope", "learned"] = "rope"
    max_length: int = bounded(512, 1, 2**20)
    dropout: float = bounded(0.0, 0.0, 0.99)


class TransformerBlock(SequenceModule):
    """``x + MHA(LN x)``, then ``x + FFN(LN x)`` with a GELU.

    Sources: Vaswani et al. 2017, arXiv 1706.03762; pre-normalisation, Xiong et al. 2020, arXiv
    2002.04745; rotary positions, Su et al. 2021, arXiv 2104.09864.

    State: ``k`` and ``v`` (B, heads, t, head_dim), the keys (rotated already) and values of all t
    steps so far; it grows with t. Internals: ``attn``, the attention weights (B, heads, keys) of a
    step. Asking for them computes the softmax explicitly, otherwise a fused kernel does.

    Parameters
    ----------
    width
        Model dimension.
    heads, expansion, dropout
        See `TransformerConfig`.
    rotary
        Rotate queries and keys by their position.
    """

    def __init__(
        self, width: int, heads: int, expansion: int, dropout: float, rotary: bool
    ) -> None:
        super().__init__()
        self.heads = heads
        self.head_dim = 2 * math.ceil(width / (2 * heads))
        self.rotary = rotary
        inner = heads * self.head_dim
        self.norm0 = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * inner)
        self.out = nn.Linear(inner, width)
        self.norm1 = nn.LayerNorm(width)
        self.up = nn.Linear(width, expansion * width)
        self.down = nn.Linear(expansion * width, width)
        self.dropout = nn.Dropout(dropout)

    def init_state(self, batch: int) -> State:
        """Return an empty cache (B, heads, 0, head_dim)."""
        return {part: self._zeros(batch, self.heads, 0, self.head_dim) for part in ("k", "v")}

    def state_size(self, length: int) -> int:
        """Return ``2 * length * heads * head_dim``: a key and a value for every step."""
        return 2 * length * self.heads * self.head_dim

    def state_kinds(self) -> dict[str, StateKind]:
        """Return what each part of the state is; see `SequenceModule.state_kinds`."""
        return {"k": "cache", "v": "cache"}

    def forward(
        self, x: Tensor, state: State | None = None, trace: Trace | None = None
    ) -> tuple[Tensor, State]:
        """Map (B, T, width) to (B, T, width); see `SequenceModule.forward`."""
        y, after, weights = self._run(x, state, trace is not None and trace.wants("attn"))
        if trace is not None and weights is not None:
            trace.put("attn", weights.transpose(1, 2))
        return y, after

    def step(self, x_t: Tensor, state: State, trace: Trace | None = None) -> tuple[Tensor, State]:
        """Map (B, width) to (B, width); see `SequenceModule.step`."""
        y, after, weights = self._run(
            x_t[:, None], state, trace is not None and trace.wants("attn")
        )
        if trace is not None and weights is not None:
            trace.put("attn", weights[:, :, 0])
        return y[:, 0], after

    def _run(
        self, x: Tensor, state: State | None, explicit: bool
    ) -> tuple[Tensor, State, Tensor | None]:
        shape = (len(x), x.shape[1], self.heads, self.head_dim)
        q, k, v = (
            part.reshape(shape).transpose(1, 2) for part in self.qkv(self.norm0(x)).chunk(3, dim=2)
        )
        seen = 0 if state is None else state["k"].shape[2]
        if self.rotary:
            q, k = _rotate(q, seen), _rotate(k, seen)
        if state is not None:
            k, v = torch.cat([state["k"], k], dim=2), torch.cat([state["v"], v], dim=2)
        mixed, weights = _attend(q, k, v, seen, explicit)
        x = x + self.dropout(self.out(mixed.transpose(1, 2).flatten(2)))
        x = x + self.dropout(self.down(F.gelu(self.up(self.norm1(x)))))
        return x, {"k": k, "v": v}, weights


def _attend(
    q: Tensor, k: Tensor, v: Tensor, seen: int, explicit: bool
) -> tuple[Tensor, Tensor | None]:
    """Causal attention of queries (B, H, T, d) that come after `seen` steps; maybe the weights."""
    steps, keys = q.shape[2], k.shape[2]
    if not explicit and seen == 0:
        return F.scaled_dot_product_attention(q, k, v, is_causal=True), None
    allowed = torch.ones(steps, keys, dtype=torch.bool, device=q.device).tril(seen)
    if not explicit:
        return F.scaled_dot_product_attention(q, k, v, attn_mask=allowed), None
    scores = q @ k.transpose(2, 3) / math.sqrt(q.shape[3])
    weights = torch.softmax(scores.masked_fill(~allowed, -math.inf), dim=3)
    return weights @ v, weights


def _rotate(x: Tensor, start: int) -> Tensor:
    """Rotate the pairs (i, i + d/2) of (B, H, T, d) by position / 10000^(2i/d)."""
    half = x.shape[3] // 2
    index = torch.arange(half, dtype=x.dtype, device=x.device)
    position = torch.arange(start, start + x.shape[2], dtype=x.dtype, device=x.device)
    angle = torch.outer(position, 10000.0 ** (-index / half))
    cos, sin = angle.cos(), angle.sin()
    a, b = x[..., :half], x[..., half:]
    return torch.cat([a * cos - b * sin, a * sin + b * cos], dim=3)


class TransformerCore(Stack):
    """Blocks and a final LayerNorm, with an embedding of positions where they are learned.

    Parameters
    ----------
    config
        The settings.
    """

    def __init__(self, config: TransformerConfig) -> None:
        rotary = config.positions == "rope"
        super().__init__(
            [
                TransformerBlock(
                    config.width, config.heads, config.expansion, config.dropout, rotary
                )
                for _ in range(config.layers)
            ],
            norm=nn.LayerNorm(config.width),
        )
        self.positions = None if rotary else nn.Embedding(config.max_length, config.width)
        if self.positions is not None:
            nn.init.normal_(self.positions.weight, std=0.02)

    def forward(
        self, x: Tensor, state: State | None = None, trace: Trace | None = None
    ) -> tuple[Tensor, State]:
        """Map (B, T, width) to (B, T, width); see `SequenceModule.forward`."""
        return super().forward(x + self._position(state, x.shape[1]), state, trace)

    def step(self, x_t: Tensor, state: State, trace: Trace | None = None) -> tuple[Tensor, State]:
        """Map (B, width) to (B, width); see `SequenceModule.step`."""
        return super().step(x_t + self._position(state, 1), state, trace)

    def _position(self, state: State | None, steps: int) -> Tensor | float:
        if self.positions is None:
            return 0.0
        seen = 0 if state is None else state["layer0.k"].shape[2]
        known = len(self.positions.weight)
        if seen + steps > known:
            raise UsageError(
                f"sequence of {seen + steps} steps is longer than the {known} learned positions"
                " (allowed: up to model.max_length; or use model.positions=rope)"
            )
        return self.positions.weight[seen : seen + steps]


def _build(d_in: int, config: TransformerConfig) -> SequenceModule:
    del d_in  # the assembly projects inputs to the width of a residual core
    return TransformerCore(config)


ARCHITECTURE = Architecture(
    name="transformer",
    summary="causal Transformer, pre-norm",
    config=TransformerConfig,
    build=_build,
    learning_rate=1e-3,
    residual=True,
)
