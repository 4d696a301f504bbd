"""The same units on Dask: lost workers lose nothing, because the folders are the truth."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import pytest

import seqprobe.studies.cluster as cluster_module
from seqprobe.errors import SeqprobeError, UsageError
from seqprobe.studies import on_dask, on_slurm, open_study, run, validate
from seqprobe.studies.running import Standing
from studies.plans import TINY, finish, jobs_of, make

# distributed leaves sockets to the garbage collector when a cluster is closed.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

SWEEP = Path(__file__).parent / "sweep.toml"


def test_a_local_cluster_does_what_one_process_does(tmp_path: Path) -> None:
    from distributed import LocalCluster

    (tmp_path / "one").mkdir()
    (tmp_path / "other").mkdir()
    text = 'analyses = ["capacity ess --sequences 2"]\ntogether = false\n' + TINY
    one, other = make(tmp_path / "one", text), make(tmp_path / "other", text)
    finish(one)
    # Two threads per worker: the random state of torch has one owner nevertheless.
    with LocalCluster(n_workers=1, threads_per_worker=2, dashboard_address=None) as cluster:
        standing = run(other, engine=lambda jobs: on_dask(jobs, cluster.scheduler_address))
    assert len(standing.done) == 2 and not standing.failed
    for unit in one.units:
        a, b = one.unit_folder(unit), other.unit_folder(unit)
        assert a.checkpoint.read_bytes() == b.checkpoint.read_bytes()


def test_an_address_where_nobody_answers_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster_module, "_SECONDS_TO_CONNECT", 1)
    study = make(tmp_path)
    with (
        pytest.raises(SeqprobeError, match=r"no Dask scheduler answers at 'tcp://127\.0\.0\.1:9'"),
        on_dask(jobs_of(study), "tcp://127.0.0.1:9"),
    ):
        pass


def test_slurm_is_asked_for_where_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    jobs = jobs_of(make(tmp_path))
    with (
        pytest.raises(UsageError, match="needs 'sbatch', which is not on this machine"),
        on_slurm(jobs, 1, None, "01:00:00", "4GB"),
    ):
        pass


def test_slurm_gets_queue_walltime_and_memory() -> None:
    from seqprobe.studies.cluster import slurm_settings

    asked = slurm_settings("short", "00:30:00", "2GB")
    from dask_jobqueue import SLURMCluster

    with SLURMCluster(**asked, scheduler_options={"dashboard_address": None}) as cluster:
        script = cluster.job_script()
    for line in ("-p short", "-t 00:30:00", "--mem=", "--cpus-per-task=1"):
        assert f"#SBATCH {line}" in script
    assert "--nthreads 1" in script


SBATCH = """#!/bin/bash
# Stands for Slurm: keeps the script, which is removed when this ends, runs it at once, and says its
# number as Slurm does.
cp "$1" "{folder}/$$.sh"
setsid bash "{folder}/$$.sh" > "{folder}/$$.log" 2>&1 &
echo $! >> "{folder}/jobs"
echo "Submitted batch job $!"
"""


@pytest.mark.slow
def test_workers_come_through_slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, text in (("sbatch", SBATCH.format(folder=tmp_path)), ("scancel", "#!/bin/bash\n")):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.chdir(tmp_path)
    study = make(tmp_path, "together = false\n" + TINY)
    try:
        standing = run(study, engine=lambda jobs: on_slurm(jobs, 2, "short", "00:05:00", "1GB"))
    finally:
        for job in (tmp_path / "jobs").read_text().split():
            with suppress(ProcessLookupError):
                os.killpg(int(job), signal.SIGKILL)
    assert len(standing.done) == 2 and not standing.failed
    scripts = [path.read_text() for path in tmp_path.glob("*.sh")]
    assert scripts and all("#SBATCH -p short" in script for script in scripts)


class Cluster(NamedTuple):
    """A scheduler and three workers, each the first process of a group of its own."""

    address: str
    scheduler: subprocess.Popen[bytes]
    workers: list[subprocess.Popen[bytes]]


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    started: list[subprocess.Popen[bytes]] = []

    def start(*words: str) -> subprocess.Popen[bytes]:
        with (tmp_path / f"{len(started)}.log").open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "dask", *words],
                start_new_session=True,
                stdout=log,
                stderr=log,
                cwd=tmp_path,
            )
        started.append(process)
        return process

    scheduler = start("scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard")
    found = None
    while found is None and scheduler.poll() is None:
        time.sleep(0.1)
        found = re.search(r"Scheduler at:\s+(tcp://\S+)", (tmp_path / "0.log").read_text())
    assert found, (tmp_path / "0.log").read_text()
    options = ("--nthreads", "1", "--no-dashboard")
    yield Cluster(found[1], scheduler, [start("worker", found[1], *options) for _ in range(3)])
    for process in started:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@pytest.mark.slow
def test_a_killed_worker_loses_nothing(tmp_path: Path, cluster: Cluster) -> None:
    study = open_study(SWEEP, folder=tmp_path / "runs")
    killed: list[int] = []

    def kill(standing: Standing) -> None:
        if len(standing.done) >= 20 and not killed:
            os.killpg(cluster.workers[0].pid, signal.SIGKILL)
            killed.append(len(standing.done))

    standing = run(study, engine=lambda jobs: on_dask(jobs, cluster.address), on_change=kill)
    assert killed and len(standing.done) == 120 and not standing.failed
    assert validate(study) == []


@pytest.mark.slow
def test_a_lost_scheduler_is_one_line_and_the_next_run_goes_on(
    tmp_path: Path, cluster: Cluster
) -> None:
    text = TINY.replace("steps = 6", "steps = 300").replace("seeds = 2", "seeds = 12")
    study = make(tmp_path, "together = false\n" + text)

    def kill(standing: Standing) -> None:
        if standing.done and cluster.scheduler.poll() is None:
            os.killpg(cluster.scheduler.pid, signal.SIGKILL)

    with pytest.raises(SeqprobeError, match="the Dask scheduler is gone; nothing is lost"):
        run(study, engine=lambda jobs: on_dask(jobs, cluster.address), on_change=kill)
    for worker in cluster.workers:
        os.killpg(worker.pid, signal.SIGKILL)
    standing = run(study, jobs=2)
    assert len(standing.done) == 12 and not standing.failed
