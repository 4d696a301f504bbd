"""Small studies for tests, and running them in this process."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from seqprobe.studies import Study, open_study
from seqprobe.studies.worker import Job, work

TINY = """
name = "tiny"
seeds = 2
fixed.task = { name = "delay", length = 8, delay = 2 }
fixed.model = { name = "rnn", width = 4 }
fixed.train = { steps = 6, batch = 4, eval_every = 2 }
"""


def make(folder: Path, text: str = TINY, **settings: Any) -> Study:
    """Write a study file and open it."""
    file = folder / "study.toml"
    file.write_text(text)
    return open_study(file, folder=folder / "runs", **settings)


def jobs_of(study: Study) -> list[Job]:
    """Return the jobs of a study."""
    return [Job(study.folder, units, study.analyses) for units in study.jobs]


def finish(study: Study) -> None:
    """Do all that is missing, in this process."""
    study.write()
    for job in jobs_of(study):
        assert work(job, lambda message: None)
