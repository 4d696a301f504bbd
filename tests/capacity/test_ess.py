"""Effective state size: linear systems whose order is known, the dense form, the trained zoo."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from cases import CAUSAL, Case
from reference.stores import MatrixOperator
from reference.systems import Linear, delay_line
from seqprobe import schema
from seqprobe.capacity import (
    LinearSystem,
    effective_state_size,
    hankel_singular_values,
    linear_state_size,
)
from seqprobe.capacity.past_to_future import (
    LinearMap,
    full_jacobian,
    leading_singular_values,
    past_to_future,
)
from seqprobe.capacity.spectra import count_above, entropy_size
from seqprobe.errors import NotApplicableError, UsageError
from seqprobe.models import build_model
from seqprobe.models.s4d import S4DBlock
from seqprobe.spec import Spec
from seqprobe.training import load_checkpoint

ZOO = sorted((Path(__file__).resolve().parents[2] / "checkpoints" / "delay").glob("*.pt"))
POLES = np.array([0.99, 0.9, 0.6, -0.7, 0.3])


def diagonal(poles: np.ndarray, c: np.ndarray | None = None) -> LinearSystem:
    n = len(poles)
    return LinearSystem(poles, np.ones((n, 1)), np.ones((1, n)) if c is None else c)


def as_module(system: LinearSystem) -> Linear:
    a = np.diag(system.a) if system.a.ndim == 1 else system.a
    return Linear(*(torch.from_numpy(part) for part in (a, system.b, system.c)))


def sizes(module: torch.nn.Module, length: int, tolerance: float = 1e-9, d: int = 1) -> list[int]:
    x = torch.randn(1, length, d, dtype=torch.float64)
    cuts = range(1, length)
    result = effective_state_size(module, x, positions=cuts, tolerances=[tolerance])
    return [int(value) for value in result["ess"].values[:, 0]]


def test_a_diagonal_system_has_its_poles_with_a_ramp_at_both_ends() -> None:
    ramp = [1, 2, 3, 4] + [5] * 39 + [4, 3, 2, 1]
    assert sizes(as_module(diagonal(POLES)), 48) == ramp
    closed = linear_state_size(
        diagonal(POLES), length=48, positions=range(1, 48), tolerances=[1e-9, 1e-3]
    )
    assert closed["ess"].values[0, :, 0].tolist() == ramp
    assert closed["ess"].values[0, 23, 1] == 4  # at 1e-3 the fastest pole is gone
    assert closed["tss"].values.tolist() == ramp


def test_equal_poles_count_once_and_unseen_modes_not_at_all() -> None:
    assert sizes(as_module(diagonal(np.full(3, 0.9))), 20)[9] == 1
    unseen = diagonal(np.array([0.9, 0.5, -0.3]), np.array([[1.0, 0.0, 1.0]]))
    assert sizes(as_module(unseen), 20)[9] == 2
    assert linear_state_size(unseen, length=20, tolerances=[1e-9])["ess"].values[0, 1, 0] == 2


def test_a_filter_of_k_taps_has_k_minus_one() -> None:
    taps = torch.linspace(1.0, 2.0, 5).double()
    matrix = sum(tap * torch.diag(torch.ones(20 - k), -k) for k, tap in enumerate(taps))
    assert isinstance(matrix, torch.Tensor)
    assert sizes(MatrixOperator(matrix.double()), 20)[9] == 4


def test_a_delay_has_its_steps_all_of_one_size() -> None:
    # Of a line of D cells that shows the last one, the input is D - 1 steps back.
    found = sizes(delay_line(7), 24)
    assert found == [min(i, 6, 24 - i) for i in range(1, 24)]
    x = torch.randn(1, 24, 1, dtype=torch.float64)
    result = effective_state_size(delay_line(7), x, positions=[12])
    assert float(result["ess_entropy"][0]) == pytest.approx(6, abs=1e-9)


def test_random_attention_has_all_it_can_have() -> None:
    rng = np.random.default_rng(0)
    weights = np.exp(rng.standard_normal((32, 32))) * np.tri(32)
    matrix = torch.from_numpy(weights / weights.sum(axis=1, keepdims=True))
    found = sizes(MatrixOperator(matrix), 32, tolerance=1e-10)
    assert found == [min(i, 32 - i) for i in range(1, 32)]


def test_several_inputs_and_outputs() -> None:
    rng = np.random.default_rng(1)
    system = LinearSystem(
        0.5 * rng.standard_normal((4, 4)), rng.standard_normal((4, 2)), rng.standard_normal((3, 4))
    )
    expected = [min(4, 2 * i, 3 * (20 - i)) for i in range(1, 20)]
    assert sizes(as_module(system), 20, d=2) == expected
    closed = linear_state_size(system, length=20, positions=range(1, 20), tolerances=[1e-9])
    assert closed["ess"].values[0, :, 0].tolist() == expected


def test_closed_form_equals_the_jacobian() -> None:
    x = torch.randn(1, 30, 1, dtype=torch.float64)
    system = diagonal(POLES)
    dense = effective_state_size(as_module(system), x, positions=[11])["sigma"].values[0, 0]
    closed = hankel_singular_values(system, 11, 19)
    np.testing.assert_allclose(closed, dense[:5], rtol=1e-9, atol=1e-12)


def test_closed_form_of_an_s4d_channel_equals_its_convolution() -> None:
    block = S4DBlock(3, 6).double()
    result = linear_state_size(block, length=24, positions=[10])
    assert result["sigma"].shape == (3, 1, 6)
    log_pole, drive, readout = (part.detach().numpy() for part in block.system())
    for channel in range(3):
        lags = np.arange(1, 24)[:, None]
        terms = readout[channel] * drive[channel] * np.exp(log_pole[channel] * lags)
        kernel = np.concatenate([[0.0], 2 * terms.sum(axis=1).real])
        hankel = np.array([[kernel[t - s] for s in range(10)] for t in range(10, 24)])
        sigma = np.linalg.svd(hankel, compute_uv=False)
        found = result["sigma"].values[channel, 0]
        np.testing.assert_allclose(found, sigma[:6], rtol=1e-7, atol=1e-12)


@pytest.mark.parametrize("case", CAUSAL[::2], ids=str)
def test_the_block_is_the_jacobian_of_any_architecture(case: Case) -> None:
    """Products forwards and backwards, against ``torch.func.jacrev`` where it is, else backward."""
    model = case.build().double().eval()
    x = case.inputs(1, 7)[0]
    jacobian = full_jacobian(model, x)
    outputs = jacobian.shape[1]
    block = past_to_future(model, x, 3, outputs)
    wanted = jacobian[3:, :, :3].reshape(4 * outputs, -1)
    rng = np.random.default_rng(0)
    v, u = rng.standard_normal((3, block.shape[1])), rng.standard_normal((3, block.shape[0]))
    scale = np.abs(wanted).max() + 1e-12
    np.testing.assert_allclose(block.forward(v), v @ wanted.T, atol=1e-9 * scale)
    np.testing.assert_allclose(block.adjoint(u), u @ wanted, atol=1e-9 * scale)
    # Nothing flows from the future to the past.
    size = 1e-12 * scale if not model.exact_causality else 0.0
    assert np.abs(jacobian[:3, :, 3:]).max() <= size


def test_randomised_equals_dense_down_to_its_floor() -> None:
    model = build_model("gru", Spec("continuous", 3, "regression", 8), {"width": 32}, seed=0)
    x = torch.randn(2, 60, 3, dtype=torch.float64)
    dense = effective_state_size(model, x, method="dense", tolerances=[0.1, 0.01])
    rand = effective_state_size(model, x, method="randomised", tolerances=[0.1, 0.01, 1e-6])
    np.testing.assert_allclose(rand["ess"].values[:, :2], dense["ess"].values)
    assert np.isnan(rand["ess"].values[:, 2]).all()  # below what was resolved
    there = rand["sigma"].notnull().values
    count = there.shape[2]
    np.testing.assert_allclose(
        rand["sigma"].values[there], dense["sigma"].values[..., :count][there], rtol=1e-3
    )
    assert int(there.sum(axis=2).max()) < dense["sigma"].shape[2] / 3


def test_projections_cost_about_the_rank() -> None:
    rng = np.random.default_rng(0)
    matrix = rng.standard_normal((400, 12)) @ rng.standard_normal((12, 300))
    products = 0

    def forward(rows: np.ndarray) -> np.ndarray:
        nonlocal products
        products += len(rows)
        return rows @ matrix.T

    def adjoint(rows: np.ndarray) -> np.ndarray:
        nonlocal products
        products += len(rows)
        return rows @ matrix

    found = leading_singular_values(LinearMap(matrix.shape, forward, adjoint), 1e-9, rng)
    exact = np.linalg.svd(matrix, compute_uv=False)[:12]
    np.testing.assert_allclose(found.sigma, exact, rtol=1e-9)
    assert products <= 6 * 26  # three passes there and back for 16 + 10 directions


@pytest.mark.parametrize("spectrum", ["slow", "step"])
def test_projections_find_all_above_their_floor(spectrum: str) -> None:
    """Where nothing separates the values above .01 of the largest from those below."""
    rng = np.random.default_rng(0)
    sigma = {
        "slow": 1 / np.arange(1, 301),
        "step": np.concatenate([np.ones(10), np.linspace(0.015, 0.005, 290)]),
    }[spectrum]
    left, right = (np.linalg.qr(rng.standard_normal((300, 300)))[0] for _ in range(2))
    matrix = left * sigma @ right
    block = LinearMap((300, 300), lambda v: v @ matrix.T, lambda u: u @ matrix)
    found = leading_singular_values(block, 0.01, rng)
    assert abs(int((found.sigma > 0.01).sum()) - int((sigma > 0.01).sum())) <= 1


@pytest.mark.parametrize("path", ZOO, ids=lambda path: path.stem)
def test_every_network_that_recalls_twenty_steps_has_size_twenty(path: Path) -> None:
    """Case 31: the window of 20 inputs that the task needs, in every architecture."""
    checkpoint = load_checkpoint(path)
    assert checkpoint.solved
    batch = checkpoint.build_task().batch("test", 6)
    result = effective_state_size(checkpoint.build_model(), batch)
    schema.validate(result)
    assert result["time"].values.tolist() == [24, 48, 72]
    assert (result["ess"].sel({"tolerance": 0.1}) == 20).all()
    entropy = result["ess_entropy"].values
    assert (entropy > 19.5).all()
    # Networks without gates leak a little of everything; the state space model most.
    limit = {"s4d": 25.0, "transformer": 22.5, "rnn": 21.5}.get(checkpoint.model["name"], 21.5)
    assert (entropy < limit).all()


def test_counts_and_entropies_of_plain_lists() -> None:
    assert count_above(np.array([1.0, 0.5, 0.01]), np.array([0.1, 0.001])).tolist() == [2, 3]
    assert count_above(np.zeros(3), np.array([0.1])).tolist() == [0]
    assert entropy_size(np.ones(7)) == pytest.approx(7)
    assert entropy_size(np.zeros(3)) == 0


def test_a_model_without_memory_has_size_zero() -> None:
    class Memoryless(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return 2 * x

    result = effective_state_size(Memoryless(), torch.randn(2, 8, 1))
    assert (result["ess"] == 0).all()
    assert (result["ess_entropy"] == 0).all()


def test_impossible_requests_are_refused() -> None:
    x = torch.randn(2, 8, 1, dtype=torch.float64)
    with pytest.raises(UsageError, match="position 8 does not cut sequences of 8 steps in two"):
        effective_state_size(delay_line(3), x, positions=[4, 8])
    with pytest.raises(UsageError, match="no position"):
        effective_state_size(delay_line(3), x[:, :1])
    with pytest.raises(UsageError, match="tolerances are"):
        effective_state_size(delay_line(3), x, tolerances=[0.1, 1.5])
    model = build_model("bi-gru", Spec("continuous", 1, "regression", 1), {"width": 4})
    with pytest.raises(NotApplicableError, match="bidirectional"):
        effective_state_size(model, x)
    with pytest.raises(UsageError, match="system has shapes"):
        hankel_singular_values(LinearSystem(np.ones(3), np.ones((2, 1)), np.ones((1, 3))), 4, 4)
