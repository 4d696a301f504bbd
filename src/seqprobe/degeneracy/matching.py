"""Matching the units of two networks, layer by layer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from seqprobe.degeneracy.pairs import Row
from seqprobe.degeneracy.relabelling import Group, relabel, relabelled
from seqprobe.degeneracy.units import LayerWeights
from seqprobe.errors import UsageError

__all__ = ["Matrices", "match", "norm"]

Matrices = Literal["recurrent", "all"]

_PASSES = 10  # over the layers of a stack, whose units are matched given those above and below


def match(
    a: Sequence[LayerWeights],
    b: Sequence[LayerWeights],
    group: Group,
    matrices: Matrices = "recurrent",
    restarts: int = 10,
    seed: int = 0,
) -> Row:
    """Match the units of two networks, layer by layer.

    With all matrices, the layers of a stack depend on each other: each is matched given the others,
    in turn, until the distance does not fall any more.

    Parameters
    ----------
    a, b
        Weights of their layers; see `layer_weights`.
    group, matrices, restarts, seed
        See `dpif`.

    Returns
    -------
    dict
        ``dpif, dpif_rel, dpif_per_weight, dpif_lower`` as (), and ``perm, sign`` (units).
    """
    shapes = [[layer.recurrent.shape + layer.inputs.shape for layer in one] for one in (a, b)]
    if shapes[0] != shapes[1]:
        raise UsageError(
            f"networks of {[s[1] for s in shapes[0]]} and {[s[1] for s in shapes[1]]} units per"
            " layer have no weights to compare one by one (allowed: one architecture and size)"
        )
    perms = [np.arange(layer.recurrent.shape[1]) for layer in a]
    signs = [np.ones(len(perm)) for perm in perms]
    lower = np.zeros(len(a))
    best = np.inf
    for _ in range(_PASSES if matrices == "all" and len(a) > 1 else 1):
        tried = [*perms], [*signs]
        for i in range(len(a)):
            features = None if matrices == "recurrent" else _features(a, b, i, *tried)
            found = relabel(
                a[i].recurrent, b[i].recurrent, group, features, restarts=restarts, seed=seed
            )
            tried[0][i], tried[1][i], lower[i] = found.perm, found.sign, found.lower
        distance = _distance(a, b, matrices, *tried)
        if distance >= best - 1e-12:
            break
        best, (perms, signs) = distance, tried
    size = np.hypot(norm(a, matrices), norm(b, matrices))
    return {
        "dpif": np.array(best),
        "dpif_rel": np.array(best / size if size > 0 else np.nan),
        "dpif_per_weight": np.array(best / _count(a, matrices)),
        "dpif_lower": np.array(np.linalg.norm(lower)),
        "perm": np.concatenate(perms),
        "sign": np.concatenate(signs),
    }


def _features(
    a: Sequence[LayerWeights],
    b: Sequence[LayerWeights],
    i: int,
    perms: Sequence[np.ndarray],
    signs: Sequence[np.ndarray],
) -> tuple[np.ndarray, np.ndarray]:
    """Return all weights of the units of a layer but the recurrent ones, (n, F) of both.

    Those from and to other layers of b are in the order that these have at present.
    """
    made = []
    for layers, moved in ((a, False), (b, True)):
        layer = layers[i]
        inputs, upward = layer.inputs, None
        if i > 0 and moved:
            inputs = inputs[:, :, perms[i - 1]] * signs[i - 1]
        if i + 1 < len(layers):
            upward = layers[i + 1].inputs  # (n', G, n)
            if moved:
                upward = upward[perms[i + 1]] * signs[i + 1][:, None, None]
        n = len(layer.bias)
        parts = [inputs.reshape(n, -1), layer.bias, layer.readout]
        if upward is not None:
            parts.append(upward.reshape(-1, n).T)
        made.append(np.hstack(parts))
    return made[0], made[1]


def _moved(
    layers: Sequence[LayerWeights], perms: Sequence[np.ndarray], signs: Sequence[np.ndarray]
) -> list[LayerWeights]:
    """Return the weights with all units relabelled."""
    made = []
    for i, (layer, perm, sign) in enumerate(zip(layers, perms, signs, strict=True)):
        inputs = layer.inputs[perm] * sign[:, None, None]
        if i > 0:
            inputs = inputs[:, :, perms[i - 1]] * signs[i - 1]
        made.append(
            LayerWeights(
                relabelled(layer.recurrent, perm, sign),
                inputs,
                layer.bias[perm] * sign[:, None],
                layer.readout[perm] * sign[:, None],
            )
        )
    return made


def _parts(layer: LayerWeights, matrices: Matrices) -> list[np.ndarray]:
    if matrices == "recurrent":
        return [layer.recurrent]
    return [layer.recurrent, layer.inputs, layer.bias, layer.readout]


def _distance(
    a: Sequence[LayerWeights],
    b: Sequence[LayerWeights],
    matrices: Matrices,
    perms: Sequence[np.ndarray],
    signs: Sequence[np.ndarray],
) -> float:
    squared = 0.0
    for own, other in zip(a, _moved(b, perms, signs), strict=True):
        pairs = zip(_parts(own, matrices), _parts(other, matrices), strict=True)
        squared += sum(float(np.square(x - y).sum()) for x, y in pairs)
    return float(np.sqrt(squared))


def norm(layers: Sequence[LayerWeights], matrices: Matrices) -> float:
    """Return the Frobenius norm of the weights that are compared."""
    parts = [part for layer in layers for part in _parts(layer, matrices)]
    return float(np.sqrt(sum(np.square(part).sum() for part in parts)))


def _count(layers: Sequence[LayerWeights], matrices: Matrices) -> int:
    return sum(part.size for layer in layers for part in _parts(layer, matrices))
