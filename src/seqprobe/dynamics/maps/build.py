"""From a model to the map of its state: analytic for recurrent cells, `torch.func` for the rest."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from seqprobe.adapters.projected import ProjectedLSTMLayer
from seqprobe.adapters.torch_rnn import from_torch
from seqprobe.dynamics.maps.base import StateMap
from seqprobe.dynamics.maps.elman import ElmanMap
from seqprobe.dynamics.maps.generic import CallableMap
from seqprobe.dynamics.maps.gru import GRUBeforeMap, GRUMap
from seqprobe.dynamics.maps.lstm import LSTMMap
from seqprobe.dynamics.maps.stack import StackMap
from seqprobe.errors import NotApplicableError, SeqprobeError
from seqprobe.models import SequenceModule, WholeModel
from seqprobe.models.access import float64_twin
from seqprobe.models.base import Stack
from seqprobe.models.gru import GRULayer
from seqprobe.models.irnn import IRNNLayer
from seqprobe.models.leaky import LeakyLayer
from seqprobe.models.lstm import LSTMLayer
from seqprobe.models.recurrent import RecurrentLayer
from seqprobe.models.rnn import RNNLayer
from seqprobe.state import flatten, layout, unflatten

__all__ = ["state_map"]


def state_map(model: object) -> StateMap:
    """Return one step of a model as a map of flat states, in float64 on the CPU.

    The model is copied and never changed. Recurrent cells and stacks of them (`rnn`, `irnn`,
    `leaky`, `gru`, `lstm` without peepholes, and `torch.nn.RNN`, `GRU`, `LSTM` with their cells)
    have analytic Jacobians; every other model of the contract with a state of fixed size, and
    `torch.nn.LSTM` with projections, is differentiated by `torch.func`.

    Parameters
    ----------
    model
        A model of the contract, a recurrent module of torch, or a `StateMap`.

    Raises
    ------
    NotApplicableError
        If the model looks ahead, keeps no state, or one that grows.
    SeqprobeError
        If a weight is not a finite number.
    """
    if isinstance(model, StateMap):
        return model
    if not isinstance(model, nn.Module):
        raise NotApplicableError(
            f"{type(model).__name__} is not a model; for a plain function use"
            " seqprobe.dynamics.CallableMap(function, size, inputs)"
        )
    _check_weights(model)
    if isinstance(model, nn.RNNBase | nn.RNNCellBase):
        model = from_torch(float64_twin(model))  # float64 first: two biases are summed
    if not isinstance(model, SequenceModule):
        raise NotApplicableError(
            f"{type(model).__name__} has no step to iterate: it does not keep the contract of"
            " seqprobe.models.SequenceModule; wrap it, or use seqprobe.dynamics.CallableMap"
        )
    if not model.causal:
        raise NotApplicableError(
            "model is bidirectional: it reads whole sequences and has no step to iterate; use a"
            " causal model"
        )
    check_state(model)
    twin = cast("SequenceModule", float64_twin(model).eval().requires_grad_(False))
    core = (twin.state_module() if isinstance(twin, WholeModel) else twin) or twin
    layers = list(core.layers) if isinstance(core, Stack) else [core]
    cells = [_analytic(layer) for layer in layers]
    if all(cell is not None for cell in cells):
        return _stacked([cell for cell in cells if cell is not None])
    return _generic(twin, core)


def check_state(model: SequenceModule) -> None:
    """Refuse a model without a state, or with one that grows."""
    size = model.state_size(1)
    if size != model.state_size(2):
        raise NotApplicableError(
            f"the state of this model grows with time ({size} reals after one step,"
            f" {model.state_size(2)} after two): no map of states has fixed points, exponents or"
            " time constants there; use a model with a state of fixed size (rnn, gru, lstm, s4d,"
            " mamba, tcn)"
        )
    if size == 0:
        raise NotApplicableError("this model keeps nothing between steps, so it has no dynamics")


def _check_weights(model: nn.Module) -> None:
    for name, parameter in model.named_parameters():
        bad = int((~torch.isfinite(parameter)).sum())
        if bad:
            raise SeqprobeError(
                f"weight '{name}' has {bad} values that are NaN or infinite, so that every state"
                " would be; train the model again"
            )


def _stacked(cells: list[StateMap]) -> StateMap:
    return cells[0] if len(cells) == 1 else StackMap(cells)


def _analytic(layer: nn.Module) -> StateMap | None:
    """Return the map of a float64 layer whose Jacobians are known, or None.

    A user's subclass may compute something else and is not taken for its parent.
    """
    if type(layer) is GRULayer:
        w, v, b = layer.weight_hh, layer.weight_ih, layer.bias
        if layer.reset == "after":
            return GRUMap(w, v, b, layer.bias_n)
        return GRUBeforeMap(w, v, b)
    if type(layer) is LSTMLayer and not layer.peephole:
        return LSTMMap(layer.weight_hh, layer.weight_ih, layer.bias, layer.cifg)
    if type(layer) is LeakyLayer:
        return ElmanMap(
            layer.recurrent_weight().t(),
            layer.weight_ih,
            layer.bias,
            layer.nonlinearity,
            1 / layer.time_constants,
            layer.form == "outside",
        )
    if type(layer) in (RNNLayer, IRNNLayer):
        assert isinstance(layer, RNNLayer)
        return ElmanMap(layer.weight_hh, layer.weight_ih, layer.bias, layer.nonlinearity)
    return None


def _generic(twin: SequenceModule, core: SequenceModule) -> StateMap:
    parts = layout(twin.init_state(1))

    def function(x: Tensor, u: Tensor) -> Tensor:
        read = twin.embed(u) if isinstance(twin, WholeModel) and core is not twin else u
        return flatten(core.step(read, unflatten(x, parts))[1])

    return CallableMap(function, twin.state_size(1), _read(twin))


def _read(twin: SequenceModule) -> int:
    """Return the size of what the model reads; 0 if it does not say."""
    if not isinstance(twin, WholeModel):
        first = twin.layers[0] if isinstance(twin, Stack) else twin
        if isinstance(first, RecurrentLayer | ProjectedLSTMLayer):
            return first.weight_ih.shape[1]
        return 0
    return twin.reads
