"""Permutation-invariant distance of weights: how far apart networks are once units are matched."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any, Literal

import numpy as np
import xarray as xr
from torch import nn

from seqprobe import provenance
from seqprobe.degeneracy.ensemble import check_ensemble
from seqprobe.degeneracy.matching import Matrices, match, norm
from seqprobe.degeneracy.pairs import Kept, Pairs, Update, all_pairs, square
from seqprobe.degeneracy.relabelling import Group
from seqprobe.degeneracy.units import LayerWeights, layer_weights, symmetry
from seqprobe.errors import NotApplicableError
from seqprobe.schema import variable

__all__ = ["dpif"]


def dpif(
    models: Sequence[nn.Module],
    *,
    initial: Sequence[nn.Module] | None = None,
    group: Group | Literal["auto"] = "auto",
    matrices: Matrices = "recurrent",
    restarts: int = 10,
    which: Iterable[tuple[int, int]] | None = None,
    seed: int = 0,
    jobs: int = 1,
    kept: Kept | None = None,
    update: Update = lambda done, total: None,
) -> xr.Dataset:
    """Return the permutation-invariant Frobenius distance of the weights of all pairs.

    ``d_PIF = min_P ||W_a - P^T W_b P||_F`` over relabellings P of the units: a quadratic assignment
    problem, see `seqprobe.degeneracy.relabelling`.

    Parameters
    ----------
    models
        Networks of recurrent layers; those that are compared have the same sizes.
    initial
        The same networks before training: the null, see ``dpif_null``.
    group
        ``"perm"``: permutations, as in the paper; ``"signed_perm"``: units may also change their
        sign, which leaves a tanh network as it is; ``"auto"``: what leaves the network as it is,
        see `seqprobe.degeneracy.units.symmetry`.
    matrices
        ``"recurrent"``: the matrices W of all gates, relabelled alike, and of all layers; ``"all"``
        input weights, biases and readout too.
    restarts
        Random starts of every assignment.
    which
        Pairs of positions that are compared; None for all.
    seed
        Of the starts.
    jobs, kept, update
        See `seqprobe.degeneracy.pairs.all_pairs`.

    Returns
    -------
    xarray.Dataset
        * ``dpif`` (net_a, net_b): in weight units, an upper bound; ``dpif_lower`` a lower one.
        * ``dpif_rel``: over ``sqrt(||W_a||^2 + ||W_b||^2)``, which a large norm does not make
          larger. ``dpif_per_weight``: over the number of weights, as the paper does between sizes.
          It falls with the width of untrained networks already, by 20 times from 32 to 256 units.
        * ``dpif_null``, ``dpif_rel_null``, ``dpif_per_weight_null``: of the networks before
          training, if they are given: what is left of a distance that training did not make.
        * ``perm``, ``sign`` (net_a, net_b, unit): unit i of the first is unit ``perm[i]`` of the
          second, times its sign; layers one after another. -1 and 0 where nothing was compared.
        * ``weight_norm`` (net_a).

    Raises
    ------
    NotApplicableError
        If a model is not a stack of recurrent layers, or signs may not change in it.
    UsageError
        If there are fewer than two, or sizes of a pair differ.

    Notes
    -----
    Time constants and peepholes are not compared. Cost per pair: 70 ms at n = 64 with ten restarts,
    on one thread; it grows as n^3.

    References
    ----------
    Huang, Singh, Martinelli, Rajan 2024, arXiv 2410.03972, who do not say how they solve it, and
    ignore signs.
    """
    check_ensemble(len(models))
    chosen = _group(models, group)
    pairs = list(which) if which is not None else None
    parameters: dict[str, Any] = {
        "group": chosen,
        "matrices": matrices,
        "restarts": restarts,
        "seed": seed,
    }
    kernel = partial(match, group=chosen, matrices=matrices, restarts=restarts, seed=seed)
    networks = [layer_weights(model) for model in models]
    parameters["units"] = [list(layer.recurrent.shape) for layer in networks[0]]
    stages = [networks] if initial is None else [networks, [layer_weights(m) for m in initial]]
    found = []
    for k, stage in enumerate(stages):
        store = kept if k == 0 or kept is None else kept.as_other("initial")
        found.append(
            all_pairs(
                "dpif",
                kernel,
                stage,
                parameters,
                which=pairs,
                jobs=jobs,
                kept=store,
                update=lambda done, of, k=k: update(k * of + done, len(stages) * of),  # type: ignore[misc]
            )
        )
    n = len(models)
    data = _distances(found[0], n, "")
    if initial is not None:
        data |= _distances(found[1], n, "_null")
    data |= _matches(found[0], networks)
    norms = np.array([norm(layers, matrices) for layers in networks])
    data["weight_norm"] = variable(("net_a",), norms, "norm of the compared weights", "weight")
    attrs = provenance.attrs(
        "degeneracy.dpif", parameters, seed=seed, device="cpu", dtype="float64"
    )
    return xr.Dataset(data, attrs=attrs)


def _group(models: Sequence[nn.Module], group: Group | Literal["auto"]) -> Group:
    """Return what all networks allow: signs change only where that is a symmetry of all."""
    own = [symmetry(model) for model in models]
    if group == "signed_perm" and "perm" in own:
        name = getattr(models[own.index("perm")], "name", "this model")
        raise NotApplicableError(
            f"units of '{name}' may not change their sign: that makes another function of it"
            " (allowed: group 'perm')"
        )
    if group != "auto":
        return group
    return "signed_perm" if "perm" not in own else "perm"


def _distances(found: Pairs, n: int, ending: str) -> dict[str, xr.Variable]:
    words = {
        "dpif": ("distance of weights after relabelling", "weight"),
        "dpif_rel": ("the same over the norm of both", "1"),
        "dpif_per_weight": ("the same over the number of weights", "weight"),
    }
    if not ending:
        words["dpif_lower"] = ("lower bound of the distance of weights", "weight")
    said = ", before training" if ending else ""
    return {
        f"{name}{ending}": variable(
            ("net_a", "net_b"), square(found, n, name), f"{long_name}{said}", units
        )
        for name, (long_name, units) in words.items()
    }


def _matches(found: Pairs, networks: Sequence[Sequence[LayerWeights]]) -> dict[str, xr.Variable]:
    """Return which unit is which, both ways."""
    n = len(networks)
    most = max(sum(len(layer.bias) for layer in layers) for layers in networks)
    perm, sign = np.full((n, n, most), -1), np.zeros((n, n, most), dtype=np.int8)
    for (i, j), row in found.items():
        units = np.arange(len(row["perm"]))
        firsts = np.cumsum([0, *(len(layer.bias) for layer in networks[i])])[:-1]
        offset = np.repeat(firsts, [len(layer.bias) for layer in networks[i]])
        there = row["perm"] + offset
        perm[i, j, units], sign[i, j, units] = row["perm"], row["sign"]
        perm[j, i, there], sign[j, i, there] = units - offset, row["sign"]
    dims = ("net_a", "net_b", "unit")
    return {
        "perm": variable(dims, perm, "unit of the second that is unit i of the first", "1"),
        "sign": variable(dims, sign, "its sign", "1"),
    }
