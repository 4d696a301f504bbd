"""What a network of transformers keeps between calls, read and put back as a state."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any, ClassVar

from torch import Tensor, nn

from seqprobe.models import StateKind
from seqprobe.state import State

__all__ = ["Memory"]


class Memory(ABC):
    """The state of one call: made from named tensors, handed to the network, read afterwards.

    Every call gets a new one, so that nothing stays on the network.

    Parameters
    ----------
    network
        The causal language model.
    state
        What was kept; None before the first token.
    recurrent
        Name of the recurrent part of a layer.
    rows
        Rows of the batch.

    Attributes
    ----------
    kinds, limits
        After `read`: what each part is, and how many entries a windowed cache keeps at most.
    start
        What parts hold before the first token, by the end of their name, where that is not zero.
    """

    start: ClassVar[dict[str, float]] = {}

    def __init__(self, network: nn.Module, state: State | None, recurrent: str, rows: int) -> None:
        self.network: Any = network
        self.state = state
        self.recurrent = recurrent
        self.rows = rows
        self.kinds: dict[str, StateKind] = {}
        self.limits: dict[str, int] = {}

    @classmethod
    @abstractmethod
    def prepare(cls, network: Any) -> None:
        """Change what keeps our copy of a network from being differentiated or run by steps."""

    @abstractmethod
    def arguments(self) -> dict[str, Any]:
        """Return the arguments of the call that carry the state."""

    @abstractmethod
    def read(self, written: Mapping[int, Tensor]) -> State:
        """Return the state after the call, given what was written over the tensors put in."""

    def kept(self) -> list[Tensor]:
        """Return the tensors that the network may try to write over."""
        return []

    def around(self) -> AbstractContextManager[Any]:
        """Return a block to make the call in."""
        return nullcontext()
