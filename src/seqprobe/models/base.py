"""The contract: every architecture is a causal dynamical system.

A layer, a stack of layers and a whole model all satisfy it, so that they compose, and every
analysis is written against it once.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from seqprobe.errors import NotApplicableError
from seqprobe.models.trace import Trace
from seqprobe.state import State, flatten

__all__ = ["SequenceModule", "Stack", "StateKind", "StatePart", "scanned", "state_parts"]

# What a part of a state is: "fixed" numbers; a "cache" (B, heads, t, d) that gets one entry per
# step; a "buffer" (B, C, k) of the last k inputs, oldest first.
StateKind = Literal["fixed", "cache", "buffer"]


class StatePart(NamedTuple):
    """One named tensor of a state: its shape for one row, what it is, and its number of reals."""

    shape: tuple[int, ...]
    kind: StateKind
    reals: int


class SequenceModule(nn.Module, ABC):
    """A map ``(state, x_t) -> (state', y_t)`` with a form that takes a whole sequence at once.

    The state is passed in and returned, never kept on the module; gradients flow through it.
    ``forward`` equals scanning ``step`` to 1e-9 in float64.

    Attributes
    ----------
    causal
        False for models that look ahead; they have no `step`, and analyses that need one, or that
        ask how far back, refuse them.
    exact_causality
        True if outputs before a changed input are bit-identical. A model evaluated by FFT sets
        False and is held to 1e-12 relative in float64.
    receptive_field
        Number of inputs, the current one included, that can reach an output; None if unbounded.
    """

    causal: bool = True
    exact_causality: bool = True

    @property
    def receptive_field(self) -> int | None:
        """Number of inputs that can reach an output, or None if unbounded."""
        return None

    @abstractmethod
    def forward(
        self, x: Tensor, state: State | None = None, trace: Trace | None = None
    ) -> tuple[Tensor, State]:
        """Map a sequence (B, T, D) to outputs (B, T, K) and the state after its last step."""

    def init_state(self, batch: int) -> State:
        """Return the state before the first input, for `batch` rows, on the module's device."""
        raise self._stateless()

    def step(self, x_t: Tensor, state: State, trace: Trace | None = None) -> tuple[Tensor, State]:
        """Map one input (B, D) to one output (B, K) and the next state."""
        raise self._stateless()

    def streamed(self, x: Tensor) -> Tensor:
        """Return the state after every step of (B, T, D) or tokens as one vector, (B, T, n)."""
        state = self.init_state(len(x))
        rows = []
        for x_t in x.unbind(1):
            _, state = self.step(x_t, state)
            rows.append(flatten(state))
        return torch.stack(rows, dim=1)

    def state_size(self, length: int) -> int:
        """Return the number of reals kept per row after `length` steps."""
        raise self._stateless()

    def state_kinds(self) -> dict[str, StateKind]:
        """Return what each part of the state is; parts that are not named are ``"fixed"``."""
        return {}

    def equilibrium(self, x_t: Tensor) -> tuple[State, Tensor] | None:
        """Return where the state goes if one input (B, D) is held for ever, in closed form.

        Returns
        -------
        tuple, or None
            The state, and the eigenvalues (B, n), complex, of the Jacobian of its n reals there;
            None if no closed form is known. It exists where layers are linear in their own state
            and contract: then there is exactly one fixed point for every input.
        """
        del x_t
        return None

    def _stateless(self) -> NotApplicableError:
        return NotApplicableError(
            f"{type(self).__name__} has no step: it reads the whole sequence at once;"
            " use a causal model"
        )

    def _zeros(self, *shape: int) -> Tensor:
        """Return real zeros of the precision and on the device of the parameters."""
        like = next(p for p in self.parameters() if p.is_floating_point())
        return torch.zeros(shape, dtype=like.dtype, device=like.device)


def scanned(
    model: SequenceModule, x: Tensor, state: State, trace: Trace | None = None
) -> tuple[Tensor, State]:
    """Step through (B, T, D) or tokens (B, T) from a state; what `forward` has to equal.

    Returns
    -------
    tuple
        Outputs (B, T, K) and the last state. `trace` gets the internals that it asks for, (B, T,
        ...).
    """
    outputs, steps = [], []
    for x_t in x.unbind(1):
        of_step = None if trace is None else Trace()
        y_t, state = model.step(x_t, state, of_step)
        outputs.append(y_t)
        if of_step is not None:
            steps.append(of_step)
    if trace is not None:
        for name in steps[0]:
            if trace.wants(name):
                trace.put(name, torch.stack([of_step[name] for of_step in steps], dim=1))
    return torch.stack(outputs, dim=1), state


def state_parts(module: SequenceModule, length: int) -> dict[str, StatePart]:
    """Return what the state consists of after `length` steps; the reals sum to `state_size`."""
    kinds, parts = module.state_kinds(), {}
    for name, tensor in module.init_state(1).items():
        kind = kinds.get(name, "fixed")
        shape = list(tensor.shape[1:])
        if kind == "cache":
            shape[1] = length
        reals = math.prod(shape) * (2 if tensor.is_complex() else 1)
        parts[name] = StatePart(tuple(shape), kind, reals)
    return parts


class Stack(SequenceModule):
    """Layers one after another; part names get the prefix ``layer<i>.``.

    Parameters
    ----------
    layers
        Modules that satisfy the contract, each taking what the one before returns.
    norm
        A map applied at every step after the last layer, such as a final LayerNorm.
    """

    def __init__(self, layers: list[SequenceModule], norm: nn.Module | None = None) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)
        self.norm = norm if norm is not None else nn.Identity()
        self.causal = all(layer.causal for layer in layers)
        self.exact_causality = all(layer.exact_causality for layer in layers)

    @property
    def receptive_field(self) -> int | None:
        """Number of inputs that can reach an output, or None if unbounded."""
        reach = 1
        for layer in self._layers():
            if layer.receptive_field is None:
                return None
            reach += layer.receptive_field - 1
        return reach

    def _layers(self) -> list[SequenceModule]:
        return list(self.layers)  # type: ignore[arg-type]  # a ModuleList forgets what it holds

    def init_state(self, batch: int) -> State:
        """Return the states of all layers under their prefixed names."""
        state: State = {}
        for i, layer in enumerate(self._layers()):
            state |= _with_prefix(i, layer.init_state(batch))
        return state

    def forward(
        self, x: Tensor, state: State | None = None, trace: Trace | None = None
    ) -> tuple[Tensor, State]:
        """Map (B, T, D) through all layers; see `SequenceModule.forward`."""
        after: State = {}
        for i, layer in enumerate(self._layers()):
            before = None if state is None else _without_prefix(i, state)
            x, end = layer(x, before, trace.scope(f"layer{i}") if trace is not None else None)
            after |= _with_prefix(i, end)
        return self.norm(x), after

    def step(self, x_t: Tensor, state: State, trace: Trace | None = None) -> tuple[Tensor, State]:
        """Map (B, D) through all layers; see `SequenceModule.step`."""
        after: State = {}
        for i, layer in enumerate(self._layers()):
            scope = trace.scope(f"layer{i}") if trace is not None else None
            x_t, end = layer.step(x_t, _without_prefix(i, state), scope)
            after |= _with_prefix(i, end)
        return self.norm(x_t), after

    def equilibrium(self, x_t: Tensor) -> tuple[State, Tensor] | None:
        """Return the state of all layers under a held input; see `SequenceModule.equilibrium`."""
        state: State = {}
        eigenvalues = []
        for i, layer in enumerate(self._layers()):
            found = layer.equilibrium(x_t)
            if found is None:
                return None
            state |= _with_prefix(i, found[0])
            eigenvalues.append(found[1])
            x_t, _ = layer.step(x_t, found[0])
        return state, torch.cat(eigenvalues, dim=1)

    def state_size(self, length: int) -> int:
        """Return the number of reals kept per row after `length` steps."""
        return sum(layer.state_size(length) for layer in self._layers())

    def state_kinds(self) -> dict[str, StateKind]:
        """Return what each part of the state is; see `SequenceModule.state_kinds`."""
        return {
            f"layer{i}.{part}": kind
            for i, layer in enumerate(self._layers())
            for part, kind in layer.state_kinds().items()
        }


def _with_prefix(index: int, state: State) -> State:
    return {f"layer{index}.{name}": tensor for name, tensor in state.items()}


def _without_prefix(index: int, state: State) -> State:
    prefix = f"layer{index}."
    return {n.removeprefix(prefix): tensor for n, tensor in state.items() if n.startswith(prefix)}
