"""Jobs on a Dask cluster: the folders of the units, which all machines share, are the truth.

Dask decides who works on what and gives the work of a lost worker to another one, which goes on
from the last validation. What a scheduler forgets, the next run finds in the folders.
"""

from __future__ import annotations

import json
import queue
import shutil
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from seqprobe.errors import SeqprobeError, UsageError
from seqprobe.studies.worker import Job, work

if TYPE_CHECKING:
    from distributed import Client, Future

__all__ = ["DaskCrew", "on_dask", "on_slurm"]

_SECONDS_TO_CONNECT = 10
_MISSING = "a Dask cluster needs the extra: pip install 'seqprobe[cluster]'"

# Under which workers say how far they are.
_TOPIC = "seqprobe"

# A worker process may have several threads, and the random state of torch has one owner.
_one_at_a_time = threading.Lock()


def run_job(content: str) -> str:
    """Work on a job in a worker of Dask; return ``finished`` or ``busy``."""
    import torch
    from distributed import get_worker

    from seqprobe.device import tune_malloc

    worker = get_worker()
    with _one_at_a_time:
        tune_malloc()
        torch.set_num_threads(1)
        job = Job.from_dict(json.loads(content))
        finished = work(job, lambda message: worker.log_event(_TOPIC, message))
    return "finished" if finished else "busy"


class DaskCrew:
    """The workers of a Dask cluster; offers what `pool.Crew` offers.

    Parameters
    ----------
    client
        Connected to the scheduler.
    jobs
        In the order in which they are begun.
    """

    def __init__(self, client: Client, jobs: Sequence[Job]) -> None:
        self.client = client
        self.events: queue.SimpleQueue[tuple[Job, Future | dict[str, Any]]] = queue.SimpleQueue()
        self.open: dict[str, Future] = {}
        self.job_of = {unit.name: job for job in jobs for unit in job.units}
        client.subscribe_topic(_TOPIC, self.hear)
        for priority, job in enumerate(jobs):
            self.submit(job, priority=-priority)

    def submit(self, job: Job, priority: int = 0) -> None:
        """Hand a job to the scheduler."""
        # Not pure: the same job may have to be looked at twice. Its inputs are in the folder.
        future = self.client.submit(
            run_job, json.dumps(job.as_dict()), pure=False, priority=priority
        )
        self.open[job.units[0].name] = future
        future.add_done_callback(lambda done, job=job: self.events.put((job, done)))

    def hear(self, event: tuple[float, dict[str, Any]]) -> None:
        """Take what a worker says about its progress."""
        message = event[1]
        jobs = [self.job_of[name] for name in message["units"] if name in self.job_of]
        if jobs:  # else it is of another run
            self.events.put((jobs[0], message))

    def next_event(self, seconds: float) -> tuple[Job, dict[str, Any]] | None:
        """Return what became of a job, or None if nothing did for so long.

        Raises
        ------
        SeqprobeError
            If the scheduler is gone.
        """
        try:
            job, said = self.events.get(timeout=seconds)
        except queue.Empty:
            if self.client.status not in ("running", "connecting"):
                raise _gone() from None
            return None
        if isinstance(said, dict):
            return job, said
        if said.status == "finished":
            return job, {"event": str(said.result())}
        if said.status in ("cancelled", "lost"):
            raise _gone()
        error = said.exception()
        return job, {"event": "died", "reason": _said(error), "words": repr(error)}

    def close(self) -> None:
        """Take back what has not begun."""
        if self.client.status == "running":
            self.client.cancel(list(self.open.values()))
        self.client.close()


def _said(error: BaseException) -> str:
    if type(error).__name__ == "KilledWorker":
        return "several workers died while they were at it, perhaps because memory ran out"
    return f"{type(error).__name__}: {error}"


def _gone() -> SeqprobeError:
    return SeqprobeError(
        "the Dask scheduler is gone; nothing is lost: start it again, and the same command goes on"
    )


@contextmanager
def on_dask(jobs: Sequence[Job], address: str) -> Iterator[DaskCrew]:
    """Work on jobs with the Dask cluster at an address.

    Parameters
    ----------
    jobs
        Their folder must be one that all workers share, under the same path.
    address
        Of the scheduler, such as ``tcp://login1:8786``.

    Raises
    ------
    SeqprobeError
        If nobody answers there, or Dask is not installed.
    """
    try:
        from distributed import Client
    except ImportError:
        raise SeqprobeError(_MISSING) from None
    try:
        client = Client(address, timeout=_SECONDS_TO_CONNECT)
    except (OSError, TimeoutError, ValueError) as error:
        raise SeqprobeError(
            f"no Dask scheduler answers at '{address}' ({type(error).__name__});"
            " start one with 'dask scheduler', and workers with 'dask worker ADDRESS'"
        ) from None
    crew = DaskCrew(client, [_absolute(job) for job in jobs])
    try:
        yield crew
    finally:
        crew.close()


def _absolute(job: Job) -> Job:
    """Name the folder as a process with another working directory finds it."""
    return Job(job.folder.resolve(), job.units, job.analyses, job.device)


@contextmanager
def on_slurm(
    jobs: Sequence[Job], workers: int, queue: str | None, walltime: str, memory: str
) -> Iterator[DaskCrew]:
    """Work on jobs with workers that Slurm starts, one core each.

    Parameters
    ----------
    jobs
        Their folder must be one that all machines share.
    workers
        Slurm jobs; Slurm starts them when it can, and a worker that reaches its walltime is
        replaced.
    queue, walltime, memory
        Partition, time as HH:MM:SS, memory as 4GB, of each job.

    Raises
    ------
    SeqprobeError
        If dask-jobqueue is not installed.
    UsageError
        If Slurm is not on this machine.
    """
    try:
        from dask_jobqueue import SLURMCluster
    except ImportError:
        raise SeqprobeError(_MISSING) from None
    if shutil.which("sbatch") is None:
        raise UsageError("--slurm needs 'sbatch', which is not on this machine; log in to another")
    with SLURMCluster(**slurm_settings(queue, walltime, memory)) as cluster:
        cluster.adapt(minimum=0, maximum=min(workers, len(jobs)))
        with on_dask(jobs, cluster.scheduler_address) as crew:
            yield crew


def slurm_settings(queue: str | None, walltime: str, memory: str) -> dict[str, Any]:
    """Return what a worker asks Slurm for: one core, one thread."""
    return {"queue": queue, "walltime": walltime, "memory": memory, "cores": 1, "processes": 1}
