"""Distances between representations against their definitions, and what each is invariant to."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

from reference import similarity
from seqprobe.degeneracy.representation import (
    DISTANCES,
    Distance,
    directed_pwcca,
    euclidean_procrustes,
    pairwise,
    svcca,
)
from seqprobe.errors import UsageError

EVERY = pytest.mark.parametrize("measure", DISTANCES.values(), ids=DISTANCES)
CCAS = ("cca", "svcca", "pwcca")
FEW_SAMPLES = [name for name in DISTANCES if name not in CCAS]


def cloud(m: int, n: int, seed: int) -> np.ndarray:
    """Correlated units of unequal variance about a mean that is not 0."""
    rng = np.random.default_rng(seed)
    samples: np.ndarray = rng.standard_normal((m, n)) @ mixing(n, seed) + rng.standard_normal(n)
    return samples


def mixing(n: int, seed: int) -> np.ndarray:
    """An invertible map with condition number 8."""
    g: np.ndarray = (rotation(n, seed) * np.geomspace(1, 8, n)) @ rotation(n, seed + 1000)
    return g


def rotation(n: int, seed: int) -> np.ndarray:
    """A random orthogonal matrix, reflections among them."""
    q: np.ndarray = np.linalg.qr(np.random.default_rng(seed + 500).standard_normal((n, n))).Q
    return q


@EVERY
def test_says_what_it_is(measure: Distance[Any]) -> None:
    for text in (measure.long_name, measure.compares, measure.invariant_to, measure.cost):
        assert text
    assert any(letter.isdigit() for letter in measure.source)
    assert measure.units in ("1", "rad")
    assert measure.range[0] == 0


@EVERY
def test_a_network_is_at_zero_from_itself(measure: Distance[Any]) -> None:
    for m, n in (60, 7), (60, 29):
        x = cloud(m, n, 0)
        assert measure(x, x) <= 1e-12  # sums of 60 terms of order 1, in float64


@pytest.mark.parametrize(
    ("name", "m", "n"),
    [(name, 60, 7) for name in DISTANCES] + [(name, 20, 33) for name in FEW_SAMPLES],
)
def test_what_it_is_invariant_to(name: str, m: int, n: int) -> None:
    """Of activations, and of the Gram matrices of few samples."""
    measure = DISTANCES[name]
    x, y = cloud(m, n, 0), cloud(m, n, 1)
    before = measure(x, y)
    signed = np.eye(n)[np.random.default_rng(2).permutation(n)] * (-1) ** np.arange(n)
    q = rotation(n, 3) if "orthogonal" in measure.invariant_to else signed
    g = mixing(n, 4)
    linear = measure.invariant_to == "invertible linear maps"
    # 1e-10: rounding of 1e-16 times sums and condition numbers of less than 1e5.
    assert measure(3.7 * x @ q + 5, y) == pytest.approx(before, abs=1e-10)
    assert measure(x, 0.01 * y @ q - 1) == pytest.approx(before, abs=1e-10)
    assert (abs(measure(x @ g, y) - before) < 1e-10) == linear
    assert measure(3.7 * x @ q + 5, x) <= 1e-12
    # Whatever CCA keeps of all variance coincides for a copy under an invertible map.
    assert (measure(x @ g, x) < 1e-10) == (name in ("cca", "pwcca"))


def test_cca_of_all_variance_is_invariant_to_invertible_maps() -> None:
    x, y, g = cloud(80, 6, 0), cloud(80, 9, 1), mixing(6, 2)
    whole = svcca(1.0)
    assert whole(x @ g, y) == pytest.approx(whole(x, y), abs=1e-10)
    assert whole(x, y) == pytest.approx(DISTANCES["cca"](x, y), abs=1e-12)
    assert whole.invariant_to == "invertible linear maps"
    # Of the projection weighted distance this holds for the network that gives no weights.
    assert directed_pwcca(y, x @ g) == pytest.approx(directed_pwcca(y, x), abs=1e-10)
    assert abs(directed_pwcca(x @ g, y) - directed_pwcca(x, y)) > 1e-3
    assert abs(directed_pwcca(x @ rotation(6, 3), y) - directed_pwcca(x, y)) > 1e-3


@EVERY
def test_symmetric_and_in_range_for_unequal_widths(measure: Distance[Any]) -> None:
    for seed, (n, k) in enumerate([(4, 9), (9, 4), (1, 6), (5, 5)]):
        x, y = cloud(40, n, seed), cloud(40, k, seed + 50)
        found = measure(x, y)
        assert found == pytest.approx(measure(y, x), abs=1e-12)
        assert measure.range[0] < found <= measure.range[1]


@pytest.mark.parametrize("name", FEW_SAMPLES)
def test_symmetric_and_in_range_for_few_samples(name: str) -> None:
    measure = DISTANCES[name]
    for n, k in ((30, 50), (5, 50), (50, 5)):
        x, y = cloud(12, n, n), cloud(12, k, k + 1)
        found = measure(x, y)
        assert found == pytest.approx(measure(y, x), abs=1e-12)
        assert measure.range[0] < found <= measure.range[1]


@EVERY
def test_prepared_once_equals_the_direct_function(measure: Distance[Any]) -> None:
    xs = [cloud(40, n, n) for n in (3, 5, 8, 5)]
    found = pairwise(xs, [measure.name])[measure.name]
    assert found.shape == (4, 4)
    np.testing.assert_array_equal(found, found.T)
    np.testing.assert_array_equal(np.diag(found), 0)
    for i, j in itertools.combinations(range(4), 2):
        assert found[i, j] == measure(xs[i], xs[j])


def test_all_measures_at_once() -> None:
    xs = [cloud(40, n, n).astype(np.float32) for n in (3, 5)]
    before = [x.copy() for x in xs]
    found = pairwise(xs)
    assert list(found) == list(DISTANCES)
    assert all(one.dtype == np.float64 for one in found.values())
    for x, kept in zip(xs, before, strict=True):
        np.testing.assert_array_equal(x, kept)


@pytest.mark.parametrize("widths", [(3, 5), (3, 9), (9, 3), (9, 12)])
def test_cka_is_its_definition(widths: tuple[int, int]) -> None:
    """Activations, Gram matrices, and one of each, of 7 samples."""
    x, y = cloud(7, widths[0], 0), cloud(7, widths[1], 1)
    for name, slow in (("cka", similarity.cka), ("cka_debiased", similarity.cka_debiased)):
        assert DISTANCES[name](x, y) == pytest.approx(1 - slow(x, y), abs=1e-10)


@pytest.mark.parametrize("name", ["cka", "cka_debiased"])
def test_both_forms_of_cka_agree(name: str) -> None:
    """Units that are 0 make activations wide without changing them."""
    x, y = cloud(30, 6, 0), cloud(30, 8, 1)
    wide_x, wide_y = (np.pad(z, ((0, 0), (0, 40))) for z in (x, y))
    found = DISTANCES[name](x, y)
    for a, b in ((wide_x, wide_y), (wide_x, y), (x, wide_y)):
        assert DISTANCES[name](a, b) == pytest.approx(found, abs=1e-10)


def test_debiased_cka_of_unrelated_networks_is_zero_in_the_mean() -> None:
    """40 units seen in 20 samples, 50 times."""
    rng = np.random.default_rng(0)
    pairs = rng.standard_normal((50, 2, 20, 40))
    biased, debiased = (
        np.array([1 - DISTANCES[name](x, y) for x, y in pairs]) for name in ("cka", "cka_debiased")
    )
    error = debiased.std(ddof=1) / np.sqrt(50)
    assert abs(debiased.mean()) < 3 * error
    assert error < 0.05
    assert debiased.min() < 0 < debiased.max()
    assert biased.min() > 0.5


@pytest.mark.parametrize("widths", [(4, 6), (5, 5)])
def test_cca_is_its_definition(widths: tuple[int, int]) -> None:
    x, y = cloud(50, widths[0], 0), cloud(50, widths[1], 1)
    rho, _ = similarity.canonical(x, y)
    assert DISTANCES["cca"](x, y) == pytest.approx(1 - rho.mean(), abs=1e-10)
    assert directed_pwcca(x, y) == pytest.approx(1 - similarity.pwcca(x, y), abs=1e-10)
    mean = (directed_pwcca(x, y) + directed_pwcca(y, x)) / 2
    assert DISTANCES["pwcca"](x, y) == pytest.approx(mean, abs=1e-14)
    few_x, few_y = (similarity.principal_components(z, 0.9) for z in (x, y))
    assert few_x.shape[1] < widths[0]
    ordered = (few_x, few_y) if few_x.shape[1] <= few_y.shape[1] else (few_y, few_x)
    rho, _ = similarity.canonical(*ordered)
    assert svcca(0.9)(x, y) == pytest.approx(1 - rho.mean(), abs=1e-10)


def test_pwcca_takes_its_weights_from_the_first_network() -> None:
    """One direction is shared, the other is not; X has most of the shared one, Y little."""
    a, b, c = np.linalg.qr(np.column_stack([np.ones(64), cloud(64, 3, 0)])).Q.T[1:]
    x, y = np.column_stack([9 * a, b]), np.column_stack([a, 3 * c])
    assert directed_pwcca(x, y) == pytest.approx(1 / 10, abs=1e-12)
    assert directed_pwcca(y, x) == pytest.approx(3 / 4, abs=1e-12)
    assert DISTANCES["pwcca"](x, y) == pytest.approx(0.425, abs=1e-12)
    assert DISTANCES["cca"](x, y) == pytest.approx(0.5, abs=1e-12)


def test_rounding_of_float32_is_no_direction() -> None:
    """A unit that repeats others is no direction, though rounding makes it look like one."""
    base = cloud(200, 3, 0)
    x = np.column_stack([base, base @ [0.3, 0.5, 0.2]]).astype(np.float32)
    y = np.column_stack([base, base @ [0.7, 0.1, 0.4]]).astype(np.float32)
    assert DISTANCES["cca"](x, y) < 1e-10


def test_procrustes_is_the_best_rotation() -> None:
    for seed in range(3):
        x, y = cloud(15, 2, seed), cloud(15, 2, seed + 20)
        # The grid is 3e-4 wide and the minimum flat: an error of its square.
        assert euclidean_procrustes(x, y) == pytest.approx(
            similarity.procrustes_of_planes(x, y), abs=1e-4
        )
        x, y = (z - z.mean(axis=0) for z in (x, y))
        x, y = x / np.linalg.norm(x), y / np.linalg.norm(y)
        chord = similarity.procrustes_of_planes(x, y)
        angle = 2 * np.arcsin(chord / 2)
        assert DISTANCES["procrustes"](x, y) == pytest.approx(angle, abs=1e-4)


def test_euclidean_procrustes() -> None:
    x = cloud(30, 5, 0)
    size = np.linalg.norm(x - x.mean(axis=0))
    assert euclidean_procrustes(x, x @ rotation(5, 1) + 3) < 1e-12 * size
    assert euclidean_procrustes(x, 1.01 * x) == pytest.approx(0.01 * size, rel=1e-10)
    # Fewer units are as many with some that are 0.
    y = cloud(30, 3, 1)
    padded = np.pad(y, ((0, 0), (0, 2)))
    assert euclidean_procrustes(x, y) == pytest.approx(euclidean_procrustes(x, padded), abs=1e-10)
    assert euclidean_procrustes(x, y) == pytest.approx(euclidean_procrustes(y, x), abs=1e-10)


def test_a_short_angle_keeps_its_digits() -> None:
    """A unit of size e across the direction of the others turns the cloud by arctan e."""
    a, b = np.linalg.qr(np.column_stack([np.ones(9), cloud(9, 2, 0)])).Q.T[1:]
    for small in (1e-2, 1e-4, 1e-9):
        found = DISTANCES["procrustes"](a[:, None], np.column_stack([a, small * b]))
        assert found == pytest.approx(np.arctan(small), rel=1e-6)


@pytest.mark.parametrize("widths", [(4, 4, 4), (2, 5, 30)])
def test_procrustes_obeys_the_triangle_inequality(widths: tuple[int, int, int]) -> None:
    """Item 21: 200 random triples; the third width is above the number of samples."""
    for name in (name for name, measure in DISTANCES.items() if measure.is_metric):
        for seed in range(200):
            xs = [cloud(12, n, 7 * seed + i) for i, n in enumerate(widths)]
            d = pairwise(xs, [name])[name]
            for i, j, k in itertools.permutations(range(3)):
                assert d[i, k] <= d[i, j] + d[j, k] + 1e-10


def test_rsa_is_its_definition() -> None:
    x, y = cloud(15, 4, 0), cloud(15, 6, 1)
    assert DISTANCES["rsa"](x, y) == pytest.approx(1 - similarity.rsa(x, y), abs=1e-12)
    isometry = rotation(6, 2)[:4]  # into more units
    assert DISTANCES["rsa"](x, x @ isometry) <= 1e-12


@EVERY
def test_refuses_what_is_no_pair_of_activations(measure: Distance[Any]) -> None:
    x = cloud(40, 4, 0)
    broken = x.copy()
    broken[3, 1] = np.nan
    with pytest.raises(UsageError, match=r"\(40, 4\) and \(39, 4\)"):
        measure(x, x[:-1])
    with pytest.raises(UsageError, match="1 activations are not finite"):
        measure(x, broken)
    with pytest.raises(UsageError, match="same in all 40 samples"):
        measure(np.full((40, 4), 0.1), x)
    with pytest.raises(UsageError, match=r"have the shape \(40,\)"):
        measure(x[:, 0], x)
    with pytest.raises(UsageError, match=r"^network 2: 1 activations"):
        measure.matrix([x, x, broken])


@pytest.mark.parametrize("name", CCAS)
def test_cca_refuses_correlations_that_are_forced(name: str) -> None:
    x, y = cloud(20, 32, 0), cloud(20, 5, 1)
    with pytest.raises(UsageError, match=r"20 samples of 32 and 5 units.*give more sequences, 38"):
        DISTANCES[name](x, y)
    with pytest.raises(UsageError, match=r"^networks 0 and 1: CCA"):
        DISTANCES[name].matrix([x, y])


def test_cca_counts_directions_not_units() -> None:
    """20 samples leave 19 dimensions: two spaces of 10 meet in one, of 10 and 9 in none."""
    x, y = cloud(20, 10, 0), cloud(20, 10, 1)
    with pytest.raises(UsageError, match=r"directions: 1 correlations .* 21 samples are"):
        DISTANCES["cca"](x, y)
    flat = y[:, :9] @ cloud(9, 50, 2)
    assert DISTANCES["cca"](x, flat) == pytest.approx(DISTANCES["cca"](x, y[:, :9]), abs=1e-10)


def test_refuses_samples_without_structure() -> None:
    corners, x = np.eye(12), cloud(12, 5, 0)
    simplex = np.linalg.svd(corners - 1 / 12)[0][:, :11]  # as far from each other, fewer units
    for samples in (corners, simplex):
        for name in ("cka_debiased", "rsa"):
            with pytest.raises(UsageError, match="12 samples that are all as far"):
                DISTANCES[name](samples, x)
    with pytest.raises(UsageError, match=r"debiased CKA of 3 samples \(allowed: 4"):
        DISTANCES["cka_debiased"](x[:3], x[:3])


def test_refuses_unknown_names_and_parts() -> None:
    with pytest.raises(UsageError, match="unknown distance 'ckaa'; did you mean 'cka'"):
        pairwise([cloud(9, 2, 0)], ["ckaa"])
    with pytest.raises(UsageError, match="variance kept is 99"):
        svcca(99)
