"""Fixed points of systems whose roots are known, and every way a search can be refused."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr
from scipy.optimize import brentq
from torch import Tensor, nn

from reference.dynamical import (
    ROOT,
    SLOPE,
    float64,
    linear,
    product_elman,
    product_gru,
    random_gru,
    scalar_lstm,
)
from seqprobe import schema
from seqprobe.dynamics import CallableMap, StateMap, fixed_points, sample_states
from seqprobe.dynamics.certify import smallest_singular_value, spectra
from seqprobe.dynamics.krylov import gmres
from seqprobe.dynamics.maps import ElmanMap, GRUMap
from seqprobe.dynamics.maps.operators import RowScaled
from seqprobe.dynamics.search import search
from seqprobe.dynamics.solver import Problem, Roots, newton, newton_polish
from seqprobe.errors import NotApplicableError, SeqprobeError, UsageError
from seqprobe.models import build_model
from seqprobe.seeding import generator
from seqprobe.spec import Spec
from seqprobe.tasks import make_task
from seqprobe.training import load_checkpoint

ROOT_FOLDER = Path(__file__).resolve().parents[2]
SPEC = Spec("continuous", 3, "regression", 2)


def counts(points: xr.Dataset) -> list[int]:
    """Return the number of points by unstable dimensions."""
    return [int(n) for n in np.bincount(points["n_unstable"].values)]


@pytest.mark.parametrize("size", [3, 64])
def test_product_of_tanh_units(size: int) -> None:
    points = fixed_points(product_elman(3, size), 0.7 * float64((512, size)))
    assert counts(points) == [8, 12, 6, 1]
    assert int(points["index_sum"][0]) == 1
    assert int(points["complete"][0]) == 1
    free = points["x"].values[:, :3]
    levels = np.array([-ROOT, 0, ROOT])
    nearest = levels[np.abs(free[..., None] - levels).argmin(axis=2)]
    np.testing.assert_allclose(free, nearest, atol=1e-10)
    np.testing.assert_array_equal((nearest == 0).sum(axis=1), points["n_unstable"])
    for eigenvalues, zeros in zip(points["eigenvalue"].values, points["n_unstable"], strict=True):
        expected = np.array([2.0] * int(zeros) + [SLOPE] * (3 - int(zeros)))
        np.testing.assert_allclose(eigenvalues[:3], expected, atol=1e-9)
        np.testing.assert_allclose(np.abs(eigenvalues[3:]), 0, atol=1e-6)
    assert float(points["certificate"].max()) < 1e-9
    assert float(points["q"].max()) < 1e-20


@pytest.mark.parametrize(("w", "roots"), [(0.9, 1), (1.01, 3), (1.5, 3)])
def test_pitchfork_of_a_scalar_unit(w: float, roots: int) -> None:
    """x = tanh(w x): the origin alone below w = 1, and a pair beside it above."""
    one = torch.ones(1, 1, dtype=torch.float64)
    of = ElmanMap(w * one, 0 * one, 0 * one[0])
    points = fixed_points(of, float64((40, 1)))
    x = np.sort(points["x"].values.ravel())
    assert len(x) == roots
    if roots == 1:
        assert points["n_unstable"].values.tolist() == [0]
        np.testing.assert_allclose(points["eigenvalue"], w, atol=1e-9)
        return
    outer = brentq(lambda x: np.tanh(w * x) - x, 1e-3, 1, xtol=1e-15)
    np.testing.assert_allclose(x, [-outer, 0, outer], atol=1e-10)
    assert points["n_unstable"].values.tolist() == [0, 0, 1]
    if w < 1.1:  # the square root law near the bifurcation
        assert outer == pytest.approx((3 * (w - 1)) ** 0.5, rel=0.02)


def test_five_tanh_units_have_243() -> None:
    points = fixed_points(product_elman(5, 8), 0.7 * float64((1024, 8)))
    assert counts(points) == [32, 80, 80, 40, 10, 1]
    assert int(points["complete"][0]) == 1


def test_product_of_gated_units() -> None:
    points = fixed_points(product_gru(3), 0.7 * float64((512, 16)))
    assert counts(points) == [8, 12, 6, 1]
    ends = points["eigenvalue"].values[[0, -1], :3]  # a corner and the centre
    np.testing.assert_allclose(ends[0], 0.5 + 0.5 * SLOPE, atol=1e-9)
    np.testing.assert_allclose(ends[1], 1.5, atol=1e-9)


def test_the_update_gate_moves_no_fixed_point() -> None:
    of = random_gru()
    n = of.size
    found = fixed_points(of, 0.5 * float64((256, n)))
    changed = GRUMap(of.w.clone(), of.v, of.b.clone(), of.b_n)
    changed.w[n : 2 * n] *= -3
    changed.b[n : 2 * n] = 60.0  # z is 1 to rounding: every state stands still in the full map
    still = 0.5 * float64((256, n))
    assert float((changed.step(still, torch.zeros(2).double()) - still).abs().max()) < 1e-12
    again = fixed_points(changed, still)
    a, b = (np.sort(points["x"].values[:, 0]) for points in (again, found))
    np.testing.assert_allclose(a, b, atol=1e-10)  # in the order of the stability, which z changes


@pytest.mark.parametrize("w", [0.8, 3.0])
def test_lstm_against_bisection(w: float) -> None:
    i, f, o = 0.6, 0.8, 0.9

    def gap(h: float) -> float:
        return float(o * np.tanh(i * np.tanh(w * h) / (1 - f)) - h)

    points = fixed_points(scalar_lstm(w, i, f, o), float64((64, 2)))
    expected = sorted([brentq(gap, 1e-3, 1, xtol=1e-15), 0.0, brentq(gap, -1, -1e-3, xtol=1e-15)])
    np.testing.assert_allclose(np.sort(points["x"][:, 0]), expected, atol=1e-12)
    cell = i * np.tanh(w * points["x"].values[:, 0]) / (1 - f)
    np.testing.assert_allclose(points["x"].values[:, 1], cell, atol=1e-12)


def test_linear_map() -> None:
    a, b, u = 0.3 * float64((5, 5)), float64((5, 2), 1), float64((2,), 2)
    points = fixed_points(linear(a, b), float64((8, 5), 3), input=u)
    expected = torch.linalg.solve(torch.eye(5).double() - a, b @ u)
    np.testing.assert_allclose(points["x"][0], expected, atol=1e-12)
    eigenvalues = torch.linalg.eigvals(a).numpy()
    np.testing.assert_allclose(
        np.sort_complex(points["eigenvalue"].values[0]), np.sort_complex(eigenvalues), atol=1e-12
    )
    assert int(points["complete"][0]) == -1  # no bound is known, so that the sum may be anything


@pytest.mark.parametrize(
    "model",
    [
        "tcn",
        pytest.param("s4d", marks=pytest.mark.slow),
        pytest.param("mamba", marks=pytest.mark.slow),
    ],
)
@pytest.mark.parametrize("layers", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_closed_forms_against_a_long_run(model: str, layers: int) -> None:
    network = build_model(model, SPEC, {"width": 4, "layers": layers})
    u = float64((3,))
    points = fixed_points(network, sample_states(network, torch.randn(4, 6, 3), 8), input=u)
    assert points.attrs["method"] == "closed form"
    assert points.sizes["fixed_point"] == 1
    assert int(points["stability"][0]) == 0
    assert float(points["certificate"].max()) < 1e-9
    from seqprobe.dynamics import state_map

    of = state_map(network)
    x = torch.zeros(1, of.size, dtype=torch.float64)
    with torch.no_grad():
        for _ in range(40_000 if model != "tcn" else 100):
            x = of.step(x, u)
    np.testing.assert_allclose(points["x"][0], x[0], atol=1e-8)
    dense = torch.linalg.eigvals(of.linearise(x, u)[1].dense()[0]).abs().sort()[0]
    known = np.sort(np.abs(points["eigenvalue"].values[0]))
    if model != "tcn":  # whose nilpotent Jacobian no eigenvalue solver can see as such
        np.testing.assert_allclose(known, dense, atol=1e-6)
    assert (known == 0).all() == (model == "tcn")


def test_s4d_does_not_depend_on_its_step() -> None:
    """Zero-order hold: x* = -u / lambda, whatever Delta is."""
    network = build_model("s4d", SPEC, {"width": 4, "layers": 1})
    u = float64((3,))
    starts = torch.zeros(1, network.state_size(1))
    first = fixed_points(network, starts, input=u)
    with torch.no_grad():
        network.core.layers[0].log_step += 1.5  # type: ignore[union-attr,index]
    second = fixed_points(network, starts, input=u)
    np.testing.assert_allclose(first["x"], second["x"], atol=1e-12)
    assert not np.allclose(first["eigenvalue"], second["eigenvalue"])


def test_a_certificate_is_the_distance_to_the_root() -> None:
    of = product_elman(3, 5)
    root = torch.tensor([[ROOT, 0.0, -ROOT, 0.0, 0.0]], dtype=torch.float64)
    u = torch.zeros(1, dtype=torch.float64)

    def residual(y: Tensor) -> tuple[Tensor, Tensor]:
        r, jacobian, _ = of.linearise_residual(y, u)
        return r, jacobian.dense()

    root, _ = newton_polish(residual, root, steps=10)
    away = float64((1, 5))
    away *= 1e-6 / away.norm()
    _, certificate = newton_polish(residual, root + away, steps=0)
    assert float(certificate) == pytest.approx(1e-6, rel=0.01)


def test_saturated_gates_hold_no_fixed_point() -> None:
    """States far outside that an update gate of 1 holds have no speed and are no roots."""
    network = load_checkpoint(ROOT_FOLDER / "checkpoints/flipflop/gru-s0.pt").build_model()
    far = 10 * float64((64, 64))
    points = fixed_points(network, far)
    assert float(np.abs(points["x"]).max()) < 1
    assert points.sizes["fixed_point"] == 27


@pytest.mark.parametrize("architecture", ["rnn", "gru", "lstm", "leaky", "gru-stacked"])
def test_flipflops_have_27(architecture: str) -> None:
    checkpoint = load_checkpoint(ROOT_FOLDER / f"checkpoints/flipflop/{architecture}-s0.pt")
    assert checkpoint.metrics["test"]["score"] <= 1e-3
    network = checkpoint.build_model()
    starts = sample_states(network, make_task("flipflop").batch("test", 64), 512)
    points = fixed_points(network, starts)
    assert counts(points) == [8, 12, 6, 1]
    assert float(points["certificate"].max()) < 1e-9
    assert int(points["index_sum"][0]) == 1
    assert int(points["complete"][0]) == 1
    assert float(points["margin"].min()) > 0.02
    assert int((points["status"] == 1).sum()) > 500
    assert int(points["hits"].sum()) == int((points["root"] >= 0).sum())


def test_the_generic_route_finds_the_same_points() -> None:
    network = load_checkpoint(ROOT_FOLDER / "checkpoints/flipflop/gru-stacked-s0.pt").build_model()
    starts = sample_states(network, make_task("flipflop").batch("test", 16), 128)
    from seqprobe.dynamics import state_map

    analytic = state_map(network)
    generic = CallableMap(analytic.step, analytic.size, analytic.inputs)
    ours, slow = fixed_points(network, starts), fixed_points(generic, starts)
    np.testing.assert_allclose(ours["x"], slow["x"], atol=1e-8)
    np.testing.assert_allclose(ours["n_unstable"], slow["n_unstable"])


def test_matrix_free_route_finds_the_same_points(monkeypatch: pytest.MonkeyPatch) -> None:
    of = product_elman(3, 24)
    starts = 0.7 * float64((256, 24))
    dense = fixed_points(of, starts)
    monkeypatch.setattr("seqprobe.dynamics.solver.DENSE", 8)
    monkeypatch.setattr("seqprobe.dynamics.certify.DENSE_SPECTRUM", 8)
    monkeypatch.setattr("seqprobe.dynamics.certify.LEADING", 6)
    free = fixed_points(of, starts)
    np.testing.assert_allclose(free["x"], dense["x"], atol=1e-9)
    np.testing.assert_array_equal(free["n_unstable"], dense["n_unstable"])
    np.testing.assert_allclose(free["sigma_min"], dense["sigma_min"], rtol=1e-4)


def test_gmres_solves_linear_systems() -> None:
    w = float64((40, 40)) / 40**0.5
    operator = RowScaled([(torch.rand(5, 40, dtype=torch.float64), w)], -1.0)
    b = float64((5, 40), 1)
    x = gmres(operator, b, tolerance=1e-10)
    missed = torch.linalg.vector_norm(b - operator.times(x[..., None])[..., 0], dim=1)
    assert bool((missed <= 1.1e-10 * torch.linalg.vector_norm(b, dim=1)).all())


def test_roots_far_from_the_starts() -> None:
    """Without a box the region is wide: x = 0.99 x + 1 rests at 100."""
    points = fixed_points(CallableMap(lambda x, u: 0.99 * x + 1, 1), float64((64, 1)))
    np.testing.assert_allclose(points["x"], [[100.0]], rtol=1e-9)
    assert (points["status"].values == 1).all()


@pytest.mark.parametrize("size", [1e-6, 1.0, 1e4, 1e8])
def test_states_of_any_size(size: float) -> None:
    a, root = 0.3 * float64((6, 6)), size * torch.ones(6, dtype=torch.float64)
    of = CallableMap(lambda x, u: (x - root) @ a.T + root, 6)
    points = fixed_points(of, root + 0.1 * size * float64((64, 6), 1))
    np.testing.assert_allclose(points["x"], root[None], rtol=1e-9)
    assert (points["status"].values == 1).all()


def test_roots_near_each_other_far_from_the_origin() -> None:
    def step(x: Tensor, u: Tensor) -> Tensor:
        return x + 1e3 * (x - 1000) * (x - 1000.0005) * (x - 1000.001)

    starts = 1000.0005 + 0.001 * float64((200, 1))
    points = fixed_points(CallableMap(step, 1), starts)
    expected = [1000, 1000.0005, 1000.001]
    np.testing.assert_allclose(np.sort(points["x"].values.ravel()), expected, atol=1e-8)


@pytest.mark.parametrize("n", [16, 64])
def test_hopfield_patterns(n: int) -> None:
    """Three orthogonal patterns: each sign of each, and the mixtures of two and of three.

    All other eigenvalues are zero, on which LAPACK gives up for 64 units.
    """
    gain = 1.5
    signs = torch.ones(1, 1, dtype=torch.float64)
    while len(signs) < n:
        signs = torch.cat([torch.cat([signs, signs], 1), torch.cat([signs, -signs], 1)])
    stored = signs[[1, 2, 4]]
    of = ElmanMap(gain / n * stored.T @ stored, torch.zeros(n, 1).double(), torch.zeros(n).double())
    points = fixed_points(of, float64((512, n)))
    overlap = np.abs(points["x"].values @ stored.numpy().T / n)
    mixed = (overlap > 1e-6).sum(axis=1)
    assert np.bincount(mixed).tolist() == [1, 6, 12, 8]
    m2 = brentq(lambda m: 0.5 * np.tanh(2 * gain * m) - m, 0.01, 1)
    m3 = brentq(lambda m: 0.25 * (np.tanh(3 * gain * m) + np.tanh(gain * m)) - m, 0.01, 1)
    m1 = brentq(lambda m: np.tanh(gain * m) - m, 0.01, 1)
    for number, expected in ((1, m1), (2, m2), (3, m3)):
        found = overlap[mixed == number]
        np.testing.assert_allclose(found[found > 1e-6], expected, atol=1e-9)
    assert (points["n_unstable"].values[mixed == 1] == 0).all()


def test_more_unstable_dimensions_than_leading_eigenvalues() -> None:
    size = 520
    w = 1.5 * float64((size, size)) / size**0.5
    of = ElmanMap(w, torch.zeros(size, 1).double(), torch.zeros(size).double())
    u, x = torch.zeros(1).double(), torch.zeros(1, size, dtype=torch.float64)
    eigenvalues = spectra(of, x, u)
    truth = int((torch.linalg.eigvals(w).abs() > 1).sum())
    assert int((eigenvalues.abs() > 1).sum()) == truth > 32


def test_a_dead_jacobian() -> None:
    of = ElmanMap(
        torch.zeros(600, 600).double(), torch.zeros(600, 1).double(), torch.zeros(600).double()
    )
    points = fixed_points(of, float64((4, 600)))
    assert (np.abs(points["eigenvalue"]) == 0).all()


def test_least_singular_value_along_a_symmetric_direction() -> None:
    p = torch.tensor([1.0, 0.0, -1.0, 0.0], dtype=torch.float64) / 2**0.5
    matrix = 0.99 * torch.outer(p, p) - torch.eye(4).double()
    assert float(smallest_singular_value(matrix[None])) == pytest.approx(0.01, rel=1e-4)


def test_least_singular_value() -> None:
    matrices = float64((6, 9, 9))
    matrices[0, :, 0] = 0
    expected = torch.linalg.svdvals(matrices)[:, -1]
    torch.testing.assert_close(smallest_singular_value(matrices), expected, rtol=1e-3, atol=1e-12)


def test_missing_points_are_flagged() -> None:
    """Without exploration Newton finds the roots around the starts only; the index sum says so."""
    of = product_elman(3, 6)
    u = torch.zeros(1, dtype=torch.float64)
    corner = torch.full((64, 6), ROOT, dtype=torch.float64) + 0.01 * float64((64, 6))
    rng = generator(0, "test")
    whole = search(of, corner, u, rng)
    assert len(whole.y) == 27  # the search widens itself, because one root alone does not sum to 1
    assert whole.complete == 1
    signs = whole.sign.numpy()
    for missing in range(27):
        assert signs.sum() - signs[missing] != 1


def test_in_flight_assignment_agrees_with_running_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """Chords are off: they may lead elsewhere than Newton's method from the same start."""
    monkeypatch.setattr("seqprobe.dynamics.solver._CHORDS", 0)
    from seqprobe.dynamics import state_map

    network = load_checkpoint(ROOT_FOLDER / "checkpoints/flipflop/rnn-s0.pt").build_model()
    of = state_map(network)
    starts = sample_states(network, make_task("flipflop").batch("test", 32), 256)
    u = torch.zeros(3, dtype=torch.float64)
    found = search(of, starts, u, generator(0, "test"))
    problem = Problem(of, u, 1.5, starts.mean(dim=0), 100.0)
    known = Roots(64)
    known.add(problem, found.y)
    fast, slow = newton(problem, starts, known), newton(problem, starts, Roots(64))
    assigned = (fast.root >= 0) & (slow.status == 1)
    assert int(assigned.sum()) > 200
    reached = torch.cdist(slow.y, found.y).argmin(dim=1)
    assert torch.equal(fast.root[assigned], reached[assigned])
    assert int(fast.steps.sum()) < int(slow.steps.sum())


def test_the_order_of_starts_changes_the_order_of_nothing() -> None:
    of = product_elman(3, 6)
    starts = 0.7 * float64((200, 6))
    a, b = fixed_points(of, starts), fixed_points(of, starts.flip(0))
    np.testing.assert_allclose(a["x"], b["x"], atol=1e-12)
    same = fixed_points(of, starts)
    for name in ("x", "eigenvalue", "certificate", "hits", "status", "root"):
        np.testing.assert_array_equal(a[name], same[name])


def test_inputs_are_searched_one_by_one() -> None:
    """x = tanh(2 x + b): three roots at b = 0, one at b = 1."""
    of = product_elman(1, 1)
    starts = float64((40, 1))
    held = torch.tensor([0.0, 1.0, 0.0, 1.0], dtype=torch.float64).repeat(10)[:, None]
    points = fixed_points(of, starts, input=held)
    assert points["n_unstable"].values.tolist() == [0, 0, 1, 0]
    assert points["input_index"].values.tolist() == [0, 0, 0, 1]
    assert points["u"].values.ravel().tolist() == [0, 0, 0, 1]
    assert points["index_sum"].values.tolist() == [1, 1]
    roots = points["root"].values
    # Starts near the ghost of the two lost roots may stall.
    assert set(roots[1::2]) in ({3}, {-1, 3})
    assert set(roots[::2]) == {0, 1, 2}
    np.testing.assert_array_equal(points["hits"], [int((roots == k).sum()) for k in range(4)])


def test_a_map_without_fixed_points() -> None:
    """A shift by one: Newton's matrix is singular, every start is left where it is."""
    points = fixed_points(CallableMap(lambda x, u: x + 1.0, 2), float64((16, 2)))
    assert points.sizes["fixed_point"] == 0
    assert int((points["status"] == 1).sum()) == 0
    assert int(points["index_sum"][0]) == 0


def test_a_ghost_is_slow_and_no_fixed_point() -> None:
    """Past its fold x = tanh(2 x + b) keeps a minimum of the speed where two roots were."""
    of = product_elman(1, 1)
    b = torch.tensor([0.56], dtype=torch.float64)
    points = fixed_points(of, torch.linspace(-1, 1, 41, dtype=torch.float64)[:, None], input=b)
    assert points.sizes["fixed_point"] == 1
    assert {1, 2} <= set(points["status"].values)
    assert (points["root"].values[points["status"].values == 2] == -1).all()


def test_a_state_that_leaves() -> None:
    of = CallableMap(lambda x, u: x + torch.exp(-x), 1)  # its only root is at infinity
    points = fixed_points(of, float64((16, 1)))
    assert points.sizes["fixed_point"] == 0
    assert set(points["status"].values) <= {0, 2, 3}


def test_one_start_is_enough() -> None:
    points = fixed_points(product_elman(3, 4), torch.full((1, 4), 0.9))
    assert counts(points) == [8, 12, 6, 1]


@pytest.mark.parametrize("model", ["s4d", "mamba", "tcn", "rnn", "gru", "lstm"])
def test_neither_model_nor_starts_change(model: str) -> None:
    network = build_model(model, SPEC, {"width": 6}).train()
    next(network.parameters()).requires_grad_(False)
    wanted = [p.requires_grad for p in network.parameters()]
    before = copy.deepcopy(network.state_dict())
    starts = 5 * float64((8, network.state_size(1)))
    kept = starts.clone()
    fixed_points(network, starts)
    assert torch.equal(starts, kept)
    assert network.training
    assert [p.requires_grad for p in network.parameters()] == wanted
    assert {p.dtype for p in network.parameters()} == {torch.float32}
    assert all(torch.equal(v, before[k]) for k, v in network.state_dict().items())


@pytest.mark.parametrize(
    "module",
    [nn.GRU(2, 5), nn.GRU(2, 5, 2), nn.GRUCell(2, 5), nn.LSTM(2, 4), nn.RNN(2, 5)],
    ids=lambda m: f"{type(m).__name__}-{getattr(m, 'num_layers', 1)}",
)
def test_modules_of_torch(module: nn.Module) -> None:
    from seqprobe.dynamics import state_map

    of = state_map(module)
    points = fixed_points(module, float64((16, of.size)))
    assert points.sizes["fixed_point"] >= 1
    assert float(points["certificate"].max()) < 1e-9
    x, u = torch.from_numpy(points["x"].values), torch.zeros(2, dtype=torch.float64)
    torch.testing.assert_close(of.step(x, u), x, atol=1e-12, rtol=0)


def test_named_parts_are_starts_too() -> None:
    network = build_model("lstm", SPEC, {"width": 4})
    state = {name: torch.randn(9, 4) for name in network.init_state(1)}
    assert fixed_points(network, state).sizes["start"] == 9


def test_a_result_is_read_back_as_it_was(tmp_path: Path) -> None:
    network = build_model("gru", SPEC, {"width": 6})
    for points in (
        fixed_points(network, float64((8, 6))),
        fixed_points(CallableMap(lambda x, u: x + 1.0, 2), float64((4, 2))),
    ):
        schema.write(points, tmp_path / "x.nc")
        assert schema.read(tmp_path / "x.nc").identical(points)


def _network() -> StateMap:
    return ElmanMap(float64((4, 4)), float64((4, 2), 1), torch.zeros(4).double())


@pytest.mark.parametrize(
    ("starts", "held", "message"),
    [
        (torch.zeros(0, 4), None, "no starts were given"),
        (torch.zeros(3, 5), None, r"shape \(3, 5\) \(allowed: \(S, 4\)"),
        (torch.zeros(4), None, r"shape \(4,\)"),
        (torch.full((2, 4), torch.nan), None, "not finite"),
        (torch.zeros(2, 4), torch.zeros(3), r"the model reads \(2,\)"),
        (torch.zeros(2, 4), torch.zeros(3, 2), "3 inputs for 2 starts"),
        (torch.zeros(2, 4), torch.full((2,), torch.inf), "not finite"),
        (torch.zeros(2, 4), torch.tensor(1.0), r"the model reads \(2,\)"),
    ],
)
def test_bad_starts_and_inputs(starts: Tensor, held: Tensor | None, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        fixed_points(_network(), starts, input=held)


def test_refusals() -> None:
    with pytest.raises(NotApplicableError, match="grows with time"):
        fixed_points(build_model("transformer", SPEC, {"width": 8}), torch.zeros(1, 8))
    network = build_model("rnn", SPEC, {"width": 4})
    with torch.no_grad():
        network.core.layers[0].bias[1] = torch.inf  # type: ignore[union-attr,index]
    with pytest.raises(SeqprobeError, match="NaN or infinite"):
        fixed_points(network, torch.zeros(1, 4))


class TestSampledStates:
    def test_lie_on_trajectories_without_noise(self) -> None:
        network = build_model("gru", SPEC, {"width": 4})
        x = torch.randn(5, 7, 3)
        states = sample_states(network, x, 20, noise=0)
        with torch.no_grad():
            met, state = [], network.init_state(5)
            for x_t in x.unbind(1):
                _, state = network.step(x_t, state)
                met.append(state["layer0.h"])
        distance = torch.cdist(states, torch.cat(met).double()).min(dim=1)[0]
        assert float(distance.max()) < 1e-6
        assert len(states.unique(dim=0)) == 20

    def test_noise_is_in_standard_deviations(self) -> None:
        network = build_model("rnn", SPEC, {"width": 16})
        x = torch.randn(64, 20, 3)
        clean = sample_states(network, x, 1000, noise=0)
        noisy = sample_states(network, x, 1000, noise=0.5)
        spread = clean.var(dim=0).mean().sqrt()
        assert float((noisy - clean).std() / spread) == pytest.approx(0.5, rel=0.05)

    def test_more_states_than_steps_are_drawn_again(self) -> None:
        network = build_model("rnn", SPEC, {"width": 4})
        assert sample_states(network, torch.randn(2, 3, 3), 50).shape == (50, 4)

    @pytest.mark.parametrize(
        ("number", "noise", "message"), [(0, 0.1, "0 starts"), (4, -1.0, "noise is -1")]
    )
    def test_bad_numbers(self, number: int, noise: float, message: str) -> None:
        network = build_model("rnn", SPEC, {"width": 4})
        with pytest.raises(UsageError, match=message):
            sample_states(network, torch.randn(2, 3, 3), number, noise=noise)

    def test_a_state_that_explodes_is_named(self) -> None:
        of = CallableMap(lambda x, u: 1e200 * x * x + u, 1, 1)
        with pytest.raises(SeqprobeError, match="not finite from step 2 on"):
            sample_states(of, torch.ones(1, 9, 1), 4)
