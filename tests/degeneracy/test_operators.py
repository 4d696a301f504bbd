"""Linear models of trajectories: known systems, a fit in loops, and what they refuse."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

from seqprobe.degeneracy.operators import Embedding, Reduction, check_states, embed
from seqprobe.errors import UsageError

# The ridge is 1e-6 of the variance: it bends entries, eigenvalues and errors by about as much.
RIDGE = 1e-5


def turning(angle: float, decay: float = 1.0) -> np.ndarray:
    c, s = np.cos(angle), np.sin(angle)
    return decay * np.array([[c, -s], [s, c]])


def run(
    a: np.ndarray, starts: np.ndarray, steps: int, drive: np.ndarray | None = None
) -> np.ndarray:
    """z_{t+1} = A z_t + drive_{t+1} from starts (trials, n)."""
    states = [starts]
    for t in range(1, steps):
        states.append(states[-1] @ a.T + (0 if drive is None else drive[:, t]))
    return np.stack(states, 1)


def mirrored(trials: int, n: int, seed: int = 0) -> np.ndarray:
    """Starts in pairs z, -z, so that trajectories have mean 0: the model has no constant."""
    z = np.random.default_rng(seed).standard_normal((trials // 2, n))
    return np.concatenate([z, -z])


def spectrum(matrix: np.ndarray) -> np.ndarray:
    return np.sort_complex(np.linalg.eigvals(matrix))


def fitted_in_loops(states: np.ndarray, delays: int, rank: int) -> np.ndarray:
    """HAVOK-DMD step by step, with the ridge as further rows of a least-squares fit."""
    trials, steps = states.shape[:2]
    rows = {
        (k, t): np.concatenate([states[k, t - i] for i in range(delays)])
        for k, t in itertools.product(range(trials), range(delays - 1, steps))
    }
    stacked = np.stack(list(rows.values()))
    mean = stacked.mean(axis=0)
    _, sigma, axes = np.linalg.svd(stacked - mean, full_matrices=False)
    scale = sigma[:rank] / np.sqrt(len(stacked))
    now = [(rows[k, t] - mean) @ axes[:rank].T / scale for k, t in rows if t < steps - 1]
    after = [(rows[k, t + 1] - mean) @ axes[:rank].T / scale for k, t in rows if t < steps - 1]
    ridge = np.sqrt(1e-6 * len(now)) * np.eye(rank)
    x, y = np.vstack([*now, ridge]), np.vstack([*after, np.zeros((rank, rank))])
    solution: np.ndarray = np.linalg.lstsq(x, y, rcond=None)[0].T
    return solution


@pytest.mark.parametrize(("delays", "rank"), [(1, 3), (1, 4), (3, 5)])
def test_equals_a_fit_in_loops(delays: int, rank: int) -> None:
    """Up to the signs of principal directions, which conjugate by signs."""
    noise = np.random.default_rng(0).standard_normal((20, 15, 4)) @ np.diag([4.0, 3.0, 2.0, 1.0])
    states = noise.cumsum(axis=1)
    ours = embed(states, states, delays).operator(rank).matrix
    slow = fitted_in_loops(states, delays, rank)
    # Variances of 4 digits or more apart: axes agree to 1e-10.
    np.testing.assert_allclose(np.abs(ours), np.abs(slow), atol=1e-8)
    np.testing.assert_allclose(spectrum(ours), spectrum(slow), atol=1e-8)


@pytest.mark.parametrize("reduction", ["pca", "rrr"])
def test_a_linear_system_is_predicted_to_the_end(reduction: Reduction) -> None:
    a = np.zeros((4, 4))
    a[:2, :2], a[2:, 2:] = turning(0.7, 0.95), turning(0.2, 0.8)
    a[0, 3] = 0.5
    fit = embed(run(a, mirrored(60, 4), 20), run(a, mirrored(20, 4, 1), 20), 1)
    found = fit.operator(4, reduction)
    assert found.r2 == pytest.approx(1, abs=RIDGE**2)  # of squares
    np.testing.assert_allclose(spectrum(found.matrix), spectrum(a), atol=RIDGE)
    assert found.inputs is None


@pytest.mark.parametrize("reduction", ["pca", "rrr"])
@pytest.mark.parametrize("delays", [1, 3])
def test_white_noise_cannot_be_predicted(reduction: Reduction, delays: int) -> None:
    """About -(parameters per unit) / (samples): -15 / 5,600 at most, give or take as much."""
    states = np.random.default_rng(0).standard_normal((300, 30, 5))
    found = embed(states[:200], states[200:], delays).operator(5 * delays, reduction)
    assert -0.01 < found.r2 < 0.003
    # Estimated zeros have eigenvalues of sqrt(rank / samples), .03; delays shift.
    if delays == 1:
        assert np.abs(np.linalg.eigvals(found.matrix)).max() < 0.1


def test_reduced_rank_regression_sees_what_is_small_and_predictable() -> None:
    """Two channels of noise, 20 times as large as a slow oscillation in two more."""
    rng = np.random.default_rng(0)
    noise = 20 * rng.standard_normal((80, 40, 2))
    states = np.concatenate([noise, run(turning(0.3), mirrored(80, 2), 40)], axis=2)
    fit = embed(states[::2], states[1::2], 1)
    truth = np.exp(np.array([-0.3j, 0.3j]))
    # Noise leaks into the directions as 1 / sqrt(samples), .025, and shifts them by its square.
    found = spectrum(fit.operator(2, "rrr").matrix)
    np.testing.assert_allclose(found, np.sort_complex(truth), atol=0.01)
    assert np.abs(np.linalg.eigvals(fit.operator(2, "pca").matrix)).max() < 0.1
    for whole in (fit.operator(4, "pca"), fit.operator(4, "rrr")):  # nothing left to choose
        assert np.abs(np.linalg.eigvals(whole.matrix)).max() == pytest.approx(1, abs=0.01)
    assert fit.operator(4, "pca").r2 == pytest.approx(fit.operator(4, "rrr").r2, abs=1e-9)


def driven(trials: int, seed: int, shift: float = 0.0) -> tuple[np.ndarray, ...]:
    """States, inputs that last for 5 steps in the mean, A and B of a driven system."""
    rng = np.random.default_rng(seed)
    a, b = turning(0.5, 0.9), np.array([[1.0], [-0.5]])
    u = rng.choice([-1.0, 1.0], (trials, 60, 1))
    for t in range(1, 60):
        u[:, t] = np.where(rng.random((trials, 1)) < 0.8, u[:, t - 1], u[:, t])
    u += shift
    return run(a, np.zeros((trials, 2)), 60, u @ b.T), u, a, b


def test_inputs_are_told_from_the_recurrence() -> None:
    states, u, a, b = driven(100, 0)
    held_out, v, _, _ = driven(50, 1)
    with_inputs = embed(states, held_out, 1, u, v)
    found, blind = with_inputs.operator(2, driven=True), embed(states, held_out, 1).operator(2)
    # What is left is the missing constant: the mean of 100 trials is not quite 0.
    np.testing.assert_allclose(spectrum(found.matrix), spectrum(a), atol=1e-3)
    assert found.inputs is not None
    white = (with_inputs.axes / np.sqrt(with_inputs.variances)).T @ b
    np.testing.assert_allclose(found.inputs, white, atol=1e-3)
    assert found.r2 > 0.9999
    assert blind.r2 < 0.98
    assert np.abs(spectrum(blind.matrix) - spectrum(a)).max() > 0.02
    for known in (blind, with_inputs.operator(2)):  # an embedding serves both kinds of fit
        assert known.inputs is None
        np.testing.assert_array_equal(known.matrix, blind.matrix)


def test_held_out_inputs_are_measured_from_the_mean_of_the_fit() -> None:
    """Inputs that are never 0 in the mean, and further from it in the trials held out."""
    states, u, *_ = driven(100, 0, shift=0.5)
    held_out, v, *_ = driven(50, 1, shift=1.5)
    assert embed(states, held_out, 1, u, v).operator(2, driven=True).r2 > 0.999


def test_delays_show_a_hidden_dimension() -> None:
    """One coordinate of a rotation: alone it is predicted by cos, with its past exactly."""
    angle = 2 * np.pi / 7
    states = run(turning(angle), mirrored(40, 2), 50)[:, :, :1]
    one = embed(states, states, 1).operator(1)
    assert one.r2 == pytest.approx(np.cos(angle) ** 2, abs=0.02)  # trials are no whole turns
    two = embed(states, states, 2).operator(2)
    assert two.r2 == pytest.approx(1, abs=RIDGE**2)
    np.testing.assert_allclose(
        spectrum(two.matrix), np.sort_complex(np.exp([1j * angle, -1j * angle])), atol=RIDGE
    )
    # And no third direction: the trajectory stays in a plane.
    assert embed(states, states, 5).max_rank == 2


def test_no_step_leads_from_one_trial_to_the_next() -> None:
    """So that the order of trials does not matter."""
    rng = np.random.default_rng(0)
    states = rng.standard_normal((30, 10, 3)).cumsum(axis=1) + rng.standard_normal((30, 1, 3))
    one = embed(states, states, 2).operator(4)
    other = embed(states[::-1], states[::-1], 2).operator(4)
    assert one.r2 == pytest.approx(other.r2, abs=1e-9)
    np.testing.assert_allclose(np.abs(one.matrix), np.abs(other.matrix), atol=1e-9)


def test_r2_is_of_trials_that_the_fit_has_not_seen() -> None:
    """A system that others do not follow: backwards in time its rotation is the opposite one."""
    states = run(turning(np.pi / 3), mirrored(40, 2), 30)
    fit = embed(states, states[:, ::-1], 1).operator(2)
    # |z' - R z|^2 = 2 - 2 cos(2 pi / 3) = 3 in units of the variance.
    assert fit.r2 == pytest.approx(1 - 3, abs=1e-3)


def test_states_that_stand_still_have_no_directions() -> None:
    fit = embed(np.ones((4, 9, 3)), np.ones((4, 9, 3)), 2)
    assert fit.max_rank == 0
    with pytest.raises(UsageError, match="visits 0 directions"):
        fit.operator(1)


def test_arguments_are_left_as_they_are_and_results_are_the_same_bits() -> None:
    """Item 10, and float32 is taken to float64 first."""
    states, u, *_ = (array.astype(np.float32) for array in driven(20, 0))
    kept = states.copy(), u.copy()
    states.setflags(write=False)
    u.setflags(write=False)
    one, two = (embed(states, states, 2, u, u).operator(3, "rrr", True) for _ in range(2))
    np.testing.assert_array_equal(states, kept[0])
    np.testing.assert_array_equal(u, kept[1])
    np.testing.assert_array_equal(one.matrix, two.matrix)
    assert one.r2 == two.r2
    assert one.matrix.dtype == np.float64
    assert check_states(states).dtype == np.float64


def small() -> Embedding:
    states = np.random.default_rng(0).standard_normal((6, 9, 3))
    return embed(states, states, 2)


@pytest.mark.parametrize("rank", [-1, 0, 7])
@pytest.mark.parametrize("reduction", ["pca", "rrr"])
def test_refuses_a_rank_that_is_not_there(rank: int, reduction: Reduction) -> None:
    with pytest.raises(UsageError, match=rf"^rank {rank} of .* 6 directions \(allowed: 1 to 6\)"):
        small().operator(rank, reduction)


def test_refuses_to_tell_inputs_that_it_does_not_know() -> None:
    with pytest.raises(UsageError, match="knows no inputs"):
        small().operator(2, driven=True)


Z = np.zeros((4, 9, 3))
BROKEN = Z.copy()
BROKEN[2, 5, 1] = np.nan


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((Z[0], Z, 1), r"^states have shape \(9, 3\) \(allowed: \(trials, T, n\)\)"),
        ((Z, Z[:0], 1), r"^held-out states have shape \(0, 9, 3\)"),
        ((BROKEN, Z, 1), "^states hold NaN or inf, first in trial 2 at step 5"),
        ((Z, BROKEN, 1), "^held-out states hold NaN"),
        ((Z, Z, 0), r"^0 delays .*\(allowed: 1 to 8\)"),
        ((Z, Z[:, :4], 4), r"^4 delays need trials of at least 5 steps, these have 4 .*1 to 3"),
        ((Z, Z[:, :, :2], 1), "^states have 3 units, held-out states 2"),
        ((Z, Z, 1, Z), "belong together"),
        ((Z, Z, 1, None, Z), "belong together"),
        ((Z, Z, 1, Z[:3], Z), r"^inputs have shape \(3, 9, 3\), states \(4, 9, 3\)"),
        ((Z, Z, 1, Z, Z[:, :8]), r"^held-out inputs have shape \(4, 8, 3\)"),
        ((Z, Z, 1, Z, Z[:, :, :2]), "^inputs have 3 channels, held-out inputs 2"),
        ((Z, Z, 1, BROKEN, Z), "^inputs hold NaN"),
        ((Z, Z, 1, Z[0], Z), r"^inputs have shape \(9, 3\)"),
    ],
)
def test_refuses_trajectories_that_do_not_fit(arguments: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        embed(*arguments)
