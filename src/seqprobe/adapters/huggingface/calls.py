"""How a network of transformers is called: in full precision, and without changing its state."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

__all__ = ["Call"]

_LOWER = (torch.float32, torch.bfloat16, torch.float16)


class Call(TorchFunctionMode):
    """What torch does differently while such a network runs.

    Networks of transformers compute norms, softmax and scans in float32 whatever their weights are,
    and write new states over old ones. Within this block

    * casts of a float64 network to a lower precision go to float64, so that its derivatives and
      finite differences have sixteen digits instead of seven;
    * ``copy_`` into a tensor of the state is noted in `written` instead of done, so that the
      caller's tensors stay as they are and gradients and `torch.func` pass.

    Parameters
    ----------
    lift
        Whether the network computes in float64.
    kept
        The tensors of the state that it is given.

    Attributes
    ----------
    written
        New values by the ``id`` of the tensor they replace.
    """

    def __init__(self, lift: bool, kept: Iterable[Tensor] = ()) -> None:
        super().__init__()
        self.lift = lift
        # Held here, so that no other tensor gets the id of one of them.
        self.kept = {id(tensor): tensor for tensor in kept}
        self.written: dict[int, Tensor] = {}

    @property
    def is_needed(self) -> bool:
        """Whether there is anything to do."""
        return self.lift or bool(self.kept)

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Run one operation of torch."""
        named = dict(kwargs or {})
        if func is Tensor.copy_ and id(args[0]) in self.kept:
            self.written[id(args[0])] = args[1].to(args[0].dtype)
            return args[1]
        if self.lift:
            func = _DOUBLE.get(func, func)
            args = tuple(_lifted(value) for value in args)
            named = {name: _lifted(value) for name, value in named.items()}
        return func(*args, **named)


_DOUBLE = dict.fromkeys((Tensor.float, Tensor.half, Tensor.bfloat16), Tensor.double)


def _lifted(value: Any) -> Any:
    return torch.float64 if isinstance(value, torch.dtype) and value in _LOWER else value
