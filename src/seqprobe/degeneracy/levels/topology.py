"""Topology: number, stability and connections of fixed points."""

from __future__ import annotations

import numpy as np
import xarray as xr

from seqprobe.degeneracy.groups import Ensembles
from seqprobe.degeneracy.levels.dynamics import names_of
from seqprobe.degeneracy.levels.merge import merge
from seqprobe.degeneracy.levels.options import Options, Remarks, applicable, test_batch
from seqprobe.degeneracy.topology import fixed_point_topology
from seqprobe.errors import NotApplicableError
from seqprobe.models import Model
from seqprobe.models.access import refuse_lookahead, state_grows
from seqprobe.tasks import Task

__all__ = ["topology"]


def topology(ensembles: Ensembles, options: Options, remarks: Remarks) -> xr.Dataset:
    """Return `fixed_point_topology` of all networks; distances of pairs that are compared."""

    def of(i: int) -> None:
        _check(ensembles.models[i], ensembles.tasks[i])

    found_by = applicable("topology", names_of(ensembles), of, remarks, ensembles.compared)
    parts = []
    for done, group in enumerate(ensembles.sets):
        members = [i for i in group if i in found_by]
        if len(members) < 2:
            continue

        def update(part: float, of: float, done: int = done) -> None:
            options.update(done + part / of, len(ensembles.sets))

        task = ensembles.tasks[members[0]]
        batch = test_batch(task, options.sequences, options.seed)
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
    wanted = np.eye(len(ensembles.models), dtype=bool)
    for i, j in ensembles.pairs:
        wanted[i, j] = wanted[j, i] = True
    for name, values in merged.data_vars.items():
        if values.dims[:2] == ("net_a", "net_b"):
            merged[name] = values.where(wanted)
    return merged


def _check(model: Model, task: Task) -> None:
    """Refuse a network whose fixed points cannot be asked for."""
    refuse_lookahead(model, "it has no state that could stay as it is")
    if state_grows(model):
        raise NotApplicableError("its state grows with time, so that it has no fixed points")
    if task.spec.input_kind == "token":
        raise NotApplicableError("its inputs are tokens: no input is none")
