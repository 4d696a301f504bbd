"""What is claimed of shipped models and of training, measured again."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest

from seqprobe.cli.app import run
from seqprobe.memory import copy_curve
from seqprobe.training import load_checkpoint

COPY = Path(__file__).resolve().parents[1] / "checkpoints" / "copy"


def test_a_gru_trained_on_short_delays_recalls_after_long_ones() -> None:
    """Trained on delays up to 30, it holds 0.95 at 100; a guess is right one time in eight."""
    checkpoint = load_checkpoint(COPY / "gru-mixed-s0.pt")
    assert checkpoint.task["config"]["delay"] == 30
    task = checkpoint.build_task()
    curve = copy_curve(checkpoint.build_model(), task, [30, 100], protocol="mixed")  # type: ignore[arg-type]
    assert (curve["accuracy"] >= 0.95).all()
    assert (curve["accuracy_ci"] >= 0.94).all()


@pytest.mark.slow
def test_recall_ends_with_the_receptive_field(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of 121 steps: whole at lag 120, a guess at lag 121, each trained anew (case 10)."""
    line = f"memory copy-curve {COPY / 'tcn-s0.pt'} --protocol retrain --lengths 115,116"
    assert run(shlex.split(f"{line} --folder {tmp_path} --device cpu --json")) == 0
    (row,) = json.loads(capsys.readouterr().out)["results"]
    assert row["answer_lag"] == [120, 121]
    assert row["accuracy"][0] >= 0.99
    low, high = (bound[1] for bound in row["accuracy_ci"])
    assert low <= 1 / 8 <= high or abs(row["accuracy"][1] - 1 / 8) < 0.02
