"""Distances of weights up to relabelling: brute force, noisy copies, and what exchanges gain."""

from __future__ import annotations

import importlib
import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import seqprobe as sp
from reference.assignment import agreement, relabellings, smallest_distance
from seqprobe.degeneracy.conjugacy import lower_bound
from seqprobe.degeneracy.exchange import SIGNS, apply_exchange, best_exchanges, exchange_gains
from seqprobe.degeneracy.relabelling import (
    Group,
    Problem,
    gains,
    relabel,
    relabelled,
    sorted_bound,
)
from seqprobe.errors import UsageError

FLIPFLOP = Path(__file__).parents[2] / "checkpoints/flipflop/rnn-s0.pt"
GROUPS = pytest.mark.parametrize("group", ["perm", "signed_perm"])
# Copies move entries without computing on them; brute force multiplies by 0 and 1.
EXACT = 1e-12


def weights(n: int, seed: int, blocks: int = 1) -> np.ndarray:
    """Random blocks (G, n, n) of spectral radius about 1."""
    made: np.ndarray = np.random.default_rng(seed).standard_normal((blocks, n, n)) / np.sqrt(n)
    return made


def trained() -> np.ndarray:
    """The recurrent matrix of a shipped network of 64 tanh units."""
    (matrix,) = (p for name, p in sp.load(FLIPFLOP).named_parameters() if "weight_hh" in name)
    values: np.ndarray = matrix.detach().double().numpy()
    return values


def relabelling(n: int, group: Group, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed + 100)
    sign = rng.choice([-1.0, 1.0], n) if group == "signed_perm" else np.ones(n)
    return rng.permutation(n), sign


def undone(perm: np.ndarray, sign: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the relabelling that takes a copy back."""
    back = np.argsort(perm)
    return back, sign[back]


def of_sixteen(index: int) -> np.ndarray:
    return trained() if index == 0 else weights(64, index)[0]


@GROUPS
def test_copies_are_recovered(group: Group) -> None:
    """Items 1 and 13: 16 of 16, units and signs; in a tanh network all signs may change at once."""
    for index in range(16):
        a = of_sixteen(index)
        perm, sign = relabelling(64, group, index)
        found = relabel(a, relabelled(a, perm, sign), group, seed=index)
        assert found.lower <= found.distance <= EXACT
        back, signs = undone(perm, sign)
        np.testing.assert_array_equal(found.perm, back)
        np.testing.assert_array_equal(found.sign * found.sign[0], signs * signs[0])


@GROUPS
@pytest.mark.parametrize("noise", [0.01, 0.1, 0.3])
def test_noisy_copies_are_recovered(group: Group, noise: float) -> None:
    """Item 14: the distance of the true relabelling is reached or beaten, 16 of 16."""
    for index in range(16):
        a = of_sixteen(index)
        error = weights(64, index + 200)[0]
        b = a + noise * np.linalg.norm(a) / np.linalg.norm(error) * error
        perm, sign = relabelling(64, group, index)
        found = relabel(a, relabelled(b, perm, sign), group, seed=index)
        assert found.distance <= np.linalg.norm(a - b) + EXACT
        assert found.distance >= found.lower > 0


def test_signs_are_not_found_among_permutations() -> None:
    """Item 12: with other signs alone, the same network is as far as another one."""
    a = trained()
    b = relabelled(a, np.arange(64), relabelling(64, "signed_perm", 0)[1])
    assert relabel(a, b, "perm").distance > 0.5 * np.linalg.norm(a)
    assert relabel(a, b, "signed_perm").distance <= EXACT


@pytest.mark.parametrize(
    ("group", "n", "pairs"),
    [("perm", 3, 5), ("perm", 7, 3), ("signed_perm", 3, 5), ("signed_perm", 5, 5)],
)
def test_few_units_are_matched_exactly(group: Group, n: int, pairs: int) -> None:
    """Item 15: unrelated networks, with a linear term in every second pair."""
    for seed in range(pairs):
        a, b = weights(n, seed)[0], weights(n, seed + 50)[0]
        found = relabel(a, b, group)
        assert found.distance == pytest.approx(
            smallest_distance(a, b, group == "signed_perm"), abs=EXACT
        )
        features = weights(n, seed + 70)[0], weights(n, seed + 90)[0]
        both = relabel(a, b, group, features)
        moved = both.sign[:, None] * features[1][both.perm]
        rest = a - relabelled(b, both.perm, both.sign)
        assert both.distance == pytest.approx(
            np.hypot(np.linalg.norm(rest), np.linalg.norm(features[0] - moved))
        )
        assert both.distance >= found.distance


@pytest.fixture
def searching(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let few units be searched as many are."""
    module = importlib.import_module("seqprobe.degeneracy.relabelling")
    monkeypatch.setattr(module, "_ALL", 0)


@pytest.mark.usefixtures("searching")
@pytest.mark.parametrize(("group", "n"), [("perm", 4), ("perm", 7), ("signed_perm", 5)])
def test_copies_are_as_near_as_brute_force_finds_them(group: Group, n: int) -> None:
    """Item 15, where there is something to find: a copy under noise of 10 %."""
    for seed in range(4):
        a = weights(n, seed)[0]
        b = relabelled(a + 0.1 * weights(n, seed + 50)[0], *relabelling(n, group, seed))
        found = relabel(a, b, group)
        truth = smallest_distance(a, b, group == "signed_perm")
        assert found.distance == pytest.approx(truth, abs=EXACT)


@pytest.mark.usefixtures("searching")
@pytest.mark.parametrize(
    ("group", "n", "pairs", "exact"),
    [("perm", 4, 16, 15), ("perm", 6, 12, 9), ("perm", 7, 6, 4), ("signed_perm", 4, 12, 11)],
)
def test_unrelated_networks_are_nearly_as_near_as_brute_force_finds_them(
    group: Group, n: int, pairs: int, exact: int
) -> None:
    """Item 15: the search is a heuristic; `exact` of the pairs it solves, others nearly.

    Measured on 50 pairs with 30 restarts: 45 at n = 6, 36 at n = 7, 48 of 50 signed at n = 4, at
    worst 12 % too far.
    """
    excess = []
    for seed in range(pairs):
        a, b = weights(n, seed)[0], weights(n, seed + 50)[0]
        truth = smallest_distance(a, b, group == "signed_perm")
        excess.append(relabel(a, b, group, restarts=30).distance / truth - 1)
    assert min(excess) >= -EXACT
    assert sum(x <= EXACT for x in excess) >= exact
    assert max(excess) <= 0.13


@GROUPS
def test_equals_brute_force_with_blocks_and_features(group: Group) -> None:
    for seed in range(5):
        a, b = weights(4, seed, 3), weights(4, seed + 50, 3)
        x, y = (np.random.default_rng(seed + i).standard_normal((4, 2)) for i in (10, 90))
        found = relabel(a, b, group, (x, y), restarts=30)
        truth = smallest_distance(a, b, group == "signed_perm", (x, y))
        assert found.distance == pytest.approx(truth, abs=EXACT)
        left = np.square(a - relabelled(b, found.perm, found.sign)).sum()
        left += np.square(x - found.sign[:, None] * y[found.perm]).sum()
        assert found.distance == pytest.approx(np.sqrt(left), abs=EXACT)


@GROUPS
def test_bounds_are_below_brute_force(group: Group) -> None:
    """Item 17."""
    for seed in range(10):
        n = 4 if group == "signed_perm" else 5
        a, b = weights(n, seed)[0], weights(n, seed + 50)[0]
        truth = smallest_distance(a, b, group == "signed_perm")
        assert 0 < sorted_bound(a, b, group) <= truth
        assert 0 < lower_bound(a, b) <= truth
        found = relabel(a, b, group)
        best = max(sorted_bound(a, b, group), lower_bound(a, b))
        assert found.lower == pytest.approx(best, abs=EXACT)


@GROUPS
def test_symmetric_and_triangle(group: Group) -> None:
    """Item 21, for distances that equal brute force."""
    for seed in range(5):
        made = [weights(4, 3 * seed + i)[0] for i in range(3)]
        signed = group == "signed_perm"
        d = {
            (i, k): relabel(made[i], made[k], group, restarts=30).distance
            for i, k in itertools.permutations(range(3), 2)
        }
        for (i, k), found in d.items():
            assert found == pytest.approx(smallest_distance(made[i], made[k], signed), abs=EXACT)
            assert found == pytest.approx(d[k, i], abs=EXACT)
            j = 3 - i - k
            assert found <= d[i, j] + d[j, k] + EXACT


@GROUPS
@pytest.mark.parametrize("linear", [False, True])
def test_exchanges_gain_what_doing_them_gains(group: Group, linear: bool) -> None:
    """Every exchange of 6 units and of their signs, for two assignments at once."""
    rng = np.random.default_rng(0)
    signed = group == "signed_perm"
    a, m, along = rng.standard_normal((6, 6)), *rng.standard_normal((2, 2, 6, 6))
    flips, swaps = exchange_gains(a, m, along if linear else None, signed)
    assert flips.shape == (2, 6 if signed else 0)
    assert swaps.shape == (2, 4 if signed else 1, 6, 6)
    for k in range(2):
        term = along[k] if linear else np.zeros((6, 6))
        before = agreement(a, m[k], term, np.eye(6))
        for i, j in itertools.product(range(6), repeat=2):
            for which in range(swaps.shape[1]):
                if i >= j:
                    assert swaps[k, which, i, j] == -np.inf
                    continue
                q = apply_exchange(np.eye(6), (i, j, *SIGNS[which]))
                done = agreement(a, m[k], term, q) - before
                assert swaps[k, which, i, j] == pytest.approx(done, abs=EXACT)
        for i in range(flips.shape[1]):
            q = apply_exchange(np.eye(6), (i, i, -1, -1))
            done = agreement(a, m[k], term, q) - before
            assert flips[k, i] == pytest.approx(done, abs=EXACT)


@pytest.mark.parametrize("signed", [False, True])
def test_the_best_exchanges_are_the_best(signed: bool) -> None:
    rng = np.random.default_rng(1)
    a, m = rng.standard_normal((5, 5)), rng.standard_normal((1, 5, 5))
    flips, swaps = (found[0] for found in exchange_gains(a, m, None, signed))
    everything = np.sort(np.concatenate([flips, swaps[np.isfinite(swaps)]]))[::-1]
    assert len(everything) == (5 + 4 * 10 if signed else 10)
    exchanges, gained = best_exchanges(flips, swaps, 1000)
    np.testing.assert_array_equal(gained, everything)
    none = np.zeros((5, 5))
    for exchange, gain in zip(exchanges, gained, strict=True):
        q = apply_exchange(np.eye(5), exchange)
        done = agreement(a, m[0], none, q) - agreement(a, m[0], none, np.eye(5))
        assert gain == pytest.approx(done, abs=EXACT)
    assert best_exchanges(flips, swaps, 1)[0] == exchanges[:1]


@GROUPS
def test_no_exchange_improves_a_result(group: Group) -> None:
    """Item 16, with two blocks and a linear term."""
    for seed in range(4):
        a, b = weights(24, seed, 2), weights(24, seed + 50, 2)
        x, y = (np.random.default_rng(seed + i).standard_normal((24, 3)) for i in (10, 90))
        found = relabel(a, b, group, (x, y), restarts=3)
        q = np.zeros((24, 24))
        q[np.arange(24), found.perm] = found.sign
        flips, swaps = gains(Problem(a, b, x @ y.T, group == "signed_perm"), q)
        assert swaps.max() <= 1e-10
        assert group == "perm" or flips.max() <= 1e-10


def test_all_blocks_are_relabelled_alike() -> None:
    """Item 20: the gates of a GRU; blocks relabelled on their own are another network."""
    a = weights(32, 0, 3)
    perm, sign = relabelling(32, "perm", 0)
    found = relabel(a, relabelled(a, perm, sign))
    assert found.distance <= EXACT
    np.testing.assert_array_equal(found.perm, undone(perm, sign)[0])
    apart = [relabelled(block, relabelling(32, "perm", i)[0], sign) for i, block in enumerate(a)]
    assert relabel(a, np.stack(apart)).distance > 0.5 * np.linalg.norm(a)


@GROUPS
def test_features_tell_units_apart_where_recurrence_does_not(group: Group) -> None:
    nothing = np.zeros((20, 20))
    x = np.random.default_rng(0).standard_normal((20, 3))
    perm, sign = relabelling(20, group, 0)
    copied = sign[:, None] * x[perm]
    found = relabel(nothing, nothing, group, (x, copied))
    assert found.distance <= EXACT
    np.testing.assert_array_equal(found.perm, undone(perm, sign)[0])
    np.testing.assert_array_equal(found.sign, undone(perm, sign)[1])
    # The same units with other inputs are another network, as far as their inputs are.
    a = weights(20, 1)[0]
    whole = relabel(a, relabelled(a, perm, sign), group, (x, copied + 0.01))
    assert whole.distance == pytest.approx(0.01 * np.sqrt(60), abs=EXACT)
    np.testing.assert_array_equal(whole.perm, undone(perm, sign)[0])


def test_relabelled_is_its_definition() -> None:
    """P^T W P with signs, and all relabellings of 3 units are different."""
    b = weights(3, 0, 2)
    seen = set()
    for q in relabellings(3, signed=True):
        perm = np.abs(q).argmax(axis=1)
        found = relabelled(b, perm, q[np.arange(3), perm])
        np.testing.assert_array_equal(found, q @ b @ q.T)
        seen.add((q + 0.0).tobytes())
    assert len(seen) == 48


@GROUPS
def test_arguments_are_left_as_they_are_and_results_are_the_same_bits(group: Group) -> None:
    """Item 10."""
    arrays = [weights(12, 0, 2), weights(12, 1, 2), np.ones((12, 1)), np.eye(12)[:, :1]]
    kept = [array.copy() for array in arrays]
    for array in arrays:
        array.setflags(write=False)
    one, two = (
        relabel(arrays[0], arrays[1], group, (arrays[2], arrays[3]), seed=5) for _ in range(2)
    )
    for array, before in zip(arrays, kept, strict=True):
        np.testing.assert_array_equal(array, before)
    np.testing.assert_array_equal(one.perm, two.perm)
    np.testing.assert_array_equal(one.sign, two.sign)
    assert (one.distance, one.lower) == (two.distance, two.lower)
    assert one.distance > 0


@GROUPS
def test_networks_of_one_unit(group: Group) -> None:
    """Nothing can be exchanged, and a sign changes nothing but features."""
    one, other = np.array([[0.5]]), np.array([[-0.25]])
    assert relabel(one, other, group).distance == pytest.approx(0.75, abs=EXACT)
    features = np.array([[1.0]]), np.array([[-1.0]])
    left = 0.75 if group == "signed_perm" else np.hypot(0.75, 2)
    assert relabel(one, other, group, features).distance == pytest.approx(left, abs=EXACT)


A = np.eye(3)
X = np.ones((3, 2))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((A, np.eye(4)), r"\(3, 3\) and \(4, 4\) .* different sizes cannot be matched"),
        ((np.ones((3, 2)), np.ones((3, 2))), r"\(allowed: equal ones, \(n, n\)\)"),
        ((np.ones((2, 3, 3)), A), "with 2 and 1 blocks"),
        ((np.ones(3), np.ones(3)), "recurrent matrices have shapes"),
        ((A, A, "perm", (X, X[:, :1])), r"^features have shapes \(3, 2\) and \(3, 1\)"),
        ((A, A, "perm", (X[:2], X[:2])), r"two of \(3, F\)"),
        ((A, np.full((3, 3), np.nan)), "weights hold NaN"),
        ((A, A, "perm", (X, np.full((3, 2), np.inf))), "weights hold NaN or inf"),
    ],
)
def test_refuses_what_is_no_pair_of_networks(arguments: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        relabel(*arguments)
