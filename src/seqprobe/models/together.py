"""Networks of one form as one network with a leading axis: what trains seeds together.

A small network spends its time on starting operations, not on numbers. S networks of one form share
that cost: every weight gets a leading axis S, and one batched product is a step of all of them. The
cells are those of the single network.
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
from seqprobe.models.recurrent import RecurrentLayer, affine, product
from seqprobe.models.registry import MODELS, architecture
from seqprobe.spec import Spec

__all__ = ["Together", "can_train_together", "group_size"]

_PLAIN = Spec("continuous", 1, "regression", 1)
_CHUNK = 16  # steps; what a chunk writes is read again while it is still in the cache
_CACHE = 2**21  # bytes
_SMALLEST, _LARGEST = 4, 16


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
    return bool(_layers(skeleton(name, _PLAIN, architecture(name).config()).core))


def _layers(core: nn.Module) -> list[RecurrentLayer]:
    """Return the layers of a core if all are recurrent cells, else nothing."""
    layers = list(core.layers) if isinstance(core, Stack) else []
    cells = [layer for layer in layers if isinstance(layer, RecurrentLayer)]
    return cells if len(cells) == len(layers) else []


class Together(nn.Module):
    """S networks of one form and different weights, computed as one.

    Parameters have the names of `Model` and a leading axis S: matrices are (S, n, m), vectors
    (S, 1, n). What one network computes does not depend on the others, except that a product may be
    summed in another order.

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
        if not _layers(first.core):
            able = ", ".join(name for name in MODELS if can_train_together(name))
            raise NotApplicableError(
                f"seeds of '{first.name}' cannot be trained together (allowed: {able});"
                " train them one after another"
            )
        form = copy.deepcopy(first)
        self.tokens = first.spec.input_kind == "token"
        self.embedding, self.core, self.head = form.embedding, form.core, form.head
        self.shapes = {name: p.shape for name, p in first.named_parameters()}
        every = [model.state_dict() for model in models]
        for name in self.shapes:
            stacked = torch.stack([weights[name] for weights in every])
            self._put(name, stacked if stacked.dim() == 3 else stacked[:, None])

    def _put(self, name: str, values: Tensor) -> None:
        owner, _, last = name.rpartition(".")
        setattr(self.get_submodule(owner), last, nn.Parameter(values))

    def weights(self, index: int) -> dict[str, Tensor]:
        """Return the weights of one network as views, by the names of ``Model.state_dict()``."""
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
        layers = _layers(self.core)
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
        tables = self.get_parameter("embedding.weight")  # (S, V, E), read as one of S * V rows
        first = torch.arange(len(tables), device=x.device) * tables.shape[1]
        return F.embedding(x + first[:, None, None], tables.flatten(0, 1))


def _map(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Map (S, T, B, D) to (S, T, B, K) by weights (S, K, D) and a bias (S, 1, K) or none."""
    rows = x.flatten(1, 2)
    flat = product(rows, weight.mT) if bias is None else affine(bias, rows, weight.mT)
    y: Tensor = flat.unflatten(1, x.shape[1:3])
    return y


def _scan(
    layer: RecurrentLayer, x: Tensor, state: tuple[Tensor, ...]
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Map (S, T, B, D) and a state to the outputs (S, T, B, H) of a layer and its next state."""
    inputs = _map(x, layer.weight_ih, layer.bias)
    outputs, state = layer.scan(inputs.unbind(1), state)
    return torch.stack(outputs, dim=1), state


def group_size(name: str, config: ModelConfig, batch: int) -> int:
    """Return how many seeds are best trained together: more of small networks.

    The largest power of two of which the weights of all networks and what a step writes fit into
    2 MiB, 4 bytes * (G H^2 + 3 B H) per network of G gates, but at least 4 and at most 16. It is 1
    where a network alone runs on a fused kernel, as the plain LSTM does: groups are slower at
    every size that ``benchmarks/seeds.py`` measures.

    The size decides the rounding, and so is part of what a run is. It depends on the networks
    alone, never on the machine, so that a plan made elsewhere is the same plan.

    Parameters
    ----------
    name
        Name of the architecture.
    config
        Its settings.
    batch
        Sequences per update and seed.

    Returns
    -------
    int
        1 where seeds cannot be trained together, or are faster one after another.
    """
    layers = _layers(skeleton(name, _PLAIN, config).core)
    if not layers or layers[0].fused:
        return 1
    step = 4 * (layers[0].weight_hh.numel() + 3 * batch * config.width)
    fits = min(max(_CACHE // step, _SMALLEST), _LARGEST)
    return 1 << (fits.bit_length() - 1)
