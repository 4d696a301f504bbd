"""Behaviour: losses and answers in and out of the training distribution."""

from __future__ import annotations

import xarray as xr

from seqprobe.degeneracy.groups import Ensembles
from seqprobe.degeneracy.levels.merge import merge
from seqprobe.degeneracy.levels.options import Options, Remarks, inside
from seqprobe.degeneracy.sigma_ood import sigma_ood
from seqprobe.errors import NotApplicableError

__all__ = ["behaviour"]

_TRAINED = "as trained"
_SEQUENCES = 4  # times as many as trajectories: they cost a forward pass each


def behaviour(ensembles: Ensembles, options: Options, remarks: Remarks) -> xr.Dataset:
    """Return `sigma_ood` of all networks; sigma itself is a number per ensemble."""
    parts, longer = [], f"{options.factor} x as long"
    for members in ensembles.sets:
        if len(members) < 2:
            continue
        task = ensembles.tasks[members[0]]
        conditions = {_TRAINED: task}
        try:
            conditions[longer] = task.longer(options.factor)
        except NotApplicableError as error:
            remarks.add(f"behaviour: {error}")
        found = sigma_ood(
            [ensembles.models[i] for i in members],
            conditions,
            sequences=_SEQUENCES * options.sequences,  # or as many as there are
            which=inside(members, ensembles.pairs),
            seed=options.seed,
        )
        parts.append((members, found))
        options.update(len(parts), len(ensembles.sets))
    if not parts:
        raise NotApplicableError(
            "behaviour: no two networks have the same task, so none is compared"
        )
    parts.sort(key=lambda part: -part[1].sizes["condition"])  # coordinates are those of the first
    return merge(parts, len(ensembles.models)).drop_vars(["sigma_ood", "sigma_ood_ci"])
