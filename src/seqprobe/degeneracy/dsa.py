"""Dynamical similarity analysis: whether two networks are one vector field up to a rotation."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from itertools import product

import numpy as np
import xarray as xr

from seqprobe import provenance
from seqprobe.arrays import SEGMENTS, Recorded, as_trials
from seqprobe.degeneracy.conjugacy import Conjugacy, conjugacy
from seqprobe.degeneracy.ensemble import check_ensemble
from seqprobe.degeneracy.operators import Operator, Reduction, check_states, embed
from seqprobe.degeneracy.pairs import Kept, Pairs, Row, Update, all_pairs, square
from seqprobe.degeneracy.wasserstein import eigenvalue_wasserstein
from seqprobe.errors import UsageError
from seqprobe.schema import variable

__all__ = ["DELAYS", "RANKS", "dsa"]

DELAYS, RANKS = (1, 3), (8, 16)
_PINNED = 8  # times fewer starts where inputs say how to rotate: all lead to one minimum

# By setting (p, r); None where a network does not visit so many directions.
Operators = dict[tuple[int, int], Operator | None]
# Without and with inputs known.
Network = tuple[Operators, Operators | None]

_PAIRS = {
    "dsa": ("DSA distance of operators of unit norm", "1"),
    "dsa_angle": ("DSA angle", "rad"),
    "dsa_frobenius": ("DSA distance of operators as they are", "1"),
    "dsa_lower": ("lower bound of the DSA distance", "1"),
    "eig_w2": ("squared Wasserstein distance of eigenvalues", "1"),
    "input_dsa": ("InputDSA distance, state and input operators together", "1"),
}


def dsa(
    states: Sequence[Recorded],
    *,
    segments: int = SEGMENTS,
    delays: Sequence[int] = DELAYS,
    ranks: Sequence[int] = RANKS,
    inputs: Sequence[Recorded] | None = None,
    reduction: Reduction = "pca",
    restarts: int = 96,
    which: Iterable[tuple[int, int]] | None = None,
    seed: int = 0,
    jobs: int = 1,
    kept: Kept | None = None,
    update: Update = lambda done, total: None,
) -> xr.Dataset:
    """Return the dynamical distance of all pairs of networks, with the null of the same network.

    Every network is summarised by a linear next-step operator A of its delay-embedded, whitened
    trajectories (`seqprobe.degeneracy.operators`), and two networks by
    ``d = min_C ||A_x - C A_y C^T||_F`` over orthogonal matrices C
    (`seqprobe.degeneracy.conjugacy`), for every number of delays p and rank r of a grid: the order
    of two distances may depend on them. Operators are fitted to the first half of the trials. The
    second half measures how well they predict, and gives the null: the distance between the two
    halves of one network, which differ in the trials alone.

    Parameters
    ----------
    states
        Trajectories (trials, T, n) of every network, as an array of any origin. Trials are the same
        for all networks that are compared: same inputs, same initial conditions; n may differ.
        Named dimensions ``trial``, ``time``, ``unit`` may be in any order.
    segments
        Long recordings, with the dimensions ``time`` and ``unit``, are cut into so many trials
        (`seqprobe.arrays.cut`, which takes arrays without names). Then the null is the distance
        between the first and the second half of a recording.
    delays, ranks
        The grid of p and r. Choose them by `r2`, before looking at distances.
    inputs
        (trials, T, D) of every network; then `input_dsa` tells the drive from the recurrence. All
        networks have the same inputs.
    reduction
        Which r directions operators act on; see `Embedding.operator`.
    restarts
        Random starts of every minimisation.
    which
        Pairs of positions that are compared; None for all.
    seed
        Of the starts.
    jobs, kept, update
        See `seqprobe.degeneracy.pairs.all_pairs`; what is kept is known by the names of networks
        and the numbers of trials and steps, so that a name stands for the trials too.

    Returns
    -------
    xarray.Dataset
        * ``dsa`` (net_a, net_b, delays, rank): d of operators of unit norm, in [0, 2]; an upper
          bound of the minimum, and ``dsa_lower`` a lower one. NaN where a network does not visit r
          directions, and for pairs that were not compared.
        * ``dsa_angle``: ``arccos(1 - d^2 / 2)`` in radians; ``dsa_frobenius``: of operators as they
          are; ``eig_w2``: see `eigenvalue_wasserstein`.
        * ``input_dsa``: ``sqrt((||A_x - C A_y C^T||^2 + ||B_x - C B_y||^2) / 2)`` with all four
          operators of unit norm, minimised over C together.
        * ``<name>_null`` (net_a, delays, rank): of the two halves of one network.
        * ``r2`` (net_a, delays, rank), ``r2_driven`` with inputs: see `Operator.r2`.
        * ``chosen`` (delays, rank): True at the largest mean `r2`, among the settings that most
          networks have.

    Raises
    ------
    UsageError
        If there are fewer than two networks or four trials, trials differ, or values are not
        finite.

    Notes
    -----
    Whitening makes the distance one of the system and of where its trajectories go: the same system
    from other initial conditions is not at 0. Cost per pair and setting, one thread: 50 ms at
    r = 8, 150 to 250 ms at r = 16, 1 s at r = 32; 20 to 200 ms more with inputs.

    References
    ----------
    Ostrow, Eisen, Kozachkov, Fiete 2023, arXiv 2306.10168. Huang, Ostrow et al. 2025, arXiv
    2510.25943 (InputDSA): their package rotates controllability matrices in closed form, here the
    joint distance itself is minimised. Huang, Singh, Martinelli, Rajan 2024, arXiv 2410.03972.
    """
    check_ensemble(len(states))
    pairs = _pairs(len(states), which)
    trials = [as_trials(x, segments, f"states of network {i}") for i, x in enumerate(states)]
    known = None
    if inputs is not None:
        known = [as_trials(x, segments, f"inputs of network {i}") for i, x in enumerate(inputs)]
    _check(trials, known, pairs)
    grid = [(p, r) for p, r in product(sorted(set(delays)), sorted(set(ranks)))]
    drives = [None] * len(trials) if known is None else known
    fitted = [
        _both_halves(one, drive, grid, reduction) for one, drive in zip(trials, drives, strict=True)
    ]
    networks = [halves[half] for half in (0, 1) for halves in fitted]
    wanted = [(i, i + len(states)) for i in range(len(states))]
    wanted += pairs
    parameters = {
        "delays": sorted(set(delays)),
        "ranks": sorted(set(ranks)),
        "inputs": inputs is not None,
        "trials": sorted({one.shape[:2] for one in trials}),
        "reduction": reduction,
        "restarts": restarts,
        "seed": seed,
    }
    found = all_pairs(
        "dsa",
        partial(_compare, restarts=restarts, seed=seed),
        networks,
        parameters,
        which=wanted,
        jobs=jobs,
        kept=None if kept is None else kept.twice("half"),
        update=update,
    )
    shape = (len(set(delays)), len(set(ranks)))
    data = _variables(found, len(states), shape)
    data |= _predictions([first for first, _ in fitted], shape)
    coords = {
        "delays": variable(("delays",), np.array(sorted(set(delays))), "delays p", "1"),
        "rank": variable(("rank",), np.array(sorted(set(ranks))), "rank r of operators", "1"),
    }
    attrs = provenance.attrs("degeneracy.dsa", parameters, seed=seed, device="cpu", dtype="float64")
    return xr.Dataset(data, coords, attrs)


def _pairs(n: int, which: Iterable[tuple[int, int]] | None) -> list[tuple[int, int]]:
    chosen = which if which is not None else ((i, j) for i in range(n) for j in range(i + 1, n))
    return list(chosen)


def _check(
    states: Sequence[np.ndarray],
    inputs: Sequence[np.ndarray] | None,
    pairs: Sequence[tuple[int, int]],
) -> None:
    for i, one in enumerate(states):
        check_states(one, f"states of network {i}")
        if len(one) < 4:
            raise UsageError(
                f"network {i} has {len(one)} trials (allowed: 4 or more, for two halves)"
            )
    if inputs is not None and len(inputs) != len(states):
        raise UsageError(f"inputs of {len(inputs)} networks for states of {len(states)}; give each")
    for i, j in pairs:
        if states[i].shape[:2] != states[j].shape[:2]:
            raise UsageError(
                f"networks {i} and {j} have trials {states[i].shape[:2]} and {states[j].shape[:2]}"
                " (allowed: the same trials for both)"
            )
        if inputs is not None and not np.array_equal(inputs[i], inputs[j]):
            raise UsageError(f"networks {i} and {j} had other inputs (allowed: the same for both)")


def _both_halves(
    states: np.ndarray, inputs: np.ndarray | None, grid: list[tuple[int, int]], reduction: Reduction
) -> tuple[Network, Network]:
    """Return the operators of the first and of the second half of the trials."""
    half = len(states) // 2
    halves = [slice(0, half), slice(half, 2 * half)]
    made: list[Network] = []
    for own, other in (halves, halves[::-1]):
        drives = (None, None) if inputs is None else (inputs[own], inputs[other])
        embeddings = {p: embed(states[own], states[other], p, *drives) for p, _ in grid}
        kinds = (False,) if inputs is None else (False, True)
        fitted: list[Operators] = [
            {
                (p, r): embeddings[p].operator(r, reduction, driven)
                if r <= embeddings[p].max_rank
                else None
                for p, r in grid
            }
            for driven in kinds
        ]
        made.append((fitted[0], fitted[1] if inputs is not None else None))
    return made[0], made[1]


def _compare(first: Network, second: Network, restarts: int, seed: int) -> Row:
    """Return all distances of a pair along the grid."""
    (plain_a, driven_a), (plain_b, driven_b) = first, second
    columns: dict[str, list[float]] = {}
    for setting, a in plain_a.items():
        values = _distances(a, plain_b[setting], restarts, seed)
        if driven_a is not None and driven_b is not None:
            values["input_dsa"] = _driven(driven_a[setting], driven_b[setting], restarts, seed)
        for name, value in values.items():
            columns.setdefault(name, []).append(value)
    return {name: np.array(values) for name, values in columns.items()}


def _distances(
    a: Operator | None, b: Operator | None, restarts: int, seed: int
) -> dict[str, float]:
    names = ("dsa", "dsa_angle", "dsa_frobenius", "dsa_lower", "eig_w2")
    if a is None or b is None:
        return dict.fromkeys(names, np.nan)
    sizes = [float(np.linalg.norm(one.matrix)) for one in (a, b)]
    found: Conjugacy = conjugacy(
        a.matrix / sizes[0], b.matrix / sizes[1], restarts=restarts, seed=seed
    )
    d = found.distance
    raw = np.hypot(sizes[0] - sizes[1], np.sqrt(sizes[0] * sizes[1]) * d)
    values = (d, 2 * np.arcsin(min(d / 2, 1.0)), raw, found.lower)
    return dict(
        zip(names, (*map(float, values), eigenvalue_wasserstein(a.matrix, b.matrix)), strict=True)
    )


def _driven(a: Operator | None, b: Operator | None, restarts: int, seed: int) -> float:
    if a is None or b is None or a.inputs is None or b.inputs is None:
        return np.nan
    matrices = (a.matrix, b.matrix, a.inputs, b.inputs)
    if not all(np.linalg.norm(matrix) > 0 for matrix in matrices):
        return np.nan  # inputs that do not vary drive nothing
    unit = [matrix / np.linalg.norm(matrix) for matrix in matrices]
    drives = (unit[2], unit[3])
    found = conjugacy(unit[0], unit[1], drives, restarts=restarts // _PINNED, seed=seed)
    return float(found.distance / np.sqrt(2))


def _variables(found: Pairs, n: int, shape: tuple[int, int]) -> dict[str, xr.Variable]:
    between = {pair: row for pair, row in found.items() if pair[1] < n}
    nulls = [found[i, i + n] for i in range(n)]
    data = {}
    for name, (long_name, units) in _PAIRS.items():
        if name not in nulls[0]:
            continue
        values = square(between, n, name, (shape[0] * shape[1],))
        data[name] = variable(
            ("net_a", "net_b", "delays", "rank"), values.reshape(n, n, *shape), long_name, units
        )
        null = np.stack([row[name] for row in nulls]).reshape(n, *shape)
        data[f"{name}_null"] = variable(
            ("net_a", "delays", "rank"), null, f"{long_name}, halves of one network", units
        )
    return data


def _predictions(networks: Sequence[Network], shape: tuple[int, int]) -> dict[str, xr.Variable]:
    """Return the share of variance that operators predict, and the setting where it is largest."""
    data = {}
    words = {"r2": "one-step R2 in held-out trials"}
    words["r2_driven"] = f"{words['r2']}, inputs known"
    for k, name in enumerate(words):
        fitted = [network[k] for network in networks]
        known = [[np.nan if o is None else o.r2 for o in one.values()] for one in fitted if one]
        if known:
            values = np.array(known).reshape(len(known), *shape)
            data[name] = variable(("net_a", "delays", "rank"), values, words[name], "1")
    known_by = np.isfinite(data["r2"].values).sum(axis=0)
    mean = np.where(np.isnan(data["r2"].values), 0, data["r2"].values).sum(axis=0)
    mean = np.where(known_by == known_by.max(), mean, -np.inf)  # of as many networks as can be
    best = np.full(shape, False)
    best.flat[int(mean.argmax())] = True
    data["chosen"] = variable(("delays", "rank"), best, "largest mean one-step R2", "1")
    return data
