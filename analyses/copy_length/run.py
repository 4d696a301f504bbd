"""Train, measure and draw recall against the delay for three architectures of equal size.

    python analyses/copy_length/run.py FOLDER      (about two hours on one core)

Checkpoints go to FOLDER, where a broken run goes on; the figure and its numbers to figures/. Says
at the end whether what came out is what expected.toml holds.
"""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np

from seqprobe import schema

HERE = Path(__file__).resolve().parent
FIGURES = HERE.parents[1] / "figures"
SETTINGS = {
    "lstm": [],
    "gru": [],
    # Seven taps on five levels see 373 steps.
    "tcn": ["--set", "model.kernel=7", "--set", "model.layers=5"],
}
TRAINING = "--set task.delay=30 --set train.batch=32 --set train.lr=1e-3 --steps 15000"
LENGTHS = "30,100,200"


def seqprobe(*arguments: str) -> None:
    """Run one command and stop if it fails."""
    subprocess.run([sys.executable, "-m", "seqprobe", *arguments], check=True)


def main() -> None:
    """Train what is not there yet, then measure all of it."""
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    expected = tomllib.loads((HERE / "expected.toml").read_text())
    paths = []
    for model, settings in SETTINGS.items():
        for seed in range(expected["seeds"]):
            path = str(folder / f"{model}-s{seed}.pt")
            paths.append(path)
            options = [*TRAINING.split(), "--until", "accuracy=0.999", "--params", "10k"]
            seqprobe(
                *("train", model, "copy", "-o", path, *settings, *options),
                *("--seed", str(seed), "--resume", "--quiet"),
            )
    out = str(FIGURES / "copy_length")
    seqprobe(
        *("memory", "copy-curve", *paths, "--protocol", "retrain", "--lengths", LENGTHS),
        *("--folder", str(folder / "retrained"), "-o", f"{out}.nc"),
        *("--figure", f"{out}.pdf", "--figure", f"{out}.png"),
    )
    check(expected)


def check(expected: dict[str, dict[str, list[float]]]) -> None:
    """Print the median accuracy over seeds of every model and delay beside what is expected."""
    curve = schema.read(FIGURES / "copy_length.nc")
    for model, medians in expected["accuracy"].items():
        rows = curve["accuracy"].values[curve["model"].values == model]
        found = np.median(rows, axis=0)
        within = np.abs(found - medians) <= expected["tolerance"]
        for delay, value, want, good in zip(
            curve["length"].values, found, medians, within, strict=True
        ):
            print(f"{model} T={delay}: {value:.3f}, expected {want}, {'ok' if good else 'NOT OK'}")


if __name__ == "__main__":
    main()
