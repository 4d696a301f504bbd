"""What a study costs and what it survives: kills, thousands of folders, two processes.

    python benchmarks/studies.py kills [SWEEP] [TIMES]   20 SIGKILLs at random moments
    python benchmarks/studies.py folders [NUMBER]        status and collect of 5000 finished units
    python benchmarks/studies.py jobs                    two processes against one

`kills` runs the 120 units of tests/studies/sweep.toml undisturbed and again, killing the run and
all its workers at random moments and starting it again, and compares every file. Wall-clock times.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from seqprobe import schema

ROOT = Path(__file__).resolve().parents[1]
SWEEP = ROOT / "tests" / "studies" / "sweep.toml"
MANY = """
name = "many"
seeds = {number}
together = false
analyses = ["memory profile --sequences 8 --max-lag 8"]
fixed.model = {{ name = "gru", width = 16 }}
fixed.task = {{ name = "delay", delay = 3, length = 12 }}
fixed.train = {{ steps = 60, batch = 16, eval_every = 20 }}
"""
SEQPROBE = [sys.executable, "-m", "seqprobe"]


def study(*arguments: str | Path) -> float:
    """Run a command of ``seqprobe study`` to its end and return its seconds."""
    start = time.monotonic()
    command = [*SEQPROBE, "study", *map(str, arguments)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.monotonic() - start


def kills(sweep: Path, times: int) -> None:
    """Kill a study at random moments, and compare what it ends with."""
    rng = random.Random(0)
    with tempfile.TemporaryDirectory() as home:
        calm, disturbed = Path(home, "calm"), Path(home, "disturbed")
        seconds = study("run", sweep, "--folder", calm, "--quiet")
        print(f"undisturbed: {seconds:.0f} s, {len(units(calm))} units")
        for i in range(times):
            moment = rng.uniform(0, 2 * seconds / times)
            landed = kill_after(sweep, disturbed, moment)
            done = len(list(disturbed.glob("*/done.json")))
            said = (
                f"kill {i + 1}, {moment:.2f} s after the first file changed" if landed else "ended"
            )
            print(f"{said}: {done} units trained", flush=True)
        study("run", sweep, "--folder", disturbed, "--quiet")
        study("validate", sweep, "--folder", disturbed)
        different = differences(calm, disturbed)
        print(f"files compared: {different[1]}; different: {len(different[0])}")
        for line in different[0]:
            print(f"  {line}")
        sys.exit(bool(different[0]))


def kill_after(sweep: Path, folder: Path, moment: float) -> bool:
    """Kill a run and its workers so many seconds after it began to work; False if it had ended."""
    before = newest(folder)
    process = subprocess.Popen(
        [*SEQPROBE, "study", "run", str(sweep), "--folder", str(folder), "--quiet"],
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    while newest(folder) == before and process.poll() is None:
        time.sleep(0.01)
    try:
        process.wait(timeout=moment)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        return True
    return False


def newest(folder: Path) -> int:
    """Return when a file of a unit last came into its place."""
    return max((path.stat().st_mtime_ns for path in folder.glob("*")), default=0)


def units(folder: Path) -> list[str]:
    """Return the names of all units of a study's folder."""
    return [unit["name"] for unit in json.loads((folder / "plan.json").read_text())["units"]]


def differences(one: Path, other: Path) -> tuple[list[str], int]:
    """Return which files of two studies differ, and how many were compared.

    Times of day and durations are left out: ``created`` of results, ``seconds`` of ``done.json``.
    """
    found, compared = [], 0
    for name in units(one):
        files = {p.relative_to(one / name) for p in (one / name).rglob("*") if p.is_file()}
        others = {p.relative_to(other / name) for p in (other / name).rglob("*") if p.is_file()}
        found += [f"{name}/{path}: only in one" for path in files ^ others if not is_lock(path)]
        for path in sorted(path for path in files & others if not is_lock(path)):
            compared += 1
            if content(one / name / path) != content(other / name / path):
                found.append(f"{name}/{path}")
    return found, compared


def is_lock(path: Path) -> bool:
    """Say whether a file is an empty one that only says who is at work."""
    return path.name == "lock" or path.suffix == ".lock"


def content(path: Path) -> object:
    """Return what a file says, without the time of day."""
    if path.name == "done.json":
        return {k: v for k, v in json.loads(path.read_text()).items() if k != "seconds"}
    if path.suffix != ".nc":
        return path.read_bytes()
    result = schema.read(path)
    attributes = {k: repr(v) for k, v in result.attrs.items() if k not in ("created", "checkpoint")}
    variables = {
        str(n): (v.dims, v.dtype.str, v.values.tobytes()) for n, v in result.variables.items()
    }
    return attributes, variables


def folders(number: int) -> None:
    """Measure status and collect of many finished units, copies of a few real ones."""
    with tempfile.TemporaryDirectory() as home:
        toml = Path(home, "many.toml")
        toml.write_text(MANY.format(number=number))
        folder = Path(home, "many")
        study("run", toml, "--folder", folder, "--only", "seed=0", "--quiet")
        names = units(folder)
        first = folder / names[0]
        for name in names[1:]:
            shutil.copytree(first, folder / name)
        commands: list[list[str | Path]]
        commands = [["status", toml], ["collect", toml, "-o", Path(home, "many.nc")]]
        for command in commands:
            seconds = [study(*command, "--folder", folder) for _ in range(3)]
            print(f"{command[0]} of {len(names)} units: {statistics.median(seconds):.2f} s")
        ours = statistics.median(seconds)
        start = time.monotonic()
        for name in names[:100]:
            schema.read(next((folder / name / "results").glob("*.nc")))
        each = (time.monotonic() - start) / 100
        alone = each * number
        print(f"opening each with xarray: {alone:.0f} s, ratio {ours / alone:.3f}")


def jobs() -> None:
    """Measure two processes against one, in turn: training only, five times as long."""
    ratios = []
    with tempfile.TemporaryDirectory() as home:
        toml = Path(home, "study.toml")
        text = SWEEP.read_text().replace("train.steps = 200", "train.steps = 1000")
        toml.write_text("\n".join(x for x in text.splitlines() if not x.startswith("analyses")))
        for i in range(2):
            seconds = [
                study("run", toml, "--folder", Path(home, f"{i}-{n}"), "--jobs", str(n), "-q")
                for n in (1, 2)
            ]
            ratios.append(seconds[0] / seconds[1])
            said = f"one process {seconds[0]:.1f} s, two {seconds[1]:.1f} s: {ratios[-1]:.2f}"
            print(said, flush=True)


def main() -> None:
    """Run what the command line names."""
    what, *rest = sys.argv[1:] or ["folders"]
    if what == "kills":
        sweep = Path(rest[0]) if rest else SWEEP
        kills(sweep, int(rest[1]) if len(rest) > 1 else 20)
    elif what == "folders":
        folders(int(rest[0]) if rest else 5000)
    else:
        jobs()


if __name__ == "__main__":
    main()
