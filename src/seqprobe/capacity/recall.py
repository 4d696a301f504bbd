"""How many symbols a state holds for later: accuracy against load, and bits per real of state."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
import torch.nn.functional as F
import xarray as xr
from torch import nn

from seqprobe import provenance
from seqprobe.capacity.hebbian import hebbian_accuracy, hebbian_capacity
from seqprobe.errors import UsageError
from seqprobe.memory.estimates import ci_coordinate, estimate, resample
from seqprobe.memory.recall_statistics import fano_bits, last_crossing, wilson, wilson_of_means
from seqprobe.models.access import (
    borrowed,
    check_causal,
    first_output,
    like_parameters,
    placement,
    refuse_lookahead,
)
from seqprobe.schema import variable
from seqprobe.seeding import generator
from seqprobe.tasks.symbol_recall import SymbolRecall

__all__ = ["THRESHOLDS", "recall_capacity"]

THRESHOLDS = (0.5, 0.9)
_STEPS = 2**16  # sequences times their length in one forward pass


def recall_capacity(
    model: nn.Module,
    task: SymbolRecall,
    loads: Sequence[int],
    *,
    load: str | None = None,
    thresholds: Sequence[float] = THRESHOLDS,
    n_sequences: int = 500,
    seed: int = 0,
    on_progress: Callable[[int, int], None] | None = None,
) -> xr.Dataset:
    """Return accuracy and bits against the load.

    Parameters
    ----------
    model
        A causal module that maps the task's tokens to logits. It is left as it was.
    task
        ``mqar``, ``induction``, ``selective-copy`` or ``passkey``.
    loads
        Values of the load, ascending. Sequences get longer where the load does not fit.
    load
        Which setting of the task is varied, one of ``task.loads``, such as ``"pairs"``,
        ``"key_length"`` or ``"length"``; None for the first.
    thresholds
        Accuracies theta that define P*.
    n_sequences
        Test sequences per load.
    seed
        Of the sequences and the bootstrap.
    on_progress
        Called with the number of loads done and their total.

    Returns
    -------
    xarray.Dataset
        Along ``load``:

        * ``accuracy``: fraction of right answers, with a Wilson interval over sequences;
          ``accuracy_sequence``: sequences without an error, likewise;
        * ``bits``: ``M log2 K`` less the cross-entropy of the M answers in bits, at least 0: a
          lower bound on what is held (Barber and Agakov 2003); ``bits_fano``: from the accuracy
          alone;
        * ``sequence_length``; ``answers``: M per sequence;
        * ``state_size``: reals that the model keeps once everything has been shown, before the
          first question: for attention, keys and values of all steps so far; ``bits_per_real``;
        * ``hebbian``: accuracy of a Hebbian store of as many reals, with M pairs.

        ``capacity`` (threshold): P*(theta), the last load at which accuracy falls to theta,
        interpolated in the logarithm; infinite if the last one is above, 0 if none is;
        ``capacity_state_size`` (threshold): state there, or at the
        largest or smallest load. ``hebbian_capacity`` (threshold): of the
        store, NaN where the state grows or the load is no number of answers. ``bits_held``: the
        most bits at any load; ``bits_per_real_held``. ``*_ci``: 95 %, by 1000 bootstrap replicates
        over sequences where not Wilson.

    Raises
    ------
    UsageError
        If the task has no such load, or loads are not ascending or do not fit.

    Notes
    -----
    Sources: Arora et al. 2023 (Zoology, arXiv 2312.04927) for the task and accuracy against state
    size; the Hebbian store, see `hebbian_accuracy`. A model below the line may be untrainable
    rather than full (arXiv 2508.19029): compare the best of several learning rates. Cost: one
    forward pass per sequence and load.
    """
    load = load or next(iter(task.loads))
    _check(loads, thresholds)
    refuse_lookahead(model)
    with borrowed(model):
        check_causal(model, like_parameters(model, task.batch("test", 1, seed=seed).inputs))
    rng = generator(seed, "bootstrap")
    weights = resample(n_sequences, rng)
    rows = []
    for done, value in enumerate(loads):
        rows.append(_one_load(model, task.at(load, value), value, n_sequences, seed, weights))
        if on_progress is not None:
            on_progress(done + 1, len(loads))
    result = _summarise(rows, np.array(loads), thresholds, task, load)
    parameters = {"load": load, "loads": list(loads), "n_sequences": n_sequences}
    result.attrs = provenance.of_model(
        "capacity.recall", model, parameters, seed, **placement(model)
    )
    return result.assign_attrs(
        load_name=load,
        load_unit=task.loads[load],
        alphabet=task.alphabet,
        chance=1 / task.alphabet,
        state_size_rule="reals kept once everything has been shown, before the first question",
        interval="Wilson over sequences; 95 % percentile of 1000 bootstrap replicates over them",
    )


def _check(loads: Sequence[int], thresholds: Sequence[float]) -> None:
    if not loads or loads[0] < 1 or any(a >= b for a, b in itertools.pairwise(loads)):
        raise UsageError(f"loads are {list(loads)} (allowed: ascending, from 1 on)")
    if not thresholds or not all(0 < level < 1 for level in thresholds):
        raise UsageError(f"thresholds are {list(thresholds)} (allowed: between 0 and 1)")


def _one_load(
    model: nn.Module, task: SymbolRecall, value: int, n: int, seed: int, weights: np.ndarray
) -> dict[str, np.ndarray]:
    """Return every number at one load, those from sequences with replicates in front (R, ...)."""
    batch = task.batch("test", n, seed=seed, index=value)
    length = batch.inputs.shape[1]
    right, entropy = [], []
    with borrowed(model), torch.no_grad():
        for piece in batch.split(max(1, _STEPS // length)):
            outputs = first_output(model, like_parameters(model, piece.inputs)).cpu()
            said, asked = task.answers(outputs, piece), task.asked(piece)
            right.append((said.argmax(dim=2) == asked).numpy())
            nll = F.cross_entropy(said.flatten(0, 1), asked.flatten(), reduction="none")
            entropy.append(nll.reshape(asked.shape).double().sum(dim=1).numpy() / math.log(2))
    hits = np.concatenate(right)
    answers = hits.shape[1]
    accuracy = weights @ hits.mean(axis=1)
    size = getattr(model, "state_size", None)
    reals = np.nan if size is None else float(size(task.stored_after(length)))
    bits = np.maximum(answers * math.log2(task.alphabet) - weights @ np.concatenate(entropy), 0.0)
    return {
        "accuracy": accuracy,
        "accuracy_ci": np.array(wilson_of_means(hits)),
        "accuracy_sequence": weights @ hits.all(axis=1),
        "accuracy_sequence_ci": np.array(wilson(float(hits.all(axis=1).mean()), len(hits))),
        "bits": bits,
        "bits_fano": fano_bits(accuracy, answers, task.alphabet),
        "bits_per_real": bits / reals,
        "sequence_length": np.array(length),
        "answers": np.array(answers),
        "state_size": np.array(reals),
        "hebbian": np.array(hebbian_accuracy(answers, reals, task.alphabet)),
    }


_ESTIMATES = {
    "accuracy": ("accuracy", "1"),
    "accuracy_sequence": ("sequences without an error", "1"),
    "bits": ("bits recovered, by cross-entropy", "bits"),
    "bits_fano": ("bits recovered, by accuracy", "bits"),
    "bits_per_real": ("bits recovered per real of state", "bits"),
}
_FACTS = {
    "sequence_length": ("length of the sequences", "steps"),
    "answers": ("answers per sequence", "1"),
    "state_size": ("reals of state when all has been shown", "reals"),
    "hebbian": ("accuracy of a Hebbian store of as many reals", "1"),
}


def _summarise(
    rows: list[dict[str, np.ndarray]],
    loads: np.ndarray,
    thresholds: Sequence[float],
    task: SymbolRecall,
    load: str,
) -> xr.Dataset:
    found = {name: np.stack([row[name] for row in rows], axis=-1) for name in rows[0]}
    data: dict[str, xr.Variable] = {}
    for name, (long_name, unit) in _ESTIMATES.items():
        data |= estimate(name, ("load",), found[name], long_name, unit)
    for name in ("accuracy", "accuracy_sequence"):
        data[f"{name}_ci"].values[...] = found[f"{name}_ci"]
    data |= {name: variable(("load",), found[name], *text) for name, text in _FACTS.items()}
    crossings = [last_crossing(loads, found["accuracy"], level) for level in thresholds]
    data |= estimate(
        "capacity",
        ("threshold",),
        np.stack(crossings, axis=1),
        "P*, the last load at which the accuracy is reached",
        task.loads[load],
    )
    sizes = found["state_size"]
    data["capacity_state_size"] = variable(
        ("threshold",),
        np.array([np.interp(values[0], loads, sizes) for values in crossings]),
        "reals of state at P*, or at the load next to it",
        "reals",
    )
    # One store has one size, and holds pairs.
    comparable = bool((sizes == sizes[0]).all() and (found["answers"] == loads).all())
    lines = [
        hebbian_capacity(level, sizes[0], task.alphabet) if comparable else np.nan
        for level in thresholds
    ]
    data["hebbian_capacity"] = variable(
        ("threshold",), np.array(lines), "P* of a Hebbian store of as many reals", task.loads[load]
    )
    data |= estimate("bits_held", (), found["bits"].max(axis=1), "most bits at any load", "bits")
    data |= estimate(
        "bits_per_real_held",
        (),
        found["bits_per_real"].max(axis=1),
        "most bits per real of state at any load",
        "bits",
    )
    coords = {
        "load": variable(("load",), loads, f"load, {load}", task.loads[load]),
        "threshold": variable(("threshold",), np.array(thresholds), "accuracy", "1"),
        "ci_bound": ci_coordinate(),
    }
    return xr.Dataset(data, coords)
