"""Distances of operators up to rotation: known answers, and a slow solver that is never better."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.optimize import linear_sum_assignment

import seqprobe as sp
from reference.assignment import polar_distance, polar_iteration
from seqprobe.degeneracy.ascent import Search
from seqprobe.degeneracy.conjugacy import STARTS, conjugacy, lower_bound
from seqprobe.degeneracy.exchange import exchange_gains
from seqprobe.degeneracy.modes import matched_modes, neighbours
from seqprobe.degeneracy.operators import embed
from seqprobe.errors import UsageError

FLIPFLOP = Path(__file__).parents[2] / "checkpoints/flipflop/rnn-s0.pt"
# Float64 rounding of a sum of up to 400 squares of entries of unit-norm matrices, with room.
EXACT = 1e-12
# Of a minimum that is not 0: the ascent ends where f grows by less than 1e-8 in 15 steps.
CONVERGED = 1e-6


def operator(n: int, seed: int) -> np.ndarray:
    """A random operator of norm 1."""
    matrix = np.random.default_rng(seed).standard_normal((n, n))
    return matrix / np.linalg.norm(matrix)


def rotation(n: int, seed: int) -> np.ndarray:
    """A random orthogonal matrix, reflections among them."""
    q: np.ndarray = np.linalg.qr(np.random.default_rng(seed + 900).standard_normal((n, n))).Q
    return q


def unit(matrix: np.ndarray) -> np.ndarray:
    scaled: np.ndarray = matrix / np.linalg.norm(matrix)
    return scaled


def assignment_of_eigenvalues(a: np.ndarray, b: np.ndarray) -> float:
    """Smallest distance of the two spectra, eigenvalue by eigenvalue."""
    cost = np.abs(np.linalg.eigvals(a)[:, None] - np.linalg.eigvals(b)) ** 2
    return float(np.sqrt(cost[linear_sum_assignment(cost)].sum()))


@pytest.mark.parametrize("n", [4, 10, 20])
def test_conjugate_operators_are_at_zero(n: int) -> None:
    """Item 8, eight trials of each size; only C and -C take one to the other."""
    for seed in range(8):
        a, q = operator(n, seed), rotation(n, seed)
        found = conjugacy(a, q.T @ a @ q)
        assert found.lower <= found.distance <= EXACT
        assert found.start in STARTS
        sign = np.sign((found.rotation * q).sum())
        # An error of the distance is magnified by one over the gaps between modes, some 1e-3.
        np.testing.assert_allclose(sign * found.rotation, q, atol=1e-8)


def test_the_same_operator_is_at_zero() -> None:
    for n in (1, 2, 7):
        a = operator(n, n)
        assert conjugacy(a, a.copy()).distance <= EXACT
        assert conjugacy(a, a.copy(), restarts=0).distance <= EXACT


def test_repeated_modes_are_no_obstacle() -> None:
    """The symmetric part says nothing where all its eigenvalues are equal."""
    for seed in range(4):
        skew = operator(6, seed)
        a, q = unit(np.eye(6) + 2 * (skew - skew.T)), rotation(6, seed)
        assert conjugacy(a, q.T @ a @ q).distance <= EXACT


def test_symmetric_operators_differ_by_their_spectra() -> None:
    """Item 6: and the bound is exact."""
    for seed in range(6):
        a, b = operator(8, seed), operator(8, seed + 50)
        a, b = unit(a + a.T), unit(b + b.T)
        truth = float(np.linalg.norm(np.linalg.eigvalsh(a) - np.linalg.eigvalsh(b)))
        assert conjugacy(a, b).distance == pytest.approx(truth, abs=CONVERGED)
        assert lower_bound(a, b) == pytest.approx(truth, abs=EXACT)


def normal_operator(pairs: int, reals: int, seed: int) -> np.ndarray:
    """A random rotation of planes that turn and shrink, and of axes that shrink."""
    rng = np.random.default_rng(seed)
    n = 2 * pairs + reals
    blocks = np.zeros((n, n))
    for i in range(pairs):
        x, y = rng.standard_normal(2)
        blocks[2 * i : 2 * i + 2, 2 * i : 2 * i + 2] = [[x, y], [-y, x]]
    blocks[range(2 * pairs, n), range(2 * pairs, n)] = rng.standard_normal(reals)
    q = rotation(n, seed)
    return unit(q @ blocks @ q.T)


@pytest.mark.parametrize(("pairs", "reals"), [(4, 0), (6, 0), (0, 7), (3, 3)])
def test_normal_operators_differ_by_the_best_assignment_of_eigenvalues(
    pairs: int, reals: int
) -> None:
    """Item 7: Hoffman and Wielandt; nothing is below the assignment, ours at most .1 % above.

    With real eigenvalues beside pairs the best assignment may part a pair, which no real rotation
    does: then it is a bound alone.
    """
    for seed in range(5):
        a, b = normal_operator(pairs, reals, seed), normal_operator(pairs, reals, seed + 50)
        truth, found = assignment_of_eigenvalues(a, b), conjugacy(a, b).distance
        assert found >= truth - EXACT
        assert (pairs and reals) or found <= 1.001 * truth


def test_conjugate_by_what_is_no_rotation() -> None:
    """Item 5: the same eigenvalues, another geometry."""
    a = operator(6, 0)
    g = rotation(6, 0) * np.geomspace(1, 3, 6)
    b = g @ a @ np.linalg.inv(g)
    assert assignment_of_eigenvalues(a, b) <= 1e-8  # rounding times the condition of the modes
    assert conjugacy(a, unit(b)).distance > 0.1


def test_the_polar_iteration_never_loses() -> None:
    """Item 8, with mu = 2 ||A|| ||B||, definite operators of opposite signs among the pairs."""
    for seed, n in itertools.product(range(10), (2, 3, 6)):
        a, b = operator(n, seed), operator(n, seed + 50)
        for one, other in ((a, b), (-a @ a.T, b @ b.T)):
            _, values = polar_iteration(one, other, rotation(n, seed), 60)
            assert np.diff(values).min() >= -1e-14  # rounding of sums of terms below 1


def test_never_above_a_slow_solver() -> None:
    """20 random pairs, as many random starts; and never below the bound."""
    for seed in range(20):
        n = 3 + seed % 6
        a, b = operator(n, seed), operator(n, seed + 50)
        found = conjugacy(a, b, restarts=12, seed=seed)
        slow = polar_distance(a, b, starts=12, seed=seed, steps=150)
        assert lower_bound(a, b) <= found.distance <= slow + CONVERGED
        again = np.linalg.norm(a - found.rotation @ b @ found.rotation.T)
        assert found.distance == pytest.approx(again, abs=EXACT)
        eye = found.rotation @ found.rotation.T
        np.testing.assert_allclose(eye, np.eye(n), atol=EXACT)


def test_symmetric_in_its_arguments() -> None:
    """Item 21, on sizes where the search finds the minimum."""
    for seed in range(10):
        a, b = operator(5, seed), operator(5, seed + 50)
        there, back = conjugacy(a, b).distance, conjugacy(b, a).distance
        assert there == pytest.approx(back, abs=CONVERGED)


def test_symmetric_operators_obey_the_triangle_inequality() -> None:
    """Item 21: there the minimum is known to be found."""
    for seed in range(5):
        made = [operator(5, 3 * seed + i) for i in range(3)]
        x, y, z = (unit(matrix + matrix.T) for matrix in made)
        direct = conjugacy(x, z).distance
        assert direct <= conjugacy(x, y).distance + conjugacy(y, z).distance + CONVERGED


def test_arguments_are_left_as_they_are() -> None:
    """Item 10: arrays that cannot be written are accepted."""
    arrays = [5 * operator(4, 0), 3 * operator(4, 1), np.ones((4, 2)), np.eye(4)[:, :2]]
    kept = [array.copy() for array in arrays]
    for array in arrays:
        array.setflags(write=False)
    conjugacy(arrays[0], arrays[1], (arrays[2], arrays[3]))
    lower_bound(arrays[0], arrays[1])
    for array, before in zip(arrays, kept, strict=True):
        np.testing.assert_array_equal(array, before)


def test_the_same_arguments_give_the_same_bits() -> None:
    a, b = operator(9, 0), operator(9, 1)
    one, two = conjugacy(a, b, seed=3), conjugacy(a, b, seed=3)
    np.testing.assert_array_equal(one.rotation, two.rotation)
    assert (one.distance, one.lower, one.start) == (two.distance, two.lower, two.start)


@pytest.mark.parametrize("n", [4, 10])
def test_conjugate_with_inputs(n: int) -> None:
    """Inputs turn with the states; other inputs are a distance although the operators agree."""
    for seed in range(4):
        a, q = operator(n, seed), rotation(n, seed)
        drive = np.random.default_rng(seed).standard_normal((n, 2)) / n
        found = conjugacy(a, q.T @ a @ q, (drive, q.T @ drive))
        assert found.distance <= EXACT
        np.testing.assert_allclose(found.rotation, q, atol=1e-8)  # no longer -C
        other = np.random.default_rng(seed + 50).standard_normal((n, 2)) / n
        assert conjugacy(a, q.T @ a @ q).distance <= EXACT
        apart = conjugacy(a, q.T @ a @ q, (drive, q.T @ other))
        # C = +-Q leaves ||drive -+ other||; another C may leave less, but not nothing.
        assert 0.1 < apart.distance <= np.linalg.norm(drive - other) + CONVERGED


def test_inputs_decide_where_operators_cannot() -> None:
    """Every rotation takes a multiple of the identity to itself: what is left is Procrustes."""
    q = rotation(5, 0)
    drive, other = (np.random.default_rng(seed).standard_normal((5, 7)) for seed in (0, 1))
    decay = 0.9 * np.eye(5)
    assert conjugacy(decay, decay, (drive, q.T @ drive)).distance <= 10 * EXACT  # norm 6, not 1
    nuclear = np.linalg.svd(drive @ other.T, compute_uv=False).sum()
    closed = np.sqrt(np.square(drive).sum() + np.square(other).sum() - 2 * nuclear)
    assert conjugacy(decay, decay, (drive, other)).distance == pytest.approx(closed, abs=1e-5)


def test_the_gradient_is_the_gradient() -> None:
    """Against central differences along exp(tW); and no start gets worse."""
    a, b, drive = operator(5, 0), operator(5, 1), operator(5, 2)
    search = Search(a, b, drive, 2.0)
    point = rotation(5, 0)
    _, gradient = search._value_and_gradient(point[None])
    for seed in range(3):
        w = operator(5, seed + 10)
        w, h = w - w.T, 1e-5
        # The Cayley transform is exp(hW) to second order, so that the error is h^2.
        ahead = np.linalg.solve(np.eye(5) - h / 2 * w, np.eye(5) + h / 2 * w)
        values, _ = search._value_and_gradient(np.stack([ahead @ point, ahead.T @ point]))
        slope = (values[0] - values[1]) / (2 * h)
        # f moves by W : gradient, over all entries of the skew W.
        assert slope == pytest.approx((gradient[0] * w).sum(), abs=1e-8)
    starts = np.stack([rotation(5, seed) for seed in range(8)])
    before, _ = search._value_and_gradient(starts)
    assert (search.ascend(starts)[0] >= before).all()


def test_matched_modes_gain_by_no_exchange() -> None:
    a, b, drive = operator(7, 0), operator(7, 1), operator(7, 2)
    made = matched_modes(a, b, drive, 10, np.random.default_rng(0))
    u = np.linalg.eigh(a + a.T)[1]
    turned = u.T @ (made @ b @ np.swapaxes(made, 1, 2)) @ u
    along = u.T @ drive @ np.swapaxes(made, 1, 2) @ u
    flips, swaps = exchange_gains(u.T @ a @ u, turned, along, signed=True)
    assert max(flips.max(), swaps.max()) <= 1e-10
    beside = neighbours(a, b, drive, made[0], 5)
    for point in [*made, *beside]:
        np.testing.assert_allclose(point @ point.T, np.eye(7), atol=EXACT)
    # One exchange turns a plane by a half or a quarter: ||C - C'|| is 2 for all of them.
    assert np.linalg.norm(beside - made[0], axis=(1, 2)) == pytest.approx(2.0, abs=1e-9)


def flipflop_states(q: np.ndarray | None = None) -> np.ndarray:
    """Hidden states (96, 40, 64) of the shipped network, rotated if asked for."""
    model = sp.load(FLIPFLOP).double()
    rng = np.random.default_rng(0)
    pulses = rng.choice([-1.0, 0.0, 1.0], (96, 40, 3), p=[0.1, 0.8, 0.1])
    x, state = torch.from_numpy(pulses), model.init_state(96)
    collected = []
    with torch.no_grad():
        for x_t in x.unbind(1):
            _, state = model.step(x_t, state)
            collected.append(torch.cat(list(state.values()), 1).numpy())
    states = np.stack(collected, 1)
    return states if q is None else states @ q


@pytest.mark.parametrize(("delays", "rank"), [(1, 8), (3, 12)])
def test_rotated_states_of_a_trained_network_are_at_zero(delays: int, rank: int) -> None:
    """Item 2, and 1 for a permutation: the embedding sees inner products alone."""
    permuted = np.eye(64)[np.random.default_rng(1).permutation(64)]
    fits = []
    for q in (None, rotation(64, 0), permuted):
        states = flipflop_states(q)
        fits.append(unit(embed(states[:64], states[64:], delays).operator(rank).matrix))
    for other in fits[1:]:
        assert conjugacy(fits[0], other).distance <= 1e-6


def trajectories(a: np.ndarray, starts: np.ndarray, steps: int) -> np.ndarray:
    """z_{t+1} = A z_t from every start (trials, n)."""
    states = [starts]
    for _ in range(steps - 1):
        states.append(states[-1] @ a.T)
    return np.stack(states, 1)


def fitted(states: np.ndarray) -> np.ndarray:
    half = len(states) // 2
    return embed(states[:half], states[half:], 1).operator(states.shape[2]).matrix


def test_conjugate_linear_systems_are_at_zero_through_their_trajectories() -> None:
    """Item 3: states start at rotated places."""
    rng = np.random.default_rng(0)
    a = 0.9 * rotation(6, 0)
    q, starts = rotation(6, 1), rng.standard_normal((200, 6))
    one = unit(fitted(trajectories(a, starts, 20)))
    other = unit(fitted(trajectories(q.T @ a @ q, starts @ q, 20)))
    assert conjugacy(one, other).distance <= 1e-6


def test_whitening_compares_where_states_have_been_too() -> None:
    """Item 4: one system from other initial states has its eigenvalues, and a distance."""
    a = 0.9 * normal_operator(3, 0, 0) * np.sqrt(6)
    a += 0.3 * np.triu(rotation(6, 1), 1)
    a *= 0.9 / np.abs(np.linalg.eigvals(a)).max()
    rng = np.random.default_rng(0)
    round_, stretched = rng.standard_normal((2, 400, 6))
    fits = [fitted(trajectories(a, z, 20)) for z in (round_, stretched * np.geomspace(1, 5, 6))]
    assert assignment_of_eigenvalues(fits[0], fits[1]) <= 1e-3  # the ridge of 1e-6 bends them
    assert conjugacy(unit(fits[0]), unit(fits[1])).distance > 0.01


@pytest.mark.parametrize(
    ("a", "b", "inputs", "message"),
    [
        (np.eye(3), np.eye(4), None, r"shapes \(3, 3\) and \(4, 4\).*use the same rank"),
        (np.ones((3, 2)), np.ones((3, 2)), None, r"\(allowed: two square matrices"),
        (np.ones(3), np.ones(3), None, r"shapes \(3,\)"),
        (np.eye(3), np.eye(3), (np.ones((2, 1)), np.ones((2, 1))), r"two of shape \(3, D\)"),
        (np.eye(3), np.eye(3), (np.ones((3, 1)), np.ones((3, 2))), r"\(3, 1\) and \(3, 2\)"),
        (np.eye(3), np.full((3, 3), np.nan), None, "operators hold NaN"),
        (np.eye(3), np.eye(3), (np.ones((3, 1)), np.full((3, 1), np.inf)), "hold NaN or inf"),
    ],
)
def test_refuses_what_is_no_pair_of_operators(
    a: np.ndarray,
    b: np.ndarray,
    inputs: tuple[np.ndarray, np.ndarray] | None,
    message: str,
) -> None:
    with pytest.raises(UsageError, match=message):
        conjugacy(a, b, inputs)
