"""Any model with a state of fixed size, differentiated by `torch.func`."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from seqprobe.dynamics.maps.base import StateMap
from seqprobe.dynamics.maps.operators import Autodiff, Operator

__all__ = ["CallableMap"]


class CallableMap(StateMap):
    """A function ``x' = F(x, u)`` of batched float64 tensors as a `StateMap`.

    Parameters
    ----------
    function
        Maps states (B, n) and inputs (B, d) to states (B, n), each row by itself, in torch
        operations.
    size
        Reals n of the state.
    inputs
        Size d of the input; 0 for a map without.
    """

    def __init__(
        self, function: Callable[[Tensor, Tensor], Tensor], size: int, inputs: int = 0
    ) -> None:
        self.function = function
        self.size = self.unknowns = size
        self.inputs = inputs

    def step(self, x: Tensor, u: Tensor) -> Tensor:
        """Return F(x, u); see `StateMap.step`."""
        return self.function(x, self._rows(x, u))

    def _rows(self, x: Tensor, u: Tensor) -> Tensor:
        return u.expand(len(x), -1) if u.dim() == 1 else u

    def linearise(self, x: Tensor, u: Tensor) -> tuple[Tensor, Operator, Operator]:
        """Return F and its Jacobians; see `StateMap.linearise`."""
        rows = self._rows(x, u)
        by_state = Autodiff(self.function, x, rows)
        return self.function(x, rows), by_state, self._by_input(x, rows)

    def residual(self, y: Tensor, u: Tensor) -> Tensor:
        """Return ``F(y, u) - y``; see `StateMap.residual`."""
        return self.step(y, u) - y

    def linearise_residual(self, y: Tensor, u: Tensor) -> tuple[Tensor, Operator, Operator]:
        """Return the residual and its Jacobians; see `StateMap.linearise_residual`."""
        rows = self._rows(y, u)

        def residual(x: Tensor, held: Tensor) -> Tensor:
            return self.function(x, held) - x

        jacobian = Autodiff(residual, y, rows)
        return residual(y, rows), jacobian, self._by_input(y, rows)

    def _by_input(self, x: Tensor, u: Tensor) -> Operator:
        return Autodiff(lambda u, x: self.function(x, u), u, x, reverse=False)
