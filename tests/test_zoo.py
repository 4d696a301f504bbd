"""The shipped checkpoints are what the manifest and the README say."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from data_sets import DATA, needs_data
from seqprobe.cli.train import command as train_command
from seqprobe.files import sha256
from seqprobe.memory import gradient_profile
from seqprobe.models import MODELS
from seqprobe.tasks import make_task
from seqprobe.training import evaluate, load_checkpoint

ROOT = Path(__file__).resolve().parents[1]
MANIFEST: list[dict[str, Any]] = json.loads((ROOT / "checkpoints/manifest.json").read_text())
KEYS = ["path", "sha256", "model", "task", "params", "metric", "score"]
KEYS += ["chance", "baseline", "solved", "command"]

every_entry = pytest.mark.parametrize(
    "entry",
    [
        pytest.param(
            e, id=e["path"], marks=needs_data(DATA[e["task"]]) if e["task"] in DATA else ()
        )
        for e in MANIFEST
    ],
)


# 'mup' is a leaky tanh network in another parametrisation, for sweeps of it: none is shipped.
CAUSAL = [name for name, entry in MODELS.items() if entry.directions == 1 and name != "mup"]


def test_what_is_shipped() -> None:
    shipped = [(entry["task"], entry["model"]) for entry in MANIFEST]
    expected = [(task, model) for task in ("delay", "digits") for model in CAUSAL]
    expected += [("flipflop", model) for model in ("rnn", "gru", "gru", "lstm", "leaky")]
    expected += [(task, model) for task in ("integrator", "sine") for model in ("rnn", "gru")]
    expected += [("recall", model) for model in ("gru", "lstm", "tcn", "transformer")]
    expected += [("mqar", model) for model in ("gru", "mamba", "transformer")]
    expected += [("copy", "gru"), ("copy", "tcn")]
    expected += [("jsb", model) for model in ("rnn", "irnn", "leaky", "gru", "lstm", "tcn")]
    assert sorted(shipped) == sorted(expected)


@every_entry
def test_manifest_tells_the_truth(entry: dict[str, Any]) -> None:
    path = ROOT / entry["path"]
    assert list(entry) == KEYS
    assert path.stat().st_size < 200_000
    assert sha256(path) == entry["sha256"]
    checkpoint = load_checkpoint(path)
    assert checkpoint.params == entry["params"] <= 45_000
    assert checkpoint.status == "complete"
    task = checkpoint.build_task()
    score = evaluate(checkpoint.build_model(), task, "test")["score"]
    # Another machine's kernels may round differently, which can turn one image of 450.
    tolerance = 1.5 / 450 if task.name == "digits" else 1e-3 * score
    assert score == pytest.approx(entry["score"], abs=tolerance)
    assert entry["solved"] == task.solved(entry["score"])


@every_entry
def test_command_is_the_one_that_made_it(entry: dict[str, Any]) -> None:
    words = shlex.split(entry["command"])
    assert words[:3] == ["OMP_NUM_THREADS=1", "seqprobe", "train"]
    options = train_command.make_context("train", words[3:]).params
    checkpoint = load_checkpoint(ROOT / entry["path"])
    assert options["output"] == entry["path"]
    assert (options["model"], options["task"]) == (entry["model"], entry["task"])
    assert options["steps"] == checkpoint.train["steps"]
    assert options["seed"] == checkpoint.seed


@pytest.mark.parametrize("model", CAUSAL)
def test_solved_delay_networks_peak_at_the_delay(model: str) -> None:
    checkpoint = load_checkpoint(ROOT / f"checkpoints/delay/{model}-s0.pt")
    assert checkpoint.solved == (checkpoint.metrics["test"]["score"] < 0.003)
    if not checkpoint.solved:
        assert model == "irnn"  # which does not learn it within its budget
        return
    batch = make_task("delay").batch("test", 8)
    profile = gradient_profile(checkpoint.build_model(), batch)
    assert int(profile["peak_lag"]) == 20
    assert profile["peak_lag_ci"].values.tolist() == [20, 20]
    assert float(profile["float64_deviation"]) < 0.01
    if model == "tcn":
        assert int(profile["structural_zero"]) == int(profile["receptive_field"]) == 57
        np.testing.assert_array_equal(profile["G"][57:], 0)
    else:
        assert (profile["G"] > 0).all()


def test_the_readme_s_python_runs(tmp_path: Path) -> None:
    text = (ROOT / "README.md").read_text()
    text = re.sub(r"^## Your own model\n.*?(?=^## )", "", text, flags=re.DOTALL | re.MULTILINE)
    code, study = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    code += f"\nax.figure.savefig({str(tmp_path / 'x.png')!r})"
    subprocess.run([sys.executable, "-W", "error", "-c", code], cwd=ROOT, check=True)
    assert (tmp_path / "x.png").exists()
    shutil.copy(ROOT / "figures/example_study.nc", tmp_path / "study.nc")
    subprocess.run([sys.executable, "-W", "error", "-c", study], cwd=tmp_path, check=True)


def test_the_readme_s_paths_exist() -> None:
    text = (ROOT / "README.md").read_text()
    for path in re.findall(r"\]\(([^)h#][^)]*)\)", text):
        assert (ROOT / path).exists(), path


@pytest.mark.slow
def test_a_shipped_checkpoint_is_made_again_to_the_byte(tmp_path: Path) -> None:
    """On the machine that made it; elsewhere the weights agree to rounding that training grows."""
    entry = next(e for e in MANIFEST if e["path"] == "checkpoints/delay/rnn-s0.pt")
    line = entry["command"].replace("seqprobe", f"{shlex.quote(sys.executable)} -m seqprobe", 1)
    line = line.replace(entry["path"], shlex.quote(str(tmp_path / "x.pt")), 1)
    subprocess.run(line, shell=True, check=True, cwd=ROOT, capture_output=True)
    made, shipped = load_checkpoint(tmp_path / "x.pt"), load_checkpoint(ROOT / entry["path"])
    assert made.metrics["test"]["score"] < 0.003
    if made.libraries == shipped.libraries and torch.equal(
        made.weights["head.weight"], shipped.weights["head.weight"]
    ):
        assert sha256(tmp_path / "x.pt") == entry["sha256"]
