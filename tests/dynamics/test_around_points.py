"""What surrounds fixed points: modes, predictions, basins, connections, branches, slow points."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr
from torch import Tensor

from reference.dynamical import FOLD, ROOT, float64, linear, product_elman
from seqprobe import schema
from seqprobe.dynamics import (
    CallableMap,
    basins,
    connections,
    fixed_points,
    input_sweep,
    linear_prediction,
    linearise,
    sample_states,
    slow_points,
    speed_map,
    state_map,
    trajectories,
    unstable_directions,
)
from seqprobe.dynamics.maps import ElmanMap
from seqprobe.errors import NotApplicableError, UsageError
from seqprobe.models import Model, build_model
from seqprobe.spec import Spec
from seqprobe.tasks import Batch, make_task
from seqprobe.training import load_checkpoint

ROOT_FOLDER = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module", params=["rnn", "gru"])
def flipflop(request: pytest.FixtureRequest) -> tuple[Model, xr.Dataset, Tensor]:
    """A trained network, its fixed points, and states that its trajectories visit."""
    path = ROOT_FOLDER / f"checkpoints/flipflop/{request.param}-s0.pt"
    model = load_checkpoint(path).build_model()
    batch = make_task("flipflop").batch("test", 64)
    points = fixed_points(model, sample_states(model, batch, 512))
    return model, points, sample_states(model, batch, 1000, noise=0)


class TestLinearise:
    def test_a_rotation_that_shrinks(self) -> None:
        modulus, angle = 0.9, 0.3
        c, s = modulus * np.cos(angle), modulus * np.sin(angle)
        of = linear(torch.tensor([[c, -s], [s, c]], dtype=torch.float64))
        found = linearise(of, fixed_points(of, float64((4, 2))))
        np.testing.assert_allclose(found["time_constant"], 9.4912, atol=1e-4)
        np.testing.assert_allclose(found["frequency"], 0.3 / (2 * np.pi), atol=1e-12)
        np.testing.assert_allclose(found["condition"], 1, atol=1e-12)
        np.testing.assert_allclose(found["henrici"], 0, atol=1e-7)

    def test_left_and_right_vectors_are_dual(
        self, flipflop: tuple[Model, xr.Dataset, Tensor]
    ) -> None:
        model, points, _ = flipflop
        found = linearise(model, points)
        left, right = found["left"].values, found["right"].values
        pairs = np.einsum("kim,kin->kmn", left, right)
        np.testing.assert_allclose(pairs, np.eye(64)[None].repeat(27, 0), atol=1e-9)
        jacobian = np.einsum("kim,km,kjm->kij", right, found["eigenvalue"].values, left)
        np.testing.assert_allclose(jacobian.imag, 0, atol=1e-9)
        np.testing.assert_allclose(
            np.sort(np.abs(found["eigenvalue"]), axis=1),
            np.sort(np.abs(points["eigenvalue"]), axis=1),
            atol=1e-9,
        )

    def test_henrici_of_a_shear(self) -> None:
        of = linear(torch.tensor([[0.5, 3.0], [0.0, 0.2]], dtype=torch.float64))
        found = linearise(of, fixed_points(of, float64((4, 2))))
        assert float(found["henrici"][0]) == pytest.approx(3.0, abs=1e-12)
        # The eigenvectors (1, 0) and (3, -0.3)/|.| stand at an angle of tan = 0.1.
        assert float(found["condition"][0, 0]) == pytest.approx(np.sqrt(1 + 100), rel=1e-9)

    def test_a_jordan_block_is_called_defective(self) -> None:
        of = linear(torch.tensor([[0.5, 1.0], [0.0, 0.5]], dtype=torch.float64))
        assert int(linearise(of, fixed_points(of, float64((4, 2))))["defective"][0]) == 1

    def test_input_pushes_the_mode_it_should(self) -> None:
        a = torch.diag(torch.tensor([0.9, 0.5, 0.1], dtype=torch.float64))
        b = torch.tensor([[0.0], [2.0], [0.0]], dtype=torch.float64)
        of = linear(a, b)
        found = linearise(of, fixed_points(of, float64((4, 3))))
        np.testing.assert_allclose(np.abs(found["input_to_mode"][0, :, 0]), [0, 2, 0], atol=1e-12)

    def test_what_a_mode_does_to_the_output(
        self, flipflop: tuple[Model, xr.Dataset, Tensor]
    ) -> None:
        model, points, _ = flipflop
        found = linearise(model, points)
        head = model.head.weight.detach().double().numpy()
        np.testing.assert_allclose(found["readout_jacobian"], head[None].repeat(27, 0), atol=1e-12)
        said = np.einsum("oi,kim->kom", head, found["right"].values)
        np.testing.assert_allclose(found["mode_to_output"], said, atol=1e-12)

    def test_unstable_directions(self, flipflop: tuple[Model, xr.Dataset, Tensor]) -> None:
        model, points, _ = flipflop
        v = unstable_directions(model, points)["unstable_direction"].values
        stable = points["n_unstable"].values == 0
        assert np.isnan(v[stable]).all()
        of = state_map(model)
        x = torch.from_numpy(points["x"].values[~stable])
        jacobian = of.linearise(x, torch.zeros(3).double())[1]
        stretched = jacobian.times(torch.from_numpy(v[~stable])[..., None])[..., 0]
        growth = torch.linalg.vector_norm(stretched, dim=1)
        leading = points["eigenvalue"].values[~stable, 0]
        real = leading.imag == 0  # of a pair the direction turns
        np.testing.assert_allclose(growth[real], np.abs(leading[real]))
        assert real.sum() >= 12

    def test_a_large_state_is_refused(self) -> None:
        model = build_model("tcn", Spec("continuous", 3, "regression", 2), {"width": 64})
        points = fixed_points(model, torch.zeros(1, model.state_size(1)))
        with pytest.raises(NotApplicableError, match="eigenvectors"):
            linearise(model, points)


class TestLinearPrediction:
    def test_of_trained_networks(self, flipflop: tuple[Model, xr.Dataset, Tensor]) -> None:
        model, points, states = flipflop
        found = linear_prediction(model, points, states)
        assert float(found["R2"].sel(assignment="reassigned", step=1)) > 0.9
        assert float(found["R2"].sel(assignment="reassigned", step=20)) > 0.95
        assert float(found["R2"].sel(assignment="nearest", step=20)) < -1  # a saddle diverges
        assert 0.1 < float(found["saddle_share"]) < 0.6

    def test_near_a_root_the_error_is_of_second_order(
        self, flipflop: tuple[Model, xr.Dataset, Tensor]
    ) -> None:
        model, points, _ = flipflop
        of = state_map(model)
        x, u = torch.from_numpy(points["x"].values), torch.zeros(3, dtype=torch.float64)
        away = float64(tuple(x.shape))
        away *= 1e-4 / torch.linalg.vector_norm(away, dim=1, keepdim=True)
        predicted = x + of.linearise(x, u)[1].times(away[..., None])[..., 0]
        error = torch.linalg.vector_norm(of.step(x + away, u) - predicted, dim=1)
        assert float(error.max()) < 1e-7

    def test_a_linear_map_is_predicted_exactly(self) -> None:
        of = linear(0.3 * float64((4, 4)))
        points = fixed_points(of, float64((8, 4)))
        found = linear_prediction(of, points, float64((50, 4), 1), horizons=[3, 1, 1])
        assert found["step"].values.tolist() == [1, 3]
        np.testing.assert_allclose(found["R2"], 1, atol=1e-12)

    def test_refusals(self) -> None:
        of = linear(0.3 * float64((4, 4)))
        points = fixed_points(of, float64((8, 4)))
        with pytest.raises(UsageError, match="horizons are"):
            linear_prediction(of, points, float64((5, 4)), horizons=[0])
        with pytest.raises(UsageError, match="no fixed points"):
            linear_prediction(of, points.isel(fixed_point=slice(0)), float64((5, 4)))


class TestBasinsAndConnections:
    def test_the_cube(self, flipflop: tuple[Model, xr.Dataset, Tensor]) -> None:
        """Every saddle of one unstable dimension joins corners that differ in one bit."""
        model, points, _ = flipflop
        graph = connections(model, points)
        assert int(graph["unresolved"].sum()) == 0
        bits = np.sign(graph["readout"].values)
        corners = bits[graph["stability"].values == 0]
        assert len(np.unique(corners, axis=0)) == 8
        source, target = graph["source"].values, graph["target"].values
        single = np.unique(source[graph["source_unstable"].values == 1])
        assert len(single) == 12
        joined = set()
        for saddle in single:
            ends = target[source == saddle]
            assert len(ends) == 2
            assert int((bits[ends[0]] != bits[ends[1]]).sum()) == 1
            assert graph["hamming"].values[saddle] == 1
            joined.add(frozenset(ends.tolist()))
        assert int(graph["hamming"].notnull().sum()) == 12
        assert len(joined) == 12  # the twelve edges, each once
        for d, reach in ((2, 4), (3, 8)):
            for saddle in np.unique(source[graph["source_unstable"].values == d]):
                assert 2 <= len(target[source == saddle]) <= reach

    def test_basins_of_a_flipflop(self, flipflop: tuple[Model, xr.Dataset, Tensor]) -> None:
        model, points, states = flipflop
        found = basins(model, points, states)
        assert int(found["unresolved"]) == 0
        counts = found["basin"].values
        assert (counts[points["stability"].values == 0] > 60).all()
        assert (counts[points["stability"].values != 0] == 0).all()
        assert int(counts.sum()) == 1000
        assert (found["attractor"].values >= 0).all()

    def test_a_scalar_saddle(self) -> None:
        of = product_elman(1, 1)
        points = fixed_points(of, float64((30, 1)))
        graph = connections(of, points)
        assert graph["n_unstable"].values.tolist() == [0, 0, 1]
        assert sorted(graph["target"].values.tolist()) == [0, 1]
        assert graph["source"].values.tolist() == [2, 2]
        assert graph["n_rays"].values.tolist() == [0, 0, 2]
        found = basins(of, points, torch.tensor([[0.3], [-0.2], [0.9]]))
        ends = points["x"].values[found["attractor"].values, 0]
        np.testing.assert_allclose(ends, [ROOT, -ROOT, ROOT], atol=1e-9)

    def test_complex_unstable_pair_without_attractor(self) -> None:
        of = linear(1.1 * torch.tensor([[0.0, -1.0], [1.0, 0.0]], dtype=torch.float64))
        points = fixed_points(of, float64((4, 2)))
        graph = connections(of, points, max_steps=200)
        assert graph.sizes["edge"] == 0
        assert graph["n_rays"].values.tolist() == [32]
        assert graph["unresolved"].values.tolist() == [32]
        assert int(basins(of, points, float64((5, 2)), max_steps=50)["unresolved"]) == 5

    def test_a_marginal_attractor_is_a_target(self) -> None:
        of = CallableMap(lambda x, u: 0.9995 * x, 1)
        points = fixed_points(of, float64((4, 1)))
        assert points["stability"].values.tolist() == [3]
        found = basins(of, points, float64((5, 1)), max_steps=40_000)
        assert found["basin"].values.tolist() == [5]

    def test_refusals(self) -> None:
        of = product_elman(1, 1)
        held = torch.tensor([[0.0], [1.0]])
        points = fixed_points(of, float64((2, 1)), input=held)
        with pytest.raises(UsageError, match="of 2 inputs"):
            connections(of, points)
        with pytest.raises(UsageError, match="of 2 inputs"):
            basins(of, points, float64((3, 1)))
        one = fixed_points(of, float64((4, 1)))
        with pytest.raises(UsageError, match="0 rays"):
            connections(of, one, n_rays=0)


class TestInputSweep:
    def test_the_fold_of_a_scalar_unit(self) -> None:
        """x = tanh(2 x + b) has three roots for |b| < FOLD; the middle one reaches neither end."""
        of = product_elman(1, 1)
        sweep = input_sweep(of, float64((33, 1)), torch.tensor([-1.0]), torch.tensor([1.0]))
        assert sweep.sizes["branch"] == 3
        folds = np.concatenate([sweep["fold_begin"].values, sweep["fold_end"].values])
        folds = np.sort(2 * folds[np.isfinite(folds)] - 1)
        np.testing.assert_allclose(folds, [-FOLD, -FOLD, FOLD, FOLD], atol=1e-12)
        b = 2 * sweep["s"].values - 1
        np.testing.assert_array_equal(sweep["n_branches"], np.where(np.abs(b) < FOLD, 3, 1))
        assert set(sweep["index_sum"].values) == {1}
        np.testing.assert_allclose(sweep["u"].values[:, 0], b, atol=1e-12)

    def test_a_product_net_goes_from_27_to_9(self) -> None:
        of = product_elman(3, 3)
        sweep = input_sweep(of, float64((256, 3)), torch.zeros(1), torch.ones(1), n_steps=50)
        assert int(sweep["n_branches"][0]) == 27
        assert int(sweep["n_branches"][-1]) == 9
        ends = sweep["fold_end"].values
        np.testing.assert_allclose(ends[np.isfinite(ends)], FOLD, atol=1e-9)
        assert int(np.isfinite(ends).sum()) == 18
        assert set(sweep["index_sum"].values) == {1}

    def test_of_trained_networks(self, flipflop: tuple[Model, xr.Dataset, Tensor]) -> None:
        model, _, states = flipflop
        end = torch.tensor([1.0, 0.0, 0.0])
        sweep = input_sweep(model, states[:300], torch.zeros(3), end, n_steps=60)
        assert int(sweep["n_branches"][0]) == 27
        assert int(sweep["n_branches"][-1]) == 9
        assert set(sweep["index_sum"].values) == {1}
        assert "readout" in sweep
        # Branches end in pairs, at the same fold.
        ends = np.sort(sweep["fold_end"].values[np.isfinite(sweep["fold_end"].values)])
        assert len(ends) == 18
        np.testing.assert_allclose(ends[::2], ends[1::2], atol=1e-8)

    @pytest.mark.parametrize("steps", [1, 2, 7])
    def test_few_steps_give_the_same_folds(
        self, flipflop: tuple[Model, xr.Dataset, Tensor], steps: int
    ) -> None:
        model, _, states = flipflop
        end = torch.tensor([1.0, 0.0, 0.0])
        sweep = input_sweep(model, states[:200], torch.zeros(3), end, n_steps=steps)
        folds = np.concatenate([sweep["fold_begin"].values, sweep["fold_end"].values])
        folds = np.sort(folds[np.isfinite(folds)])
        assert len(folds) == 18
        assert (folds > 0).all()
        assert (folds < 0.1).all()
        assert int(sweep["open_ends"]) == 0

    @pytest.mark.parametrize("seed", range(8))
    def test_random_nets_lose_no_branch(self, seed: int) -> None:
        """The number of roots at every step is that of a search there."""
        n = 2 + seed % 4
        w = 2.2 * float64((n, n), seed) / n**0.5
        of = ElmanMap(w, float64((n, 1), 100 + seed), 0.3 * float64((n,), 200 + seed))
        starts = float64((200, n), 300 + seed)
        sweep = input_sweep(of, starts, torch.tensor([-1.0]), torch.tensor([1.0]), n_steps=40)
        assert int(sweep["open_ends"]) == 0
        assert set(sweep["index_sum"].values) == {1}
        for i in (0, 13, 20, 31, 40):
            u = torch.from_numpy(sweep["u"].values[i])
            there = fixed_points(of, starts, input=u).sizes["fixed_point"]
            assert int(sweep["n_branches"][i]) == there

    def test_kinks_of_rectified_units_are_no_folds(self) -> None:
        w = torch.tensor([[0.5, -1.0], [-1.0, 0.5]], dtype=torch.float64)
        v = torch.tensor([[1.0], [0.0]], dtype=torch.float64)
        of = ElmanMap(w, v, torch.ones(2, dtype=torch.float64), "relu")
        sweep = input_sweep(of, float64((60, 2)) + 1, torch.zeros(1), torch.ones(1), n_steps=20)
        assert np.isnan(sweep["fold_end"].values).all()
        assert int(sweep["open_ends"]) > 0

    def test_refusals(self) -> None:
        of = product_elman(1, 1)
        with pytest.raises(UsageError, match="two different inputs"):
            input_sweep(of, float64((3, 1)), torch.zeros(1), torch.zeros(1))
        with pytest.raises(UsageError, match="0 steps"):
            input_sweep(of, float64((3, 1)), torch.zeros(1), torch.ones(1), n_steps=0)


class TestSlowPoints:
    def test_the_floor_keeps_what_is_slow(self) -> None:
        """A displacement along singular value s keeps (floor^2 / (s^2 + floor^2))^12 of itself."""
        rates = torch.tensor([0.5, 0.05, 0.01, 0.001], dtype=torch.float64)
        of = linear(torch.diag(1 - rates))
        starts = torch.ones(1, 4, dtype=torch.float64)
        tau = 100.0
        found = slow_points(of, starts.repeat(3, 1), tau=tau)
        floor = 1 / (tau * np.sqrt(2 ** (1 / 12) - 1))
        expected = (floor**2 / (rates.numpy() ** 2 + floor**2)) ** 12
        np.testing.assert_allclose(found["x"][0], expected, atol=1e-10)
        assert expected[2] == pytest.approx(0.5)  # at tau itself one half is kept
        np.testing.assert_allclose(found["time_constant"], 1000, rtol=1e-9)

    def test_an_integrator_has_a_line(self) -> None:
        checkpoint = load_checkpoint(ROOT_FOLDER / "checkpoints/integrator/rnn-s0.pt")
        model = checkpoint.build_model()
        starts = sample_states(model, make_task("integrator").batch("test", 64), 256)
        points = fixed_points(model, starts)
        assert points.sizes["fixed_point"] <= 9
        assert int(points["index_sum"][0]) == 1
        # No root is listed twice.
        assert float(points["spacing_min"]) > 0.05
        found = slow_points(model, starts, tau=100, points=points)
        assert float(found["share"][0]) > 0.9
        assert float(found["q"].median()) < 1e-3 * float(found["q_start"].median())
        near = found["fixed_point"].values
        assert (near < points.sizes["fixed_point"]).all()
        assert (near == -1).sum() > 100  # most of the line is no fixed point

    def test_all_starts_of_a_flipflop_fall_onto_its_points(
        self, flipflop: tuple[Model, xr.Dataset, Tensor]
    ) -> None:
        model, points, states = flipflop
        found = slow_points(model, states[:100], tau=100, points=points)
        assert (found["fixed_point"].values >= 0).mean() > 0.9

    def test_one_start(self) -> None:
        found = slow_points(product_elman(1, 2), torch.ones(1, 2), tau=10)
        assert int(found["left"]) == 0
        assert np.isfinite(found["speed"]).all()

    @pytest.mark.parametrize("tau", [0.0, -1.0, np.inf])
    def test_bad_tau(self, tau: float) -> None:
        with pytest.raises(UsageError, match="tau is"):
            slow_points(product_elman(1, 2), float64((3, 2)), tau=tau)


def test_speed_map() -> None:
    of = product_elman(2, 2)
    made = speed_map(of, 0.5 * float64((100, 2)), grid=21)
    x = made["centre"].values + np.einsum(
        "rcp,ps->rcs",
        np.stack(np.meshgrid(made["horizontal"], made["vertical"]), axis=-1),
        made["axes"].values,
    )
    states = torch.from_numpy(x.reshape(-1, 2))
    moved = of.step(states, torch.zeros(1).double()) - states
    np.testing.assert_allclose(
        made["speed"].values.ravel(), torch.linalg.vector_norm(moved, dim=1), atol=1e-12
    )
    assert float(made["plane_share"]) == pytest.approx(1)
    with pytest.raises(UsageError, match="span no plane"):
        speed_map(of, float64((2, 2)))
    with pytest.raises(UsageError, match="grid is 1"):
        speed_map(of, float64((5, 2)), grid=1)


def test_trajectories_leave_out_padding() -> None:
    model = build_model("gru", Spec("continuous", 3, "regression", 2), {"width": 4})
    mask = torch.ones(3, 5, dtype=torch.bool)
    mask[1, 3:] = False
    batch = Batch(torch.randn(3, 5, 3), torch.zeros(3, 5, 2), mask)
    made = trajectories(model, batch, n_trials=2)
    assert made["trajectory"].shape == (2, 5, 4)
    assert np.isnan(made["trajectory"][1, 3:]).all()
    assert np.isfinite(made["trajectory"][0]).all()
    with pytest.raises(UsageError, match="0 sequences"):
        trajectories(model, batch, n_trials=0)


def test_results_are_read_back_as_they_were(
    flipflop: tuple[Model, xr.Dataset, Tensor], tmp_path: Path
) -> None:
    model, points, states = flipflop
    results = [
        linearise(model, points),
        linear_prediction(model, points, states),
        basins(model, points, states),
        connections(model, points),
        slow_points(model, states[:10], tau=50),
        speed_map(model, states[:50], grid=5),
        input_sweep(model, states[:50], torch.zeros(3), torch.ones(3), n_steps=5),
        trajectories(model, torch.zeros(2, 4, 3)),
    ]
    for result in results:
        schema.write(result, tmp_path / "x.nc")
        assert schema.read(tmp_path / "x.nc").identical(result)


def test_a_callable_without_head_has_no_readout() -> None:
    of = CallableMap(lambda x, u: 0.5 * x, 2)
    points = fixed_points(of, float64((4, 2)))
    assert "readout_jacobian" not in linearise(of, points)
    assert "readout" not in connections(of, points)
