"""How far a profile in the model's precision is from the same profile in float64."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from seqprobe.memory.jacobian import squared_jacobians
from seqprobe.models.access import borrowed, float64_twin

__all__ = ["Precision", "compare_with_float64"]

_OFF = 0.01  # a relative difference from here on is worth a warning
_SEEN = 1e-3  # of the peak: lags below it decide no reported length


@dataclass(frozen=True)
class Precision:
    """What a float64 run of the first sequence says about the numbers; NaN where not compared.

    Attributes
    ----------
    deviation
        Largest relative difference over lags with G above a thousandth of its peak.
    noise_floor
        Largest G, of any lag, that is off by more than 1 %.
    underflow_lag, lost_lag
        First and last lag that is 0 in the model's precision but not in float64.
    """

    deviation: float = math.nan
    noise_floor: float = 0.0
    underflow_lag: float = math.nan
    lost_lag: float = math.nan


def compare_with_float64(
    model: nn.Module, x: Tensor, times: Sequence[int], probes: Tensor, squares: np.ndarray
) -> Precision:
    """Run the first sequence again in float64 and compare.

    Parameters
    ----------
    model
        The model that gave `squares`; it is not changed.
    x, times, probes
        What it was given, see `squared_jacobians`.
    squares
        What came out, (N, len(times), K + 1).
    """
    if x.dtype == torch.float64:
        return Precision()
    exact_model = float64_twin(model)
    with borrowed(exact_model):
        exact_squares = squared_jacobians(
            exact_model,
            x[:1].cpu().double(),
            times,
            probes.cpu().double(),
            squares.shape[2] - 1,
        )
    got = np.sqrt(squares[:1].mean(axis=(0, 1)))
    exact = np.sqrt(exact_squares.mean(axis=(0, 1)))
    off = np.abs(got - exact) > _OFF * exact
    seen = exact >= _SEEN * exact.max()
    with np.errstate(invalid="ignore", divide="ignore"):
        relative = np.abs(got - exact) / exact
    lost = np.flatnonzero((got == 0) & (exact > 0))
    return Precision(
        deviation=float(relative[seen].max()) if exact.max() > 0 else 0.0,
        noise_floor=float(exact[off].max(initial=0.0)),
        underflow_lag=float(lost[0]) if len(lost) else math.nan,
        lost_lag=float(lost[-1]) if len(lost) else math.nan,
    )
