"""A module up to one of its parts."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import torch
from torch import nn

from seqprobe.adapters.form import plain_output
from seqprobe.errors import UsageError, suggestion

__all__ = ["Truncated"]


class _ReachedError(BaseException):
    """Leaves the rest of the user's forward."""


class Truncated(nn.Module):
    """A module whose output is that of a part of it.

    What comes after is not computed. A part that is called at every step, as a cell in a loop,
    gives its outputs side by side.

    Parameters
    ----------
    module
        The whole.
    path
        Name of the part, as ``module.named_modules()`` has it.

    Attributes
    ----------
    once
        True if the part is called once for a sequence, False if at every step; None until that is
        known, see `settle`.
    times
        Calls of the part in the last forward.

    Raises
    ------
    UsageError
        If there is no part of that name.
    """

    def __init__(self, module: nn.Module, path: str) -> None:
        super().__init__()
        parts = [name for name, _ in module.named_modules() if name]
        if path not in parts:
            shown = ", ".join(parts[:8]) + (", ..." if len(parts) > 8 else "")
            raise UsageError(
                f"{type(module).__name__} has no part '{path}'{suggestion(path, parts)}"
                f" (allowed: {shown or 'none'})"
            )
        self.whole = module
        self.path = path
        self.once: bool | None = None
        self.times = 0

    def forward(self, x: Any) -> Any:
        """Return what the part returns: of one call, or of one call per step side by side."""
        results: list[Any] = []

        def keep(part: nn.Module, args: Any, result: Any) -> None:
            del part, args
            results.append(plain_output(result))
            if self.once:
                raise _ReachedError

        handle = self.whole.get_submodule(self.path).register_forward_hook(keep)
        try:
            with suppress(_ReachedError):
                self.whole(x)
        finally:
            handle.remove()
        if not results:
            raise UsageError(
                f"forward of {type(self.whole).__name__} does not call its part '{self.path}'; name"
                " one that it calls"
            )
        self.times = len(results)
        if self.once or (self.once is None and self.times == 1):
            return results[0]
        return torch.stack(results, dim=1)

    def settle(self) -> None:
        """Remember whether the last call of the whole called the part once or at every step."""
        self.once = self.times == 1
