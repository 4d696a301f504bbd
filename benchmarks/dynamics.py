"""Fixed points against fixed-point-finder, Jacobians, and cost against the number of units.

    python benchmarks/dynamics.py                       ours alone
    python benchmarks/dynamics.py --fpf PATH            and a checkout of fixed-point-finder
    python benchmarks/dynamics.py --fpf PATH rnn gru    some networks

fixed-point-finder (Golub and Sussillo 2018, github.com/mattgolub/fixed-point-finder) is not a
dependency: PATH is a checkout, whose torch version is run on the same weights, starts and input, in
float32 as it comes, for several learning rates. Its best setting is the one with most real points,
then the fastest. A point is real if Newton's method in float64 moves it by less than 1e-3 to a
certified root. It has no LSTM; a wrapper here gives it one. One thread, CPU time, in turn.

Networks with 256 units are trained on the first run and kept in benchmarks/networks.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import io
import os
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from timing import in_turn, median_seconds, one_thread
from torch import Tensor, nn

import seqprobe as sp
from seqprobe.dynamics import StateMap, state_map
from seqprobe.dynamics.maps import ElmanMap
from seqprobe.dynamics.solver import newton_polish
from seqprobe.models import Model

ROOT = Path(__file__).resolve().parent.parent
KEPT = ROOT / "benchmarks" / "networks"
TRAIN = "--until mse=0.0009 --steps 6000 --set train.schedule=constant --set train.batch=128"
NETWORKS = {
    "rnn": ROOT / "checkpoints/flipflop/rnn-s0.pt",
    "gru": ROOT / "checkpoints/flipflop/gru-s0.pt",
    "lstm": ROOT / "checkpoints/flipflop/lstm-s0.pt",
    "stacked": ROOT / "checkpoints/flipflop/gru-stacked-s0.pt",
    "rnn-256": KEPT / "rnn-256.pt",
    "gru-256": KEPT / "gru-256.pt",
}
RATES = {"rnn": (1.0, 0.1), "gru": (1.0, 0.1, 0.01), "lstm": (1.0, 0.1, 0.01)}
STARTS = 1024


def load(name: str) -> Model:
    """Return a network, trained now if it is not there."""
    path = NETWORKS[name]
    if not path.exists():
        path.parent.mkdir(exist_ok=True)
        line = f"train {name[:3]} flipflop -o {path} --set model.width=256 {TRAIN}"
        arguments = [sys.executable, "-m", "seqprobe", *line.split(), "--set", "train.lr=1e-3"]
        print(f"training {name}, which takes minutes", flush=True)
        subprocess.run(arguments, check=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
    return sp.load(path)


class LSTMAsRNN(nn.Module):
    """torch's LSTM with [h, c] as one state, which is what fixed-point-finder can handle."""

    batch_first = True

    def __init__(self, lstm: nn.LSTM) -> None:
        super().__init__()
        self.lstm = lstm
        self.hidden_size = 2 * lstm.hidden_size
        self.input_size = lstm.input_size

    def forward(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """Map inputs (B, T, D) and a state (1, B, 2H) to outputs and the next state."""
        h, c = state.chunk(2, dim=2)
        y, (h, c) = self.lstm(x, (h.contiguous(), c.contiguous()))
        after = torch.cat([h, c], dim=2)
        return y, after


def as_torch(model: Model) -> nn.Module:
    """Return torch's module with the weights of a network of one layer."""
    layer: Any = model.core.layers[0]  # type: ignore[index]
    kind = {"rnn": nn.RNN, "gru": nn.GRU, "lstm": nn.LSTM}[model.name]
    module = kind(layer.weight_ih.shape[1], layer.width, batch_first=True)
    second = torch.zeros_like(layer.bias)
    if model.name == "gru":
        second[2 * layer.width :] = layer.bias_n
    weights = {
        "weight_ih_l0": layer.weight_ih,
        "weight_hh_l0": layer.weight_hh,
        "bias_ih_l0": layer.bias,
        "bias_hh_l0": second,
    }
    module.load_state_dict({name: value.detach() for name, value in weights.items()})
    return LSTMAsRNN(module) if isinstance(module, nn.LSTM) else module


def finder(fpf: Any, module: nn.Module, rate: float) -> Any:
    """Return fixed-point-finder for a module, at its defaults except for the learning rate."""
    return fpf.FixedPointFinderTorch(module, lr_init=rate, verbose=False)


def theirs(fpf: Any, module: nn.Module, starts: Tensor, rate: float) -> Any:
    """Run fixed-point-finder; return its unique points."""
    inputs = np.zeros((1, 3), dtype=np.float32)
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found, _ = finder(fpf, module, rate).find_fixed_points(starts.float().numpy(), inputs)
    return found


def real_roots(of: StateMap, x: Tensor) -> Tensor:
    """Return the certified roots (K, m) that points (P, n) are within 1e-3 of, each once."""
    u = torch.zeros(of.inputs, dtype=torch.float64)
    y = of.reduce(x.double())

    def residual(rows: Tensor) -> tuple[Tensor, Tensor]:
        r, jacobian, _ = of.linearise_residual(rows, u)
        return r, jacobian.dense()

    if not len(y):
        return y
    pieces = [newton_polish(residual, rows, steps=10) for rows in y.split(64)]
    polished = torch.cat([p[0] for p in pieces])
    certificate = torch.cat([p[1] for p in pieces])
    kept = polished[(certificate < 1e-8) & ((polished - y).norm(dim=1) < 1e-3)]
    if not len(kept):
        return kept
    first = (torch.cdist(kept, kept) < 1e-6).int().argmax(dim=1)
    return kept[first == torch.arange(len(kept))]


def seconds(work: Callable[[], Any]) -> tuple[float, Any]:
    """Return the CPU seconds of one run and its result."""
    start = time.process_time()
    result = work()
    return time.process_time() - start, result


def compare(name: str, fpf: Any | None) -> None:
    """Print one network's row."""
    model = load(name)
    of = state_map(model)
    batch = sp.make_task("flipflop").batch("test", 128)
    starts = sp.dynamics.sample_states(model, batch, STARTS)
    with torch.no_grad():

        def ours() -> Any:
            return sp.dynamics.fixed_points(model, starts)

        ours()
        times = [seconds(ours)[0] for _ in range(3)]
        points = ours()
        counts = "/".join(str(n) for n in np.bincount(points["n_unstable"].values))
        print(
            f"{name:8s} ours        {statistics.median(times):7.3f} s"
            f"  {points.sizes['fixed_point']:4d} points, all certified, {counts}",
            flush=True,
        )
    if fpf is None or name == "stacked":
        return
    rows = []
    known = of.reduce(torch.from_numpy(points["x"].values))
    for rate in RATES[model.name]:
        took, found = seconds(partial(theirs, fpf, as_torch(model), starts, rate))
        real = real_roots(of, torch.from_numpy(np.array(found.xstar)))
        missing = 0
        if len(real):
            missing = int((torch.cdist(real, known).min(dim=1)[0] > 1e-5).sum())
        rows.append((len(real), -took, rate))
        print(
            f"{name:8s} lr {rate:<6g}   {took:7.3f} s  {found.n:4d} points, {len(real)} real,"
            f" {missing} of them not ours",
            flush=True,
        )
    _, _, best = max(rows)
    runs = 3 if of.size <= 128 else 1
    pairs = []
    for _ in range(runs):
        own = seconds(ours)[0]
        pairs.append(seconds(lambda: theirs(fpf, as_torch(model), starts, best))[0] / own)
    print(f"{name:8s} best lr {best:g}: theirs / ours {statistics.median(pairs):.1f}", flush=True)


def jacobians(name: str, fpf: Any | None) -> None:
    """Print the cost of the Jacobians at 1,024 states."""
    model = load(name)
    of = state_map(model)
    x = sp.dynamics.sample_states(model, sp.make_task("flipflop").batch("test", 128), STARTS)
    u = torch.zeros(3, dtype=torch.float64)

    def ours() -> None:
        for rows in x.split(64):
            of.linearise(rows, u)[1].dense()

    if fpf is None:
        with torch.no_grad():
            print(f"{name:8s} {median_seconds(ours):.3f} s")
        return
    peer = finder(fpf, as_torch(model), 1.0)
    points = importlib.import_module("FixedPoints").FixedPoints(
        xstar=x.float().numpy(), inputs=np.zeros((STARTS, 3), dtype=np.float32)
    )

    def other() -> None:
        with contextlib.redirect_stdout(io.StringIO()):
            peer._compute_recurrent_jacobians(points)

    own, their, ratio = in_turn(ours, other, runs=3)
    print(f"{name:8s} {own:.3f} s, theirs {their:.2f} s: ratio {1 / ratio:.0f}", flush=True)


def hopfield(size: int, patterns: int = 3, gain: float = 1.5) -> ElmanMap:
    """Return a tanh network that stores three orthogonal patterns; it has 27 fixed points."""
    signs = torch.ones(1, 1, dtype=torch.float64)
    while len(signs) < size:
        signs = torch.cat([torch.cat([signs, signs], 1), torch.cat([signs, -signs], 1)])
    stored = signs[[2**k for k in range(patterns)]]
    w = gain / size * stored.T @ stored
    return ElmanMap(w, torch.zeros(size, 1).double(), torch.zeros(size).double())


def scaling() -> None:
    """Print the cost of 256 starts against the number of units; products only above 512."""
    for size in (64, 256, 1024):
        of = hopfield(size)
        generator = torch.Generator().manual_seed(0)
        starts = torch.randn(256, size, dtype=torch.float64, generator=generator)
        took, points = seconds(partial(sp.dynamics.fixed_points, of, starts))
        route = "LU" if size <= 512 else "GMRES"
        print(
            f"{size:5d} units  {took:7.2f} s  {points.sizes['fixed_point']} points"
            f"  certificate {float(points['certificate'].max()):.0e}  {route}",
            flush=True,
        )


def main() -> None:
    """Parse the command line and run."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("networks", nargs="*", help=", ".join(NETWORKS))
    parser.add_argument("--fpf", type=Path, help="checkout of fixed-point-finder")
    options = parser.parse_args()
    one_thread()
    fpf = None
    if options.fpf is not None:
        sys.path.insert(0, str(options.fpf))
        fpf = importlib.import_module("FixedPointFinderTorch")
    for name in options.networks or NETWORKS:
        compare(name, fpf)
    print(f"\nJacobians at {STARTS} states")
    for name in options.networks or ("rnn", "gru", "lstm"):
        if name != "stacked":
            jacobians(name, fpf)
    if not options.networks:
        print("\ncost against the number of units")
        scaling()


if __name__ == "__main__":
    main()
