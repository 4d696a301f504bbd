"""From a specification to a model: embed, core, head."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from seqprobe.config import from_mapping
from seqprobe.errors import UsageError
from seqprobe.models.architecture import Architecture, ModelConfig
from seqprobe.models.base import SequenceModule, StateKind
from seqprobe.models.bidirectional import Bidirectional
from seqprobe.models.registry import architecture
from seqprobe.models.trace import Trace
from seqprobe.models.whole import WholeModel
from seqprobe.seeding import torch_seeded
from seqprobe.spec import Spec
from seqprobe.state import State

__all__ = ["Model", "build_model"]


class Model(WholeModel):
    """A whole model: an embedding of the input, a core, and a linear head.

    Tokens go through an embedding table. Continuous inputs go into the core as they are, or through
    a linear map where the core adds to its input.

    Parameters
    ----------
    architecture
        The registry entry of the core.
    config
        Its settings.
    spec
        Kinds and sizes of input and output.

    """

    def __init__(self, architecture: Architecture, config: ModelConfig, spec: Spec) -> None:
        super().__init__()
        self.name = architecture.name
        self.config = config
        self.spec = spec
        d_in = spec.input_size
        self.embedding: nn.Module = nn.Identity()
        if spec.input_kind == "token":
            d_in = config.width if architecture.residual else config.embedding or config.width
            self.embedding = nn.Embedding(spec.input_size, d_in)
        elif architecture.residual:
            self.embedding = nn.Linear(spec.input_size, config.width)
        self.core = architecture.build(d_in, config)
        if isinstance(self.core, Bidirectional):
            self.core.pool_last = spec.readout == "last"
        self.head = architecture.head(architecture.directions * config.width, spec.output_size)
        self.causal = self.core.causal
        self.exact_causality = self.core.exact_causality

    @property
    def receptive_field(self) -> int | None:
        """Number of inputs that can reach an output, or None if unbounded."""
        return self.core.receptive_field

    def init_state(self, batch: int) -> State:
        """Return the state of the core before the first input."""
        return self.core.init_state(batch)

    def state_size(self, length: int) -> int:
        """Return the number of reals the core keeps per row after `length` steps."""
        return self.core.state_size(length)

    def state_kinds(self) -> dict[str, StateKind]:
        """Return what each part of the state is; see `SequenceModule.state_kinds`."""
        return self.core.state_kinds()

    def equilibrium(self, x_t: Tensor) -> tuple[State, Tensor] | None:
        """Return the state of the core under a held input; see `SequenceModule.equilibrium`."""
        self._check_input(x_t, steps=False)
        return self.core.equilibrium(self.embed(x_t))

    @property
    def reads(self) -> int:
        """Size d of the vectors that `step` reads: that of the embedding for tokens."""
        if isinstance(self.embedding, nn.Embedding):
            return self.embedding.embedding_dim
        return self.spec.input_size

    def state_module(self) -> SequenceModule:
        """Return the core."""
        return self.core

    def features(self, x: Tensor) -> Tensor:
        """Return what the head reads, (B, T, H)."""
        found: Tensor = self.core(self.embed(x))[0]
        return found

    def embed(self, x: Tensor) -> Tensor:
        """Return what the core reads: (B, T, D) or tokens (B, T) to (B, T, E)."""
        if self.spec.input_kind == "token" and x.is_floating_point():
            return x
        embedded: Tensor = self.embedding(x)
        return embedded

    def forward(
        self, x: Tensor, state: State | None = None, trace: Trace | None = None
    ) -> tuple[Tensor, State]:
        """Map (B, T, D), or tokens (B, T), to outputs (B, T, K) and the state after them."""
        self._check_input(x, steps=True)
        y, state = self.core(self.embed(x), state, trace)
        return self.head(y), state

    def step(self, x_t: Tensor, state: State, trace: Trace | None = None) -> tuple[Tensor, State]:
        """Map (B, D), or tokens (B,), to outputs (B, K) and the next state."""
        self._check_input(x_t, steps=False)
        y, state = self.core.step(self.embed(x_t), state, trace)
        return self.head(y), state

    def _check_input(self, x: Tensor, steps: bool) -> None:
        """Say what shape is wanted before a matrix product says it less clearly."""
        lead = "B, T" if steps else "B"
        dims = 2 if steps else 1
        if self.spec.input_kind == "continuous":
            size = self.spec.input_size
            right = x.dim() == dims + 1 and x.shape[-1] == size
            wanted = f"({lead}, {size})"
        else:
            right = x.dim() == dims or x.is_floating_point()
            wanted = f"({lead}) integer tokens"
        if not right or 0 in x.shape:
            raise UsageError(f"input has shape {tuple(x.shape)}, model takes {wanted}")


def build_model(
    name: str,
    spec: Spec,
    config: ModelConfig | Mapping[str, Any] | None = None,
    *,
    seed: int = 0,
) -> Model:
    """Build a model with freshly drawn weights.

    Parameters
    ----------
    name
        Name of the architecture, see ``seqprobe ls models``.
    spec
        What goes in and out; ``task.spec`` for a task.
    config
        Settings, as an object or as plain values by name; defaults where absent.
    seed
        Seed of the weights.

    Returns
    -------
    Model
        In training mode, on the CPU, in float32.

    Raises
    ------
    UsageError
        For an unknown name, an unknown key or an impossible value.
    """
    entry = architecture(name)
    if not isinstance(config, ModelConfig):
        config = from_mapping(entry.config, config or {}, "model")
    elif not isinstance(config, entry.config):
        raise UsageError(
            f"'{name}' takes {entry.config.__name__}, got {type(config).__name__}"
            f" with {dataclasses.asdict(config)}"
        )
    with torch_seeded(seed, "weights"):
        return Model(entry, config, spec)


def count_parameters(model: nn.Module) -> int:
    """Return the number of trainable reals."""
    return sum(p.numel() * (2 if p.is_complex() else 1) for p in model.parameters())


def skeleton(name: str, spec: Spec, config: ModelConfig) -> Model:
    """Return the model with shapes but no memory for its weights, on torch's meta device."""
    with torch.device("meta"):
        return Model(architecture(name), config, spec)
