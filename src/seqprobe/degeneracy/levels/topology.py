"""Topology: number, stability and connections of fixed points."""

from __future__ import annotations

import numpy as np
import xarray as xr

from seqprobe.degeneracy.groups import Ensembles
from seqprobe.degeneracy.levels.merge import merge
from seqprobe.degeneracy.levels.options import Options, Remarks
from seqprobe.degeneracy.topology import fixed_point_topology
from seqprobe.errors import NotApplicableError

__all__ = ["topology"]


def topology(ensembles: Ensembles, options: Options, remarks: Remarks) -> xr.Dataset:
    """Return `fixed_point_topology` of all networks; distances of pairs that are compared."""
    del remarks
    parts = []
    for done, members in enumerate(ensembles.sets):
        if len(members) < 2:
            continue

        def update(part: float, of: float, done: int = done) -> None:
            options.update(done + part / of, len(ensembles.sets))

        task = ensembles.tasks[members[0]]
        batch = task.batch("test", options.sequences, seed=options.seed)
        found = fixed_point_topology(
            [ensembles.models[i] for i in members],
            batch.inputs,
            seed=options.seed,
            update=update,
        )
        parts.append((members, found))
    if not parts:
        raise NotApplicableError("topology: no two networks have the same task")
    merged = merge(parts, len(ensembles.models))
    compared = np.eye(len(ensembles.models), dtype=bool)
    for i, j in ensembles.pairs:
        compared[i, j] = compared[j, i] = True
    for name, values in merged.data_vars.items():
        if values.dims[:2] == ("net_a", "net_b"):
            merged[name] = values.where(compared)
    return merged
