"""A module up to one of its parts."""

from __future__ import annotations

from typing import Any

from torch import nn

from seqprobe.adapters.form import plain_output
from seqprobe.errors import UsageError, suggestion

__all__ = ["Truncated"]


class _ReachedError(BaseException):
    """Carries what the part returned past the rest of the user's forward."""

    def __init__(self, result: Any) -> None:
        self.result = result


class Truncated(nn.Module):
    """A module whose output is that of a part of it; what comes after is not computed.

    Parameters
    ----------
    module
        The whole.
    path
        Name of the part, as ``module.named_modules()`` has it.

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
        self.module = module
        self.path = path

    def forward(self, x: Any) -> Any:
        """Return the first result of the part."""

        def stop(part: nn.Module, args: Any, result: Any) -> None:
            del part, args
            raise _ReachedError(result)

        handle = self.module.get_submodule(self.path).register_forward_hook(stop)
        try:
            self.module(x)
        except _ReachedError as reached:
            return plain_output(reached.result)
        finally:
            handle.remove()
        raise UsageError(
            f"forward of {type(self.module).__name__} does not call its part '{self.path}'; name"
            " one that it calls"
        )
