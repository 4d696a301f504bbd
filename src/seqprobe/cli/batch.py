"""One analysis of files and folders: kept beside the checkpoints, in parallel if it is slow."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seqprobe import device as devices
from seqprobe.cli.given import Given
from seqprobe.cli.inputs import Outcome, Source, analyse_all, expand
from seqprobe.errors import NotApplicableError, SeqprobeError, UnreadableFileError, UsageError
from seqprobe.studies import Analysis, analyse, analyse_together, answered, cores

if TYPE_CHECKING:
    import xarray as xr

    from seqprobe.cli.analysis import AnalysisCommand

__all__ = ["analyse_inputs"]

# Other processes need some seconds to start; what takes less is done in this one.
_WORTH_SECONDS = 10.0

Update = Callable[[float, float, str], None]


def analyse_inputs(
    paths: Sequence[str],
    command: AnalysisCommand,
    own: Mapping[str, Any],
    *,
    seed: int,
    device: str,
    jobs: int | None,
    update: Update,
    given: Given | None = None,
) -> Outcome:
    """Apply a command to files, folders and studies, going on past failures.

    Parameters
    ----------
    paths
        As the user wrote them.
    command, own
        What is asked, with the values of its options.
    seed, device
        Of all randomness; where to compute.
    jobs
        Processes; None for as many as there are cores, if that is worth it.
    update
        Reports (done, total, text).
    given
        What was said of models made elsewhere.
    """
    from seqprobe.cli.analysis import Subject
    from seqprobe.cli.measures import with_parameters

    given = given or Given()
    files, skipped = expand(paths, given)
    where = devices.resolve(device)
    analysis = with_parameters(command, own, seed)
    missing = [path for path, kept in files.items() if kept and not answered(path, analysis)]
    failed = _ahead(missing, analysis, device, jobs, update)

    def one(checkpoint: Source, path: Path, i: int) -> xr.Dataset:
        def advance(done: float, of: float) -> None:
            update(i + done / of, len(files), str(path))

        if path in failed:
            raise _error(*failed[path])
        if files[path]:
            return analyse(path, analysis, device, advance)
        return command.measure(Subject(checkpoint, where, seed, advance), **own)

    return analyse_all(files, skipped, one, given.open)


def _ahead(
    missing: list[Path], analysis: Analysis, device: str, jobs: int | None, update: Update
) -> dict[Path, tuple[int, str]]:
    """Compute with several processes what is to be kept, if that is wanted or worth it."""
    processes = cores() if jobs is None else jobs
    if processes < 2 or len(missing) < 2:
        return {}
    total, done = len(missing), 0
    if jobs is None:
        start = time.monotonic()
        with suppress(SeqprobeError):  # it is said in its turn
            analyse(missing[0], analysis, device, lambda part, of: None)
        missing = missing[1:]
        if (time.monotonic() - start) * len(missing) < _WORTH_SECONDS:
            return {}
        done = 1

    def on_done(path: Path) -> None:
        nonlocal done
        done += 1
        update(done, total, str(path))

    return analyse_together(missing, analysis, processes, device, on_done)


def _error(code: int, reason: str) -> SeqprobeError:
    """Return the error with that exit code."""
    kinds = {kind.exit_code: kind for kind in (UsageError, UnreadableFileError, NotApplicableError)}
    return kinds.get(code, SeqprobeError)(reason)
