"""How much the loss rises on the straight line between two networks, once units are matched."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor, nn
from torch.func import functional_call

from seqprobe.degeneracy.pairs import Kept, Row, Update, all_pairs, square
from seqprobe.degeneracy.units import layers_of, relabel_model
from seqprobe.errors import UsageError
from seqprobe.memory.window import sequences
from seqprobe.models import Model, Together
from seqprobe.provenance import attrs, model_attrs
from seqprobe.schema import variable
from seqprobe.tasks import Batch, Task

__all__ = ["Alignment", "barriers", "check_inputs", "check_same_form", "mode_connectivity"]

# By layer: unit i of the first network is unit perm[i] of the second, times sign[i].
Alignment = tuple[Sequence[np.ndarray], Sequence[np.ndarray]]

_POINTS = 11
_PIECE = 32  # sequences at a time: what 22 networks of 64 units write in 16 steps stays in cache


def mode_connectivity(
    a: Model,
    b: Model,
    perms: Sequence[np.ndarray],
    signs: Sequence[np.ndarray],
    batch: Batch,
    task: Task,
    points: int = _POINTS,
) -> xr.Dataset:
    """Return the loss on the straight line between two networks, and the barrier on it.

    ``barrier = max over alpha of L((1 - alpha) a + alpha b') - ((1 - alpha) L(a) + alpha L(b'))``,
    where b' is b with its units relabelled to match those of a. It is 0 where both lie in one
    basin. The same without relabelling is the control.

    Parameters
    ----------
    a, b
        Networks of one form. They are left as they were.
    perms, signs
        (n,) for every layer: unit i of a is unit ``perm[i]`` of b times ``sign[i]``; see
        `seqprobe.degeneracy.relabelling.relabel`.
    batch
        Sequences (B, T, D) or tokens (B, T) with their targets.
    task
        Says the loss of a sequence, ``task.errors``.
    points
        Number of alphas, evenly from 0 to 1, at least 3.

    Returns
    -------
    xarray.Dataset
        * ``barrier``, ``barrier_unaligned``: in units of the loss, never below 0; inf or NaN where
          a network on the line overflows. Both have a standard error over sequences at the alpha
          of the maximum, ``barrier_se`` and ``barrier_unaligned_se``.
        * ``loss``, ``loss_unaligned`` (step): mean over sequences; ``alpha`` (step) is a
          coordinate.

    Raises
    ------
    NotApplicableError
        If the networks are not stacks of recurrent layers.
    UsageError
        If they are not of one form, or if relabelling, task or number of points do not fit.

    Notes
    -----
    Computed in float64 on the CPU, all networks of both lines at once. Cost: two forward passes per
    alpha, 50 ms at 64 units, 40 steps, 64 sequences and 11 alphas on one thread.

    References
    ----------
    Frankle et al. 2020, arXiv 1912.05671 (the line between two networks); Entezari et al. 2022,
    arXiv 2110.06296 (the barrier, and after relabelling); Ainsworth et al. 2023, arXiv 2209.04836
    (finding the relabelling). Signs of odd units are not in them.
    """
    errors = _errors(a, b, (perms, signs), batch, task, points)
    alpha = np.linspace(0, 1, points)
    data: dict[str, xr.Variable] = {}
    for rows, name, words in zip(errors, ("", "_unaligned"), ("aligned", "unaligned"), strict=True):
        height, error = _barrier(rows)
        data |= {
            f"barrier{name}": variable((), height, f"loss barrier, {words}", "loss"),
            f"barrier{name}_se": variable(
                (), error, f"standard error of: loss barrier, {words}", "loss"
            ),
            f"loss{name}": variable(("step",), rows.mean(axis=1), f"loss, {words}", "loss"),
        }
    coords = {"alpha": variable(("step",), alpha, "part of the way from a to b", "1")}
    parameters = {"points": points, "n_sequences": len(batch.inputs)}
    made = attrs("degeneracy.mode_connectivity", parameters, seed=0, device="cpu", dtype="float64")
    for end, model in (("a", a), ("b", b)):
        made |= {f"{key}_{end}": value for key, value in model_attrs(model).items()}
    return xr.Dataset(data, coords, made)


def barriers(
    models: Sequence[Model],
    alignments: Mapping[tuple[int, int], Alignment],
    batch: Batch,
    task: Task,
    *,
    parameters: Mapping[str, Any] | None = None,
    jobs: int = 1,
    kept: Kept | None = None,
    update: Update = lambda done, total: None,
) -> tuple[np.ndarray, np.ndarray]:
    """Return the barriers between the networks of an ensemble; see `mode_connectivity`.

    Parameters
    ----------
    models
        N networks of one form.
    alignments
        By pair (i, j) how units of model j are relabelled to match those of model i.
    batch, task
        See `mode_connectivity`.
    parameters
        What decided alignments and batch, for what is kept.
    jobs, kept, update
        See `seqprobe.degeneracy.pairs.all_pairs`.

    Returns
    -------
    aligned, unaligned
        (N, N), symmetric, with 0 on the diagonal and NaN for pairs that have no alignment.
    """
    kernel = partial(_pair, alignments=alignments, batch=batch, task=task)
    found = all_pairs(
        "barrier",
        kernel,
        list(enumerate(models)),
        parameters or {},
        which=alignments,
        jobs=jobs,
        kept=kept,
        update=update,
    )
    n = len(models)
    return square(found, n, "barrier"), square(found, n, "barrier_unaligned")


def _pair(
    a: tuple[int, Model],
    b: tuple[int, Model],
    alignments: Mapping[tuple[int, int], Alignment],
    batch: Batch,
    task: Task,
) -> Row:
    """Return both barriers of a pair of numbered networks."""
    errors = _errors(a[1], b[1], alignments[a[0], b[0]], batch, task, _POINTS)
    aligned, unaligned = (np.array(_barrier(rows)[0]) for rows in errors)
    return {"barrier": aligned, "barrier_unaligned": unaligned}


def check_same_form(a: Model, b: Model) -> None:
    """Refuse two models whose weights do not correspond.

    Raises
    ------
    NotApplicableError
        If one is not a stack of recurrent layers.
    UsageError
        If architecture, settings or specification differ.
    """
    layers_of(a), layers_of(b)
    for what, one, other in (
        ("architecture", a.name, b.name),
        ("settings", a.config, b.config),
        ("specification", a.spec, b.spec),
    ):
        if one != other:
            raise UsageError(
                f"models differ in {what}: {one} and {other}; weights are compared between"
                " networks of one form"
            )


def check_inputs(model: Model, batch: Batch) -> None:
    """Refuse inputs that are not of the kind and size that a model takes, with a `UsageError`."""
    with torch.no_grad():
        model(sequences(model, batch)[:1, :1])


def _check(a: Model, b: Model, alignment: Alignment, task: Task, points: int) -> None:
    check_same_form(a, b)
    if task.spec != a.spec:
        raise UsageError(
            f"task '{task.name}' is for {task.spec}, the models for {a.spec}; use the task that"
            " they were trained on"
        )
    if points < 3:
        raise UsageError(f"{points} points have nothing between both ends (allowed: 3 or more)")
    widths = [layer.width for layer in layers_of(a)]
    perms, signs = ([np.asarray(of_layer) for of_layer in each] for each in alignment)
    fits = [len(perm) for perm in perms] == [len(sign) for sign in signs] == widths and all(
        np.array_equal(np.sort(perm), np.arange(len(perm))) and (np.abs(sign) == 1).all()
        for perm, sign in zip(perms, signs, strict=True)
    )
    if not fits:
        raise UsageError(
            f"relabelling does not fit layers of {widths} units"
            " (allowed: for each a permutation of its units, and signs of +1 or -1)"
        )


def _errors(
    a: Model, b: Model, alignment: Alignment, batch: Batch, task: Task, points: int
) -> np.ndarray:
    """Return the loss of every sequence on the lines from a to the relabelled b and to b itself.

    Returns
    -------
    numpy.ndarray
        (2, points, B).
    """
    _check(a, b, alignment, task, points)
    check_inputs(a, batch)
    ends = Together([a, relabel_model(b, *alignment), b]).cpu().double()
    alpha = torch.linspace(0, 1, points, dtype=torch.float64)
    zero = torch.zeros_like(alpha)
    mix = torch.cat(
        [
            torch.stack([1 - alpha, alpha, zero], dim=1),
            torch.stack([1 - alpha, zero, alpha], dim=1),
        ]
    )
    with torch.no_grad():
        # A module takes parameters for an embedding table, not tensors.
        weights: dict[str, Tensor] = {
            name: nn.Parameter(torch.tensordot(mix, values, dims=1), requires_grad=False)
            for name, values in ends.named_parameters()
        }
        pieces = []
        for piece in batch.to(torch.device("cpu")).split(_PIECE):
            x = sequences(ends, piece)
            outputs = functional_call(ends, weights, (x.expand(len(mix), *x.shape),))
            pieces.append(torch.stack([task.errors(y, piece) for y in outputs]))
    errors: np.ndarray = torch.cat(pieces, dim=1).unflatten(0, (2, points)).double().numpy()
    return errors


def _barrier(errors: np.ndarray) -> tuple[float, float]:
    """Return the barrier on a line of losses (points, B), and its standard error."""
    alpha = np.linspace(0, 1, len(errors))[:, None]
    with np.errstate(invalid="ignore"):  # inf - inf, where a network on the line overflows
        rise = errors - ((1 - alpha) * errors[0] + alpha * errors[-1])
        heights = rise.mean(axis=1)
        at = int(np.argmax(heights))
        n = errors.shape[1]
        spread = rise[at] - heights[at]
        error = np.sqrt(np.square(spread).sum() / (n * (n - 1))) if n > 1 else np.nan
    return float(heights[at]), float(error)
