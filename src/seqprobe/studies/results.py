"""Results beside checkpoints: what has been asked once is not computed again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import filelock

from seqprobe import schema
from seqprobe.errors import NotApplicableError, UnreadableFileError
from seqprobe.files import make_folder, sha256
from seqprobe.provenance import code_sha256
from seqprobe.studies.analyses import Analysis, measures, result_stem
from seqprobe.studies.unit import read_json, write_json

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["analyse", "answered", "stored"]


def answered(checkpoint: Path, analysis: Analysis) -> bool:
    """Say whether something is kept for a checkpoint; `stored` says whether it still counts."""
    stem = result_stem(checkpoint, analysis)
    return _with(stem, ".nc").exists() or _with(stem, ".json").exists()


def stored(checkpoint: Path, analysis: Analysis) -> xr.Dataset | None:
    """Return the result that is kept for a checkpoint, or None.

    A result counts if it was made from a file with the same bytes, by this very code, with the same
    parameters.

    Raises
    ------
    NotApplicableError
        If it is known that the analysis has no meaning for this model.
    """
    stem = result_stem(checkpoint, analysis)
    result, reason = _with(stem, ".nc"), read_json(_with(stem, ".json"))
    if not result.exists() and reason is None:
        return None
    made_from = _origin(checkpoint)
    if reason is not None and made_from.items() <= reason.items():
        raise NotApplicableError(str(reason.get("reason")))
    try:
        found = schema.read(result)
    except UnreadableFileError:
        return None  # damaged, or not there; it is made again
    if not made_from.items() <= found.attrs.items():
        return None
    found.attrs["checkpoint"] = str(checkpoint)  # the folder may have moved
    return found


def analyse(
    checkpoint: Path,
    analysis: Analysis,
    device: str = "auto",
    update: Callable[[float, float], None] = lambda done, total: None,
) -> xr.Dataset:
    """Return the result of an analysis, computed if it is not kept beside the checkpoint.

    Raises
    ------
    NotApplicableError
        If the analysis has no meaning for this model; that is kept too.
    UsageError, UnreadableFileError
        As the analysis says.
    """
    found = stored(checkpoint, analysis)
    if found is not None:
        return found
    stem = result_stem(checkpoint, analysis)
    make_folder(stem.parent)
    # Whoever asks the same at the same time waits, and finds the answer.
    with filelock.FileLock(stem.parent / f".{checkpoint.stem}.lock"):
        found = stored(checkpoint, analysis)
        return found if found is not None else _made(checkpoint, analysis, stem, device, update)


def _made(
    checkpoint: Path,
    analysis: Analysis,
    stem: Path,
    device: str,
    update: Callable[[float, float], None],
) -> xr.Dataset:
    """Compute a result and keep it, or the reason why there is none."""
    try:
        result = measures().measure(checkpoint, analysis, device, update)
    except NotApplicableError as error:
        write_json(_with(stem, ".json"), {"reason": str(error), **_origin(checkpoint)})
        raise
    result.attrs["code_sha256"] = code_sha256()
    schema.write(result, _with(stem, ".nc"))
    return result


def _origin(checkpoint: Path) -> dict[str, str]:
    """Return what a result is made from, besides its parameters."""
    return {"checkpoint_sha256": sha256(checkpoint), "code_sha256": code_sha256()}


def _with(stem: Path, ending: str) -> Path:
    return stem.with_name(stem.name + ending)
