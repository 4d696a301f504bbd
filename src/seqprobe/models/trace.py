"""Internals by name: what a step computes on the way, recorded on request by the same code."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterator

from torch import Tensor

from seqprobe.errors import UsageError, suggestion

__all__ = ["Trace"]


class Trace:
    """A request for named internals, filled by the call that it is passed to.

    Parameters
    ----------
    patterns
        Names or shell patterns: ``"layer0.forget"``, ``"*.attn"``, ``"*"`` for everything.

    Notes
    -----
    After ``model(x, trace=trace)`` the tensors are (B, T, ...), after ``model.step(x_t, state,
    trace=trace)`` they are (B, ...). They stay attached to the graph, so gradients reach them.
    Attention weights are (B, T, heads, keys); asking for them switches a layer from fused to
    explicit attention. The names of each architecture are listed in its docstring.

    Examples
    --------
    >>> trace = Trace("*.forget")
    >>> y, state = model(x, trace=trace)
    >>> trace["layer0.forget"].mean()
    """

    def __init__(self, *patterns: str) -> None:
        self.patterns = patterns or ("*",)
        self._tensors: dict[str, Tensor] = {}
        self._prefix = ""

    def scope(self, name: str) -> Trace:
        """Return a view that writes into this trace under the prefix ``name.``."""
        child = Trace(*self.patterns)
        child._tensors = self._tensors
        child._prefix = f"{self._prefix}{name}."
        return child

    def wants(self, name: str) -> bool:
        """Say whether a tensor of this name was asked for."""
        full = self._prefix + name
        return any(fnmatch.fnmatchcase(full, pattern) for pattern in self.patterns)

    def put(self, name: str, value: Tensor) -> None:
        """Keep a tensor if it was asked for."""
        if self.wants(name):
            self._tensors[self._prefix + name] = value

    def __getitem__(self, name: str) -> Tensor:
        if name not in self._tensors:
            raise UsageError(
                f"trace holds no '{name}'{suggestion(name, self._tensors)}"
                f" (recorded: {', '.join(self._tensors) or 'nothing'})"
            )
        return self._tensors[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._tensors)

    def __len__(self) -> int:
        return len(self._tensors)
