"""Systems whose fixed points are known without a search."""

from __future__ import annotations

import torch
from torch import Tensor

from seqprobe.dynamics.maps import CallableMap, ElmanMap, GRUMap, LSTMMap

# x = tanh(2 x) has the roots 0 and +-ROOT, where the slope is 2 (1 - ROOT^2).
ROOT = 0.9575040240772688
SLOPE = 0.16637208775
FOLD = 0.532839975353552  # of x = tanh(2 x + b)


def float64(shape: tuple[int, ...], seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def product_weights(units: int, size: int, gain: float) -> Tensor:
    """W = gain * I on the first units; the others read them and nothing else."""
    w = torch.zeros(size, size, dtype=torch.float64)
    w[:units, :units] = gain * torch.eye(units)
    w[units:, :units] = float64((size - units, units)) / size**0.5
    return w


def product_elman(units: int = 3, size: int = 64, inputs: int = 1) -> ElmanMap:
    """3^units fixed points, coordinates of the free units in {0, +-ROOT}."""
    v = torch.zeros(size, inputs, dtype=torch.float64)
    v[0, 0] = 1
    return ElmanMap(product_weights(units, size, 2.0), v, torch.zeros(size).double())


def product_gru(units: int = 3, size: int = 16) -> GRUMap:
    """The same roots in a GRU whose gates stand at one half."""
    zero = torch.zeros(size, size, dtype=torch.float64)
    w = torch.cat([zero, zero, product_weights(units, size, 4.0)])
    w[2 * size + units :] *= 0.5
    none = torch.zeros(3 * size, dtype=torch.float64)
    return GRUMap(w, torch.zeros(3 * size, 1, dtype=torch.float64), none, none[:size])


def random_gru(size: int = 7, inputs: int = 2) -> GRUMap:
    return GRUMap(
        float64((3 * size, size), 1),
        float64((3 * size, inputs), 2),
        float64((3 * size,), 3),
        float64((size,), 4),
    )


def scalar_lstm(w: float, i: float, f: float, o: float) -> LSTMMap:
    """Gates held by their biases: h = o tanh(i tanh(w h) / (1 - f))."""

    def logit(p: float) -> Tensor:
        return torch.logit(torch.tensor(p, dtype=torch.float64))

    weights = torch.tensor([[0.0], [0.0], [w], [0.0]], dtype=torch.float64)
    bias = torch.stack([logit(i), logit(f), torch.zeros(()).double(), logit(o)])
    return LSTMMap(weights, torch.zeros(4, 1, dtype=torch.float64), bias)


def linear(a: Tensor, b: Tensor | None = None) -> CallableMap:
    inputs = 0 if b is None else b.shape[1]
    return CallableMap(lambda x, u: x @ a.T + (0 if b is None else u @ b.T), len(a), inputs)


def logistic(r: float) -> CallableMap:
    return CallableMap(lambda x, u: r * x * (1 - x), 1)


def henon() -> CallableMap:
    def step(x: Tensor, u: Tensor) -> Tensor:
        return torch.stack([1 - 1.4 * x[:, 0] ** 2 + x[:, 1], 0.3 * x[:, 0]], dim=1)

    return CallableMap(step, 2)


def oscillator(angle: float, pull: float = 0.1) -> CallableMap:
    """r' = r (1 + pull (1 - r^2)), turned by `angle`: the unit circle, multiplier 1 - 2 pull."""
    turn = torch.tensor(angle, dtype=torch.float64)
    rotation = torch.stack(
        [torch.stack([turn.cos(), -turn.sin()]), torch.stack([turn.sin(), turn.cos()])]
    )

    def step(x: Tensor, u: Tensor) -> Tensor:
        return (1 + pull * (1 - x.square().sum(dim=1, keepdim=True))) * (x @ rotation.T)

    return CallableMap(step, 2)
