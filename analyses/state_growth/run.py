"""Train Mamba with three state sizes on sequences of several lengths, and watch its state grow.

    python analyses/state_growth/run.py FOLDER      (about an hour on one core)

Checkpoints go to FOLDER, where a broken run goes on; figures and their numbers to figures/.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

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


if __name__ == "__main__":
    main()
