"""Train Mamba with three state sizes on sequences of several lengths, and watch its state grow.

    python analyses/state_growth/run.py FOLDER      (about an hour on one core)

Checkpoints go to FOLDER, where a broken run goes on; figures and their numbers to figures/.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np

from seqprobe import schema

HERE = Path(__file__).resolve().parent
FIGURES = HERE.parents[1] / "figures"
MODES = (4, 16, 64)
LENGTHS = (16, 32, 64, 128)
SEEDS = 3
TRAINING = "--set model.width=16 --set train.lr=1e-2 --set train.batch=32 --steps 2000"
TRAINING += " --set train.eval_every=250 --set task.symbols=4"


def seqprobe(*arguments: str) -> None:
    """Run one command and stop if it fails."""
    subprocess.run([sys.executable, "-m", "seqprobe", *arguments], check=True)


def train(folder: Path, modes: int, length: int, seed: int) -> str:
    """Train one network, or take it from the folder."""
    path = str(folder / f"mamba-N{modes}-T{length}-s{seed}.pt")
    options = f"{TRAINING} --set model.modes={modes} --set task.length={length} --seed {seed}"
    seqprobe("train", "mamba", "recall", "-o", path, *options.split(), "--resume", "--quiet")
    return path


def main() -> None:
    """Train what is not there yet, then measure all of it."""
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    paths = [
        train(folder, modes, length, seed)
        for seed in range(SEEDS)
        for length in LENGTHS
        for modes in MODES
    ]
    seqprobe("capacity", "growth", *paths, "-o", str(FIGURES / "state_growth.nc"))
    subprocess.run([sys.executable, str(HERE / "figure.py")], check=True)
    check()


def check() -> None:
    """Say whether the median growth lies on the same side of 2 as expected, at 16 and 64 steps."""
    expected = tomllib.loads((HERE / "expected.toml").read_text())
    growth = schema.read(FIGURES / "state_growth.nc")
    ssm = [part.endswith("ssm") for part in growth["part"].values]
    largest = growth["growth_index_part"].values[:, ssm].max(axis=1)
    modes = np.array([json.loads(text)["modes"] for text in growth["model_config"].values])
    lengths = growth["train_length"].values.astype(int)
    for n, medians in expected["growth"].items():
        for length, want in zip(LENGTHS, medians, strict=True):
            found = np.median(largest[(modes == int(n)) & (lengths == length)])
            good = length not in (16, 64) or (found > 2) == (want > 2)
            print(f"N={n} T={length}: {found:.1f}, expected {want}, {'ok' if good else 'NOT OK'}")


if __name__ == "__main__":
    main()
