"""What happens to an output when earlier inputs are replaced: the core of the measures of use."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seqprobe.models.access import first_output

__all__ = ["changes_by_lag", "divergence", "output_at", "output_functional"]

_STEPS = 2**17  # rows times steps of one forward pass

# Maps (lag index, position) to what stands there instead, (N, D) or tokens (N,).
Replacement = Callable[[int, int], Tensor]


def output_at(model: nn.Module, x: Tensor) -> Tensor:
    """Return the output after the last step of (N, T, ...), (N, K)."""
    count = max(1, _STEPS // x.shape[1])
    return torch.cat([first_output(model, piece)[:, -1] for piece in x.split(count)])


def changes_by_lag(
    model: nn.Module,
    x: Tensor,
    times: Sequence[int],
    lags: Sequence[int],
    replacement: Replacement,
    compare: Callable[[Tensor, Tensor], Tensor],
    on_progress: Callable[[int, int], None] | None = None,
) -> np.ndarray:
    """Replace the input at one lag at a time, and compare the output with what it was.

    Parameters
    ----------
    model
        Maps (B, T, D) or tokens (B, T) to (B, T, K).
    x
        Inputs (N, T, D) or tokens (N, T).
    times
        Output times, each at least the largest lag.
    lags
        Lags k; the input at t - k is replaced.
    replacement
        Called with the index of the lag and the position t - k.
    compare
        Maps outputs before and after, (N, K) each, to numbers (N, ...).
    on_progress
        Called with the number of (time, lag) pairs done and their total.

    Returns
    -------
    numpy.ndarray
        (N, len(times), len(lags), ...), float64.

    Notes
    -----
    Cost: one forward pass of N sequences per time and lag, cut after that time.
    """
    rows = []
    with torch.no_grad():
        for j, t in enumerate(times):
            before = output_at(model, x[:, : t + 1])
            changed = []
            for i, lag in enumerate(lags):
                other = x[:, : t + 1].clone()
                other[:, t - lag] = replacement(i, t - lag)
                changed.append(compare(before, output_at(model, other)).double().cpu().numpy())
                if on_progress is not None:
                    on_progress(j * len(lags) + i + 1, len(times) * len(lags))
            rows.append(np.stack(changed, axis=1))
    return np.stack(rows, axis=1)


def output_functional(model: nn.Module) -> str:
    """Return how outputs of a model are compared; see `divergence`."""
    spec = getattr(model, "spec", None)
    kinds = {"class": "categorical", "binary": "binary"}
    return "squared" if spec is None else kinds.get(spec.output_kind, "squared")


def divergence(functional: str, before: Tensor, after: Tensor) -> Tensor:
    """Return how far outputs (N, K) moved, (N,).

    ``"categorical"``: KL(before || after) of the distributions of the logits, in nats;
    ``"binary"``: the same, summed over independent logits; ``"squared"``: half the squared
    distance.
    """
    before, after = before.double(), after.double()
    if functional == "categorical":
        log_p, log_q = F.log_softmax(before, dim=1), F.log_softmax(after, dim=1)
        return (log_p.exp() * (log_p - log_q)).sum(dim=1).clamp(min=0)
    if functional == "binary":
        on = torch.sigmoid(before) * (F.logsigmoid(before) - F.logsigmoid(after))
        off = torch.sigmoid(-before) * (F.logsigmoid(-before) - F.logsigmoid(-after))
        return (on + off).sum(dim=1).clamp(min=0)
    return (after - before).square().sum(dim=1) / 2
