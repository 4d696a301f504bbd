"""Dynamics: the distance of vector fields, from trajectories under the same inputs."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import xarray as xr

from seqprobe.degeneracy.dsa import dsa
from seqprobe.degeneracy.groups import Ensembles
from seqprobe.degeneracy.levels.merge import merge
from seqprobe.degeneracy.levels.options import Options, Remarks, applicable, inside, test_batch
from seqprobe.errors import NotApplicableError
from seqprobe.memory.states import collect
from seqprobe.models import Model
from seqprobe.models.access import float64_twin, like_parameters
from seqprobe.tasks import Task

__all__ = ["Trajectories", "dynamics", "names_of", "trajectories"]


class Trajectories(NamedTuple):
    """States (trials, T, n) under inputs (trials, T, D), which are None for tokens."""

    states: np.ndarray
    inputs: np.ndarray | None


def trajectories(model: Model, task: Task, count: int, seed: int) -> Trajectories:
    """Return trajectories of a model on test sequences, in float64.

    Raises
    ------
    NotApplicableError
        If the model has no state, one that grows, or one that is not finite.
    """
    batch = test_batch(task, count, seed)
    twin = float64_twin(model)
    states = collect(twin, like_parameters(twin, batch.inputs), "state").numpy()
    if not np.isfinite(states).all():
        raise NotApplicableError("its states are not finite; check its weights for NaN or inf")
    known = batch.inputs.double().numpy() if task.spec.input_kind == "continuous" else None
    return Trajectories(states, known)


def names_of(ensembles: Ensembles) -> list[str]:
    """Return the files of all networks."""
    return [model.origin.path if model.origin else "" for model in ensembles.models]


def dynamics(ensembles: Ensembles, options: Options, remarks: Remarks) -> xr.Dataset:
    """Return `dsa` of all networks, with `input_dsa` where inputs are continuous."""

    def of(i: int) -> Trajectories:
        task = ensembles.tasks[i]
        return trajectories(ensembles.models[i], task, 2 * options.sequences, options.seed)

    found = applicable("dynamics", names_of(ensembles), of, remarks, ensembles.compared)
    members = list(found)
    driven = all(one.inputs is not None for one in found.values())
    if not driven:
        remarks.add("dynamics: inputs are tokens, so that InputDSA is left out")
    result = dsa(
        [found[i].states for i in members],
        delays=options.delays,
        ranks=options.ranks,
        inputs=[one.inputs for one in found.values() if one.inputs is not None] if driven else None,
        which=inside(members, ensembles.pairs),
        seed=options.seed,
        jobs=options.jobs,
        kept=options.kept_of(members),
        update=options.update,
    )
    missing = result["r2"].isnull().any("net_a").values
    for p, r in zip(*np.nonzero(missing), strict=True):
        remarks.add(
            f"dynamics: with p = {result['delays'].values[p]} some networks visit fewer than"
            f" {result['rank'].values[r]} directions; they have no distance there"
        )
    return merge([(members, result)], len(ensembles.models))
