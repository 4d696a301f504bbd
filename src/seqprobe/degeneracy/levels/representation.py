"""Representation: what units do on the same samples, by every distance of the room."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xarray as xr

from seqprobe import provenance
from seqprobe.degeneracy.feature_learning import initial_model
from seqprobe.degeneracy.groups import Ensembles
from seqprobe.degeneracy.levels.dynamics import names_of, trajectories
from seqprobe.degeneracy.levels.merge import merge
from seqprobe.degeneracy.levels.options import Options, Remarks, applicable, inside
from seqprobe.degeneracy.representation import DISTANCES, Distance
from seqprobe.errors import NotApplicableError, UsageError
from seqprobe.schema import variable
from seqprobe.seeding import generator

__all__ = ["representation"]

_SAMPLES = {"rsa": 1000}  # whose cost grows with the square of their number
_MOST_SAMPLES = 4096
_SHUFFLED = 4  # networks of an ensemble that say what chance is

States = tuple[np.ndarray, np.ndarray]  # (samples, n), after training and before it


def representation(ensembles: Ensembles, options: Options, remarks: Remarks) -> xr.Dataset:
    """Return all distances of states between networks.

    Returns
    -------
    xarray.Dataset
        By the names of `seqprobe.degeneracy.representation.DISTANCES`: ``<name>`` (net_a, net_b),
        ``<name>_null`` of the same networks before training, and ``<name>_shuffled`` (net_a): from
        some networks of every ensemble to another one with the order of samples lost, which is what
        unrelated networks would have.
    """

    def of(i: int) -> States:
        model, task = ensembles.models[i], ensembles.tasks[i]
        pair = (model, initial_model(model))
        flat = [trajectories(m, task, options.sequences, options.seed).states for m in pair]
        after, before = (states.reshape(-1, states.shape[2]) for states in flat)
        return after, before

    found = applicable("representation", names_of(ensembles), of, remarks, ensembles.compared)
    parts = []
    for group in ensembles.sets:
        members = [i for i in group if i in found]
        if len(members) > 1:
            pairs = inside(members, ensembles.pairs)
            alike = [[members.index(i) for i in own if i in members] for own in ensembles.members]
            states = [found[i] for i in members]
            one = _set(states, pairs, alike, options.seed, remarks)
            parts.append((members, one))
        options.update(len(parts), len(ensembles.sets))
    if not parts:
        raise NotApplicableError("representation: no two networks have the same task")
    merged = merge(parts, len(ensembles.models))
    parameters = {"sequences": options.sequences, "samples": _MOST_SAMPLES, "rsa_samples": 1000}
    merged.attrs = provenance.attrs(
        "degeneracy.representation", parameters, seed=options.seed, device="cpu", dtype="float64"
    )
    return merged


def _set(
    states: Sequence[States],
    pairs: Sequence[tuple[int, int]],
    alike: Sequence[Sequence[int]],
    seed: int,
    remarks: Remarks,
) -> xr.Dataset:
    """Return the distances of networks on the same samples; `alike` are those of an ensemble."""
    rng = generator(seed, "degeneracy", "samples")
    order = rng.permutation(len(states[0][0]))
    data: dict[str, xr.Variable] = {}
    for name, measure in DISTANCES.items():
        rows = np.sort(order[: _SAMPLES.get(name, _MOST_SAMPLES)])
        try:
            after, before = (measure.matrix([s[k][rows] for s in states], pairs) for k in (0, 1))
            chance = _shuffled(measure, [s[0][rows] for s in states], alike, rng)
        except UsageError as error:
            remarks.add(f"representation: {name} left out: {error}")
            continue
        words, units = measure.long_name, measure.units
        dims = ("net_a", "net_b")
        data[name] = variable(dims, after, words, units)
        data[f"{name}_null"] = variable(dims, before, f"{words}, before training", units)
        data[f"{name}_shuffled"] = variable(
            ("net_a",), chance, f"{words}, with the order of samples lost", units
        )
    return xr.Dataset(data)


def _shuffled(
    measure: Distance[object],
    states: Sequence[np.ndarray],
    alike: Sequence[Sequence[int]],
    rng: np.random.Generator,
) -> np.ndarray:
    """Return the distance of some networks to another one whose samples are out of order."""
    found = np.full(len(states), np.nan)
    for own in alike:
        for k, i in enumerate(own[:_SHUFFLED]):
            other = states[own[(k + 1) % len(own)]]
            found[i] = measure(states[i], rng.permutation(other))
    return found
