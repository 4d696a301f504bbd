"""Comparisons of all units of a study: kept in its folder, made again if a unit changed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from seqprobe import schema
from seqprobe.errors import UnreadableFileError
from seqprobe.files import make_folder, sha256
from seqprobe.provenance import code_sha256
from seqprobe.studies.analyses import Analysis, measures
from seqprobe.studies.selection import of_study
from seqprobe.studies.study import Study

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["compare_units", "comparison_group", "stored_comparison"]


def comparison_group(study: Study, analysis: Analysis) -> str:
    """Return the name of a comparison in the collected study: with a hash if there are several."""
    names = [other.name for other in study.compare]
    return analysis.name if names.count(analysis.name) == 1 else analysis.stem


def _path(study: Study, analysis: Analysis) -> Path:
    return study.folder / "results" / f"{analysis.stem}.nc"


def stored_comparison(study: Study, analysis: Analysis) -> xr.Dataset | None:
    """Return what is kept of a comparison, or None if there is nothing, or it is of other units.

    It stays when the code changes, as results of units do; its ``code_sha256`` says by which it was
    made.
    """
    try:
        found = schema.read(_path(study, analysis))
    except UnreadableFileError:
        return None
    files, _ = of_study(study)
    wanted = sorted(sha256(file) for file in files)
    return found if sorted(found["net_sha256"].values.tolist()) == wanted else None


def compare_units(
    study: Study,
    analysis: Analysis,
    update: Callable[[float, float, str], None] = lambda done, total, text: None,
    *,
    jobs: int | None = None,
) -> xr.Dataset:
    """Compare all units that count, or return what is kept of the same units by the same code.

    What is known of pairs is kept too, so that after a kill the comparison goes on.

    Parameters
    ----------
    study, analysis
        What to compare, and how: one of ``study.compare``.
    update
        Reports (done, total, level).
    jobs
        Processes; None for one per core where that is worth it.

    Raises
    ------
    NotApplicableError, UsageError
        As the comparison says.
    """
    with study.lock():
        found = stored_comparison(study, analysis)
        if found is not None and found.attrs.get("code_sha256") == code_sha256():
            return found
        files, _ = of_study(study)
        found = measures().compare(files, analysis, study.folder, jobs, update)
        found.attrs["code_sha256"] = code_sha256()
        path = _path(study, analysis)
        make_folder(path.parent)
        schema.write(found, path)
    return found
