"""Time of training: shared by networks trained together, and kept over an interruption."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from seqprobe.errors import InterruptedRunError
from seqprobe.studies import collect, training
from seqprobe.studies.stopwatch import Stopwatch
from seqprobe.studies.worker import work
from studies.plans import TINY, finish, jobs_of, make


def test_time_is_shared_by_those_in_training(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(time, "process_time", lambda: now[0])
    watch = Stopwatch(4, 2.0, on_cpu=True)
    now[0] += 8
    assert watch.read() == 4.0
    now[0] += 4
    watch.share(1)
    now[0] += 3
    assert watch.read() == 8.0


@pytest.mark.parametrize("together", ["true", "false"])
def test_an_interrupted_run_goes_on_counting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, together: str
) -> None:
    study = make(tmp_path, f"together = {together}\n{TINY}")
    monkeypatch.setattr(training, "_SECONDS_BETWEEN_REPORTS", 0.0)

    def interrupt(message: dict[str, Any]) -> None:
        if any(own.get("step") == 5 for own in message.get("units", {}).values()):
            raise KeyboardInterrupt

    study.write()
    job = jobs_of(study)[0]
    with pytest.raises(InterruptedRunError):
        work(job, interrupt)
    folder = study.unit_folder(study.units[0])
    before = folder.read_metrics()
    assert [line["step"] for line in before] == [0, 2, 4]
    finish(study)
    after = folder.read_metrics()
    seconds = [line["seconds"] for line in after]
    assert seconds[:3] == [line["seconds"] for line in before]
    assert seconds[0] == 0.0 and (np.diff(seconds) > 0).all()


def test_a_study_says_time_epochs_chance_and_baseline(tmp_path: Path) -> None:
    study = make(
        tmp_path,
        TINY.replace('{ name = "delay", length = 8, delay = 2 }', '"digits"')
        .replace("fixed.task =", "fixed.task.name =")
        .replace("seeds = 2", "seeds = 1"),
    )
    finish(study)
    tree = collect(study)
    histories = tree["training"].to_dataset()
    assert histories["epoch"].values[0] == pytest.approx([0, 8 / 898, 16 / 898, 24 / 898])
    assert histories["seconds"].values[0, 0] == 0 and (np.diff(histories["seconds"]) > 0).all()
    root = tree.to_dataset()
    assert float(root["chance"][0]) == 0.10 and 0.9 < float(root["baseline"][0]) < 1
