"""Inputs and models whose memory is known."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def white(n: int, length: int, dims: int = 1, seed: int = 0) -> Tensor:
    """Independent Gaussian inputs."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n, length, dims, generator=generator, dtype=torch.float64)


def uniform(n: int, length: int, seed: int = 0) -> Tensor:
    """Independent inputs from [-1, 1]."""
    values = np.random.default_rng(seed).uniform(-1, 1, (n, length, 1))
    return torch.from_numpy(values)
