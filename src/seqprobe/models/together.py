"""Networks of one form as one network with a leading axis: what trains seeds together.

A small network spends its time on starting operations, not on numbers. S networks of one form
share that cost: every weight gets a leading axis S, and a step of all of them is one batched product
(Lezama-style loops over networks disappear; the cells are those of the single network).
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seqprobe.errors import NotApplicableError
from seqprobe.models.architecture import ModelConfig
from seqprobe.models.assembly import Model, skeleton
from seqprobe.models.base import Stack
from seqprobe.models.recurrent import RecurrentLayer, affine
from seqprobe.models.registry import MODELS, architecture
from seqprobe.spec import Spec

__all__ = ["Together", "can_train_together", "group_size"]

_PLAIN = Spec("continuous", 1, "regression", 1)
_CHUNK = 10  # steps; what a chunk writes is read again while it is still in the cache
_CACHE = 2**20  # bytes
_LARGEST = 16


def can_train_together(name: str) -> bool:
    """Say whether networks of an architecture can be computed as one: stacks of recurrent cells.

    Parameters
    ----------
    name
        Name of the architecture.

    Raises
    ------
    UsageError
        If there is none of that name.
    """
    return _is_stack(skeleton(name, _PLAIN, architecture(name).config()))


def _is_stack(model: Model) -> bool:
    core = model.core
    return isinstance(core, Stack) and all(isinstance(x, RecurrentLayer) for x in core.layers)


class Together(nn.Module):
    """S networks of one form and different weights, computed as one.

    Parameters have the names of `Model` and a leading axis S: matrices (S, n, m), vectors (S, 1, n).
    What one network computes does not depend on the others, up to the order in which a product is
    summed.

    Parameters
    ----------
    models
        Networks of one architecture, settings and specification. They are copied.

    Raises
    ------
    NotApplicableError
        If the architecture is not a stack of recurrent cells.
    """

    def __init__(self, models: Sequence[Model]) -> None:
        super().__init__()
        first = models[0]
        if not _is_stack(first):
            able = ", ".join(name for name in MODELS if can_train_together(name))
            raise NotApplicableError(
                f"seeds of '{first.name}' cannot be trained together (allowed: {able});"
                " train them one after another"
            )
        form = copy.deepcopy(first)
        self.tokens = first.spec.input_kind == "token"
        self.embedding, self.head = form.embedding, form.head
        self.core = form.core
        self.shapes = {name: p.shape for name, p in first.named_parameters()}
        every = [model.state_dict() for model in models]
        for name in self.shapes:
            stacked = torch.stack([weights[name] for weights in every])
            self._put(name, stacked if stacked.dim() == 3 else stacked[:, None])

    def _put(self, name: str, values: Tensor) -> None:
        owner, _, last = name.rpartition(".")
        setattr(self.get_submodule(owner), last, nn.Parameter(values))

    def weights(self, index: int) -> dict[str, Tensor]:
        """Return the weights of one network, as views, under the names of ``Model.state_dict()``."""
        named = dict(self.named_parameters())
        return {
            name: named[name][index].detach().view(shape) for name, shape in self.shapes.items()
        }

    def keep(self, indices: Sequence[int]) -> None:
        """Go on with some of the networks; parameters are new objects afterwards."""
        for name, parameter in list(self.named_parameters()):
            self._put(name, parameter.detach()[list(indices)])

    def forward(self, x: Tensor) -> Tensor:
        """Map inputs of all networks to their outputs.

        Parameters
        ----------
        x
            (S, B, T, D), or tokens (S, B, T).

        Returns
        -------
        Tensor
            (S, B, T, K).
        """
        layers: list[RecurrentLayer] = list(self.core.layers)  # type: ignore[arg-type]
        x = self._embed(x).transpose(1, 2)
        zeros = [x.new_zeros(len(x), x.shape[2], layer.width) for layer in layers]
        states = [(h,) * len(layer.parts) for h, layer in zip(zeros, layers, strict=True)]
        outputs = []
        for chunk in x.split(_CHUNK, dim=1):
            for i, layer in enumerate(layers):
                chunk, states[i] = _scan(layer, chunk, states[i])
            outputs.append(_map(chunk, self.head.weight, self.head.bias))
        return torch.cat(outputs, dim=1).transpose(1, 2)

    def _embed(self, x: Tensor) -> Tensor:
        if not self.tokens:
            return x
        tables: Tensor = self.embedding.weight  # (S, V, E), read as one table of S * V rows
        first = torch.arange(len(tables), device=x.device) * tables.shape[1]
        return F.embedding(x + first[:, None, None], tables.flatten(0, 1))


def _map(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Map (S, T, B, D) to (S, T, B, K) by weights (S, K, D) and a bias (S, 1, K)."""
    return affine(bias, x.flatten(1, 2), weight.mT).unflatten(1, x.shape[1:3])


def _scan(
    layer: RecurrentLayer, x: Tensor, state: tuple[Tensor, ...]
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Map (S, T, B, D) and a state to the outputs (S, T, B, H) of a layer and its next state."""
    inputs = _map(x, layer.weight_ih, layer.bias)
    outputs, state = layer.scan(inputs.unbind(1), state)
    return torch.stack(outputs, dim=1), state


def group_size(name: str, config: ModelConfig, batch: int) -> int:
    """Return how many seeds are best trained together."""
    layer = skeleton(name, _PLAIN, config).core.layers[0]
    gates = len(layer.weight_hh) // config.width
    step = 4 * (gates * config.width**2 + 3 * batch * config.width)
    fits = min(max(_CACHE // 2 // step, 4), _LARGEST)
    return 1 << (fits.bit_length() - 1)
