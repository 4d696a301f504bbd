"""A module with a step of the user's own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from seqprobe.adapters.foreign import ForeignModel
from seqprobe.adapters.form import Form, plain_output
from seqprobe.errors import NotApplicableError, SeqprobeError, UsageError
from seqprobe.models import StateKind, Trace
from seqprobe.models.base import scanned
from seqprobe.spec import Spec
from seqprobe.state import State, size

__all__ = ["InitState", "Step", "SteppedModel", "Steps"]

InitState = Callable[[int], Any]
Step = Callable[[Tensor, Any], tuple[Tensor, Any]]


@runtime_checkable
class Steps(Protocol):
    """What a module has to offer to be stepped as it is.

    A state is a tensor, a tuple or a dict of tensors, each with the batch as its first axis.
    """

    def init_state(self, batch: int) -> Any:
        """Return the state before the first input, for `batch` sequences."""

    def step(self, x_t: Tensor, state: Any) -> tuple[Tensor, Any]:
        """Map one input (B, D), or tokens (B,), to one output (B, K) and the next state."""


class SteppedModel(ForeignModel):
    """A module with an `init_state` and a `step` of the user's own.

    State: the names of a dict; ``state0``, ``state1``, ... for a tuple, ``state`` for a tensor.
    Parts that get one entry per step, (B, heads, t, d), are caches.

    Parameters
    ----------
    module, form, spec, name
        As in `ForeignModel`.
    init_state, step
        See `Steps`. A bound method of the module is taken anew from the module at every call, so
        that it computes with the weights of a copy in a copy.
    """

    stepwise = True

    def __init__(
        self,
        module: nn.Module,
        form: Form,
        spec: Spec,
        name: str,
        init_state: InitState,
        step: Step,
    ) -> None:
        super().__init__(module, form, spec, name)
        self._functions = (_unbound(module, init_state), _unbound(module, step))
        self._kind = type(self._call(0, 1))
        self._check_grown()

    def _call(self, which: int, *args: Any) -> Any:
        function = self._functions[which]
        if isinstance(function, str):
            function = getattr(self.module, function)
        try:
            return function(*args)
        except SeqprobeError:
            raise
        except Exception as error:
            reason = " ".join(str(error).split())
            raise SeqprobeError(
                f"{('init_state', 'step')[which]} of {self.name} fails: {type(error).__name__}:"
                f" {reason[:300]} (init_state(batch) gives the state, step(x_t, state) the output"
                " and the next one; as methods of the module they work in double precision too)"
            ) from error

    def init_state(self, batch: int) -> State:
        """Return the user's state before the first input, by name."""
        like = next((p for p in self.module.parameters() if p.is_floating_point()), None)
        state = _named(self._call(0, batch), batch)
        if like is None:
            return state
        return {
            name: tensor.to(
                like.device, like.dtype.to_complex() if tensor.is_complex() else like.dtype
            )
            for name, tensor in state.items()
        }

    def step(self, x_t: Tensor, state: State, trace: Trace | None = None) -> tuple[Tensor, State]:
        """Map (B, D) or tokens (B,) to (B, K) and the next state; see `SequenceModule.step`."""
        del trace  # a step of the user's has no internals by name
        given: Any = state
        if issubclass(self._kind, tuple | list):
            make = getattr(self._kind, "_make", self._kind)  # of a named tuple
            given = make(state.values())
        elif issubclass(self._kind, Tensor):
            given = state["state"]
        result = self._call(1, x_t, given)
        if not (isinstance(result, tuple) and len(result) == 2):
            raise UsageError(
                f"step of {self.name} returns a {type(result).__name__} (allowed: a pair, the"
                " output (B, K) and the next state)"
            )
        return plain_output(result[0]), _named(result[1], len(x_t))

    def forward(
        self, x: Tensor, state: State | None = None, trace: Trace | None = None
    ) -> tuple[Tensor, State]:
        """Map (B, T, D) or tokens (B, T) to (B, T, K); see `SequenceModule.forward`.

        The state after the last step takes a second pass, step by step.
        """
        y, after = scanned(self, x, self.init_state(len(x)) if state is None else state)
        return (self.outputs(x) if state is None else y), after

    def _check_grown(self) -> None:
        x_t = self.blank(1)
        with torch.no_grad():
            states = [self.init_state(1)]
            for _ in range(2):
                states.append(self.step(x_t, states[-1])[1])
        first, second = states[1], states[2]
        if first.keys() != states[0].keys() or second.keys() != first.keys():
            raise UsageError(
                f"state of {self.name} has parts {list(states[0])} first and {list(second)} later"
                " (allowed: the same ones at every step)"
            )
        self._sizes = [size(state) for state in states]
        self._grows = {name for name in first if first[name].shape != second[name].shape}
        wrong = [
            n
            for n in self._grows
            if second[n].dim() != 4 or second[n].shape[2] != first[n].shape[2] + 1
        ]
        if wrong:
            raise NotApplicableError(
                f"part '{wrong[0]}' of the state of {self.name} changes its shape from"
                f" {tuple(first[wrong[0]].shape)} to {tuple(second[wrong[0]].shape)} (allowed: one"
                " shape, or a cache (B, heads, t, d) with one entry more per step)"
            )

    def state_size(self, length: int) -> int:
        """Return the number of reals kept per row after `length` steps."""
        return self._sizes[1] + (length - 1) * (self._sizes[2] - self._sizes[1])

    def state_kinds(self) -> dict[str, StateKind]:
        """Return what each part of the state is; see `SequenceModule.state_kinds`."""
        return dict.fromkeys(self._grows, "cache")


def _unbound(module: nn.Module, function: Any) -> Any:
    """Return the name of a method of the module, other functions as they are."""
    return function.__name__ if getattr(function, "__self__", None) is module else function


def _named(state: Any, batch: int) -> State:
    """Return a user's state by name."""
    named: dict[str, Any]
    if isinstance(state, Tensor):
        named = {"state": state}
    elif isinstance(state, Mapping):
        named = {str(name): value for name, value in state.items()}
    elif isinstance(state, tuple | list):
        named = {f"state{i}": value for i, value in enumerate(state)}
    else:
        raise UsageError(
            f"state is of type {type(state).__name__} (allowed: a tensor, or a tuple or dict of"
            " tensors)"
        )
    for name, value in named.items():
        if not isinstance(value, Tensor) or not (value.is_floating_point() or value.is_complex()):
            kind = str(value.dtype) if isinstance(value, Tensor) else type(value).__name__
            raise UsageError(
                f"part '{name}' of the state is of type {kind} (allowed: tensors of reals; keep a"
                " counter as a tensor (B, 1) of floats)"
            )
        if value.dim() < 2 or len(value) != batch:
            raise UsageError(
                f"part '{name}' of the state has shape {tuple(value.shape)} (allowed: ({batch},"
                " ...), the batch first and at least one axis more)"
            )
    return named
