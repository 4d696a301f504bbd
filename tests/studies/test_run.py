"""Units are done once, failures cost themselves alone, and everything goes on where it was."""

from __future__ import annotations

import json
import math
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import filelock
import pytest

from seqprobe.errors import SeqprobeError
from seqprobe.studies import Study, retry, run, running, status, validate
from seqprobe.studies.pool import on_this_machine
from seqprobe.studies.running import Standing
from seqprobe.studies.unit import UnitFolder
from seqprobe.studies.upkeep import strangers
from seqprobe.studies.worker import Job, work
from studies.plans import TINY, finish, jobs_of, make

WITH_ANALYSIS = 'analyses = ["capacity ess --sequences 2"]\n' + TINY


def _quiet(message: dict[str, Any]) -> None:
    del message


def _without_seconds(folder: UnitFolder) -> list[str]:
    return [repr(line | {"seconds": 0.0}) for line in folder.read_metrics()]


def _states(study: Any) -> list[str]:
    return [found.state for found in status(study)]


def test_a_unit_ends_with_checkpoint_metrics_results_and_a_summary(tmp_path: Path) -> None:
    study = make(tmp_path, WITH_ANALYSIS)
    assert _states(study) == ["todo", "todo"]
    finish(study)
    assert _states(study) == ["done", "done"]
    folder = study.unit_folder(study.units[1])
    assert [line["step"] for line in folder.read_metrics()] == [0, 2, 4, 6]
    assert "NaN" not in folder.metrics.read_text()
    done = folder.done
    assert done is not None and done["updates"] == 6 and done["reached"]
    assert [p.name.split("-")[0] for p in folder.results.glob("[!.]*")] == ["model.capacity.ess"]
    assert not list(study.folder.rglob("*.part")) + list(study.folder.rglob("*.resume.pt"))
    assert validate(study) == []


def test_nothing_is_done_twice(tmp_path: Path) -> None:
    study = make(tmp_path, WITH_ANALYSIS)
    finish(study)
    before = {path: path.stat().st_mtime_ns for path in study.folder.rglob("*") if path.is_file()}
    finish(study)
    (study.folder / "plan.json").touch()
    again = {path: path.stat().st_mtime_ns for path in study.folder.rglob("*") if path.is_file()}
    same = [p for p in before if before[p] == again[p] or p.name in ("plan.json", "lock")]
    assert same == list(before)


def test_a_new_analysis_needs_no_new_training(tmp_path: Path) -> None:
    study = make(tmp_path)
    finish(study)
    hashes = [(study.unit_folder(u).done or {})["sha256"] for u in study.units]
    more = make(tmp_path, WITH_ANALYSIS)
    assert _states(more) == ["trained", "trained"]
    finish(more)
    assert _states(more) == ["done", "done"]
    assert [(more.unit_folder(u).done or {})["sha256"] for u in more.units] == hashes


def test_an_analysis_without_meaning_for_a_model_is_kept_as_such(tmp_path: Path) -> None:
    text = 'analyses = ["fixed-points"]\ntogether = false\n' + TINY.replace("rnn", "transformer")
    study = make(tmp_path, text.replace("width = 4", "width = 4, heads = 1, layers = 1"))
    finish(study)
    assert _states(study) == ["done", "done"]
    (kept,) = study.unit_folder(study.units[0]).results.glob("*.json")
    assert "grows" in json.loads(kept.read_text())["reason"]


def test_a_diverging_unit_costs_itself_and_says_where(tmp_path: Path) -> None:
    text = TINY + "[[case]]\ntrain.lr = 1e-3\n[[case]]\ntrain.lr = 1e30\ntrain.clip = 1e30\n"
    study = make(tmp_path, text.replace('"rnn"', '"irnn"').replace("steps = 6", "steps = 40"))
    finish(study)
    assert sorted(_states(study)) == ["done", "done", "failed", "failed"]
    error = next(found.error for found in status(study) if found.error)
    assert error["kind"] == "diverged" and "update" in error["message"]
    assert {unit.settings["train.lr"] for unit in retry(study)} == {1e30}
    assert "failed" not in _states(study)


def test_an_analysis_that_fails_leaves_the_training(tmp_path: Path) -> None:
    text = 'analyses = ["memory profile --max-lag 100"]\n' + TINY
    study = make(tmp_path, text)
    finish(study)
    found = status(study)[0]
    assert found.state == "failed" and found.done is not None
    assert found.error is not None and found.error["kind"] == "analysis"


def test_a_unit_in_work_elsewhere_is_left_alone(tmp_path: Path) -> None:
    study = make(tmp_path)
    (job,) = jobs_of(study)
    folder = study.unit_folder(job.units[0])
    folder.make(job.units[0])
    with filelock.FileLock(folder.path / "lock"):
        assert not work(job, _quiet)
        assert _states(study) == ["running", "running"]
    assert _states(study) == ["todo", "todo"]


def test_files_of_a_killed_process_do_not_stay(tmp_path: Path) -> None:
    study = make(tmp_path)
    folder = study.unit_folder(study.units[0])
    folder.make(study.units[0])
    (folder.path / "done.json.part").write_text("{")
    finish(study)
    assert not list(study.folder.rglob("*.part"))


def test_a_checkpoint_whose_resume_file_was_never_written_is_made_again(tmp_path: Path) -> None:
    study = make(tmp_path, "together = false\n" + TINY)
    finish(study)
    folder = study.unit_folder(study.units[0])
    whole = folder.checkpoint.read_bytes()
    (folder.path / "done.json").unlink()
    from seqprobe.training import load_checkpoint

    half = load_checkpoint(folder.checkpoint)
    object.__setattr__(half, "status", "training")
    half.save(folder.checkpoint)
    finish(study)
    assert folder.checkpoint.read_bytes() == whole


@pytest.mark.parametrize("name", ["model.pt", "metrics.jsonl", "done.json"])
def test_a_unit_that_lost_a_file_is_made_whole_by_the_next_run(tmp_path: Path, name: str) -> None:
    study = make(tmp_path)
    finish(study)
    folder = study.unit_folder(study.units[0])
    path = folder.path / name
    whole, lines = path.read_bytes(), _without_seconds(folder)
    path.unlink()
    assert "done" in _states(study) and _states(study) != ["done", "done"]
    finish(study)
    assert _states(study) == ["done", "done"]
    assert path.read_bytes() == whole or name != "model.pt"  # the others have its time
    assert _without_seconds(folder) == lines
    lost = [math.isnan(line["seconds"]) for line in folder.read_metrics()]
    assert lost == [False, *[name == "metrics.jsonl"] * 3]  # a time is not made up


def test_folders_of_an_earlier_plan_are_counted(tmp_path: Path) -> None:
    study = make(tmp_path)
    finish(study)
    later = make(tmp_path, TINY.replace("steps = 6", "steps = 4"))
    assert strangers(study) == 0 and strangers(later) == 2


def test_a_group_that_only_lacks_its_last_words_is_not_trained_again(tmp_path: Path) -> None:
    study = make(tmp_path)
    finish(study)
    folders = [study.unit_folder(unit) for unit in study.units]
    before = [folder.checkpoint.stat().st_mtime_ns for folder in folders]
    (folders[1].path / "done.json").unlink()
    finish(study)
    assert _states(study) == ["done", "done"]
    assert [folder.checkpoint.stat().st_mtime_ns for folder in folders] == before


def test_a_group_that_starts_again_leaves_the_files_of_units_that_are_done(tmp_path: Path) -> None:
    study = make(tmp_path)
    finish(study)
    done, lost = (study.unit_folder(unit) for unit in study.units)
    before, whole = done.checkpoint.stat().st_mtime_ns, lost.checkpoint.read_bytes()
    for name in ("done.json", "model.pt"):
        (lost.path / name).unlink()
    finish(study)
    assert done.checkpoint.stat().st_mtime_ns == before
    assert lost.checkpoint.read_bytes() == whole
    assert not list(study.folder.rglob("again.pt"))


def test_a_damaged_resume_file_costs_time_and_nothing_else(tmp_path: Path) -> None:
    for together in ("true", "false"):
        home = tmp_path / together
        home.mkdir()
        study = make(home, f"together = {together}\n" + TINY)
        folder = study.unit_folder(study.units[0])
        folder.make(study.units[0])
        for path in (folder.resume, folder.own_resume):
            path.write_bytes(b"")
        finish(study)
        assert _states(study) == ["done", "done"]


def test_a_death_in_an_analysis_costs_one_unit_of_a_group(tmp_path: Path) -> None:
    study = make(tmp_path, WITH_ANALYSIS)
    finish(study)
    for unit in study.units:
        for path in study.unit_folder(unit).results.glob("*.nc"):
            path.unlink()
    (job,) = jobs_of(study)
    message = {"event": "died", "reason": "its process was killed", "words": ""}
    assert running._bury(study, job, message)
    assert _states(study) == ["failed", "trained"]
    finish(study)
    assert _states(study) == ["failed", "done"]
    with filelock.FileLock(study.unit_folder(job.units[0]).path / "lock"):
        assert not running._bury(study, job, message)  # another run is at it by now


def test_an_end_without_a_result_is_a_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(running, "_SECONDS_TO_WAIT_FOR_OTHERS", 0)

    class Liar:
        def __init__(self, jobs: list[Job]) -> None:
            self.jobs = jobs

        def submit(self, job: Job) -> None:
            self.jobs.append(job)

        def next_event(self, seconds: float) -> tuple[Job, dict[str, Any]] | None:
            return (self.jobs.pop(), {"event": "finished"}) if self.jobs else None

    standing = run(make(tmp_path), engine=lambda jobs: nullcontext(Liar(jobs)))
    assert len(standing.failed) == 2
    assert set(standing.failed.values()) == {"ended without a result in its folder"}


def test_a_worker_that_cannot_start_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", shutil.which("false"))
    with pytest.raises(SeqprobeError, match=r"a worker process cannot start: .* exit code 1"):
        run(make(tmp_path), jobs=1)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("model.pt", b"PK", "damaged"),
        ("metrics.jsonl", b"{", "metrics.jsonl' is damaged"),
        ("metrics.jsonl", b"", "is not the history"),
        ("config.json", b"{}", "config.json is missing, damaged or of another unit"),
        ("done.json", b"{", "is missing or damaged"),
    ],
)
def test_validate_names_damage_and_repairs_it(
    tmp_path: Path, name: str, content: bytes, said: str
) -> None:
    study = make(tmp_path)
    finish(study)
    folder = study.unit_folder(study.units[0])
    (folder.path / name).write_bytes(content)
    (damage,) = validate(study)
    assert damage.unit == study.units[0] and said in damage.reason
    validate(study, repair=True)
    assert not folder.path.exists()
    finish(study)
    assert validate(study) == []


def test_processes_do_what_one_does(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "other").mkdir()
    text = WITH_ANALYSIS + 'grid.model.name = ["gru", "tcn"]\n'
    one, other = make(tmp_path / "one", text), make(tmp_path / "other", text)
    finish(one)
    seen: list[Standing] = []
    standing = run(other, jobs=2, on_change=seen.append)
    assert standing.done == {unit.name for unit in other.units} and not standing.failed
    assert standing.progress == standing.total == 4 and seen
    for unit in one.units:
        a, b = one.unit_folder(unit), other.unit_folder(unit)
        assert a.checkpoint.read_bytes() == b.checkpoint.read_bytes()
        assert _without_seconds(a) == _without_seconds(b)


LONG = TINY.replace("steps = 6", "steps = 1000000").replace("seeds = 2", "seeds = 1")
MIXED = (
    LONG
    + """
grid.model.name = ["rnn", "tcn", "transformer"]
for.tcn.train.steps = 4
for.transformer = { model = { heads = 1 }, train = { steps = 4 } }
"""
)


def test_a_worker_that_is_killed_costs_its_unit_alone(tmp_path: Path) -> None:
    study = make(tmp_path, MIXED)
    killed: list[int] = []

    def kill(standing: Standing) -> None:
        busy = [report for report in standing.running.values() if report.get("step", 0) > 4]
        if busy and len(standing.done) == 2 and not killed:
            killed.append(_kill_worker_of(study.unit_folder(study.units[0]).path / "lock"))

    standing = run(study, jobs=2, on_change=kill)
    assert len(standing.done) == 2 and killed
    ((name, reason),) = standing.failed.items()
    assert name.startswith("rnn") and "killed (signal 9)" in reason
    assert run(study, jobs=1).failed == standing.failed  # not tried again without being told
    assert [unit.name for unit in retry(study)] == [name]
    assert status(study)[0].state == "started"  # it goes on from its last validation


def _kill_worker_of(lock: Path) -> int:
    """Kill the process that holds a lock."""
    inode = lock.stat().st_ino
    for line in Path("/proc/locks").read_text().splitlines():
        words = line.split()
        if words[5].endswith(f":{inode}"):
            os.kill(int(words[4]), signal.SIGKILL)
            return int(words[4])
    raise AssertionError(f"nobody holds {lock}")


@pytest.mark.slow
def test_two_runs_share_the_work(tmp_path: Path) -> None:
    text = TINY.replace("seeds = 2", "seeds = 4").replace("steps = 6", "steps = 400")
    study = make(tmp_path, "together = false\n" + text)
    code = f"import seqprobe.studies as s; s.run(s.open_study({str(study.folder)!r}), jobs=1)"
    study.write()
    other = subprocess.Popen([sys.executable, "-c", code])
    standing = run(study, jobs=1)
    assert other.wait(timeout=60) == 0
    assert len(standing.done) == 4 and not standing.failed
    assert validate(study) == []


def test_workers_end_with_a_parent_that_is_killed_and_nothing_has_failed(tmp_path: Path) -> None:
    study = make(tmp_path, LONG)
    study.write()
    code = f"import seqprobe.studies as s; s.run(s.open_study({str(study.folder)!r}), jobs=1)"
    parent = subprocess.Popen([sys.executable, "-c", code])
    _wait_for(study, "running", lambda: study.unit_folder(study.units[0]).metrics.exists())
    parent.kill()
    parent.wait()
    _wait_for(study, "started")
    assert study.unit_folder(study.units[0]).error is None


def _wait_for(study: Study, state: str, more: Callable[[], bool] = lambda: True) -> None:
    """Wait until the first unit is in a state."""
    deadline = time.monotonic() + 30
    while not (status(study)[0].state == state and more()):
        assert time.monotonic() < deadline, status(study)[0]
        time.sleep(0.05)


def test_interrupting_ends_every_process_and_the_next_run_goes_on(tmp_path: Path) -> None:
    study = make(tmp_path, LONG)

    def interrupt(standing: Standing) -> None:
        if any(report["step"] > 2 for report in standing.running.values()):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(study, jobs=1, on_change=interrupt)
    _wait_for(study, "started")


class Nonsense:
    """A job that no worker understands."""

    def as_dict(self) -> dict[str, Any]:
        return {"kind": "analysis"}


def test_a_worker_says_its_last_words() -> None:
    with on_this_machine([Nonsense()], 1) as crew:
        while (event := crew.next_event(30)) is None:
            pass
    assert event[1]["event"] == "died"
    assert "exit code 1" in event[1]["reason"] and "KeyError" in event[1]["words"]


def test_jobs_travel_as_json(tmp_path: Path) -> None:
    (job,) = jobs_of(make(tmp_path, WITH_ANALYSIS))
    assert Job.from_dict(json.loads(json.dumps(job.as_dict()))) == job
