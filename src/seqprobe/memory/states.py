"""The tensors of a model that memory is looked for in, as arrays over time."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from seqprobe.adapters.torch_rnn import as_sequence_module
from seqprobe.errors import NotApplicableError, UsageError
from seqprobe.models import SequenceModule, Trace, WholeModel
from seqprobe.models.access import borrowed, refuse_lookahead, state_grows

__all__ = ["collect"]


def collect(model: nn.Module, x: Tensor, part: str) -> Tensor:
    """Return one tensor at every step, (N, T, d).

    Parameters
    ----------
    model
        A model of the contract.
    x
        Inputs (N, T, D) or tokens (N, T).
    part
        ``"readout"``, what the linear head reads; ``"state"``, the streaming state after each step
        as one vector; or the name of an internal, such as ``"layer0.update"``.

    Raises
    ------
    NotApplicableError
        If the model is not causal, has no such tensor, or a state that grows with time.
    """
    model = as_sequence_module(model)
    refuse_lookahead(model)
    with borrowed(model), torch.no_grad():
        if part == "state":
            return _streamed(model, x)
        if part == "readout":
            if not isinstance(model, WholeModel):
                raise NotApplicableError(
                    "only a whole model has a readout; use 'state' or the name of an internal"
                )
            return model.features(x)
        trace = Trace(part)
        model(x, trace=trace)
        if part not in trace:
            every = Trace("*")
            model(x[:1, :2], trace=every)
            raise UsageError(
                f"model has no internal '{part}' (allowed: readout, state, {', '.join(every)})"
            )
        return trace[part].flatten(2)


def _streamed(model: SequenceModule, x: Tensor) -> Tensor:
    """Return the flat state after every step, (N, T, d)."""
    if state_grows(model):
        raise NotApplicableError(
            "the state of this model grows with time and holds every input, so that all of them can"
            " be decoded; use part 'readout', or a measure of use (total-effect)"
        )
    return model.streamed(x)
