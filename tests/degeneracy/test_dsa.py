"""Dynamical similarity of networks and of systems that are known."""

from __future__ import annotations

import numpy as np
import pytest

from degeneracy.networks import copied, flipflop, perturbed
from seqprobe.degeneracy import dsa, eigenvalue_wasserstein
from seqprobe.errors import UsageError
from seqprobe.memory.states import collect
from seqprobe.models import Model
from seqprobe.models.access import float64_twin
from seqprobe.tasks import make_task

GRID = {"delays": (1, 2), "ranks": (4, 6)}


def _states(model: Model) -> np.ndarray:
    batch = make_task("flipflop", {"length": 30}).batch("test", 32)
    return collect(float64_twin(model), batch.inputs.double(), "state").numpy()


def _orthogonal(n: int, rng: np.random.Generator) -> np.ndarray:
    q: np.ndarray = np.linalg.qr(rng.standard_normal((n, n)))[0]
    return q


def _linear(a: np.ndarray, starts: np.ndarray, steps: int) -> np.ndarray:
    states = [starts]
    for _ in range(steps - 1):
        states.append(states[-1] @ a.T)
    return np.stack(states, axis=1)


def test_a_relabelled_copy_has_the_same_dynamics() -> None:
    """Case 1, also with sign flips: rounding of the whitening only, 1e-6."""
    model = flipflop()
    found = dsa([_states(model), _states(copied(model, signed=True))], **GRID)  # type: ignore[arg-type]
    assert found["dsa"].values[0, 1].max() <= 1e-6
    assert found["dsa_angle"].values[0, 1].max() <= 1e-6
    assert (found["dsa_null"].values > 1e-3).all()
    assert found["r2"].values.shape == (2, 2, 2)


def test_rotated_states_have_the_same_dynamics() -> None:
    """Case 2."""
    states = _states(flipflop())
    rotated = states @ _orthogonal(states.shape[2], np.random.default_rng(1))
    found = dsa([states, rotated], **GRID)  # type: ignore[arg-type]
    assert found["dsa"].values[0, 1].max() <= 1e-6


def test_conjugate_linear_systems() -> None:
    """Cases 3 and 5: orthogonal conjugates are at 0; others are not, but share eigenvalues."""
    rng = np.random.default_rng(2)
    a = 0.95 * _orthogonal(5, rng) + 0.02 * rng.standard_normal((5, 5))
    q, starts = _orthogonal(5, rng), rng.standard_normal((40, 5))
    g = rng.standard_normal((5, 5)) + 2 * np.eye(5)
    one = _linear(a, starts, 20)
    two = _linear(q @ a @ q.T, starts @ q.T, 20)
    three = _linear(g @ a @ np.linalg.inv(g), starts @ g.T, 20)
    found = dsa([one, two, three], delays=(1,), ranks=(5,))
    assert found["dsa"].values[0, 1] <= 1e-6
    assert found["dsa_frobenius"].values[0, 1] <= 1e-6
    assert (found["eig_w2"].values <= 1e-8).all()
    # Whitening makes covariances equal, and a conjugate by any matrix one by a rotation.
    assert found["dsa"].values[0, 2] <= 1e-4
    assert (found["r2"].values > 0.999).all()
    other = _linear(0.5 * _orthogonal(5, rng), starts, 20)
    far = dsa([one, other], delays=(1,), ranks=(5,))
    assert far["dsa"].values[0, 1] > 0.1
    assert (far["dsa_lower"].values <= far["dsa"].values + 1e-12).all()


def test_the_same_system_elsewhere_is_not_the_same() -> None:
    """Case 4: from other initial conditions eigenvalues agree, and the distance is not 0."""
    rng = np.random.default_rng(3)
    a = 0.9 * _orthogonal(4, rng)
    wide = rng.standard_normal((60, 4)) * np.array([3.0, 1.0, 0.3, 0.1])
    found = dsa(
        [_linear(a, rng.standard_normal((60, 4)), 15), _linear(a, wide, 15)],
        delays=(1,),
        ranks=(4,),
    )
    assert found["eig_w2"].values[0, 1] <= 1e-6
    assert found["dsa"].values[0, 1] > 1e-3


def test_distances_grow_with_a_perturbation() -> None:
    """Case 11."""
    model = flipflop()
    states = [_states(perturbed(model, size, seed=4)) for size in (0.0, 0.01, 0.1, 0.3)]
    found = dsa([_states(model), *states], delays=(1,), ranks=(6,))
    values = found["dsa"].values[0, 1:].ravel()
    assert values[0] <= 1e-9
    assert (np.diff(values) > 0).all()


def test_inputs_are_part_of_input_dsa() -> None:
    """Two systems that differ only in which input drives which direction."""
    rng = np.random.default_rng(5)
    a, q = np.diag([0.9, 0.5, 0.2]) + np.diag([0.3, 0.3], -1), _orthogonal(3, rng)
    b = np.eye(3)[:, :2] * [1.0, 0.5]
    u = rng.standard_normal((40, 30, 2))

    def driven(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        h, states = np.zeros((40, 3)), []
        for t in range(30):
            h = h @ a.T + u[:, t] @ b.T
            states.append(h)
        return np.stack(states, axis=1) + 1e-3 * rng.standard_normal((40, 30, 3))

    same, swapped = driven(q @ a @ q.T, q @ b), driven(a, b[:, ::-1])
    found = dsa([driven(a, b), same, swapped], delays=(1,), ranks=(3,), inputs=[u] * 3)
    assert found["input_dsa"].values[0, 1] < 0.02  # of the noise of 1e-3
    assert found["input_dsa"].values[0, 2] > 0.3
    assert (found["r2_driven"].values > found["r2"].values).all()


def test_eigenvalue_wasserstein_by_hand() -> None:
    """Case 9: {.9, .5} against {.7, .4}, and a third eigenvalue against 0."""
    assert eigenvalue_wasserstein(np.diag([0.9, 0.5]), np.diag([0.4, 0.7])) == pytest.approx(0.025)
    assert eigenvalue_wasserstein(np.diag([0.9, 0.5, 0.3]), np.diag([0.5, 0.9])) == pytest.approx(
        0.09 / 3
    )
    with pytest.raises(UsageError, match="square"):
        eigenvalue_wasserstein(np.zeros((2, 3)), np.zeros((2, 2)))


def test_a_rank_that_a_network_does_not_visit_is_not_a_number() -> None:
    rng = np.random.default_rng(6)
    flat = rng.standard_normal((8, 10, 2)) @ rng.standard_normal((2, 5))
    found = dsa([flat, rng.standard_normal((8, 10, 5))], delays=(1,), ranks=(2, 4))
    assert np.isfinite(found["dsa"].sel(rank=2)).all()
    assert np.isnan(found["dsa"].sel(rank=4).values[0, 1])
    assert np.isfinite(found["dsa_null"].sel(rank=4).values[1])
    assert bool(found["chosen"].sel(rank=2).all())


@pytest.mark.slow
def test_results_are_the_same_from_run_to_run_and_in_two_processes() -> None:
    rng = np.random.default_rng(7)
    states = [rng.standard_normal((8, 12, 6)) for _ in range(3)]
    one, two = (dsa(states, delays=(1,), ranks=(4,), jobs=jobs) for jobs in (1, 2))
    for name in one.data_vars:
        np.testing.assert_array_equal(one[name].values, two[name].values)


def test_what_cannot_be_compared_is_refused() -> None:
    good = np.random.default_rng(8).standard_normal((8, 10, 3))
    with pytest.raises(UsageError, match="1 networks cannot differ"):
        dsa([good])
    with pytest.raises(UsageError, match="network 1 has 3 trials"):
        dsa([good, good[:3]])
    broken = good.copy()
    broken[2, 4] = np.nan
    with pytest.raises(UsageError, match="states of network 1 hold NaN or inf, first in trial 2"):
        dsa([good, broken])
    with pytest.raises(UsageError, match=r"shape \(8, 10\)"):
        dsa([good, good[..., 0]])
    with pytest.raises(UsageError, match="inputs of 1 networks"):
        dsa([good, good], inputs=[good])
    with pytest.raises(UsageError, match=r"networks 0 and 1 have trials \(8, 10\) and \(6, 10\)"):
        dsa([good, good[:6]])
    with pytest.raises(UsageError, match="networks 0 and 1 had other inputs"):
        dsa([good, good], inputs=[good, good + 1])


def test_inputs_that_do_not_vary_drive_nothing() -> None:
    states = [np.random.default_rng(seed).standard_normal((8, 10, 3)) for seed in range(2)]
    found = dsa(states, delays=(1,), ranks=(2,), inputs=[np.ones((8, 10, 1))] * 2)
    assert np.isnan(found["input_dsa"].values[0, 1]).all()
    assert np.isfinite(found["dsa"].values).all()
