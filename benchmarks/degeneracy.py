"""Distances between networks against their peers: what is reached, and what it costs.

    python benchmarks/degeneracy.py conjugate             operators that are exactly conjugate
    python benchmarks/degeneracy.py trajectories [FOLDER] operators of trained networks
    python benchmarks/degeneracy.py weights [FOLDER]      recurrent matrices of trained networks
    python benchmarks/degeneracy.py size                  cost against the size
    python benchmarks/degeneracy.py all [FOLDER]          everything

Peers are not dependencies: dsa-metric (Ostrow et al. 2023) and procrustes (Meng et al. 2022), by
`pip install dsa-metric==2.0.2 qc-procrustes`. FOLDER holds 16 trained flip-flop networks of each
number of bits, made by `seqprobe study run analyses/degeneracy_flipflop/study.toml`. One thread,
CPU time, medians over pairs, the sides in turn. dsa-metric computes in float32 and is given 1500
iterations at a rate of 5e-3; it starts from torch's global generator, which is seeded here.
"""

from __future__ import annotations

import os

for _library in ("OMP", "OPENBLAS", "MKL"):  # read when numpy is loaded
    os.environ.setdefault(f"{_library}_NUM_THREADS", "1")

import argparse  # noqa: E402
import contextlib  # noqa: E402
import importlib  # noqa: E402
import io  # noqa: E402
import itertools  # noqa: E402
import statistics  # noqa: E402
import time  # noqa: E402
from collections.abc import Callable, Iterable  # noqa: E402
from functools import cache  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any, TypeVar  # noqa: E402

import numpy as np  # noqa: E402
import torch  # noqa: E402
from timing import one_thread  # noqa: E402

from seqprobe.degeneracy.conjugacy import conjugacy  # noqa: E402
from seqprobe.degeneracy.operators import embed  # noqa: E402
from seqprobe.degeneracy.relabelling import Group, relabel  # noqa: E402
from seqprobe.dynamics.trajectories import trajectories as states_after  # noqa: E402
from seqprobe.models import Model  # noqa: E402
from seqprobe.training import load_checkpoint  # noqa: E402

ROOT = Path(__file__).resolve().parent.parent
RUNS = ROOT / "runs" / "degeneracy_flipflop"
MADE_BY = "seqprobe study run analyses/degeneracy_flipflop/study.toml"
PEERS = {"DSA.simdist": "dsa-metric", "procrustes": "qc-procrustes"}
INSTALL = "pip install dsa-metric==2.0.2 qc-procrustes"
SETTINGS = ((3, 12), (1, 16))  # delays and rank
NETWORKS, BITS = 6, 3  # 6 networks are 15 pairs
TRIALS = 256  # half of them for the fit

T = TypeVar("T")


def timed(work: Callable[..., T], *given: Any) -> tuple[T, float]:
    """Return the result of a call and the CPU milliseconds it took."""
    start = time.process_time()
    result = work(*given)
    return result, (time.process_time() - start) * 1e3


@cache
def peer(name: str) -> Any:
    """Return a peer's module, or None after a line that says what is missing."""
    try:
        return importlib.import_module(name)
    except ImportError:
        print(f"{PEERS[name]} is not installed, ours alone; to compare: {INSTALL}")
        return None


def unit(matrix: np.ndarray) -> np.ndarray:
    """Return a matrix of norm 1."""
    scaled: np.ndarray = matrix / np.linalg.norm(matrix)
    return scaled


def own(a: np.ndarray, b: np.ndarray) -> float:
    """Return the distance that we reach between operators."""
    return conjugacy(a, b).distance


def package(a: np.ndarray, b: np.ndarray, seed: int) -> float:
    """Return the distance that dsa-metric reaches."""
    torch.manual_seed(seed)
    solver = peer("DSA.simdist").SimilarityTransformDist(
        iters=1500, lr=5e-3, score_method="euclidean"
    )
    return float(solver.fit_score(a, b))


def conjugate() -> None:
    """Print what is found where the distance is 0."""
    print("exactly conjugate operators, 8 pairs of each size: distance, of which the truth is 0")
    print(
        f"{'n':>4}{'ours < 1e-2':>13}{'largest':>10}{'ms':>7}"
        f"{'dsa-metric < 1e-2':>20}{'median':>9}{'largest':>9}{'ms':>7}"
    )
    for n in (4, 10, 20):
        rng = np.random.default_rng(n)
        ours, theirs = [], []
        for seed in range(8):
            a = unit(rng.standard_normal((n, n)))
            q = np.linalg.qr(rng.standard_normal((n, n))).Q
            b = q.T @ a @ q
            ours.append(timed(own, a, b))
            if peer("DSA.simdist"):
                theirs.append(timed(package, a, b, seed))
        row = f"{n:>4}{found(ours)}{max(d for d, _ in ours):>10.1e}{median_ms(ours)}"
        if theirs:
            values = [d for d, _ in theirs]
            row += f"{found(theirs):>20}{statistics.median(values):>9.3f}{max(values):>9.3f}"
            row += median_ms(theirs)
        print(row, flush=True)


def found(results: list[tuple[float, float]]) -> str:
    """Return how many distances are found to be 0."""
    return f"{f'{sum(d < 1e-2 for d, _ in results)} of {len(results)}':>13}"


def median_ms(results: Iterable[tuple[object, float]]) -> str:
    """Return the median milliseconds."""
    return f"{statistics.median(ms for _, ms in results):>7.0f}"


def networks(folder: Path) -> list[Model]:
    """Return the first trained networks of `BITS` bits, by seed."""
    named = {}
    for path in sorted(folder.glob("*/model.pt")):
        checkpoint = load_checkpoint(path)
        if checkpoint.task["config"]["bits"] == BITS:
            named[int(path.parent.name.split("-s")[1].split("-")[0])] = checkpoint.build_model()
    if len(named) < NETWORKS:
        raise SystemExit(
            f"{folder} holds {len(named)} networks of {BITS} bits (needed: {NETWORKS});"
            f" make them with: {MADE_BY}"
        )
    return [named[seed] for seed in sorted(named)[:NETWORKS]]


def hidden(folder: Path) -> list[np.ndarray]:
    """Return the states (trials, T, n) of the networks on the same test trials."""
    models = networks(folder)
    task = load_checkpoint(next(iter(folder.glob("*/model.pt")))).build_task()
    task = type(task)(type(task).Config(**{**vars(task.config), "bits": BITS}))
    batch = task.batch("test", TRIALS)
    return [
        states_after(model, batch, n_trials=TRIALS)["trajectory"].to_numpy() for model in models
    ]


def trajectories(folder: Path) -> None:
    """Print what is reached between operators of trained networks."""
    states = hidden(folder)
    half = TRIALS // 2
    print("operators of trained 3-bit flip-flop networks, 15 pairs; package: better of two runs")
    print(
        f"{'delays, rank':>13}{'r2':>7}{'ours':>8}{'bound':>8}{'ms':>7}{'same bits':>11}"
        f"{'package':>9}{'ms':>7}{'run to run':>12}{'largest':>9}"
        f"{'ours / package':>16}{'largest':>9}{'ms ratio':>10}"
    )
    for delays, rank in SETTINGS:
        fits = [embed(z[:half], z[half:], delays).operator(rank) for z in states]
        pairs = [(unit(a.matrix), unit(b.matrix)) for a, b in itertools.combinations(fits, 2)]
        ours, theirs, same = [], [], True
        ratios = np.zeros(0)
        for a, b in pairs:
            one = timed(conjugacy, a, b)
            again = conjugacy(a, b)
            same &= bool((one[0].rotation == again.rotation).all())
            same &= one[0].distance == again.distance
            ours.append(one)
            if peer("DSA.simdist"):
                theirs.append([timed(package, a, b, run) for run in (0, 1)])
        distances = np.array([result.distance for result, _ in ours])
        row = f"{f'{delays}, {rank}':>13}{statistics.mean(fit.r2 for fit in fits):>7.3f}"
        row += f"{distances.mean():>8.4f}{np.mean([result.lower for result, _ in ours]):>8.4f}"
        row += f"{median_ms(ours)}{'yes' if same else 'NO':>11}"
        if theirs:
            runs = np.array([[d for d, _ in both] for both in theirs])
            best = runs.min(axis=1)
            spread = np.abs(runs[:, 0] - runs[:, 1]) / best
            ratios = distances / best
            spent = [both[0] for both in theirs]
            faster = statistics.median(y / x for (_, x), (_, y) in zip(ours, spent, strict=True))
            row += f"{best.mean():>9.4f}{median_ms(spent)}{np.mean(spread):>12.1%}"
            row += (
                f"{spread.max():>9.1%}{np.mean(ratios):>16.3f}{ratios.max():>9.3f}{faster:>10.0f}"
            )
        print(row, flush=True)
        for (i, j), ratio in zip(itertools.combinations(range(NETWORKS), 2), ratios, strict=False):
            if ratio > 1.01:
                print(f"{'':>13}seeds {i} and {j}: {ratio - 1:.1%} above the package")


def recurrent(model: Model) -> np.ndarray:
    """Return the recurrent matrix of a network of one layer."""
    (matrix,) = (p for name, p in model.named_parameters() if name.endswith("weight_hh"))
    return matrix.detach().double().numpy()


def by_library(a: np.ndarray, b: np.ndarray, method: str) -> float:
    """Return the distance that a method of the Procrustes library reaches."""
    library = peer("procrustes")
    n = len(a)
    if method == "softassign":
        order = library.softassign(a, b).t
    elif method == "nmf, own guess":
        # From its default, the identity, it cannot move: zeros stay zeros.
        guess = 1 / n + np.random.default_rng(0).random((n, n)) / n
        order = library.permutation_2sided(a, b, method="nmf", guess_p2=guess).t
    elif method.startswith("k-opt"):
        options = {"k": int(method.split("=")[1])}
        order = library.permutation_2sided(a, b, method="k-opt", options=options).t
    else:
        order = library.permutation_2sided(a, b, single=True, method=method).t
    return float(np.linalg.norm(order.T @ a @ order - b))


METHODS = (
    *("approx-normal1", "approx-normal2", "approx-umeyama", "approx-umeyama-svd"),
    *("soft-assign", "nmf", "nmf, own guess", "k-opt, k=2", "softassign"),
)
FEW = {"softassign": 3}  # pairs, of a method that takes half a minute for each


def weights(folder: Path) -> None:
    """Print what is reached between recurrent matrices of trained networks."""
    pairs = list(itertools.combinations([recurrent(model) for model in networks(folder)], 2))
    print("recurrent matrices of trained 3-bit flip-flop networks, 64 units")
    print(
        f"{'':<20}{'pairs':>6}{'mean distance':>15}{'ours / its mean':>17}{'largest':>9}{'ms':>7}"
    )
    groups: tuple[Group, ...] = ("perm", "signed_perm")
    reached: dict[str, np.ndarray] = {}
    for group in groups:
        ours = [timed(relabel, *pair, group) for pair in pairs]
        reached[group] = np.array([result.distance for result, _ in ours])
        head = f"{f'ours, {group}':<20}{len(pairs):>6}{reached[group].mean():>15.3f}"
        print(f"{head}{'':>26}{median_ms(ours)}", flush=True)
    identity = np.mean([np.linalg.norm(a - b) for a, b in pairs])
    print(f"{'identity':<20}{len(pairs):>6}{identity:>15.3f}")
    for method in METHODS if peer("procrustes") else ():
        some = pairs[: FEW.get(method)]
        try:
            with contextlib.redirect_stdout(io.StringIO()):
                results = [timed(by_library, *pair, method) for pair in some]
        except Exception as error:  # a peer may raise anything, which is then the result
            print(f"{method:<20}{type(error).__name__:>21}", flush=True)
            continue
        values, own_values = np.array([d for d, _ in results]), reached["perm"][: len(some)]
        print(
            f"{method:<20}{len(some):>6}{values.mean():>15.3f}"
            f"{own_values.mean() / values.mean():>17.3f}{(own_values / values).max():>9.3f}"
            f"{median_ms(results)}",
            flush=True,
        )


def size() -> None:
    """Print what a pair costs against its size, between unrelated random matrices."""
    print("weights, ms per pair: unrelated normal matrices, 3 pairs")
    print(f"{'n':>5}{'perm':>8}{'signed':>8}{'approx-umeyama':>16}{'its distance / ours':>21}")
    rng = np.random.default_rng(0)
    relabel(*rng.standard_normal((2, 8, 8)))
    for n in (32, 64, 128, 256):
        pairs = rng.standard_normal((3, 2, n, n)) / np.sqrt(n)
        ours = [timed(relabel, *pair) for pair in pairs]
        signed = [timed(relabel, *pair, "signed_perm") for pair in pairs]
        row = f"{n:>5}{median_ms(ours):>8}{median_ms(signed):>8}"
        if peer("procrustes"):
            theirs = [timed(by_library, *pair, "approx-umeyama") for pair in pairs]
            ratio = statistics.mean(
                y / x.distance for (x, _), (y, _) in zip(ours, theirs, strict=True)
            )
            row += f"{median_ms(theirs):>16}{ratio:>21.3f}"
        print(row, flush=True)
    print("operators, ms per pair: unrelated normal matrices of norm 1, 5 pairs")
    print(
        f"{'r':>5}{'ours':>8}{'dsa-metric':>12}{'ratio':>7}{'its distance / ours':>21}{'least':>8}"
    )
    for r in (4, 8, 16, 32):
        operators = [[unit(m) for m in pair] for pair in rng.standard_normal((5, 2, r, r))]
        ours_too = [timed(own, *pair) for pair in operators]
        row = f"{r:>5}{median_ms(ours_too):>8}"
        if peer("DSA.simdist"):
            other = [timed(package, *pair, 0) for pair in operators]
            costs = statistics.median(y / x for (_, x), (_, y) in zip(ours_too, other, strict=True))
            ratios = [y / x for (x, _), (y, _) in zip(ours_too, other, strict=True)]
            row += f"{median_ms(other):>12}{costs:>7.0f}{statistics.mean(ratios):>21.3f}"
            row += f"{min(ratios):>8.3f}"
        print(row, flush=True)


def main() -> None:
    """Dispatch."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("part", choices=("conjugate", "trajectories", "weights", "size", "all"))
    parser.add_argument("folder", nargs="?", type=Path, default=RUNS, help=f"made by: {MADE_BY}")
    given = parser.parse_args()
    one_thread()
    a, b = np.random.default_rng(0).standard_normal((2, 4, 4))
    conjugacy(a, b)  # the first call finds its libraries
    for name in PEERS:
        peer(name)
    if given.part in ("conjugate", "all"):
        conjugate()
    if given.part in ("trajectories", "all"):
        trajectories(given.folder)
    if given.part in ("weights", "all"):
        weights(given.folder)
    if given.part in ("size", "all"):
        size()


if __name__ == "__main__":
    main()
