"""Small systems whose memory is known exactly: plain modules, nothing registered."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Linear(nn.Module):
    """h_t = A h_{t-1} + B x_t, y_t = C h_t."""

    def __init__(self, a: Tensor, b: Tensor, c: Tensor) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Parameter(a), nn.Parameter(b), nn.Parameter(c)

    def forward(self, x: Tensor) -> Tensor:
        h = torch.zeros(len(x), len(self.a), dtype=x.dtype)
        outputs = []
        for x_t in x.unbind(1):
            h = h @ self.a.T + x_t @ self.b.T
            outputs.append(h @ self.c.T)
        return torch.stack(outputs, dim=1)


def scalar(decay: float, dtype: torch.dtype = torch.float64) -> Linear:
    one = torch.ones(1, 1, dtype=dtype)
    return Linear(decay * one, one, one.clone())


def delay_line(cells: int) -> Linear:
    a = torch.diag(torch.ones(cells - 1), -1).double()
    b, c = torch.zeros(cells, 1).double(), torch.zeros(1, cells).double()
    b[0] = c[0, -1] = 1
    return Linear(a, b, c)


def chain(gain: float, cells: int) -> Linear:
    """Feedforward chain, every eigenvalue 0; all cells are read."""
    a = gain * torch.diag(torch.ones(cells - 1), -1).double()
    b = torch.zeros(cells, 1).double()
    b[0] = 1
    return Linear(a, b, torch.eye(cells).double())


def rotation(radius: float, angle: float, full: bool) -> Linear:
    angles = torch.tensor(angle, dtype=torch.float64)
    a = radius * torch.stack(
        [torch.stack([angles.cos(), -angles.sin()]), torch.stack([angles.sin(), angles.cos()])]
    )
    c = torch.eye(2).double() if full else torch.tensor([[1.0, 0.0]]).double()
    return Linear(a, torch.tensor([[1.0], [0.0]]).double(), c)


class ComplexMode(nn.Module):
    """h_t = r e^{i theta} h_{t-1} + x_t, y_t = Re h_t, in complex64."""

    def __init__(self, radius: float, angle: float) -> None:
        super().__init__()
        self.pole = nn.Parameter(torch.polar(torch.tensor(radius), torch.tensor(angle)))
        self.gain = nn.Parameter(torch.ones(1))

    def forward(self, x: Tensor) -> Tensor:
        h = torch.zeros_like(x[:, 0]) * self.pole
        outputs = []
        for x_t in x.unbind(1):
            h = self.pole * h + x_t
            outputs.append(self.gain * h.real)
        return torch.stack(outputs, dim=1)


class Delay(nn.Module):
    """y_t = x_{t-D}, without a state of its own."""

    def __init__(self, delay: int) -> None:
        super().__init__()
        self.delay = delay

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.pad(x, (0, 0, self.delay, 0))[:, : x.shape[1]]


class FIR(nn.Module):
    """y_t = sum_k w_k x_{t-k}."""

    def __init__(self, weights: list[float]) -> None:
        super().__init__()
        self.weights = weights

    def forward(self, x: Tensor) -> Tensor:
        pairs = enumerate(self.weights)
        return sum((w * Delay(k)(x) for k, w in pairs), torch.zeros_like(x))


class UniformAttention(nn.Module):
    """y_t = mean of x_s over s <= t."""

    def forward(self, x: Tensor) -> Tensor:
        steps = torch.arange(1, x.shape[1] + 1, dtype=x.dtype)
        return x.cumsum(1) / steps[:, None]


class Product(nn.Module):
    """y_t = x_{t-1} x_{t-2}."""

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = Delay(1)(x) * Delay(2)(x)
        return y


class Parity(nn.Module):
    """y_t = product of the signs of the last four inputs: gradient 0 almost everywhere."""

    def forward(self, x: Tensor) -> Tensor:
        y = torch.ones_like(x)
        for k in range(4):
            y = y * Delay(k)(x).sign()
        return y


class Bidirectional(nn.Module):
    """Reads one step of the future; says nothing about it unless asked to."""

    def forward(self, x: Tensor) -> Tensor:
        return x + torch.cat([x[:, 1:], torch.zeros_like(x[:, :1])], dim=1)
