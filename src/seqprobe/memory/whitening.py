"""The gradient profile in units that compare: inputs and outputs of unit covariance."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
import xarray as xr
from torch import Tensor, nn

from seqprobe.memory.estimates import estimate, resample
from seqprobe.memory.window import is_classifier
from seqprobe.models.access import first_output

__all__ = ["Whitening", "inverse_root", "normalised", "whitening"]

_SMALLEST = 1e-8  # of the largest variance; float32 outputs have no more digits


class Whitening(NamedTuple):
    """Factors of the Jacobian.

    Attributes
    ----------
    outputs
        Pseudo-inverse root of the covariance of the outputs, (K, K).
    inputs
        Root of the covariance of the inputs, (D, D).
    rank
        Rank of the covariance of the outputs.
    """

    outputs: Tensor
    inputs: Tensor
    rank: int


def inverse_root(covariance: np.ndarray) -> tuple[np.ndarray, np.ndarray, int]:
    """Return ``S^(-1/2)`` (pseudo-inverse), ``S^(1/2)`` and the rank of a covariance."""
    sizes, axes = np.linalg.eigh(covariance)
    there = sizes > _SMALLEST * max(float(sizes.max()), 0.0)
    roots = np.sqrt(np.where(there, sizes, 0.0))
    inverse = np.divide(1.0, roots, out=np.zeros_like(roots), where=there)
    return (axes * inverse) @ axes.T, (axes * roots) @ axes.T, int(there.sum())


def whitening(model: nn.Module, x: Tensor, times: Sequence[int]) -> Whitening:
    """Return the factors for inputs (N, T, D) and the outputs at some times, centred logits."""
    with torch.no_grad():
        y = first_output(model, x[:, : times[-1] + 1])[:, list(times)].double().flatten(0, 1)
    if is_classifier(model):
        y = y - y.mean(dim=1, keepdim=True)
    outputs, _, rank = inverse_root(_covariance(y))
    _, inputs, _ = inverse_root(_covariance(x.double().flatten(0, 1)))
    left, right = (torch.as_tensor(m, dtype=x.dtype, device=x.device) for m in (outputs, inputs))
    return Whitening(left, right, rank)


def _covariance(samples: Tensor) -> np.ndarray:
    return np.atleast_2d(np.cov(samples.cpu().numpy().T, bias=True))


def normalised(squares: np.ndarray, rank: int, rng: np.random.Generator) -> xr.Dataset:
    """Return the profile of whitened squares (trial, time, lag), and its sum."""
    weights = resample(len(squares), rng)
    profiles = weights @ squares.mean(axis=1) / max(rank, 1)
    label = "variance-normalised squared Jacobian norm"
    return xr.Dataset(
        {
            **estimate("Gnorm2", ("lag",), profiles, label, "1"),
            **estimate("Gnorm2_sum", (), profiles.sum(axis=1), f"sum of: {label}", "1"),
        }
    )
