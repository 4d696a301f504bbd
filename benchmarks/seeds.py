"""One update of 16 seeds, trained together in groups against one after another.

    python benchmarks/seeds.py

One thread, CPU time, in turn, medians; T = 100, data given. An update is forward, loss, backward,
clipping and the optimiser. "Own" are our single runs one after another, "peer" nn.RNN, nn.GRU or
nn.LSTM between the same input and head, one after another. The rule is `models.group_size`.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from functools import cache
from pathlib import Path

import torch
from timing import one_thread, seconds
from torch import Tensor, nn

from seqprobe.config import from_mapping
from seqprobe.device import tune_malloc
from seqprobe.models import architecture, group_size
from seqprobe.tasks import Batch, Split
from seqprobe.tasks.delay import Delay
from seqprobe.training import Recipe, TrainConfig
from seqprobe.training.loop import Trainer
from seqprobe.training.together import GroupTrainer

S, T = 16, 100
GROUPS = (2, 4, 8, 16)
SIZES = [
    *((32, 8), (32, 32), (32, 128), (64, 8), (64, 32), (64, 64), (64, 128)),
    *((128, 8), (128, 32), (256, 8), (256, 32)),
]
FEW = [(32, 8), (64, 32), (64, 64), (128, 32), (256, 32)]
PEERS: dict[str, Callable[..., nn.RNNBase]] = {"rnn": nn.RNN, "gru": nn.GRU, "lstm": nn.LSTM}
NOWHERE = Path("never-written.pt")


class Given(Delay):
    """Recall from 5 steps ago with one batch per seed, so that drawing data costs nothing."""

    def batch(
        self,
        split: Split,
        size: int | None = None,
        *,
        seed: int = 0,
        index: int = 0,
        length: int | None = None,
    ) -> Batch:
        """Return the batch of a seed, the same at every update."""
        return self.drawn(split, size, seed)

    @cache  # noqa: B019  # the task lives as long as its row of the table
    def drawn(self, split: Split, size: int | None, seed: int) -> Batch:
        """Draw the batch of a seed, once."""
        return super().batch(split, size, seed=seed)


class Peer(nn.Module):
    """torch's own network and a head."""

    def __init__(self, kind: str, width: int) -> None:
        super().__init__()
        self.core = PEERS[kind](1, width, batch_first=True)
        self.head = nn.Linear(width, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, T, 1) to (B, T, 1)."""
        y: Tensor = self.head(self.core(x)[0])
        return y


def peer_update(kind: str, width: int, task: Given, batch: Batch) -> Callable[[], None]:
    """Return an update of torch's own network."""
    model = Peer(kind, width)
    optimizer = torch.optim.AdamW(model.parameters())

    def work() -> None:
        loss = task.loss(model(batch.inputs), batch)
        loss.item()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0).item()
        optimizer.step()

    return work


def sides(kind: str, width: int, rows: int) -> dict[str, list[Callable[[], object]]]:
    """Return all ways to take one update of 16 seeds."""
    task = Given(Delay.Config(length=T, delay=5))
    config = from_mapping(architecture(kind).config, {"width": width}, "model")
    recipe = Recipe.of(kind, task, config, TrainConfig(batch=rows))
    cpu = torch.device("cpu")
    own = [
        Trainer(Recipe.of(kind, task, config, recipe.config, seed=s), NOWHERE, cpu)
        for s in range(S)
    ]
    found: dict[str, list[Callable[[], object]]] = {"own": [trainer.update for trainer in own]}
    if kind in PEERS:
        batches = [task.batch("train", rows, seed=seed) for seed in range(S)]
        found["peer"] = [peer_update(kind, width, task, batch) for batch in batches]
    for size in GROUPS:
        seeds = [range(first, first + size) for first in range(0, S, size)]
        groups = [GroupTrainer(recipe, dict.fromkeys(g, NOWHERE), NOWHERE, cpu) for g in seeds]
        found[str(size)] = [group.update for group in groups]
    return found


def row(kind: str, width: int, rows: int, runs: int = 7) -> None:
    """Print the ratios of one size."""
    works = sides(kind, width, rows)
    times: dict[str, list[float]] = {name: [] for name in works}
    for turn in range(runs + 1):
        for name, parts in works.items():
            spent = sum(seconds(part) for part in parts)
            if turn:
                times[name].append(spent)

    def ratio(side: str, size: int) -> float:
        pairs = zip(times[side], times[str(size)], strict=True)
        return statistics.median(a / b for a, b in pairs)

    config = from_mapping(architecture(kind).config, {"width": width}, "model")
    rule = group_size(kind, config, rows)
    best = max(GROUPS, key=lambda size: ratio("own", size))
    text = f"{kind:<6}{width:>4}{rows:>5}{statistics.median(times['own']) * 1e3:>8.0f}"
    text += "".join(f"{ratio('own', size):>7.2f}" for size in GROUPS)
    for side in ("own", "peer"):
        for size in (rule, best):
            known = side in times and size > 1
            text += f"{ratio(side, size):>7.2f}" if known else f"{'-':>7}"
    print(f"{text}   {rule:>2} {best:>2}", flush=True)


def main() -> None:
    """Print the table."""
    one_thread()
    tune_malloc()
    print(
        "one update of 16 seeds, one after another / together, T = 100, CPU time, medians in turn"
    )
    print(f"{'':<15}{'own':>8}{'own / groups of':>28}{'own /':>14}{'peer /':>14}")
    heads = "".join(f"{size:>7}" for size in GROUPS)
    print(f"{'':<6}{'H':>4}{'B':>5}{'ms':>8}{heads}" + f"{'rule':>7}{'best':>7}" * 2 + "   sizes")
    for kind in ("rnn", "gru"):
        for width, rows in SIZES:
            row(kind, width, rows)
    for kind in ("leaky", "lstm"):
        for width, rows in FEW:
            row(kind, width, rows)


if __name__ == "__main__":
    main()
