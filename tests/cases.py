"""The zoo of the tests: every architecture in each of its forms, small, on both kinds of input."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from seqprobe.models import Model, build_model
from seqprobe.spec import Spec

CONTINUOUS = Spec("continuous", 3, "regression", 2)
TOKENS = Spec("token", 7, "class", 5)


@dataclass(frozen=True)
class Case:
    model: str
    config: dict[str, Any]
    spec: Spec

    def __str__(self) -> str:
        options = "-".join(f"{key}={value}" for key, value in self.config.items())
        return f"{self.model}-{self.spec.input_kind}-{options}"

    def build(self, seed: int = 0) -> Model:
        """Build the model with every parameter moved, also those that start at zero or one."""
        model = build_model(self.model, self.spec, self.config, seed=seed)
        generator = torch.Generator().manual_seed(seed)
        for parameter in model.parameters():
            parameter.data += 0.1 * torch.randn(parameter.shape, generator=generator)
        return model

    def inputs(self, batch: int, length: int, seed: int = 0) -> Tensor:
        generator = torch.Generator().manual_seed(seed)
        if self.spec.input_kind == "token":
            return torch.randint(self.spec.input_size, (batch, length), generator=generator)
        shape = (batch, length, self.spec.input_size)
        return torch.randn(shape, generator=generator, dtype=torch.float64)


FORMS: list[tuple[str, dict[str, Any]]] = [
    ("rnn", {}),
    ("irnn", {}),
    ("leaky", {"form": "inside"}),
    ("leaky", {"form": "outside", "activation": "leaky_relu"}),
    ("leaky", {"activation": "relu", "self_loops": True}),
    ("mup", {"layers": 1}),
    ("mup", {"layers": 1, "gamma": 3.0, "tau": 0.5}),
    ("gru", {"reset": "after"}),
    ("gru", {"reset": "before"}),
    ("lstm", {}),
    ("lstm", {"peephole": True}),
    ("lstm", {"cifg": True}),
    ("lstm", {"cifg": True, "peephole": True}),
    ("tcn", {"kernel": 3}),
    ("tcn", {"kernel": 1}),
    ("transformer", {"positions": "rope"}),
    ("transformer", {"positions": "learned"}),
    ("transformer", {"heads": 3}),
    ("s4d", {"modes": 6}),
    ("s4d", {"modes": 4, "start": "inv"}),
    ("mamba", {"modes": 3}),
    ("mamba", {"modes": 3, "scan": "chunked"}),
    ("mamba", {"kernel": 1}),
]

CAUSAL = [
    Case(model, {"width": 8, "layers": 2, **config}, spec)
    for model, config in FORMS
    for spec in (CONTINUOUS, TOKENS)
]
