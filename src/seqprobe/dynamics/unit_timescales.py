"""The time constants that units have by themselves, from their leaks and gates."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from seqprobe.adapters.projected import ProjectedLSTMLayer
from seqprobe.adapters.torch_rnn import as_sequence_module
from seqprobe.models import SequenceModule, Trace, WholeModel
from seqprobe.models.access import borrowed
from seqprobe.models.base import Stack
from seqprobe.models.gru import GRULayer
from seqprobe.models.leaky import LeakyLayer
from seqprobe.models.lstm import LSTMLayer
from seqprobe.models.mamba import MambaBlock
from seqprobe.models.mup import MuPLayer
from seqprobe.models.rnn import RNNLayer
from seqprobe.models.s4d import S4DBlock

__all__ = ["unit_timescales"]


def unit_timescales(model: nn.Module, x: Tensor) -> np.ndarray:
    """Return the time constant of every real of the state in steps, (n,); NaN where it has none.

    What a real would keep of itself if nothing else reached it: ``-1 / E ln k`` for the factor k by
    which a step multiplies it, averaged over inputs (N, T, D) or tokens (N, T). k is 1 - 1/tau for
    leaky units, 1 - tau in the muP form, 0 for tanh and rectified units (time constant 0), the
    update gate of a GRU (one less it, with the reset before the product), the forget gate for the
    cell of an LSTM, the modulus of the pole for S4D, and exp(Delta A) for Mamba. Buffers, and h of
    an LSTM, have none. Recurrent modules of torch are taken as they are.
    """
    model = as_sequence_module(model)
    core = (model.state_module() if isinstance(model, WholeModel) else None) or model
    layers = list(core.layers) if isinstance(core, Stack) else [core]
    prefix = "layer{}." if isinstance(core, Stack) else ""
    trace = Trace("*")
    with borrowed(model), torch.no_grad():
        model(x, trace=trace)
    found = []
    for i, layer in enumerate(layers):
        parts = layer.init_state(1) if isinstance(layer, SequenceModule) else {}
        known = _of_layer(layer, trace, prefix.format(i))
        for name, tensor in parts.items():
            reals = tensor.numel() * (2 if tensor.is_complex() else 1)
            found.append(known.get(name, np.full(reals, np.nan)))
    return np.concatenate(found)


def _of_layer(layer: object, trace: Trace, prefix: str) -> dict[str, np.ndarray]:
    """Return time constants by part of the state."""
    if isinstance(layer, LeakyLayer):
        return {"h": _from_log(torch.log1p(-1 / layer.time_constants.detach()))}
    if isinstance(layer, MuPLayer):
        return {"h": np.full(layer.width, _from_log(torch.tensor(1 - layer.tau).log()))}
    if isinstance(layer, RNNLayer):
        return {"h": np.zeros(layer.width)}
    if isinstance(layer, GRULayer):
        gate = trace[f"{prefix}update"]
        return {"h": _from_log(_mean_log(gate if layer.reset == "after" else 1 - gate))}
    if isinstance(layer, LSTMLayer | ProjectedLSTMLayer):
        return {"c": _from_log(_mean_log(trace[f"{prefix}forget"]))}
    if isinstance(layer, S4DBlock):
        decay = -torch.exp(layer.log_decay.detach()) * torch.exp(layer.log_step.detach())[:, None]
        return {"modes": np.repeat(_from_log(decay).ravel(), 2)}
    if isinstance(layer, MambaBlock):
        step = trace[f"{prefix}delta"].double().mean(dim=(0, 1))
        decay = -step[:, None] * torch.exp(layer.log_decay.detach()).to(step)
        return {"ssm": _from_log(decay).ravel()}
    return {}


def _mean_log(gate: Tensor) -> Tensor:
    return gate.double().clamp(min=1e-300).log().mean(dim=(0, 1))


def _from_log(log_factor: Tensor) -> np.ndarray:
    with np.errstate(divide="ignore"):
        return np.asarray(-1 / log_factor.double().cpu().numpy())
