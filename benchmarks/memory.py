"""Cost of a gradient profile in forward passes of one sequence (F1), against the naive loop.

    python benchmarks/memory.py                 all of it
    python benchmarks/memory.py s4d mamba       some models
    python benchmarks/memory.py recursion       the exact recursion only

The models of the copy task (10 outputs, embedding of 8): recurrent cells of 64 units, a TCN of 24
channels and 4 levels, a Transformer of 2 blocks of 64. One thread, CPU time, medians.

* replicated: 32 output times, one probe each, all lags, in one backward pass
* exact: 32 output times, all 10 outputs
* naive: one backward pass per output time and output, all times; scaled from 4 times
* naive / ours: naive over replicated; equal work: the same for 32 times and one output each
* recursion: all output times, all 10 outputs, by the adjoint recursion, against naive

In brackets, what a prototype of the same routes cost in its own F1 on one thread. F1 divides: a
faster forward pass makes the same profile look dearer.
"""

from __future__ import annotations

import sys

import numpy as np
import torch
from timing import median_seconds, one_thread
from torch import Tensor

from seqprobe.device import tune_malloc
from seqprobe.memory.adjoint import adjoint_jacobians
from seqprobe.memory.jacobian import orthonormal_probes, squared_jacobians
from seqprobe.models import Model, build_model
from seqprobe.models.access import borrowed, first_output
from seqprobe.spec import Spec

SPEC = Spec("continuous", 8, "class", 10)
MODELS = {
    "rnn": {"width": 64},
    "gru": {"width": 64},
    "lstm": {"width": 64},
    "tcn": {"width": 24, "layers": 4, "kernel": 5},
    "transformer": {"width": 64, "layers": 2, "heads": 4},
    "s4d": {"width": 64, "layers": 2, "modes": 16},
    "mamba": {"width": 64, "layers": 2, "modes": 16},
}
TIMES = 32
# (replicated, naive) of the prototype, measured with torch 2.13; it had no tanh network.
PROTOTYPE = {
    ("gru", 64): (11.9, 2275),
    ("gru", 256): (12.6, 14085),
    ("gru", 1024): (14.7, 76647),
    ("lstm", 64): (11.5, 323),
    ("lstm", 256): (13.6, 2204),
    ("lstm", 1024): (69.7, 21165),
    ("tcn", 64): (8.9, 232),
    ("tcn", 256): (15.5, 1315),
    ("tcn", 1024): (29.9, 13433),
    ("transformer", 64): (19.6, 425),
    ("transformer", 256): (54.6, 3391),
    ("transformer", 1024): (100, 21810),
}


def naive(model: Model, x: Tensor, n_times: int = 4) -> None:
    """Run one backward pass per output time and output for a few late output times."""
    x = x.detach().requires_grad_()
    y = first_output(model, x)
    for t in np.linspace(0, x.shape[1] - 1, n_times).astype(int):
        for output in range(y.shape[2]):
            torch.autograd.grad(y[0, t, output], x, retain_graph=True)


def measure(name: str, length: int) -> list[float]:
    """Return F1 in ms, then the costs of the three routes in F1."""
    model = build_model(name, SPEC, MODELS[name]).eval()
    x = torch.randn(1, length, SPEC.input_size)
    times = sorted({int(t) for t in np.linspace(length // 2, length - 1, TIMES)})
    one = torch.as_tensor(orthonormal_probes(10, 1, np.random.default_rng(0))).float()
    every = torch.eye(10)
    lag = length // 2
    with borrowed(model):
        with torch.no_grad():
            forward = median_seconds(lambda: [model(x) for _ in range(5)], 15) / 5
        fast = median_seconds(lambda: squared_jacobians(model, x, times, one, lag))
        exact = median_seconds(lambda: squared_jacobians(model, x, times, every, lag), 3)
        slow = median_seconds(lambda: naive(model, x), 3) * length / 4
    equal = slow * TIMES / (length * SPEC.output_size) / fast
    return [forward * 1e3, fast / forward, exact / forward, slow / forward, slow / fast, equal]


def recursion(name: str, length: int) -> tuple[float, float]:
    """Return seconds of the exact profile at all times, by recursion and by the naive loop."""
    model = build_model(name, SPEC, MODELS[name]).eval()
    x = torch.randn(1, length, SPEC.input_size)
    every = torch.eye(10)
    times = list(range(length))
    with borrowed(model):
        last = length - 1
        fast = median_seconds(lambda: adjoint_jacobians(model, x, times, every, last), 3)
        slow = median_seconds(lambda: naive(model, x), 3) * length / 4
    return fast, slow


def main() -> None:
    """Print a row per model and length."""
    one_thread()
    tune_malloc()
    wanted = sys.argv[1:] or [*MODELS, "recursion"]
    columns = "{:<12} {:>5} {:>7} {:>18} {:>7} {:>16} {:>13} {:>11}"
    header = ("model", "T", "F1 ms", "replicated", "exact", "naive", "naive / ours", "equal work")
    print(columns.format(*header))
    for name in [name for name in MODELS if name in wanted]:
        for length in (64, 256, 1024):
            f1, fast, exact, slow, ratio, equal = measure(name, length)
            peer = PROTOTYPE.get((name, length))
            cells = [f"{fast:.1f} ({peer[0]:g})" if peer else f"{fast:.1f}", f"{exact:.0f}"]
            cells += [f"{slow:.0f} ({peer[1]:g})" if peer else f"{slow:.0f}", f"{ratio:.0f}"]
            cells.append(f"{equal:.1f}")
            print(columns.format(name, length, f"{f1:.2f}", *cells), flush=True)
    if "recursion" in wanted:
        print(f"{'recursion':<12} {'T':>5} {'ours s':>7} {'naive s':>8} {'naive / ours':>13}")
        for name in ("rnn", "gru", "lstm"):
            fast, slow = recursion(name, 512)
            print(f"{name:<12} {512:>5} {fast:>7.2f} {slow:>8.1f} {slow / fast:>13.1f}", flush=True)


if __name__ == "__main__":
    main()
