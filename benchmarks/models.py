"""One training step of our cells against torch's own modules, as a ratio.

    python benchmarks/models.py

H = 128, T = 256, B = 32, one thread, forward and backward, in turn; with the C library's allocator
as it is and tuned.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from timing import in_turn, one_thread
from torch import Tensor, nn

from seqprobe.device import tune_malloc
from seqprobe.models.gru import GRULayer
from seqprobe.models.lstm import LSTMLayer
from seqprobe.models.rnn import RNNLayer

H, T, B = 128, 256, 32

PAIRS: dict[str, tuple[nn.Module, nn.Module]] = {
    "rnn": (RNNLayer(H, H), nn.RNN(H, H, batch_first=True)),
    "gru": (GRULayer(H, H), nn.GRU(H, H, batch_first=True)),
    "gru, reset before": (GRULayer(H, H, "before"), nn.GRU(H, H, batch_first=True)),
    "lstm, fused": (LSTMLayer(H, H), nn.LSTM(H, H, batch_first=True)),
    "lstm, peephole": (LSTMLayer(H, H, peephole=True), nn.LSTM(H, H, batch_first=True)),
}


def step(module: nn.Module, x: Tensor) -> Callable[[], None]:
    """Return one forward and backward pass of a module."""

    def work() -> None:
        module.zero_grad()
        module(x)[0].square().mean().backward()

    return work


def main() -> None:
    """Print a row per cell and allocator."""
    one_thread()
    x = torch.randn(B, T, H)
    print(f"training step, H={H} T={T} B={B}, one thread, CPU ms (median of 15, in turn)")
    print(f"{'cell':<20}{'malloc':<10}{'ours':>8}{'torch':>8}{'ratio':>8}")
    for tuned in (False, True):
        if tuned and not tune_malloc():
            break
        for name, (ours, theirs) in PAIRS.items():
            a, b, ratio = in_turn(step(ours, x), step(theirs, x))
            malloc = "tuned" if tuned else "default"
            print(f"{name:<20}{malloc:<10}{a * 1e3:>8.1f}{b * 1e3:>8.1f}{ratio:>8.2f}")


if __name__ == "__main__":
    main()
