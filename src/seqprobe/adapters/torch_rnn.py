"""torch's own recurrent modules as models of the contract, and back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from seqprobe.adapters.projected import ProjectedLSTMLayer
from seqprobe.errors import NotApplicableError
from seqprobe.models.base import SequenceModule, Stack
from seqprobe.models.bidirectional import Bidirectional
from seqprobe.models.gru import GRULayer
from seqprobe.models.irnn import IRNNLayer
from seqprobe.models.lstm import LSTMLayer
from seqprobe.models.rnn import RNNLayer

__all__ = ["as_sequence_module", "from_torch", "to_torch"]

_MODULES = (nn.RNN, nn.GRU, nn.LSTM, nn.RNNCell, nn.GRUCell, nn.LSTMCell)
_SUFFIXES = ("", "_reverse")

_Layer = RNNLayer | GRULayer | LSTMLayer | ProjectedLSTMLayer


def as_sequence_module(model: object) -> SequenceModule:
    """Return a model of the contract as it is, and a recurrent module of torch as one.

    Parameters
    ----------
    model
        A model of the contract, or what `from_torch` takes.

    Raises
    ------
    NotApplicableError
        If it is neither.
    """
    if isinstance(model, SequenceModule):
        return model
    if isinstance(model, nn.RNNBase | nn.RNNCellBase):
        return from_torch(model)
    raise NotApplicableError(
        f"{type(model).__name__} has no states to look into: it does not keep the contract of"
        " seqprobe.models.SequenceModule and is no recurrent module of torch; wrap it:"
        " seqprobe.wrap(module)"
    )


def from_torch(module: nn.Module) -> Stack:
    """Return one of torch's recurrent modules as a model of the contract that computes the same.

    Parameters
    ----------
    module
        A `torch.nn.RNN`, `GRU` or `LSTM` of any depth, in one direction or two, with or without
        biases and projections, or one of their cells. A subclass may add to it, but must keep its
        `forward`.

    Returns
    -------
    Stack
        A layer of ours per layer of torch, with copies of its weights in their precision and on
        their device. It takes (B, T, D), whatever ``batch_first`` says. Its state is ``layer<i>.h``
        and, for an LSTM, ``layer<i>.c``: torch's ``h_n[i]`` and ``c_n[i]``. Of a module in both
        directions every layer is a `Bidirectional`, which has no step and starts at zero.

    Raises
    ------
    NotApplicableError
        If it is another module, or has a `forward` of its own.

    Notes
    -----
    torch has two biases where one is enough; ours is their sum, rounded once. In its candidate the
    GRU needs both, and keeps both. Without biases ours are zero. Dropout between layers acts in
    training only, and is left out.
    """
    kind = next((kind for kind in _MODULES if isinstance(module, kind)), None)
    if kind is None or type(module).forward is not kind.forward:
        names = ", ".join(kind.__name__ for kind in _MODULES)
        raise NotApplicableError(
            f"{type(module).__name__} is not a recurrent module of torch, or has a forward of its"
            f" own (allowed: {names}); give your module init_state(batch) and step(x_t, state)"
        )
    if isinstance(module, nn.RNNBase):
        layers = [_layer_of(module, i) for i in range(module.num_layers)]
    else:
        layers = [_copied(module, "")]
    return Stack(layers).train(module.training)


def _layer_of(module: nn.RNNBase, index: int) -> SequenceModule:
    """Return a layer of torch in all its directions."""
    ahead = _copied(module, f"_l{index}")
    if not module.bidirectional:
        return ahead
    return Bidirectional(ahead, _copied(module, f"_l{index}_reverse"))


def _copied(module: nn.Module, suffix: str) -> SequenceModule:
    """Return one layer of torch, in one direction, as one of ours."""

    def weight(name: str) -> Tensor | None:
        found: Tensor | None = getattr(module, name + suffix, None)
        return None if found is None else found.detach().clone()

    inputs, recurrent, projection = weight("weight_ih"), weight("weight_hh"), weight("weight_hr")
    assert inputs is not None and recurrent is not None
    bias, second = weight("bias_ih"), weight("bias_hh")
    if bias is None or second is None:
        bias, second = inputs.new_zeros(len(inputs)), inputs.new_zeros(len(inputs))
    rows, d_in = inputs.shape
    weights = {"weight_ih": inputs, "weight_hh": recurrent}
    layer: SequenceModule
    # On the meta device nothing is drawn, so that the user's random numbers stay where they were.
    with torch.device("meta"):
        if isinstance(module, nn.GRU | nn.GRUCell):
            layer = GRULayer(d_in, rows // 3)
            weights["bias_n"] = second[2 * rows // 3 :].clone()
            second[2 * rows // 3 :] = 0
        elif projection is not None:
            layer = ProjectedLSTMLayer(d_in, rows // 4, len(projection))
            weights["weight_hr"] = projection
        elif isinstance(module, nn.LSTM | nn.LSTMCell):
            layer = LSTMLayer(d_in, rows // 4)
        else:
            layer = (IRNNLayer if module.nonlinearity == "relu" else RNNLayer)(d_in, rows)
    for name, value in (weights | {"bias": bias + second}).items():
        setattr(layer, name, nn.Parameter(value))
    return layer


def to_torch(core: SequenceModule) -> nn.RNNBase:
    """Return layers of ours as one recurrent module of torch that computes the same.

    Parameters
    ----------
    core
        A layer of `rnn`, `irnn`, `gru` or `lstm`, a `Stack` of layers of one kind and width, as the
        core of a model is (``model.core``), or what `from_torch` returns.

    Returns
    -------
    torch.nn.RNN, torch.nn.GRU or torch.nn.LSTM
        With ``batch_first=True`` and copies of the weights in their precision and on their device.
        Of its two biases, ``bias_hh`` is zero but for the candidate of the GRU. It has no place for
        an embedding or a head.

    Raises
    ------
    NotApplicableError
        If torch has no module for it.
    """
    pairs = [_directions(layer) for layer in _layers_in(core)]
    layers = [layer for pair in pairs for layer in pair]
    _check_form(pairs)
    first, depth = layers[0], len(pairs)
    module = _blank(first, depth, bidirectional=len(pairs[0]) == 2)
    with torch.no_grad():
        for i, pair in enumerate(pairs):
            for layer, suffix in zip(pair, _SUFFIXES[: len(pair)], strict=True):
                _fill(module, f"_l{i}{suffix}", layer)
    return module.train(core.training)


def _layers_in(core: SequenceModule) -> list[nn.Module]:
    if not isinstance(core, Stack):
        return [core]
    if type(core.norm) is not nn.Identity:
        raise _no_module(f"a stack that ends in {type(core.norm).__name__}", "leave it out")
    return list(core.layers)


def _directions(module: nn.Module) -> list[_Layer]:
    """Return the layer, or the two that read forwards and backwards."""
    if not isinstance(module, Bidirectional):
        return [_known(module)]
    if module.pool_last:
        raise _no_module("a bidirectional core with pool_last", "set pool_last to False")
    halves = [_layers_in(half) for half in (module.forward_core, module.backward_core)]
    if any(len(half) > 1 for half in halves):
        raise _no_module(
            "a bidirectional core of several layers that meet at the top only",
            "use a Stack of Bidirectional layers",
        )
    return [_known(half[0]) for half in halves]


def _known(module: nn.Module) -> _Layer:
    """Return a layer that torch can compute; a subclass may compute something else."""
    why = type(module).__name__
    if type(module) in (RNNLayer, IRNNLayer, GRULayer, LSTMLayer, ProjectedLSTMLayer):
        assert isinstance(module, _Layer)
        if isinstance(module, GRULayer) and module.reset != "after":
            why = f"a GRU with reset='{module.reset}'"
        elif isinstance(module, LSTMLayer) and module.cifg:
            why = "an LSTM with coupled gates (cifg)"
        elif isinstance(module, LSTMLayer) and module.peephole:
            why = "an LSTM with peepholes"
        else:
            return module
    raise _no_module(
        why, "use layers of rnn, irnn, gru (reset='after') or lstm (plain), such as model.core"
    )


def _form(layer: _Layer) -> tuple[str, int, int]:
    return type(layer).__name__, layer.width, getattr(layer, "projection", 0)


def _check_form(pairs: Sequence[Sequence[_Layer]]) -> None:
    forms = sorted({_form(layer) for pair in pairs for layer in pair})
    if len(forms) > 1:
        names = " and ".join(
            f"{name}({width}{f' to {projection}' if projection else ''})"
            for name, width, projection in forms
        )
        raise _no_module(f"a stack of {names}", "use layers of one kind and width")
    if len({len(pair) for pair in pairs}) > 1:
        raise _no_module("a stack of layers in one direction and two", "use one of them")


def _no_module(what: str, instead: str) -> NotApplicableError:
    return NotApplicableError(f"torch has no recurrent module that computes {what}; {instead}")


def _blank(layer: _Layer, depth: int, bidirectional: bool) -> nn.RNNBase:
    """Return a module of the right form whose weights are not set."""
    kind: Callable[..., nn.RNNBase] = nn.LSTM
    more: dict[str, Any] = {}
    if isinstance(layer, RNNLayer):
        kind, more = nn.RNN, {"nonlinearity": layer.nonlinearity}
    elif isinstance(layer, GRULayer):
        kind = nn.GRU
    elif isinstance(layer, ProjectedLSTMLayer):
        more = {"proj_size": layer.projection}
    made = kind(
        layer.weight_ih.shape[1],
        layer.width,
        depth,
        batch_first=True,
        bidirectional=bidirectional,
        device="meta",  # where nothing is drawn
        dtype=layer.bias.dtype,
        **more,
    )
    return made.to_empty(device=layer.bias.device)


def _fill(module: nn.RNNBase, suffix: str, layer: _Layer) -> None:
    """Copy the weights of a layer to their places."""
    second = torch.zeros_like(layer.bias)
    if isinstance(layer, GRULayer):
        second[2 * layer.width :] = layer.bias_n
    weights = {
        "weight_ih": layer.weight_ih,
        "weight_hh": layer.weight_hh,
        "bias_ih": layer.bias,
        "bias_hh": second,
    }
    if isinstance(layer, ProjectedLSTMLayer):
        weights["weight_hr"] = layer.weight_hr
    for name, value in weights.items():
        module.get_parameter(name + suffix).copy_(value)
