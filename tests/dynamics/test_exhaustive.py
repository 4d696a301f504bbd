"""Wide networks and exhaustive searches, which take minutes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from seqprobe.dynamics import fixed_points, sample_states
from seqprobe.tasks import make_task
from seqprobe.training import load_checkpoint

ROOT = Path(__file__).resolve().parents[2]
TRAIN = "--until mse=0.0009 --steps 6000 --set train.schedule=constant --set train.batch=128"


def _agree(path: Path) -> list[int]:
    """Check that 12,288 more starts find the same points; return their numbers by kind."""
    checkpoint = load_checkpoint(path)
    assert checkpoint.metrics["test"]["score"] <= 1e-3
    model = checkpoint.build_model()
    starts = sample_states(model, make_task("flipflop").batch("test", 128), 1024)
    points = fixed_points(model, starts)
    wide = fixed_points(model, starts, exhaustive=True)
    np.testing.assert_allclose(points["x"], wide["x"], atol=1e-9)
    assert float(wide["certificate"].max()) < 1e-9
    assert int(wide["complete"][0]) == 1
    return [int(n) for n in np.bincount(wide["n_unstable"].values)]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["rnn", "gru", "lstm", "leaky", "gru-stacked"])
def test_shipped_flipflops_have_no_more(name: str) -> None:
    assert _agree(ROOT / f"checkpoints/flipflop/{name}-s0.pt") == [8, 12, 6, 1]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["rnn", "gru"])
def test_wide_flipflops(name: str, tmp_path: Path) -> None:
    """256 units: 27 where training made nothing else; a GRU may keep a few more far away."""
    line = f"train {name} flipflop -o {tmp_path}/x.pt --set model.width=256 {TRAIN}"
    arguments = [sys.executable, "-m", "seqprobe", *line.split(), "--set", "train.lr=1e-3"]
    subprocess.run([*arguments, "--quiet"], check=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
    found = _agree(tmp_path / "x.pt")
    assert found[0] == 8
    assert sum(found) == 27 or (name == "gru" and sum(found) % 2 == 1)
