"""Known answers of the gradient profile, its precision report, and what it refuses."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr
from torch import Tensor, nn

from cases import CAUSAL, Case
from reference import naive, systems
from seqprobe.errors import NotApplicableError, SeqprobeError, UsageError
from seqprobe.memory import gradient_profile
from seqprobe.memory.jacobian import orthonormal_probes, squared_jacobians
from seqprobe.models import build_model
from seqprobe.models.access import in_dtype
from seqprobe.spec import Spec
from seqprobe.tasks import make_task


def white(n: int, length: int, dims: int = 1, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n, length, dims, generator=generator, dtype=torch.float64)


def profile(model: nn.Module, x: Tensor, **options: Any) -> xr.Dataset:
    return gradient_profile(model, x, **options)


@pytest.mark.parametrize("decay", [0.5, 0.7, 0.9])
def test_scalar_network_decays_as_its_eigenvalue(decay: float) -> None:
    result = profile(systems.scalar(decay), white(4, 90), max_lag=60)
    np.testing.assert_allclose(result["G"], decay ** np.arange(61), rtol=1e-12)
    np.testing.assert_allclose(result["half_life"], math.log(0.5) / math.log(decay), rtol=1e-8)
    assert int(result["peak_lag"]) == 0
    crossing = [math.floor(math.log(eps) / math.log(decay)) for eps in (0.1, 0.01, 0.001)]
    assert result["threshold_length"].values.tolist() == [min(60, k) for k in crossing]


def test_half_life_of_point_nine() -> None:
    result = profile(systems.scalar(0.9), white(4, 90), max_lag=60)
    assert float(result["half_life"]) == pytest.approx(6.5788, abs=1e-4)
    assert float(result["half_life"]) / math.log(2) == pytest.approx(9.49122, abs=1e-5)


@pytest.mark.parametrize("cells", [1, 4, 21])
def test_delay_line_peaks_at_its_last_cell(cells: int) -> None:
    result = profile(systems.delay_line(cells), white(3, 60))
    expected = np.zeros(41)
    expected[cells - 1] = 1
    np.testing.assert_array_equal(result["G"], expected)
    assert int(result["peak_lag"]) == cells - 1
    assert int(result["structural_zero"]) == cells
    assert result["mass_quantile"].values.tolist() == [cells - 1] * 3


def test_delay_task_peaks_at_the_delay() -> None:
    assert int(profile(systems.Delay(20), white(3, 96))["peak_lag"]) == 20


def test_complex_pair_oscillates_in_one_unit_and_not_in_the_state() -> None:
    radius, angle, lags = 0.95, 0.4, np.arange(41)
    one = profile(systems.rotation(radius, angle, full=False), white(2, 60))
    np.testing.assert_allclose(one["G"], radius**lags * abs(np.cos(lags * angle)), atol=1e-14)
    both = profile(systems.rotation(radius, angle, full=True), white(2, 60))
    np.testing.assert_allclose(both["G"], radius**lags, rtol=1e-12)


def test_non_normal_chain_grows_and_stops() -> None:
    result = profile(systems.chain(1.3, 40), white(2, 120), max_lag=60, n_probes=40)
    np.testing.assert_allclose(result["G"][:40], 1.3 ** np.arange(40), rtol=1e-12)
    assert float(result["G"][5]) == pytest.approx(3.71293, abs=1e-5)
    np.testing.assert_array_equal(result["G"][40:], 0)
    assert int(result["structural_zero"]) == 40
    assert int(result["peak_lag"]) == 39


def test_uniform_attention_is_flat_and_depends_on_time() -> None:
    result = profile(systems.UniformAttention(), white(2, 30), max_lag=15, n_times=15)
    norms = np.sqrt(result["jac_norm2"].values)
    expected = 1 / (result["time"].values + 1)
    np.testing.assert_allclose(norms, np.broadcast_to(expected[:, None], norms.shape), rtol=1e-12)
    assert math.isnan(float(result["half_life"]))


def test_finite_impulse_response_shares() -> None:
    result = profile(systems.FIR([0.5, 1.0, 0.25]), white(2, 30))
    np.testing.assert_allclose(result["share"][:3], [0.190476, 0.761905, 0.047619], atol=1e-6)
    assert float(result["mean_lag"]) == pytest.approx(0.857143, abs=1e-6)


def test_parity_has_no_gradient_and_the_product_has() -> None:
    dead = profile(systems.Parity(), white(4, 30))
    np.testing.assert_array_equal(dead["G"], 0)
    assert math.isnan(float(dead["peak_lag"]))
    assert np.isnan(dead["share"]).all()
    assert int(dead["structural_zero"]) == 0
    product = profile(systems.Product(), white(2000, 6), max_lag=4, n_times=1)
    np.testing.assert_allclose(product["G"][:5], [0, 1, 1, 0, 0], atol=0.06)


@pytest.mark.slow
def test_the_interval_covers_a_known_value() -> None:
    """G(1) of the product is the rms of a standard normal, 1: 95 % of intervals must hold it."""
    covered = 0
    for seed in range(200):
        result = profile(
            systems.Product(), white(100, 4, seed=seed), max_lag=2, n_times=1, seed=seed
        )
        low, high = result["G_ci"][:, 1].values
        covered += low <= 1 <= high
    assert 0.89 <= covered / 200 <= 0.99


@pytest.mark.parametrize("case", [c for c in CAUSAL if c.spec.input_kind == "continuous"], ids=str)
def test_replicated_rows_equal_the_naive_loop(case: Case) -> None:
    model = case.build().double().eval()
    x = case.inputs(3, 14)
    times, max_lag = [8, 10, 13], 8
    fast = squared_jacobians(model, x, times, torch.eye(2).double(), max_lag)
    slow = naive.squared_jacobians(model, x, times, max_lag)
    np.testing.assert_allclose(fast, slow, rtol=1e-9, atol=1e-20)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_result_does_not_depend_on_the_chunks(
    dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = in_dtype(build_model("gru", Spec("continuous", 2, "class", 3)), dtype).eval()
    x = white(5, 20, 2).to(dtype)
    whole = squared_jacobians(model, x, [12, 19], torch.eye(3, dtype=dtype), 12)
    monkeypatch.setattr("seqprobe.memory.jacobian._CHUNK", 50)
    pieces = squared_jacobians(model, x, [12, 19], torch.eye(3, dtype=dtype), 12)
    np.testing.assert_allclose(pieces, whole, rtol=1e-4 if dtype == torch.float32 else 1e-10)


def test_probes_are_exact_when_complete_and_unbiased_when_not() -> None:
    model = systems.Linear(
        0.8 * torch.eye(6).double(), white(1, 6, 6)[0], white(1, 10, 6, seed=1)[0]
    )
    x = white(1, 8, 6)
    exact = naive.squared_jacobians(model, x, [7], 3)[0, 0]
    rng = np.random.default_rng(0)
    with torch.no_grad():
        estimates = np.stack(
            [
                squared_jacobians(
                    model, x, [7], torch.from_numpy(orthonormal_probes(10, 1, rng)), 3
                )[0, 0]
                for _ in range(2000)
            ]
        )
    error = estimates.std(axis=0) / math.sqrt(len(estimates))
    assert (abs(estimates.mean(axis=0) - exact) < 4 * error).all()
    rotated = torch.from_numpy(orthonormal_probes(10, 9, rng))
    assert rotated.shape == (9, 10)
    np.testing.assert_allclose(rotated @ rotated.T, 10 / 9 * np.eye(9), atol=1e-12)
    np.testing.assert_array_equal(orthonormal_probes(10, 10, rng), np.eye(10))


def test_logits_are_centred() -> None:
    """A constant added to all logits by an input must not count."""

    class Shift(nn.Module):
        spec = Spec("continuous", 1, "class", 3)

        def forward(self, x: Tensor) -> Tensor:
            past: Tensor = systems.Delay(2)(x)
            return x * torch.tensor([1.0, 0.0, 0.0]).double() + 100 * past

    result = profile(Shift(), white(2, 12))
    np.testing.assert_allclose(result["G"][0], math.sqrt(2 / 3), rtol=1e-12)
    np.testing.assert_allclose(result["G"][1:], 0, atol=1e-12)
    assert result.attrs["functional"] == "centred logits"


def test_last_step_tasks_use_the_last_step_only() -> None:
    model = build_model("gru", Spec("continuous", 1, "class", 4, "last"), {"width": 5})
    result = gradient_profile(model, white(3, 17))
    assert result["time"].values.tolist() == [16]
    assert result.sizes["lag"] == 17


def test_output_times_leave_room_for_every_lag() -> None:
    result = profile(systems.scalar(0.5), white(2, 96))
    assert result.sizes["lag"] == 65
    assert result["time"].min() == 64
    assert result["time"].max() == 95


def test_float32_underflow_is_reported_and_is_not_structure() -> None:
    single = systems.scalar(0.5, torch.float32)
    result = profile(single, white(2, 420), max_lag=400, n_times=2)
    assert int(result["underflow_lag"]) == 150
    assert float(result["G"][150]) == 0
    assert math.isnan(float(result["structural_zero"]))
    assert 0 < float(result["noise_floor"]) < 1e-40
    exact = profile(single, white(2, 420), max_lag=400, n_times=2, dtype=torch.float64)
    assert (exact["G"] > 0).all()
    assert math.isnan(float(exact["underflow_lag"]))


def test_float64_deviation_finds_lost_digits() -> None:
    class Cancelling(nn.Module):
        """Adds and subtracts 1e6 x_{t-1}: float32 keeps few digits of what is left."""

        def __init__(self) -> None:
            super().__init__()
            self.gain = nn.Parameter(torch.tensor(1e6 / 3))

        def forward(self, x: Tensor) -> Tensor:
            past: Tensor = systems.Delay(1)(x)
            return (self.gain + 0.01) * past - self.gain * past

    result = profile(Cancelling(), white(2, 12))
    assert float(result["float64_deviation"]) > 0.01
    fine = profile(systems.scalar(0.9, torch.float32), white(2, 30))
    assert float(fine["float64_deviation"]) < 1e-5


def test_float64_run_has_nothing_to_compare_with() -> None:
    assert math.isnan(float(profile(systems.scalar(0.9), white(2, 30))["float64_deviation"]))


def test_underflow_between_taps_does_not_hide_the_structural_zero() -> None:
    taps = [1.0, 0.0, 0.0, 1e-60, 0.0, 1.0]
    single = profile(Weighted(taps), white(2, 20), n_times=2)
    assert int(single["underflow_lag"]) == 3
    assert int(single["structural_zero"]) == 6


class Weighted(systems.FIR):
    """A filter that has a float32 parameter, so that it is compared with float64."""

    def __init__(self, weights: list[float]) -> None:
        super().__init__(weights)
        self.unused = nn.Parameter(torch.zeros(1))


def test_inputs_that_never_vary_are_told_apart() -> None:
    x = white(50, 6)
    x[:, 2] = 0.7
    x[:, 4] *= 3
    result = profile(systems.FIR([1.0, 1.0, 1.0, 1.0, 1.0]), x, max_lag=4, n_times=1)
    np.testing.assert_allclose(result["G"], 1, rtol=1e-12)
    sd = x.std(dim=0)[:, 0].numpy()
    np.testing.assert_allclose(result["G_sd"], sd[4::-1], rtol=1e-12)  # t is 4
    assert float(result["G_sd"][2]) == 0
    assert float(result["constant_share"]) == pytest.approx(1 / 5)


def test_complex_weights_keep_their_imaginary_part_in_float64() -> None:
    lags = np.arange(21)
    expected = 0.9**lags * np.abs(np.cos(0.7 * lags))
    model = systems.ComplexMode(0.9, 0.7)
    single = profile(model, white(2, 30), max_lag=20)
    np.testing.assert_allclose(single["G"], expected, atol=1e-5)
    assert float(single["float64_deviation"]) < 1e-3
    double = profile(model, white(2, 30), max_lag=20, dtype=torch.float64)
    np.testing.assert_allclose(double["G"], expected, atol=1e-6)
    assert model.pole.dtype == torch.complex64


def test_structural_zero_of_a_tcn_is_its_receptive_field() -> None:
    config = {"width": 6, "kernel": 5, "layers": 3}
    model = build_model("tcn", Spec("continuous", 1, "regression", 1), config, seed=1)
    result = gradient_profile(model, white(8, 96))
    assert int(result["receptive_field"]) == 57
    assert int(result["structural_zero"]) <= 57
    np.testing.assert_array_equal(result["G"][57:], 0)


def test_tokens_are_measured_at_the_embedding() -> None:
    model = build_model("lstm", Spec("token", 7, "class", 7), {"width": 6})
    result = gradient_profile(model, torch.randint(7, (4, 20)))
    assert (result["G"] > 0).all()
    with pytest.raises(NotApplicableError, match="no 'embed' method"):
        gradient_profile(systems.Delay(1), torch.randint(7, (4, 20)))


def test_the_model_is_left_as_it_was() -> None:
    model = build_model("tcn", Spec("continuous", 1, "regression", 1), {"dropout": 0.5}).train()
    model.core.eval()
    model.head.bias.requires_grad_(False)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    modes = [module.training for module in model.modules()]
    gradient_profile(model, white(2, 20))
    assert [module.training for module in model.modules()] == modes
    assert not model.head.bias.requires_grad
    assert model.head.weight.requires_grad
    assert all(p.grad is None and p.dtype == torch.float32 for p in model.parameters())
    assert all(torch.equal(model.state_dict()[name], value) for name, value in before.items())


def test_same_seed_same_numbers() -> None:
    model = build_model("gru", Spec("continuous", 1, "regression", 1))
    a, b = (gradient_profile(model, white(6, 30), seed=3).drop_attrs() for _ in range(2))
    xr.testing.assert_identical(a, b)


def _nan_model() -> nn.Module:
    model = systems.scalar(0.5)
    model.a.data.fill_(math.nan)
    return model


@pytest.mark.parametrize(
    ("make", "options", "error", "message"),
    [
        (systems.Bidirectional, {}, NotApplicableError, "not causal: an input at step 10 changed"),
        (_nan_model, {}, SeqprobeError, "not finite from step 0 on"),
        (lambda: systems.Delay(1), {"max_lag": 20}, UsageError, r"allowed: 0 to 19"),
        (lambda: systems.Delay(1), {"n_times": 0}, UsageError, "at least 1"),
        (lambda: systems.Delay(1), {"n_probes": 2}, UsageError, "2 probes for 1 outputs"),
    ],
)
def test_what_cannot_be_measured_is_refused(
    make: Callable[[], nn.Module], options: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        gradient_profile(make(), white(2, 20), **options)


def test_declared_bidirectional_model_is_refused() -> None:
    model = systems.Delay(1)
    model.causal = False  # type: ignore[assignment]
    with pytest.raises(NotApplicableError, match="bidirectional"):
        gradient_profile(model, white(2, 20))


def test_exploding_gradient_names_its_lag() -> None:
    model = systems.scalar(10.0, torch.float32)
    x = torch.zeros(2, 60, 1)
    with pytest.raises(SeqprobeError, match="gradient is not finite from lag 39 on"):
        gradient_profile(model, x, max_lag=50)


def test_result_says_where_it_comes_from() -> None:
    model = build_model("gru", make_task("delay").spec, {"width": 4})
    attrs = gradient_profile(model, make_task("delay").batch("test", 3), seed=5).attrs
    assert attrs["analysis"] == "memory.gradient_profile"
    assert attrs["model"] == "gru"
    assert attrs["seed"] == 5
    assert attrs["dtype"] == "float32"
    assert '"n_sequences": 3' in attrs["parameters"]
