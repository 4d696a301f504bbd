"""All pairs of an ensemble: in several processes, with progress, and kept for the next time."""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from joblib import Parallel, delayed

from seqprobe.files import atomic, make_folder
from seqprobe.provenance import code_sha256

__all__ = ["Kept", "Pairs", "Row", "Update", "all_pairs", "square"]

Row = dict[str, np.ndarray]
Update = Callable[[float, float], None]
Pairs = dict[tuple[int, int], Row]

_CHUNKS = 40  # of what is missing: as often it is kept, and as fine the processes share it
_MOST = 32  # pairs in a chunk


@dataclass(frozen=True)
class Kept:
    """Where results of pairs are kept, so that they are not computed again.

    Attributes
    ----------
    folder
        Holds one file per measure and parameters.
    networks
        What tells every network from all others: the hash of its checkpoint.
    """

    folder: Path
    networks: Sequence[str]

    def as_other(self, word: str) -> Kept:
        """Return where pairs are kept of the same networks as something else."""
        return Kept(self.folder, [f"{word}-{name}" for name in self.networks])

    def twice(self, word: str) -> Kept:
        """Return where pairs are kept if every network comes a second time, as something else."""
        return Kept(self.folder, [*self.networks, *self.as_other(word).networks])

    def path(self, measure: str, parameters: Mapping[str, Any]) -> Path:
        """Return the file of a measure; other parameters or other code have another one."""
        content = json.dumps([dict(parameters), code_sha256()], sort_keys=True)
        return self.folder / f"{measure}-{hashlib.sha256(content.encode()).hexdigest()[:12]}.npz"

    def names(self, pairs: Iterable[tuple[int, int]]) -> np.ndarray:
        """Return a name for every pair."""
        return np.array(
            [f"{self.networks[i][:32]}{self.networks[j][:32]}" for i, j in pairs], "S64"
        )


def all_pairs(
    measure: str,
    kernel: Callable[[Any, Any], Row],
    networks: Sequence[Any],
    parameters: Mapping[str, Any],
    *,
    which: Iterable[tuple[int, int]] | None = None,
    jobs: int = 1,
    kept: Kept | None = None,
    update: Update = lambda done, total: None,
) -> Pairs:
    """Apply a measure to pairs of networks.

    Parameters
    ----------
    measure
        Its name.
    kernel
        A function of two networks that other processes can import; it returns arrays whose shapes
        do not depend on the pair.
    networks
        What the kernel takes, N of them.
    parameters
        What else decides the result, plain values.
    which
        Pairs (i, j); None for all with i < j.
    jobs
        Processes, each with one thread.
    kept
        Where results are kept; None for nowhere. What is there is not computed; a run that is
        killed loses the chunks it was at.
    update
        Called with pairs done and in all.

    Returns
    -------
    dict
        By pair what the kernel returned.
    """
    wanted = list(combinations(range(len(networks)), 2)) if which is None else list(which)
    store = _Store(kept, kept.path(measure, parameters)) if kept is not None else None
    found = store.read(wanted) if store is not None else {}
    missing = [pair for pair in wanted if pair not in found]
    update(len(found), len(wanted))
    size = min(_MOST, max(1, len(missing) // _CHUNKS))
    chunks = [missing[start : start + size] for start in range(0, len(missing), size)]
    for rows in _computed(kernel, networks, chunks, jobs):
        found |= rows
        if store is not None:
            store.add(rows)
        update(len(found), len(wanted))
    return {pair: found[pair] for pair in wanted}


def _computed(
    kernel: Callable[[Any, Any], Row],
    networks: Sequence[Any],
    chunks: Sequence[Sequence[tuple[int, int]]],
    jobs: int,
) -> Iterator[Pairs]:
    if jobs == 1 or len(chunks) < 2:
        for chunk in chunks:
            yield _chunk(kernel, chunk, {i: networks[i] for pair in chunk for i in pair})
        return
    parallel = Parallel(
        n_jobs=jobs, return_as="generator_unordered", inner_max_num_threads=1, backend="loky"
    )
    yield from parallel(
        delayed(_chunk)(kernel, chunk, {i: networks[i] for pair in chunk for i in pair})
        for chunk in chunks
    )


def _chunk(
    kernel: Callable[[Any, Any], Row], pairs: Sequence[tuple[int, int]], networks: Mapping[int, Any]
) -> Pairs:
    return {(i, j): kernel(networks[i], networks[j]) for i, j in pairs}


@dataclass
class _Store:
    """One file of results: names of pairs, and an array along them per variable."""

    kept: Kept
    path: Path
    rows: dict[bytes, Row] = field(default_factory=dict)

    def read(self, wanted: Sequence[tuple[int, int]]) -> Pairs:
        """Return what is there of some pairs; a file that cannot be read is as good as none."""
        try:
            with self.path.open("rb") as file, np.load(file, allow_pickle=False) as content:
                arrays = {name: content[name] for name in content.files}
            names = arrays.pop("pairs")
            self.rows = {
                bytes(name): {key: values[k] for key, values in arrays.items()}
                for k, name in enumerate(names)
            }
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
            self.rows = {}
        named = zip(wanted, self.kept.names(wanted), strict=True)
        return {pair: self.rows[bytes(name)] for pair, name in named if bytes(name) in self.rows}

    def add(self, rows: Pairs) -> None:
        """Write what was there and what is new, whole or not at all."""
        named = zip(self.kept.names(rows), rows.values(), strict=True)
        self.rows |= {bytes(name): row for name, row in named}
        keys = next(iter(self.rows.values())).keys()
        arrays = {key: np.stack([row[key] for row in self.rows.values()]) for key in keys}
        make_folder(self.path.parent)
        with atomic(self.path) as part, part.open("wb") as file:
            np.savez(file, allow_pickle=False, pairs=np.array(list(self.rows), "S64"), **arrays)


def square(pairs: Pairs, n: int, name: str, shape: tuple[int, ...] = ()) -> np.ndarray:
    """Return a distance of pairs as a matrix (N, N, ...): symmetric, 0 on the diagonal.

    NaN for pairs that are not there.
    """
    values = np.full((n, n, *shape), np.nan)
    values[np.arange(n), np.arange(n)] = 0.0
    for (i, j), row in pairs.items():
        values[i, j] = values[j, i] = row[name]
    return values
