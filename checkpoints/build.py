"""Train the shipped checkpoints again and write manifest.json.

    python checkpoints/build.py                 everything
    python checkpoints/build.py delay/gru       one entry (or several)
    python checkpoints/build.py --seeds 3 digits    scores of three seeds, nothing shipped

Each entry is one command, which the manifest records. One thread per training makes the files the
same, byte for byte, on the same machine. The music needs its data: seqprobe data fetch jsb.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from seqprobe.training import load_checkpoint

ROOT = Path(__file__).resolve().parent.parent
MANIFEST = ROOT / "checkpoints" / "manifest.json"

DELAY = "--until nmse=0.0025 --steps 6000 --set train.schedule=constant"
FLIPFLOP = "--until mse=0.0009 --steps 4000 --set train.schedule=constant --set train.lr=2e-3"
FLIPFLOP += " --set train.batch=128"
JSB = "--params 20k --steps 1500 --set train.batch=32 --set train.weight_decay=0.3"
RECALL = "--until accuracy=0.999 --steps 3000"
COPY = "--set task.symbols=5 --set task.encoding=token"
INTEGRATOR = "--set train.batch=128 --set train.lr=2e-3"
SINE = "--set task.low=2 --set task.high=10 --steps 5000 --set train.batch=64 --set train.lr=2e-3"
MQAR = "--set task.length=32 --set task.pairs=8 --set task.min_pairs=1 --set task.keys=16"
MQAR += " --set task.values=16 --set train.eval_every=500 --steps 6000 --until accuracy=0.999"
SETTINGS = {
    "delay/rnn": f"--set model.width=128 {DELAY}",
    "delay/gru": f"--set model.width=64 {DELAY}",
    "delay/lstm": f"--set model.width=64 {DELAY}",
    # Five taps on three levels see 57 steps: the profile is exactly zero from lag 57 on.
    "delay/tcn": f"--set model.width=24 --set model.kernel=5 --set model.layers=3 {DELAY}",
    "delay/transformer": f"--set model.width=40 {DELAY}",
    # From the identity, the rectified network takes longest to become a shift register.
    "delay/irnn": "--set model.width=200 --until nmse=0.0025 --steps 20000"
    " --set train.schedule=constant",
    "delay/leaky": f"--set model.width=128 {DELAY}",
    "delay/s4d": f"--set model.width=48 --set model.modes=32 {DELAY}",
    # Three blocks with eight taps each reach 21 steps back by their convolutions alone; the state
    # would have to carry the rest.
    "delay/mamba": "--set model.width=32 --set model.layers=3 --set model.kernel=8"
    f" --set model.modes=8 --set train.lr=3e-3 {DELAY}",
    "digits/rnn": "--set model.width=128 --steps 3000 --set train.weight_decay=0.1",
    "digits/gru": "--set model.width=96 --steps 3000 --set train.lr=5e-3"
    " --set train.weight_decay=0.3",
    "digits/lstm": "--set model.width=96 --steps 3000 --set train.lr=1e-2"
    " --set train.weight_decay=0.3",
    "digits/tcn": "--set model.width=32 --steps 1500 --set train.weight_decay=0.1"
    " --set model.dropout=0.1",
    "digits/transformer": "--set model.width=40 --steps 3000 --set train.weight_decay=0.1"
    " --set model.dropout=0.1",
    "digits/irnn": "--set model.width=128 --steps 4000 --set train.lr=3e-3",
    "digits/leaky": "--set model.width=128 --steps 3000 --set train.weight_decay=0.1",
    "digits/s4d": "--set model.width=48 --set model.modes=32 --set model.dropout=0.1"
    " --steps 1500 --set train.weight_decay=0.1",
    "digits/mamba": "--set model.width=40 --set model.layers=2 --set model.modes=8 --steps 3000"
    " --set train.batch=32 --set train.lr=2e-3 --set train.weight_decay=0.5",
    **{f"flipflop/{model}": FLIPFLOP for model in ("rnn", "gru", "lstm", "leaky")},
    "flipflop/gru-stacked": f"--set model.width=32 --set model.layers=2 {FLIPFLOP}",
    "integrator/rnn": f"--set model.width=64 --steps 5000 {INTEGRATOR}",
    "integrator/gru": f"--set model.width=32 --steps 3000 {INTEGRATOR}",
    "sine/rnn": f"--set model.width=64 {SINE}",
    "sine/gru": f"--set model.width=48 {SINE}",
    **{f"jsb/{model}": f"{JSB} --set train.lr=5e-3" for model in ("rnn", "leaky", "gru", "lstm")},
    "jsb/irnn": f"{JSB} --set train.lr=3e-3",
    "recall/gru": RECALL,
    "recall/lstm": RECALL,
    "recall/transformer": f"--set model.width=40 {RECALL}",
    "recall/tcn": f"--set model.layers=3 --set model.kernel=3 {RECALL}",
    # Loads of 1 to 8 pairs: only attention holds all of them.
    "mqar/transformer": f"--set model.heads=2 --set model.width=16 --set train.lr=1e-2 {MQAR}",
    "mqar/mamba": f"--set model.width=16 --set model.modes=4 --set train.lr=1e-2 {MQAR}",
    "mqar/gru": f"--set model.width=64 --set train.lr=1e-2 {MQAR}",
    # Holds what it has learnt at delays of up to 30 far beyond them.
    "copy/gru-mixed": "--set model.width=64 --set model.embedding=8 --steps 12000"
    f" --set task.delay=30 --set task.min_delay=1 {COPY}",
    # 21 taps on two levels see 121 steps: the answers, 120 steps back, are the last it can reach.
    "copy/tcn": "--set model.width=24 --set model.kernel=21 --set model.layers=2"
    " --set model.embedding=8 --set train.lr=3e-3 --set train.schedule=constant --steps 6000"
    f" --until accuracy=0.999 --set task.delay=115 {COPY}",
    "jsb/tcn": f"{JSB} --set model.layers=2 --set model.kernel=3 --set model.dropout=0.3",
}


def command(entry: str, seed: int, folder: str) -> str:
    """Return the shell command that trains one entry."""
    task, name = entry.split("/")
    model = name.partition("-")[0]
    path = f"{folder}/{task}/{name}-s{seed}.pt"
    return f"seqprobe train {model} {task} -o {path} {SETTINGS[entry]} --seed {seed}"


def train(line: str) -> None:
    """Run one command with one thread, quietly."""
    arguments = [sys.executable, "-m", *shlex.split(line), "--quiet", "--overwrite"]
    print(line, flush=True)
    subprocess.run(arguments, cwd=ROOT, check=True, env=os.environ | {"OMP_NUM_THREADS": "1"})


def train_all(lines: Iterable[str]) -> None:
    """Run commands, one per core."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for _ in pool.map(train, lines):
            pass


def is_complete(entry: str) -> bool:
    """Say whether the shipped file of an entry is there and its training done."""
    path = ROOT / "checkpoints" / f"{entry}-s0.pt"
    return path.exists() and load_checkpoint(path).status == "complete"


def describe(entry: str) -> dict[str, Any]:
    """Return the manifest's record of one shipped file."""
    line = command(entry, 0, "checkpoints")
    path = shlex.split(line)[5]
    checkpoint = load_checkpoint(ROOT / path)
    assert checkpoint.origin is not None
    return {
        "path": path,
        "sha256": checkpoint.origin.sha256,
        "model": checkpoint.model["name"],
        "task": checkpoint.task["name"],
        "params": checkpoint.params,
        "metric": checkpoint.metrics["test"]["metric"],
        "score": checkpoint.metrics["test"]["score"],
        "chance": checkpoint.chance,
        "baseline": checkpoint.baseline,
        "solved": checkpoint.solved,
        "command": f"OMP_NUM_THREADS=1 {line}",
    }


def main() -> None:
    """Parse the command line and train."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("entries", nargs="*", help="delay, digits/gru, ...; all if none")
    parser.add_argument("--seeds", type=int, help="train this many seeds and print their scores")
    options = parser.parse_args()
    wanted = [e for e in SETTINGS if not options.entries or e.startswith(tuple(options.entries))]
    if options.seeds:
        compare_seeds(wanted, options.seeds)
        return
    for entry in wanted:
        (ROOT / "checkpoints" / entry).parent.mkdir(exist_ok=True)
    train_all(command(entry, 0, "checkpoints") for entry in wanted)
    made = [describe(entry) for entry in SETTINGS if is_complete(entry)]
    MANIFEST.write_text(json.dumps(made, indent=1) + "\n")


def compare_seeds(wanted: list[str], seeds: int) -> None:
    """Train several seeds in a scratch folder and print the test scores of each entry."""
    with tempfile.TemporaryDirectory() as folder:
        for entry in wanted:
            (Path(folder) / entry).parent.mkdir(exist_ok=True)
        train_all(command(entry, seed, folder) for entry in wanted for seed in range(seeds))
        for entry in wanted:
            paths = [Path(folder) / f"{entry}-s{seed}.pt" for seed in range(seeds)]
            scores = [load_checkpoint(path).metrics["test"]["score"] for path in paths]
            each = " ".join(f"{score:.4f}" for score in scores)
            print(f"{entry:<20} {each}   mean {sum(scores) / seeds:.4f}")


if __name__ == "__main__":
    main()
