"""Causal convolution with a kernel as long as the sequence."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["causal_fft_conv", "naive_causal_conv"]


def causal_fft_conv(u: Tensor, kernel: Tensor) -> Tensor:
    """Return ``y_t = sum_{k<=t} kernel_k u_{t-k}`` by FFT.

    Parameters
    ----------
    u
        Inputs (B, H, T).
    kernel
        One kernel per channel, (H, T).

    Returns
    -------
    Tensor
        (B, H, T). Cost: O(T log T) per channel. A float error of rounding size spreads over the
        whole output, also to times before the input that caused it.
    """
    length = u.shape[2]
    size = 2 * length  # zeros behind the sequence keep its end from wrapping round to its start
    spectrum = torch.fft.rfft(u, n=size) * torch.fft.rfft(kernel, n=size)
    y: Tensor = torch.fft.irfft(spectrum, n=size)
    return y[..., :length]


def naive_causal_conv(u: Tensor, kernel: Tensor) -> Tensor:
    """Return the same by summing every product, O(T^2)."""
    outputs = []
    for t in range(u.shape[2]):
        outputs.append((kernel[:, : t + 1] * u[:, :, : t + 1].flip(2)).sum(dim=2))
    return torch.stack(outputs, dim=2)
