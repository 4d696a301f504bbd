"""The recurrence of Mamba: diagonal, and different at every step."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["chunked_selective_scan", "selective_scan", "selective_step"]


def selective_step(
    h: Tensor, x_t: Tensor, delta_t: Tensor, a: Tensor, b_t: Tensor, c_t: Tensor
) -> tuple[Tensor, Tensor]:
    """Advance the state once.

    ``h' = exp(Delta A) h + (Delta x) B`` (zero-order hold for A, Euler for B), ``y = h' C``.

    Parameters
    ----------
    h
        State (B, P, N).
    x_t, delta_t
        Input and step size (B, P).
    a
        Negative poles (P, N).
    b_t, c_t
        Input and output weights (B, N).

    Returns
    -------
    tuple of Tensor
        y (B, P) and the new state (B, P, N).
    """
    decay = torch.exp(delta_t[..., None] * a)
    h = torch.addcmul((delta_t * x_t)[..., None] * b_t[:, None], decay, h)
    return (h @ c_t[..., None])[..., 0], h


def selective_scan(
    h: Tensor, x: Tensor, delta: Tensor, a: Tensor, b: Tensor, c: Tensor
) -> tuple[Tensor, Tensor]:
    """Advance the state over a sequence, one step after the other.

    On a CPU this is the fastest form at batch 32: the state stays in the cache.

    Parameters
    ----------
    h
        State (B, P, N) before the sequence.
    x, delta
        (B, T, P).
    a
        (P, N).
    b, c
        (B, T, N).

    Returns
    -------
    tuple of Tensor
        y (B, T, P) and the state after the last step.
    """
    outputs = []
    for row in zip(x.unbind(1), delta.unbind(1), b.unbind(1), c.unbind(1), strict=True):
        x_t, delta_t, b_t, c_t = row
        y_t, h = selective_step(h, x_t, delta_t, a, b_t, c_t)
        outputs.append(y_t)
    return torch.stack(outputs, dim=1), h


def chunked_selective_scan(
    h: Tensor, x: Tensor, delta: Tensor, a: Tensor, b: Tensor, c: Tensor, chunk: int = 16
) -> tuple[Tensor, Tensor]:
    """Advance the state over a sequence in two levels; equals `selective_scan`.

    All chunks advance together for `chunk` steps from zero, keeping the running product of decays;
    then the state is carried from chunk to chunk, and what it adds within each is summed. No ratio
    of decays is formed, so that nothing overflows. Needs T / chunk + chunk steps in sequence in
    place of T, and (B, T, P, N) of memory.

    Parameters
    ----------
    h, x, delta, a, b, c
        See `selective_scan`.
    chunk
        Steps per chunk.
    """
    batch, length, width = x.shape
    n_chunks = -(-length // chunk)
    padding = n_chunks * chunk - length

    def split(tensor: Tensor) -> tuple[Tensor, ...]:
        # A step size of zero leaves the state as it is, so that padding changes nothing.
        padded = torch.nn.functional.pad(tensor, (0, 0, 0, padding))
        return padded.reshape(batch, n_chunks, chunk, -1).unbind(2)

    deltas, outputs_weights = split(delta), split(c)
    local = torch.zeros(batch, n_chunks, *a.shape, dtype=h.dtype, device=h.device)
    product = torch.ones_like(local)
    locals_, products = [], []
    for x_t, delta_t, b_t in zip(split(x), deltas, split(b), strict=True):
        decay = torch.exp(delta_t[..., None] * a)
        local = torch.addcmul((delta_t * x_t)[..., None] * b_t[:, :, None], decay, local)
        product = product * decay
        locals_.append(local)
        products.append(product)

    starts = []
    for last, decay in zip(local.unbind(1), product.unbind(1), strict=True):
        starts.append(h)
        h = torch.addcmul(last, decay, h)
    start = torch.stack(starts, dim=1)

    outputs = [
        (torch.addcmul(part, decay, start) @ c_t[..., None])[..., 0]
        for part, decay, c_t in zip(locals_, products, outputs_weights, strict=True)
    ]
    y = torch.stack(outputs, dim=2).reshape(batch, n_chunks * chunk, width)
    return y[:, :length], h
