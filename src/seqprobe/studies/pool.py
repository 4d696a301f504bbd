"""Jobs on this machine: one process per core, each with one thread.

A worker that dies costs the job it was at; another takes its place. Workers are plain processes
that speak JSON lines, so that a caller needs no ``if __name__ == "__main__"`` and a notebook is as
good as a script.
"""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import IO, Any, Generic, Protocol, TypeVar

from seqprobe.errors import SeqprobeError

__all__ = ["Crew", "on_this_machine"]


class AsDict(Protocol):
    """Work that can be sent to another process as JSON."""

    def as_dict(self) -> dict[str, Any]:
        """Return plain values."""


J = TypeVar("J", bound=AsDict)
_THREADS = ("OMP", "OPENBLAS", "MKL")
_TAIL = 400
_STARTS = 3


class Worker(threading.Thread, Generic[J]):
    """A thread that looks after one process: hands it jobs, passes on what it says.

    Parameters
    ----------
    jobs
        Where jobs come from; None is the end.
    events
        Where messages go.
    closing
        Set when nothing is to be begun any more.
    """

    def __init__(
        self,
        jobs: queue.SimpleQueue[J | None],
        events: queue.SimpleQueue[tuple[J, dict[str, Any]] | Exception],
        closing: threading.Event,
    ) -> None:
        super().__init__(daemon=True)
        self.jobs = jobs
        self.events = events
        self.closing = closing
        self.process: subprocess.Popen[str] | None = None
        self.words: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115  # closed by `close`

    def run(self) -> None:
        """Work until there is nothing left."""
        try:
            while (job := self.jobs.get()) is not None:
                if self.process is None:
                    self.start_process()
                if self.closing.is_set():
                    return
                for message in self.converse(job):
                    self.events.put((job, message))
        except Exception as error:  # the main thread raises it
            self.events.put(error)
        finally:
            self.close()

    def start_process(self) -> None:
        """Start the process and wait until it can work."""
        code = 0
        for _ in range(_STARTS):  # it may lack the memory that another process is giving back
            if self.closing.is_set():
                return
            process = self.try_to_start()
            assert process.stdout is not None
            if process.stdout.readline():
                return
            code = process.wait()
            self.close()
            time.sleep(1)
        raise SeqprobeError(f"a worker process cannot start: {_how(code)}: {self.last_words()}")

    def try_to_start(self) -> subprocess.Popen[str]:
        """Start the process; its first line says that it can work."""
        self.words.seek(0)
        self.words.truncate()
        # The module is not run as "-m": its classes would exist twice.
        code = "from seqprobe.studies.worker import main; main()"
        self.process = subprocess.Popen(
            [sys.executable, "-c", code],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.words,
            text=True,
            env=os.environ | {f"{library}_NUM_THREADS": "1" for library in _THREADS},
        )
        return self.process

    def converse(self, job: J) -> Iterator[dict[str, Any]]:
        """Hand over a job and yield what the process says until it is finished, busy or dead."""
        process = self.process
        assert process is not None and process.stdin is not None and process.stdout is not None
        try:
            process.stdin.write(json.dumps(job.as_dict()) + "\n")
            process.stdin.flush()
            for line in process.stdout:
                message = json.loads(line)
                yield message
                if message["event"] in ("finished", "busy"):
                    return
        except (BrokenPipeError, ValueError):  # it died while it was written to, or half way
            pass
        code = process.wait()
        self.close()
        yield {"event": "died", "reason": _how(code), "words": self.last_words()}

    def last_words(self) -> str:
        """Return the end of what the process wrote on stderr."""
        self.words.seek(0, os.SEEK_END)
        self.words.seek(max(0, self.words.tell() - _TAIL))
        return " ".join(self.words.read().decode("utf-8", "replace").split())

    def kill(self) -> None:
        """End the process, whatever it is doing: what it was at can go on later."""
        process = self.process
        if process is not None:
            process.kill()

    def close(self) -> None:
        """End the process and close what leads to it."""
        process, self.process = self.process, None
        if process is not None:
            process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    with suppress(BrokenPipeError):  # of what it did not read any more
                        pipe.close()


def _how(code: int) -> str:
    if code >= 0:
        return f"its process ended with exit code {code}"
    if code == -9:
        return "its process was killed (signal 9), perhaps because memory ran out"
    return f"its process was killed (signal {-code})"


class Crew(Generic[J]):
    """Processes at work.

    Parameters
    ----------
    jobs
        In the order in which they are begun.
    processes
        How many work at once.
    """

    def __init__(self, jobs: Sequence[J], processes: int) -> None:
        self.todo: queue.SimpleQueue[J | None] = queue.SimpleQueue()
        self.events: queue.SimpleQueue[tuple[J, dict[str, Any]] | Exception] = queue.SimpleQueue()
        for job in jobs:
            self.todo.put(job)
        self.closing = threading.Event()
        self.workers = [
            Worker(self.todo, self.events, self.closing) for _ in range(min(processes, len(jobs)))
        ]
        for worker in self.workers:
            worker.start()

    def submit(self, job: J) -> None:
        """Put a job at the end of the queue again."""
        self.todo.put(job)

    def next_event(self, seconds: float) -> tuple[J, dict[str, Any]] | None:
        """Return what a worker says, or None if none says anything for so long.

        Events are ``{"event": "progress" | "finished" | "busy" | "died", ...}``.
        """
        try:
            event = self.events.get(timeout=seconds)
        except queue.Empty:
            return None
        if isinstance(event, Exception):
            raise event
        return event

    def close(self) -> None:
        """End all processes, whatever they are doing."""
        self.closing.set()
        with suppress(queue.Empty):  # what has not begun is not begun any more
            while True:
                self.todo.get_nowait()
        for _ in self.workers:
            self.todo.put(None)
        while any(worker.is_alive() for worker in self.workers):
            for worker in self.workers:
                worker.kill()  # again, in case it was just about to start
                worker.join(timeout=0.1)
        for worker in self.workers:
            worker.words.close()


@contextmanager
def on_this_machine(jobs: Sequence[J], processes: int) -> Iterator[Crew[J]]:
    """Work on jobs with so many processes, for as long as the block lasts."""
    crew = Crew(jobs, processes)
    try:
        yield crew
    finally:
        crew.close()
