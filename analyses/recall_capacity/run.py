"""Train, measure and draw recall capacity against state size for four architectures.

    python analyses/recall_capacity/run.py FOLDER      (about two hours on one core)

Checkpoints go to FOLDER, where a broken run goes on; the figure and its numbers to figures/. Every
network has the same number of updates on the same sequences; the learning rate is the better of two
on the validation set of seed 0.
"""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np

from seqprobe import schema
from seqprobe.training import load_checkpoint

HERE = Path(__file__).resolve().parent
FIGURES = HERE.parents[1] / "figures"
TASK = "--set task.length=32 --set task.pairs=8 --set task.min_pairs=1 --set task.keys=16"
TASK += " --set task.values=16"
TRAINING = "--steps 6000 --set train.eval_every=500 --until accuracy=0.999"
RATES = ("3e-3", "1e-2")
SEEDS = 3
MAMBA = "--set model.width=16 --set model.modes="
SIZES = {
    "transformer": [f"--set model.heads=2 --set model.width={w}" for w in (4, 8, 16, 32)],
    "gru": [f"--set model.width={width}" for width in (32, 64, 128, 256)],
    "lstm": [f"--set model.width={width}" for width in (16, 32, 64, 128)],
    "mamba": ["--set model.width=8 --set model.modes=1", *(f"{MAMBA}{n}" for n in (1, 4, 16))],
}


def seqprobe(*arguments: str) -> None:
    """Run one command and stop if it fails."""
    subprocess.run([sys.executable, "-m", "seqprobe", *arguments], check=True)


def train(folder: Path, model: str, size: int, rate: str, seed: int) -> Path:
    """Train one network, or take it from the folder."""
    path = folder / f"{model}-{size}-lr{rate}-s{seed}.pt"
    options = f"{TASK} {TRAINING} {SIZES[model][size]} --set train.lr={rate} --seed {seed}"
    seqprobe("train", model, "mqar", "-o", str(path), *options.split(), "--resume", "--quiet")
    return path


def chosen(folder: Path, model: str, size: int) -> list[Path]:
    """Return the networks of one model and size, all seeds at the better learning rate."""
    first = {rate: train(folder, model, size, rate, 0) for rate in RATES}
    scores = {r: load_checkpoint(p).metrics["valid"]["score"] for r, p in first.items()}
    best = max(RATES, key=scores.__getitem__)
    return [first[best], *(train(folder, model, size, best, seed) for seed in range(1, SEEDS))]


def main() -> None:
    """Train what is not there yet, then measure all of it."""
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    paths = [
        str(path) for size in range(4) for model in SIZES for path in chosen(folder, model, size)
    ]
    out = str(FIGURES / "recall_capacity")
    seqprobe(
        *("capacity", "recall", *paths, "--loads", "1:16", "--sequences", "500"),
        *("-o", f"{out}.nc", "--figure", f"{out}.pdf", "--figure", f"{out}.png"),
    )
    check()


def check() -> None:
    """Print the median capacity of every model and size beside what is expected."""
    expected = tomllib.loads((HERE / "expected.toml").read_text())
    recall = schema.read(FIGURES / "recall_capacity.nc").sel(threshold=0.5)
    # Networks stand in the order of main: by size, then by model, then by seed.
    for model, medians in expected["capacity"].items():
        runs = recall["capacity"].values[recall["model"].values == model]
        found = np.median(np.minimum(runs.reshape(-1, SEEDS), 16), axis=1)
        for size, (value, want) in enumerate(zip(found, medians, strict=True)):
            good = abs(value - want) <= expected["tolerance"] * want
            print(f"{model} {size}: {value:.1f}, expected {want}, {'ok' if good else 'NOT OK'}")


if __name__ == "__main__":
    main()
