"""One analysis of many checkpoints, side by side on this machine."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from seqprobe.studies.analyses import Analysis
from seqprobe.studies.pool import on_this_machine

__all__ = ["AnalysisJob", "analyse_together"]


@dataclass(frozen=True)
class AnalysisJob:
    """An analysis of one checkpoint; the result is kept beside it.

    Attributes
    ----------
    checkpoint
        The file.
    analysis
        What is asked.
    device
        Where to compute.
    """

    checkpoint: Path
    analysis: Analysis
    device: str

    def as_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        return {
            "kind": "analysis",
            "checkpoint": str(self.checkpoint),
            "analysis": self.analysis.as_dict(),
            "device": self.device,
        }

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> AnalysisJob:
        """Return the job of `as_dict`."""
        analysis = Analysis.from_dict(content["analysis"])
        return cls(Path(content["checkpoint"]), analysis, content["device"])


def analyse_together(
    checkpoints: list[Path],
    analysis: Analysis,
    processes: int,
    device: str = "auto",
    on_done: Callable[[Path], None] = lambda path: None,
) -> dict[Path, tuple[int, str]]:
    """Analyse checkpoints with several processes; results are kept beside them.

    Parameters
    ----------
    checkpoints
        Files in folders that can be written.
    analysis
        What is asked of each.
    processes
        How many work at once.
    device
        Where each computes.
    on_done
        Called with every checkpoint that is finished.

    Returns
    -------
    dict
        Exit code and reason, for checkpoints that have no result.
    """
    jobs = [AnalysisJob(path, analysis, device) for path in checkpoints]
    failed = {}
    open_jobs = len(jobs)
    with on_this_machine(jobs, processes) as crew:
        while open_jobs:
            event = crew.next_event(60)
            if event is None:
                continue
            job, message = event
            if message["event"] == "died":
                failed[job.checkpoint] = (1, f"{message['reason']}: {message['words']}")
            elif "reason" in message:
                failed[job.checkpoint] = (message["code"], message["reason"])
            open_jobs -= 1
            on_done(job.checkpoint)
    return failed
