"""The weights of a recurrent network by unit, and what relabelling its units does to them."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from seqprobe.degeneracy.relabelling import Group
from seqprobe.errors import NotApplicableError
from seqprobe.models import Model
from seqprobe.models.base import Stack
from seqprobe.models.leaky import LeakyLayer
from seqprobe.models.mup import MuPLayer
from seqprobe.models.recurrent import RecurrentLayer
from seqprobe.models.rnn import RNNLayer

__all__ = ["LayerWeights", "layer_weights", "layers_of", "relabel_model", "symmetry"]


@dataclass(frozen=True)
class LayerWeights:
    """Weights of one layer of n units with G gates, by unit, in float64.

    Attributes
    ----------
    recurrent
        The matrices that act on the activity, (G, n, n); see `RecurrentLayer.recurrent_weight`.
    inputs
        From the inputs or from the units of the layer below, (n, G, D).
    bias
        (n, G).
    readout
        To the outputs, (n, K); (n, 0) for a layer that another one reads.
    """

    recurrent: np.ndarray
    inputs: np.ndarray
    bias: np.ndarray
    readout: np.ndarray


def layers_of(model: nn.Module) -> list[RecurrentLayer]:
    """Return the recurrent layers of a model, from the input on.

    Raises
    ------
    NotApplicableError
        If the model is not a stack of recurrent layers that are read in one direction.
    """
    core = model.core if isinstance(model, Model) else None
    layers = list(core.layers) if isinstance(core, Stack) else []
    found = [layer for layer in layers if isinstance(layer, RecurrentLayer)]
    if not found or len(found) < len(layers):
        name = getattr(model, "name", type(model).__name__)
        raise NotApplicableError(
            f"'{name}' has no recurrent matrix whose units could be matched; weights are compared"
            " of stacks of recurrent layers, such as 'rnn' or 'gru'"
        )
    return found


def layer_weights(model: nn.Module) -> list[LayerWeights]:
    """Return the weights of every layer of a model of recurrent layers; see `layers_of`."""
    layers = layers_of(model)
    head: Tensor = model.head.weight  # type: ignore[assignment,union-attr]
    made = []
    for i, layer in enumerate(layers):
        n = layer.width
        readout = head.T if i == len(layers) - 1 else head.new_zeros(n, 0)
        made.append(
            LayerWeights(
                recurrent=_array(layer.recurrent_weight().mT.unflatten(0, (-1, n))),
                inputs=_array(layer.weight_ih.unflatten(0, (-1, n)).transpose(0, 1)),
                bias=_array(layer.bias.unflatten(0, (-1, n)).T),
                readout=_array(readout),
            )
        )
    return made


def _array(weight: Tensor) -> np.ndarray:
    return weight.detach().cpu().double().numpy().copy()


def symmetry(model: nn.Module) -> Group:
    """Return the relabellings of units that leave the function of a network as it is.

    ``"signed_perm"`` for tanh, leaky tanh and muP networks, whose units are odd: a unit whose
    weights all change their sign does the same with the other sign. ``"perm"`` for all others.
    """
    odd = all(_is_odd(layer) for layer in layers_of(model))
    return "signed_perm" if odd else "perm"


def _is_odd(layer: RecurrentLayer) -> bool:
    if isinstance(layer, (RNNLayer, LeakyLayer)):
        return layer.nonlinearity == "tanh"
    return isinstance(layer, MuPLayer)


@torch.no_grad()
def relabel_model(model: Model, perms: Sequence[np.ndarray], signs: Sequence[np.ndarray]) -> Model:
    """Return a copy whose units are in another order, and have other signs.

    Unit i of the copy is unit ``perm[i]`` times ``sign[i]``. Its outputs are those of the model, if
    signs are +1 or the model's `symmetry` has them.

    Parameters
    ----------
    model
        A model of recurrent layers.
    perms, signs
        (n,) for every layer.
    """
    made = copy.deepcopy(model)
    layers = layers_of(made)
    readers = [layer.weight_ih for layer in layers[1:]] + [made.head.weight]
    for layer, reader, perm, sign in zip(layers, readers, perms, signs, strict=True):
        order = torch.from_numpy(np.array(perm)).to(layer.bias.device)
        flips = torch.from_numpy(np.array(sign)).to(layer.bias)
        signed = {id(layer.weight_ih), id(layer.weight_hh), id(layer.bias)}
        for parameter in layer.parameters():
            rows = parameter.unflatten(0, (-1, layer.width))[:, order]
            if id(parameter) in signed:  # others are gains of their own, such as time constants
                rows = rows * flips.view(1, -1, *[1] * (parameter.dim() - 1))
            parameter.copy_(rows.flatten(0, 1))
        layer.weight_hh.copy_(layer.weight_hh[:, order] * flips)
        reader.copy_(reader[:, order] * flips)
    return made
