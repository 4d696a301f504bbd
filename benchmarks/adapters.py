"""What wrapping costs: a user's module through `seqprobe.wrap` against the same weights by hand.

    python benchmarks/adapters.py

Two layers of 64 units with a head, 16 sequences of 128 steps. One thread, CPU time, medians in
turn.

* forward: the wrapped model against the module itself
* step: stepping through the sequences by the wrapped model, in which the user's forward runs on one
  step at a time, against our own layers with the same weights (`from_torch`) and the head
* fixed points: of the wrapped model, against those of the recurrent module itself
"""

from __future__ import annotations

from functools import partial

import torch
from timing import in_turn, one_thread
from torch import Tensor, nn

import seqprobe as sp
from seqprobe.adapters import from_torch
from seqprobe.device import tune_malloc
from seqprobe.models import SequenceModule

MODULES: dict[str, type[nn.RNNBase]] = {"rnn": nn.RNN, "gru": nn.GRU, "lstm": nn.LSTM}


class Net(nn.Module):
    """A module as a user writes it."""

    def __init__(self, kind: type[nn.RNNBase]) -> None:
        super().__init__()
        self.rnn = kind(8, 64, 2, batch_first=True)  # type: ignore[arg-type]
        self.head = nn.Linear(64, 4)

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, T, 4)."""
        y: Tensor = self.head(self.rnn(x)[0])
        return y


def main() -> None:
    """Print the table."""
    one_thread()
    tune_malloc()
    print("wrapped, CPU ms, medians in turn")
    print(f"{'':20}{'wrapped':>10}{'by hand':>10}{'ratio':>8}")
    for name, kind in MODULES.items():
        torch.manual_seed(0)
        module, x = Net(kind).eval(), torch.randn(16, 128, 8)
        model, core = sp.wrap(module, x), from_torch(module.rnn)
        starts = torch.randn(64, model.state_size(1), dtype=torch.float64)

        with torch.no_grad():
            rows = {
                "forward": in_turn(partial(model, x), partial(module, x)),
                "step": in_turn(
                    partial(_scan, model, x), partial(_scan, core, x, module.head), runs=5
                ),
                "fixed points": in_turn(
                    partial(sp.dynamics.fixed_points, model, starts),
                    partial(sp.dynamics.fixed_points, module.rnn, starts),
                    runs=5,
                ),
            }
        for what, (ours, theirs, ratio) in rows.items():
            print(f"{name + ', ' + what:20}{ours * 1e3:10.1f}{theirs * 1e3:10.1f}{ratio:8.2f}")


def _scan(model: SequenceModule, x: Tensor, head: nn.Module | None = None) -> None:
    state = model.init_state(len(x))
    for x_t in x.unbind(1):
        y, state = model.step(x_t, state)
        if head is not None:
            head(y)


if __name__ == "__main__":
    main()
