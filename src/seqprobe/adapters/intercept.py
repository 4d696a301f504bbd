"""Look into a module that belongs to someone else while it runs, and leave it as it was."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

from torch import Tensor, nn

__all__ = ["Call", "calls", "replaced"]


class Call:
    """What a submodule was called with and what it returned.

    Attributes
    ----------
    args, kwargs
        Of the call.
    result
        As returned.
    """

    def __init__(self, args: tuple[Any, ...], kwargs: dict[str, Any], result: Any) -> None:
        self.args, self.kwargs, self.result = args, kwargs, result

    @property
    def read(self) -> Any:
        """The first argument, however it was passed."""
        return self.args[0] if self.args else next(iter(self.kwargs.values()), None)


@contextmanager
def calls(module: nn.Module, *kinds: type[nn.Module]) -> Iterator[list[tuple[str, Call]]]:
    """Yield a list that gets every call of a submodule of some kinds, in order, with its path."""
    seen: list[tuple[str, Call]] = []
    with ExitStack() as stack:
        for path, part in module.named_modules():
            if isinstance(part, kinds):

                def hook(
                    part: nn.Module,
                    args: tuple[Any, ...],
                    kwargs: dict[str, Any],
                    result: Any,
                    path: str = path,
                ) -> None:
                    del part
                    seen.append((path, Call(args, kwargs, result)))

                handle = part.register_forward_hook(hook, with_kwargs=True)
                stack.callback(handle.remove)
        yield seen


@contextmanager
def replaced(module: nn.Module, by: Mapping[str, Callable[..., Tensor | Any]]) -> Iterator[None]:
    """Let submodules, given by their paths, compute something else inside the block."""
    with ExitStack() as stack:
        for path, forward in by.items():
            part = module.get_submodule(path)
            before = part.__dict__.get("forward")
            object.__setattr__(part, "forward", forward)
            stack.callback(_restore, part, before)
        yield


def _restore(part: nn.Module, before: Any) -> None:
    if before is None:
        part.__dict__.pop("forward", None)
    else:
        object.__setattr__(part, "forward", before)
