"""Cost of the effective state size against its naive forms, and of a recording against plain h5py.

    python benchmarks/capacity.py                      effective state size
    python benchmarks/capacity.py record FOLDER GIB [MODEL ...]   recordings, written and deleted

Effective state size, one thread, CPU time, medians in turn: the whole Jacobian of one sequence by
rows (ours) against one backward pass per output and step (naive), and the singular values by random
projections against the whole Jacobian.

Recording, wall time with two threads, because writing overlaps with computing; the sides in turn,
three times, or once from 4 GiB on. Plain h5py writes the same bytes, from memory, into one dataset
with the same chunks, or with those that h5py chooses; no model runs there. Resident memory is the
peak of the process that records.
"""

from __future__ import annotations

import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

import h5py
import numpy as np
import torch
from timing import in_turn, one_thread
from torch import Tensor

from seqprobe.activations import record
from seqprobe.capacity.past_to_future import (
    full_jacobian,
    leading_singular_values,
    past_to_future,
)
from seqprobe.device import tune_malloc
from seqprobe.models import Model, build_model
from seqprobe.models.access import borrowed, first_output
from seqprobe.spec import Spec
from seqprobe.tasks import make_task

MODELS = {
    "gru": {"width": 64},
    "lstm": {"width": 64},
    "tcn": {"width": 24, "layers": 4, "kernel": 5},
    "transformer": {"width": 64, "layers": 2, "heads": 4},
    "mamba": {"width": 32, "layers": 2, "modes": 8},
}
# Cheap per real of state, so that the disk matters: a rectified network, and a state space model.
RECORDED = {"irnn": {"width": 64}, "s4d": {"width": 64}, "gru": {"width": 64}}
LENGTH = 512


def naive(model: Model, x: Tensor) -> np.ndarray:
    """Return the same Jacobian, one backward pass per step and output."""
    x = x[None].detach().requires_grad_()
    y = first_output(model, x)[0]
    rows = [torch.autograd.grad(value, x, retain_graph=True)[0][0] for row in y for value in row]
    return torch.stack(rows).numpy()


def sizes() -> None:
    """Print what the effective state size costs."""
    print(f"{'model':12} {'T':>4} {'K':>3} {'ours ms':>8} {'naive ms':>9} {'naive / ours':>13}")
    for name, config in MODELS.items():
        for length, outputs in ((96, 1), (96, 10)):
            spec = Spec("continuous", 4, "regression", outputs)
            model = build_model(name, spec, config).eval()
            x = torch.randn(length, 4)
            with borrowed(model):
                ours, theirs, ratio = in_turn(
                    lambda model=model, x=x: full_jacobian(model, x),  # type: ignore[misc]
                    lambda model=model, x=x: naive(model, x),  # type: ignore[misc]
                    runs=3,
                )
            print(
                f"{name:12} {length:4} {outputs:3} {ours * 1e3:8.0f} {theirs * 1e3:9.0f}"
                f" {1 / ratio:13.1f}"
            )
    print("singular values above .01 of the largest in the middle, by projections")
    print(f"{'outputs':>8} {'inputs':>7} {'rank':>5} {'ours s':>7} {'whole s':>8} {'ratio':>6}")
    for width in (16, 64):
        spec = Spec("continuous", width, "regression", width)
        model = build_model("gru", spec, {"width": 32}).eval()
        x = torch.randn(96, width)

        def projected(model: Model = model, x: Tensor = x, width: int = width) -> int:
            block = past_to_future(model, x, 48, width)
            return len(leading_singular_values(block, 0.01, np.random.default_rng(0)).sigma)

        def whole(model: Model = model, x: Tensor = x, width: int = width) -> None:
            rows = full_jacobian(model, x)[48:, :, :48].reshape(48 * width, -1)
            np.linalg.svd(rows, compute_uv=False)

        with borrowed(model):
            ours, theirs, ratio = in_turn(projected, whole, runs=1)
        rows, columns = 48 * width, 48 * width
        print(f"{rows:8} {columns:7} {projected():5} {ours:7.2f} {theirs:8.2f} {1 / ratio:6.1f}")


def plain(path: Path, shape: tuple[int, ...], chunks: tuple[int, ...] | bool) -> float:
    """Write as many numbers as a recording has, and return the seconds."""
    block = np.random.default_rng(0).standard_normal((64, 64, shape[2])).astype(np.float32)
    start = time.perf_counter()
    with h5py.File(path, "w") as file:
        data = file.create_dataset("x", shape, "f4", chunks=chunks)
        for i in range(0, shape[0], 64):
            for t in range(0, shape[1], 64):
                data[i : i + 64, t : t + 64] = block[: shape[0] - i, : shape[1] - t]
    seconds = time.perf_counter() - start
    path.unlink()
    return seconds


def ours(folder: Path, name: str, trials: int) -> None:
    """Record in this process, and print seconds, peak memory in GiB and the chunks."""
    tune_malloc()
    one_thread()
    task = make_task("delay", {"length": LENGTH})
    model = build_model(name, task.spec, RECORDED[name])
    path = folder / "ours.h5"
    start = time.perf_counter()
    record(model, task, path, trials=trials, what=["states"], overwrite=True)
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    with h5py.File(path) as file:
        (state,) = (v for k, v in file.items() if k.startswith("layer0."))
        print(seconds, peak, *state.chunks)
    path.unlink()


def recording(folder: Path, gib: float, names: list[str]) -> None:
    """Print what a recording takes beside plain h5py."""
    header = ("model", "GiB", "ours s", "h5py s", "ratio", "auto s", "ratio", "resident GiB")
    print("{:6} {:>5} {:>7} {:>7} {:>6} {:>7} {:>6} {:>13}".format(*header))
    for name in names:
        spec = make_task("delay").spec
        model = build_model(name, spec, RECORDED[name])
        size = model.state_size(1)
        trials = int(gib * 2**30 // (4 * size * LENGTH))
        seconds: list[list[float]] = []
        # Who writes first pays for pages that the system has to find: nobody's turn.
        plain(folder / "plain.h5", (trials, LENGTH, size), (8, 64, 64))
        for _ in range(3 if gib < 4 else 1):
            words = [sys.executable, __file__, "ours", str(folder), name, str(trials)]
            out = subprocess.run(words, capture_output=True, text=True, check=True).stdout.split()
            chunks = tuple(map(int, out[2:]))
            shape = (trials, LENGTH, size)
            same = plain(folder / "plain.h5", shape, chunks)
            auto = plain(folder / "plain.h5", shape, True)
            seconds.append([float(out[0]), same, auto, float(out[1])])
        a, b, c, peak = (statistics.median(column) for column in zip(*seconds, strict=True))
        written = trials * LENGTH * size * 4 / 2**30
        print(
            f"{name:6} {written:5.1f} {a:7.1f} {b:7.1f} {b / a:6.2f} {c:7.1f} {c / a:6.2f}"
            f" {peak:13.2f}"
        )


def main() -> None:
    """Dispatch."""
    match sys.argv[1:]:
        case ["record", folder, gib, *names]:
            recording(Path(folder), float(gib), names or list(RECORDED))
        case ["ours", folder, name, trials]:
            ours(Path(folder), name, int(trials))
        case _:
            one_thread()
            tune_malloc()
            sizes()


if __name__ == "__main__":
    main()
