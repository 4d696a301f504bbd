"""Any architecture read forwards and backwards."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from seqprobe.models.architecture import Architecture
from seqprobe.models.base import SequenceModule
from seqprobe.models.trace import Trace
from seqprobe.state import State

__all__ = ["Bidirectional", "bidirectional"]


class Bidirectional(SequenceModule):
    """Two cores, one on the sequence and one on its reverse; their outputs side by side.

    ``y_t = [forward_t ; backward_t]`` (Schuster and Paliwal 1997). It looks ahead, so that it has
    no `step` and no state to go on from.

    Internals: those of the cores under ``forward.`` and ``backward.``, in the order of the input.

    Parameters
    ----------
    forward_core, backward_core
        Cores of equal width.
    pool_last
        Give the last step what each core has read of the whole sequence, ``[forward_T ;
        backward_1]``, for tasks that score it; else the backward half has read one input there.
    """

    causal = False

    def __init__(
        self,
        forward_core: SequenceModule,
        backward_core: SequenceModule,
        pool_last: bool = False,
    ) -> None:
        super().__init__()
        self.forward_core = forward_core
        self.backward_core = backward_core
        self.pool_last = pool_last

    def forward(
        self, x: Tensor, state: State | None = None, trace: Trace | None = None
    ) -> tuple[Tensor, State]:
        """Map (B, T, D) to (B, T, 2 H); see `SequenceModule.forward`. The state is empty."""
        if state:
            raise self._stateless()
        ahead, _ = self.forward_core(x, None, None if trace is None else trace.scope("forward"))
        reverse = None if trace is None else Trace(*trace.patterns)
        back, _ = self.backward_core(
            x.flip(1), None, None if reverse is None else reverse.scope("backward")
        )
        if trace is not None and reverse is not None:
            for name in reverse:
                # Attention weights are over time twice: of the queries, and of the keys.
                axes = (1, 3) if name.endswith("attn") else (1,)
                trace.put(name, reverse[name].flip(axes))
        back = back.flip(1)
        if self.pool_last:
            back = torch.cat([back[:, :-1], back[:, :1]], dim=1)
        return torch.cat([ahead, back], dim=2), {}


def bidirectional(base: Architecture) -> Architecture:
    """Return the registry entry ``bi-<name>`` of an architecture."""
    return dataclasses.replace(
        base,
        name=f"bi-{base.name}",
        summary=f"{base.summary}, both directions",
        build=lambda d_in, config: Bidirectional(
            base.build(d_in, config), base.build(d_in, config)
        ),
        directions=2,
    )
