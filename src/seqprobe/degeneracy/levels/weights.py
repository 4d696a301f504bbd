"""Weights: distance after relabelling, barriers between networks, and what training changed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr

from seqprobe.degeneracy.dpif import dpif
from seqprobe.degeneracy.feature_learning import feature_learning, initial_model
from seqprobe.degeneracy.groups import Ensembles
from seqprobe.degeneracy.levels.dynamics import names_of
from seqprobe.degeneracy.levels.merge import merge
from seqprobe.degeneracy.levels.options import Options, Remarks, applicable, inside, test_batch
from seqprobe.degeneracy.mode_connectivity import barriers
from seqprobe.degeneracy.units import layer_weights, symmetry
from seqprobe.models import Model
from seqprobe.schema import variable

__all__ = ["weights"]

_LEARNED = ("delta_w", "delta_w_rel", "ntk_alignment")


def weights(ensembles: Ensembles, options: Options, remarks: Remarks) -> xr.Dataset:
    """Return `dpif`, barriers and `feature_learning` of all recurrent networks.

    Networks of different forms or sizes have no weights in common and are not compared.
    """

    def of(i: int) -> tuple[object, ...]:
        model = ensembles.models[i]
        shapes = tuple(w.recurrent.shape + w.inputs.shape for w in layer_weights(model))
        return symmetry(model), model.name, repr(model.config), shapes

    forms = applicable("weights", names_of(ensembles), of, remarks, ensembles.compared)
    alike: dict[tuple[object, ...], list[int]] = {}
    for i, form in forms.items():
        alike.setdefault(form, []).append(i)
    parts = []
    for members in alike.values():
        pairs = inside(members, ensembles.pairs)
        if pairs:
            parts.append((members, _group(ensembles, members, pairs, options)))
        else:
            remarks.add("weights: networks of different forms or sizes are not compared")
    if not parts:
        return xr.Dataset()
    return merge(parts, len(ensembles.models))


def _group(
    ensembles: Ensembles,
    members: Sequence[int],
    pairs: Sequence[tuple[int, int]],
    options: Options,
) -> xr.Dataset:
    models = [ensembles.models[i] for i in members]
    initial = [initial_model(model) for model in models]
    arguments: dict[str, Any] = {
        "group": options.group,
        "which": pairs,
        "seed": options.seed,
        "jobs": options.jobs,
        "kept": options.kept_of(members),
        "update": options.update,
    }
    found = dpif(models, initial=initial, matrices=options.matrices, **arguments)
    # What lies between two networks depends on all of their weights, whichever are compared.
    matched = found if options.matrices == "all" else dpif(models, matrices="all", **arguments)
    found = found.merge(_learned(ensembles, members, models, initial, options))
    return found.merge(_barriers(ensembles, members, models, matched, pairs, options))


def _learned(
    ensembles: Ensembles,
    members: Sequence[int],
    models: Sequence[Model],
    initial: Sequence[Model],
    options: Options,
) -> xr.Dataset:
    """Return what training changed in every network."""
    rows = []
    for i, model, twin in zip(members, models, initial, strict=True):
        batch = test_batch(ensembles.tasks[i], options.sequences, options.seed)
        rows.append(feature_learning(model, twin, batch))
    return xr.Dataset(
        {
            name: variable(
                ("net_a",),
                np.array([float(row[name]) for row in rows]),
                str(rows[0][name].attrs["long_name"]),
                str(rows[0][name].attrs["units"]),
            )
            for name in _LEARNED
        }
    )


def _barriers(
    ensembles: Ensembles,
    members: Sequence[int],
    models: Sequence[Model],
    found: xr.Dataset,
    pairs: Sequence[tuple[int, int]],
    options: Options,
) -> xr.Dataset:
    """Return the barriers on the straight way between networks, of pairs of one task."""
    n = len(models)
    total = {name: np.full((n, n), np.nan) for name in ("barrier", "barrier_unaligned")}
    for group in ensembles.sets:
        own = [k for k, i in enumerate(members) if i in group]
        inner = [(i, j) for i, j in pairs if i in own and j in own]
        if not inner:
            continue
        task = ensembles.tasks[group[0]]
        values = barriers(
            models,
            _alignments(models, found, inner),
            test_batch(task, options.sequences, options.seed),
            task,
            parameters={"matched": found.attrs["parameters"], "sequences": options.sequences},
            jobs=options.jobs,
            kept=options.kept_of(members),
            update=options.update,
        )
        for name, matrix in zip(total, values, strict=True):
            there = np.isfinite(matrix)
            total[name][there] = matrix[there]
    words = {
        "barrier": "barrier of the loss between matched networks",
        "barrier_unaligned": "barrier of the loss between networks as they are",
    }
    return xr.Dataset(
        {k: variable(("net_a", "net_b"), v, words[k], "loss") for k, v in total.items()}
    )


def _alignments(
    models: Sequence[Model], found: xr.Dataset, pairs: Sequence[tuple[int, int]]
) -> Mapping[tuple[int, int], tuple[list[np.ndarray], list[np.ndarray]]]:
    """Return permutations and signs by layer of every pair."""
    made = {}
    for i, j in pairs:
        widths = [len(layer.bias) for layer in layer_weights(models[i])]
        cuts = np.cumsum(widths)[:-1]
        perm = np.split(found["perm"].values[i, j, : sum(widths)], cuts)
        sign = np.split(found["sign"].values[i, j, : sum(widths)].astype(np.float64), cuts)
        made[i, j] = (perm, sign)
    return made
