"""One training step of our cells against torch's own, and of every model against nn.LSTM.

    python benchmarks/models.py

One thread, B = 32, forward and backward, in turn with the peer; with the C library's allocator as
it is and tuned. Cells: H = 128, T = 256. Models: one layer of d = 128 between an embedding of 64
tokens and a head, T = 256 and 1024, against the same around nn.LSTM.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from timing import in_turn, one_thread
from torch import Tensor, nn

from seqprobe.device import tune_malloc
from seqprobe.models import MODELS, build_model
from seqprobe.models.gru import GRULayer
from seqprobe.models.lstm import LSTMLayer
from seqprobe.models.rnn import RNNLayer
from seqprobe.spec import Spec

H, T, B, VOCABULARY = 128, 256, 32, 64
LAYERS = {"tcn": 4}  # levels; the others have one layer

CELLS: dict[str, tuple[nn.Module, nn.Module]] = {
    "rnn": (RNNLayer(H, H), nn.RNN(H, H, batch_first=True)),
    "gru": (GRULayer(H, H), nn.GRU(H, H, batch_first=True)),
    "gru, reset before": (GRULayer(H, H, "before"), nn.GRU(H, H, batch_first=True)),
    "lstm, fused": (LSTMLayer(H, H), nn.LSTM(H, H, batch_first=True)),
    "lstm, peephole": (LSTMLayer(H, H, peephole=True), nn.LSTM(H, H, batch_first=True)),
}


class Peer(nn.Module):
    """Embedding, nn.LSTM, head."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(VOCABULARY, H)
        self.lstm = nn.LSTM(H, H, batch_first=True)
        self.head = nn.Linear(H, VOCABULARY)

    def forward(self, x: Tensor) -> tuple[Tensor, None]:
        """Map tokens (B, T) to logits."""
        return self.head(self.lstm(self.embedding(x))[0]), None


def step(module: nn.Module, x: Tensor) -> Callable[[], None]:
    """Return one forward and backward pass of a module."""

    def work() -> None:
        module.zero_grad()
        module(x)[0].square().mean().backward()

    return work


def cells(malloc: str) -> None:
    """Print a row per cell."""
    x = torch.randn(B, T, H)
    for name, (ours, theirs) in CELLS.items():
        a, b, ratio = in_turn(step(ours, x), step(theirs, x))
        print(
            f"{name:<20}{T:>6} {malloc:<9}{a * 1e3:>8.1f}{b * 1e3:>8.1f}{ratio:>8.2f}", flush=True
        )


def models(malloc: str) -> None:
    """Print a row per model and length."""
    peer = Peer()
    spec = Spec("token", VOCABULARY, "class", VOCABULARY)
    for name in (name for name, entry in MODELS.items() if entry.directions == 1):
        model = build_model(name, spec, {"width": H, "layers": LAYERS.get(name, 1)})
        for length in (256, 1024):
            x = torch.randint(VOCABULARY, (B, length))
            a, b, ratio = in_turn(step(model, x), step(peer, x), runs=5)
            print(
                f"{name:<20}{length:>6} {malloc:<9}{a * 1e3:>8.0f}{b * 1e3:>8.0f}{ratio:>8.2f}",
                flush=True,
            )


def main() -> None:
    """Print both tables, first with the allocator as it is, then tuned."""
    one_thread()
    for part, title in ((cells, "cell, against torch's own"), (models, "model, against nn.LSTM")):
        print(f"{title}, training step, CPU ms, medians in turn")
        print(f"{'':<20}{'T':>6} {'malloc':<9}{'ours':>8}{'peer':>8}{'ratio':>8}")
        part("default")
    if tune_malloc():
        for part in (cells, models):
            part("tuned")


if __name__ == "__main__":
    main()
