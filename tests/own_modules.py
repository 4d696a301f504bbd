"""Modules that a user might have written, none of them of our registry."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


class Encoder(nn.Module):
    """Three layers of LSTM and a head at every step."""

    def __init__(self, batch_first: bool = True) -> None:
        super().__init__()
        self.rnn = nn.LSTM(4, 8, 3, batch_first=batch_first)
        self.head = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        y, _ = self.rnn(x)
        return self.head(y)  # type: ignore[no-any-return]


class Last(Encoder):
    """The answer after the last step."""

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.rnn(x)[0][:, -1])  # type: ignore[no-any-return]


class Mean(Encoder):
    """The answer from the mean over time, which is no step."""

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.rnn(x)[0].mean(1))  # type: ignore[no-any-return]


class Normed(nn.Module):
    """A step-wise map before the recurrence, and two recurrent modules of two kinds."""

    def __init__(self) -> None:
        super().__init__()
        self.lower, self.upper = nn.GRU(6, 8, batch_first=True), nn.LSTM(8, 7, 2, proj_size=3)
        self.into = nn.Sequential(nn.Linear(4, 6), nn.LayerNorm(6))

    def forward(self, x: Tensor) -> Tensor:
        y, _ = self.lower(self.into(x))
        y, _ = self.upper(y.transpose(0, 1))
        return y.transpose(0, 1)  # type: ignore[no-any-return]


class Cells(nn.Module):
    """A loop over two cells, one of which learns where it starts."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.out = nn.GRUCell(4, 8), nn.LSTMCell(8, 6), nn.Linear(6, 2)
        self.start = nn.Parameter(torch.linspace(-1, 1, 8))

    def forward(self, x: Tensor) -> Tensor:
        h: Any = self.start.expand(len(x), -1)
        both: Any = None
        outputs = []
        for x_t in x.unbind(1):
            h = self.a(x_t, h)
            both = self.b(h, both)
            outputs.append(self.out(both[0]))
        return torch.stack(outputs, 1)


class Tokens(nn.Module):
    """Tokens in, logits out."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.rnn = nn.Embedding(11, 4), nn.RNN(4, 8, batch_first=True)
        self.head = nn.Linear(8, 11)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.head(self.rnn(self.table(tokens))[0])  # type: ignore[no-any-return]


class EncoderDecoder(nn.Module):
    """Every output depends on the whole input."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.GRU(4, 8, batch_first=True)
        self.decoder = nn.GRU(4, 8, batch_first=True)
        self.out = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        _, h = self.encoder(x)
        y, _ = self.decoder(torch.zeros_like(x), h)
        return self.out(y)  # type: ignore[no-any-return]


class TCN(nn.Module):
    """Two causal convolutions: reach 1 + 2 + 4."""

    def __init__(self, channels_first: bool = False) -> None:
        super().__init__()
        self.channels_first = channels_first
        self.low, self.high = nn.Conv1d(4, 6, 3), nn.Conv1d(6, 6, 3, dilation=2)
        self.head = nn.Conv1d(6, 5, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = x if self.channels_first else x.mT
        x = torch.relu(self.low(nn.functional.pad(x, (2, 0))))
        y = self.head(torch.relu(self.high(nn.functional.pad(x, (4, 0)))))
        return y if self.channels_first else y.mT  # type: ignore[no-any-return]


class Accumulator(nn.Module):
    """A state of the user's own: the running sum, kept as a tensor, a tuple or a dict."""

    def __init__(self, kind: str = "tensor") -> None:
        super().__init__()
        self.kind, self.weight = kind, nn.Parameter(torch.tensor(0.5))

    def init_state(self, batch: int) -> Any:
        zero = torch.zeros(batch, 4, dtype=self.weight.dtype)
        return {"tensor": zero, "tuple": (zero,), "dict": {"sum": zero}, "int": 3}[self.kind]

    def step(self, x_t: Tensor, state: Any) -> tuple[Tensor, Any]:
        before = state
        if self.kind != "tensor":
            before = state[0] if self.kind == "tuple" else state["sum"]
        after = before + self.weight * x_t
        return after, {"tensor": after, "tuple": (after,), "dict": {"sum": after}}[self.kind]

    def forward(self, x: Tensor) -> Tensor:
        return torch.cumsum(self.weight * x, dim=1)
