"""Time of training: shared by networks trained together, and kept over an interruption."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from seqprobe.errors import InterruptedRunError
from seqprobe.studies import Study, collect, training
from seqprobe.studies.stopwatch import Stopwatch
from seqprobe.studies.unit import UnitFolder
from seqprobe.studies.worker import work
from seqprobe.training.evaluate import evaluate
from studies.plans import TINY, finish, jobs_of, make


def _interrupted(study: Study, monkeypatch: pytest.MonkeyPatch) -> UnitFolder:
    """Interrupt the first job of a study at update 5 and return the folder of its first unit."""
    monkeypatch.setattr(training, "_SECONDS_BETWEEN_REPORTS", 0.0)

    def interrupt(message: dict[str, Any]) -> None:
        if any(own.get("step") == 5 for own in message.get("units", {}).values()):
            raise KeyboardInterrupt

    study.write()
    with pytest.raises(InterruptedRunError):
        work(jobs_of(study)[0], interrupt)
    return study.unit_folder(study.units[0])


def test_updates_count_for_each_of_the_networks_and_nothing_else(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = [100.0]
    monkeypatch.setattr(time, "process_time", lambda: now[0])
    watch = Stopwatch(2.0, on_cpu=True)
    for seconds in (50, 8, 4):  # the first loads what is needed
        now[0] += seconds
        watch.updated(networks=4)
    assert watch.seconds == 5.0
    now[0] += 10
    watch.leave_out()
    now[0] += 3
    watch.updated(networks=1)
    assert watch.seconds == 8.0


@pytest.mark.parametrize("together", ["true", "false"])
def test_neither_validations_nor_tests_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, together: str
) -> None:
    spent = [0.0]

    def slow(*arguments: Any) -> dict[str, Any]:
        spent[0] += 1000.0
        return evaluate(*arguments)

    monkeypatch.setattr("seqprobe.training.record.evaluate", slow)
    monkeypatch.setattr(time, "process_time", lambda: spent[0])
    study = make(tmp_path, f"together = {together}\n{TINY}")
    finish(study)
    for unit in study.units:
        lines = study.unit_folder(unit).read_metrics()
        assert [line["seconds"] for line in lines] == [0.0] * 4


def test_what_is_not_known_stays_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study = make(tmp_path, f"together = false\n{TINY}")
    folder = _interrupted(study, monkeypatch)
    older = [{k: v for k, v in line.items() if k != "seconds"} for line in folder.read_metrics()]
    older[0]["loss"] = 0.0  # NaN is not JSON
    folder.metrics.write_text("".join(json.dumps(line) + "\n" for line in older))
    finish(study)
    seconds = [line["seconds"] for line in folder.read_metrics()]
    assert np.isnan(seconds[1:]).all()


@pytest.mark.parametrize("together", ["true", "false"])
def test_an_interrupted_run_goes_on_counting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, together: str
) -> None:
    study = make(tmp_path, f"together = {together}\n{TINY}")
    folder = _interrupted(study, monkeypatch)
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
