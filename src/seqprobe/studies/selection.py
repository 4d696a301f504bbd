"""Which units of a study count: those that are done and reached their threshold."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from seqprobe.studies.study import Study

__all__ = ["RULE", "of_study", "why_left_out"]

RULE = (
    "a unit counts if its training is done and reached its threshold (train.until); without a"
    " threshold every unit that is done counts"
)


def why_left_out(state: str, done: dict[str, Any] | None, error: dict[str, Any] | None) -> str:
    """Return why a unit does not count, or an empty text if it does.

    Parameters
    ----------
    state, done, error
        Of the unit; see `upkeep.Status`.
    """
    if done is None and state == "failed":
        return f"failed: {(error or {}).get('message', 'error.json is damaged')}"
    if done is None:
        return "not done"
    if not done["reached"]:
        score = done["valid"]
        return f"threshold not reached: {score['metric']} {score['score']:.4g}, {done['stopped']}"
    return ""


def of_study(study: Study) -> tuple[list[Path], dict[Path, str]]:
    """Return the checkpoints of the units that count, and why others do not, by folder."""
    files, left_out = [], {}
    for unit in study.units:
        folder = study.unit_folder(unit)
        state = folder.state()
        why = why_left_out(state, folder.done, folder.error)
        if why:
            left_out[folder.path] = why
        else:
            files.append(folder.checkpoint)
    return files, left_out
