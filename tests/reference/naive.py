"""Slow forms that say what the fast ones must equal."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from seqprobe.models import SequenceModule
from seqprobe.models.access import first_output
from seqprobe.state import State


def scan(model: SequenceModule, x: Tensor, state: State | None = None) -> tuple[Tensor, State]:
    """Step through (B, T, ...) one input at a time."""
    state = model.init_state(len(x)) if state is None else state
    outputs = []
    for x_t in x.unbind(1):
        y_t, state = model.step(x_t, state)
        outputs.append(y_t)
    return torch.stack(outputs, dim=1), state


def squared_jacobians(model: nn.Module, x: Tensor, times: list[int], max_lag: int) -> np.ndarray:
    """One backward pass per (sequence, time, output): (N, len(times), max_lag + 1)."""
    result = np.zeros((len(x), len(times), max_lag + 1))
    for n in range(len(x)):
        row = x[n : n + 1].detach().requires_grad_()
        y = first_output(model, row)
        for j, t in enumerate(times):
            for output in range(y.shape[2]):
                (g,) = torch.autograd.grad(y[0, t, output], row, retain_graph=True)
                square = g[0].double().square().sum(dim=1)
                result[n, j] += square[t - max_lag : t + 1].flip(0).numpy()
    return result
