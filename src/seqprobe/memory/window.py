"""What every profile over lags needs first: inputs of the model, output times, lags, attributes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from seqprobe import provenance
from seqprobe.errors import NotApplicableError, UsageError
from seqprobe.models.access import like_parameters
from seqprobe.tasks import Batch

__all__ = ["Window", "check_lag", "describe", "is_classifier", "make_window", "reals", "sequences"]


@dataclass(frozen=True)
class Window:
    """Which lags are measured at which output times; every lag fits before every time."""

    max_lag: int
    times: list[int]


def sequences(model: nn.Module, batch: Tensor | Batch) -> Tensor:
    """Return what goes into the model, (N, T, D) or tokens (N, T), on its device."""
    x = like_parameters(model, batch.inputs if isinstance(batch, Batch) else batch)
    if x.dim() != (3 if x.is_floating_point() else 2):
        raise UsageError(
            f"inputs have shape {tuple(x.shape)} (allowed: (N, T, D) or tokens (N, T))"
        )
    return x


def reals(model: nn.Module, batch: Tensor | Batch) -> Tensor:
    """Return inputs to differentiate by, (N, T, D): for a token model, the embedding."""
    x = sequences(model, batch)
    if x.is_floating_point():
        return x
    if not hasattr(model, "embed"):
        raise NotApplicableError(
            "model takes tokens and has no 'embed' method, so there is no input to"
            " differentiate; give it one that returns (B, T, E)"
        )
    with torch.no_grad():
        return cast("Callable[[Tensor], Tensor]", model.embed)(x)


def make_window(model: nn.Module, length: int, max_lag: int | None, n_times: int) -> Window:
    """Choose the output times for sequences of T steps.

    Parameters
    ----------
    model
        One that scores its last step only (``model.spec.readout``) is looked at there.
    length
        Length T.
    max_lag
        Largest lag; None for T - 1 if only the last step is scored, else two thirds of T.
    n_times
        Number of output times, spread over max_lag <= t < T.

    Raises
    ------
    UsageError
        If they do not fit.
    """
    spec = getattr(model, "spec", None)
    last_only = spec is not None and spec.readout == "last"
    if max_lag is None:
        max_lag = length - 1 if last_only else 2 * length // 3
    check_lag(max_lag, length)
    if n_times < 1:
        raise UsageError(f"number of output times is {n_times} (allowed: at least 1)")
    if last_only:
        return Window(max_lag, [length - 1])
    spread = np.linspace(max_lag, length - 1, min(n_times, length - max_lag)).round().astype(int)
    return Window(max_lag, [int(t) for t in np.unique(spread)])


def check_lag(lag: int, length: int) -> None:
    """Refuse a lag that does not fit sequences of T steps."""
    if not 0 <= lag < length:
        raise UsageError(
            f"lag {lag} does not fit sequences of {length} steps (allowed: 0 to {length - 1})"
        )


def is_classifier(model: nn.Module) -> bool:
    """Say whether outputs are the logits of one class."""
    spec = getattr(model, "spec", None)
    return spec is not None and spec.output_kind == "class"


def describe(
    analysis: str, model: nn.Module, x: Tensor, parameters: Mapping[str, Any], seed: int
) -> dict[str, str | int]:
    """Return the attributes of a result about lags."""
    attrs = provenance.attrs(
        f"memory.{analysis}",
        {"n_sequences": len(x), "length": x.shape[1], **parameters},
        seed=seed,
        device=str(x.device),
        dtype=str(x.dtype).removeprefix("torch."),
    )
    attrs["lag_convention"] = "k = t - s; lag 0 is the current input"
    return attrs | provenance.model_attrs(model)
