"""How many inputs can reach an output, by formula and by measurement."""

from __future__ import annotations

import math

import numpy as np
import torch
import xarray as xr
from torch import Tensor, nn

from seqprobe.errors import NotApplicableError, UsageError
from seqprobe.memory.summary import steps
from seqprobe.memory.window import describe
from seqprobe.models.access import borrowed, check_causal, first_output, in_dtype
from seqprobe.schema import variable
from seqprobe.seeding import generator

__all__ = ["receptive_field"]

_DEFAULT_LENGTH = 256
_SEQUENCES = 8  # of random inputs, so that a unit silent in one speaks in another


def receptive_field(
    model: nn.Module,
    *,
    length: int | None = None,
    input_size: int | None = None,
    seed: int = 0,
) -> xr.Dataset:
    """Return the receptive field of a model: from its architecture, and measured in two ways.

    Parameters
    ----------
    model
        Any causal module that maps (B, T, D) to (B, T, K). It is left as it was; it runs in
        float64.
    length
        Length T of the random inputs; None for twice the field by formula, or 256. What is not
        over within it counts as unbounded.
    input_size
        Number D of inputs; None if the model's ``spec`` says it.
    seed
        Of the inputs.

    Returns
    -------
    xarray.Dataset
        In steps, the current input included; infinite if unbounded:

        * ``rf_analytic``: what the architecture says, ``1 + sum (K - 1) dilation`` over all
          convolutions; NaN for a module that says nothing.
        * ``rf_nan``: how many outputs a NaN at one input makes NaN. Needs no threshold; NaN where
          it also reaches earlier outputs, as in attention, where 0 times NaN is NaN under the mask.
        * ``rf_gradient``: one more than the last lag with a gradient that is not exactly 0.
        * ``agree``: 1 if all that are known are equal, else 0; NaN if fewer than two are known.

    Raises
    ------
    NotApplicableError
        If the model is not causal.
    UsageError
        If the number of inputs is not known, or the length cannot show the field.

    Notes
    -----
    The gradient is searched for exact zeros; it can end before the formula where weights are zero,
    units silent, or the network forgets so fast that float64 underflows. A push of the input is not
    used: its effect drowns in rounding after some hundred steps. Models evaluated by FFT spread
    rounding everywhere and are not measured. Cost: one forward pass and one backward pass.
    """
    analytic = getattr(model, "receptive_field", None)
    if length is None:
        length = _DEFAULT_LENGTH if analytic is None else 2 * analytic + 1
    if length < 2:
        raise UsageError(f"length {length} shows no field (allowed: 2 or more)")
    if analytic is not None and length <= analytic:
        raise UsageError(
            f"length {length} does not show a field of {analytic} (allowed: above {analytic})"
        )
    worker = in_dtype(model, torch.float64)
    x = _inputs(worker, length, input_size, seed)
    with borrowed(worker):
        check_causal(worker, x)
        exact = getattr(model, "exact_causality", True)
        # An FFT spreads rounding everywhere, so that nothing is exactly zero.
        nothing = math.nan
        found = {
            "rf_analytic": _known(model, analytic),
            "rf_nan": _nan(worker, x) if exact else nothing,
            "rf_gradient": _gradient(worker, x) if exact else nothing,
        }
    words = {
        "rf_analytic": "receptive field by formula",
        "rf_nan": "receptive field by a NaN",
        "rf_gradient": "receptive field by the gradient",
    }
    known = {value for value in found.values() if not math.isnan(value)}
    data = {name: steps((), value, words[name]) for name, value in found.items()}
    result = xr.Dataset(data, attrs=describe("receptive_field", model, x, {}, seed))
    count = sum(not math.isnan(value) for value in found.values())
    agree = float(len(known) == 1) if count > 1 else math.nan
    result["agree"] = variable((), agree, "all agree", "1")
    return result


def _inputs(model: nn.Module, length: int, input_size: int | None, seed: int) -> Tensor:
    spec = getattr(model, "spec", None)
    if input_size is None:
        if spec is None:
            raise UsageError("number of inputs is not known; give input_size")
        input_size = spec.input_size
        if spec.input_kind == "token":
            table = getattr(model, "embedding", None)
            if not isinstance(table, nn.Embedding):
                raise NotApplicableError("model takes tokens and shows no embedding to measure at")
            input_size = table.embedding_dim
    rng = generator(seed, "receptive field")
    assert input_size is not None
    like = next(iter(model.parameters()), torch.zeros(()))
    return torch.as_tensor(
        rng.standard_normal((_SEQUENCES, length, input_size)), device=like.device
    )


def _known(model: nn.Module, analytic: int | None) -> float:
    if analytic is not None:
        return float(analytic)
    # A module of the contract that says None says "unbounded"; any other says nothing.
    return math.inf if hasattr(model, "receptive_field") else math.nan


def _width(touched: np.ndarray) -> float:
    """Return one more than the last touched step; infinite if it is the last there is."""
    last = np.flatnonzero(touched)
    if not len(last):
        return 0.0
    return math.inf if last[-1] == len(touched) - 1 else float(last[-1] + 1)


def _nan(model: nn.Module, x: Tensor) -> float:
    poisoned = x[:1].clone()
    poisoned[:, 1] = math.nan
    with torch.no_grad():
        y = first_output(model, poisoned)[0]
    bad = y.isnan().any(dim=1).cpu().numpy()
    return math.nan if bad[0] else _width(bad[1:])


def _gradient(model: nn.Module, x: Tensor) -> float:
    x = x.clone().requires_grad_()
    with torch.enable_grad():
        y = first_output(model, x)[:, -1]
        weights = torch.linspace(1, 2, y.shape[1], dtype=y.dtype, device=y.device)
        (gradient,) = torch.autograd.grad((y * weights).sum(), x, materialize_grads=True)
    return _width((gradient.abs().sum(dim=(0, 2)) > 0).flip(0).cpu().numpy())
