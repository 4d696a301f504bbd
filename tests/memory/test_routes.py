"""All routes to the gradient profile agree; time bins, tails and receptive fields are known."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.func import jacrev

from cases import CAUSAL, Case
from memory.conftest import white
from reference import naive, systems
from seqprobe import Spec, build_model
from seqprobe.errors import NotApplicableError, UsageError
from seqprobe.memory import gradient_profile, receptive_field
from seqprobe.memory.adjoint import adjoint_jacobians, has_adjoint
from seqprobe.memory.functionals import fit_tail
from seqprobe.memory.jacobian import orthonormal_probes, squared_jacobians
from seqprobe.memory.whitening import inverse_root
from seqprobe.models.access import borrowed, first_output

RECURRENT = [case for case in CAUSAL if has_adjoint(case.build())]


def test_which_models_have_the_recursion() -> None:
    kinds = {(c.model, *sorted(c.config.items())) for c in RECURRENT}
    assert {c.model for c in RECURRENT} == {"rnn", "irnn", "gru", "lstm"}
    assert ("gru", ("layers", 2), ("reset", "before"), ("width", 8)) not in kinds
    assert not has_adjoint(build_model("bi-rnn", Spec("continuous", 1, "class", 2)))
    assert not has_adjoint(systems.scalar(0.5))


@pytest.mark.parametrize("case", RECURRENT, ids=str)
def test_adjoint_recursion_equals_the_naive_loop(case: Case) -> None:
    """Case 7: to 1e-9 in float64, over two layers, with several times, probes and scales."""
    model = case.build().double().eval()
    x = model.embed(case.inputs(3, 18)).detach().double()
    times, max_lag = [8, 9, 13, 17], 8
    with borrowed(model):
        fast = adjoint_jacobians(
            model, x, times, torch.eye(case.spec.output_size).double(), max_lag
        )
        slow = naive.squared_jacobians(model, x, times, max_lag)
    np.testing.assert_allclose(fast, slow, rtol=1e-9, atol=1e-20)
    rng = np.random.default_rng(0)
    probes = torch.from_numpy(orthonormal_probes(case.spec.output_size, 1, rng))
    scales = torch.from_numpy(rng.uniform(0, 2, (2, 18, x.shape[2])))
    arguments: Any = (model, x, times, probes, max_lag, scales)
    with borrowed(model):
        np.testing.assert_allclose(
            adjoint_jacobians(*arguments), squared_jacobians(*arguments), rtol=1e-9, atol=1e-20
        )


@pytest.mark.parametrize("name", ["rnn", "irnn", "gru", "lstm"])
def test_recursion_over_a_long_sequence(name: str) -> None:
    model = build_model(name, Spec("continuous", 2, "regression", 3), {"width": 16}).double()
    x = white(2, 64, 2)
    results = [gradient_profile(model, x, route=route) for route in ("adjoint", "replicate")]
    np.testing.assert_allclose(results[0]["G"], results[1]["G"], rtol=1e-9)
    assert [r.attrs["route"] for r in results] == ["adjoint", "replicate"]
    assert gradient_profile(model, x, n_times=2).attrs["route"] == "adjoint"


def test_output_times_further_apart_than_the_lags() -> None:
    model = build_model("gru", Spec("continuous", 1, "regression", 1), {"width": 6}).double()
    both = [
        gradient_profile(model, white(3, 100), max_lag=3, n_times=2, route=route)["jac_norm2"]
        for route in ("adjoint", "replicate")
    ]
    np.testing.assert_allclose(both[0], both[1], rtol=1e-9)


def test_chunks_of_sequences_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    model = build_model("gru", Spec("continuous", 1, "regression", 1), {"width": 6}).double()
    whole = gradient_profile(model, white(7, 20))["jac_norm2"]
    monkeypatch.setattr("seqprobe.memory.adjoint._CHUNK", 1)
    np.testing.assert_allclose(
        gradient_profile(model, white(7, 20))["jac_norm2"], whole, rtol=1e-12
    )


def test_recursion_is_refused_where_there_is_none() -> None:
    model = build_model("tcn", Spec("continuous", 1, "regression", 1))
    with pytest.raises(NotApplicableError, match="no adjoint recursion for tcn"):
        gradient_profile(model, white(2, 20).float(), route="adjoint")


@pytest.mark.parametrize(
    "case", [c for c in CAUSAL if c.spec.input_kind == "continuous"][::2], ids=str
)
def test_jacrev_and_differences_agree_with_the_rows(case: Case) -> None:
    """Case 7: functional Jacobians to 1e-9, central differences to 1e-3."""
    model = case.build().double().eval()
    x = case.inputs(1, 10)
    t, max_lag = 9, 9
    with borrowed(model):
        ours = squared_jacobians(model, x, [t], torch.eye(2).double(), max_lag)[0, 0]

        def last(inputs: Tensor) -> Tensor:
            return first_output(model, inputs[None])[0, t]

        with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
            if case.model != "lstm" or case.config.get("cifg") or case.config.get("peephole"):
                full = jacrev(last)(x[0])
                square = full.square().sum(dim=(0, 2)).flip(0).numpy()
                np.testing.assert_allclose(ours, square, rtol=1e-9, atol=1e-18)
        step, total = 1e-5, np.zeros(10)
        for s in range(10):
            for d in range(x.shape[2]):
                push = torch.zeros_like(x[0])
                push[s, d] = step
                slope = (last(x[0] + push) - last(x[0] - push)) / (2 * step)
                total[t - s] += float(slope.square().sum())
    np.testing.assert_allclose(ours, total, rtol=1e-3, atol=1e-12)


@pytest.mark.slow
def test_interval_of_one_probe_covers_the_exact_value() -> None:
    """Case 8: with one probe per row, 93 to 97 % of 500 repeats hold the exact G^2."""
    rng = np.random.default_rng(0)
    c = torch.from_numpy(rng.standard_normal((10, 6)))
    a = 0.8 * torch.from_numpy(np.linalg.qr(rng.standard_normal((6, 6)))[0])
    model = systems.Linear(a, torch.from_numpy(rng.standard_normal((6, 2))), c)
    exact = naive.squared_jacobians(model, white(1, 6, 2), [5], 2)[0, 0, 2]
    jacobian = (c @ a @ a @ model.b).detach().numpy()
    covered, n = 0.0, 400
    for repeat in range(500):
        draws = np.random.default_rng([repeat, 7])
        probes = np.concatenate([orthonormal_probes(10, 1, draws) for _ in range(n)])
        found = ((probes @ jacobian) ** 2).sum(axis=1)
        half = 1.96 * found.std(ddof=1) / math.sqrt(n)
        covered += float(abs(found.mean() - exact) <= half)
    assert 0.93 <= covered / 500 <= 0.97


def test_the_probes_of_a_profile_are_those_of_the_estimator() -> None:
    """The linear map above, through the model: one row is one probe of the same Jacobian."""
    rng = np.random.default_rng(0)
    c = torch.from_numpy(rng.standard_normal((10, 6)))
    a = 0.8 * torch.eye(6).double()
    model = systems.Linear(a, torch.from_numpy(rng.standard_normal((6, 2))), c)
    probe = orthonormal_probes(10, 1, np.random.default_rng(3))
    row = squared_jacobians(model, white(1, 6, 2), [5], torch.from_numpy(probe), 2)[0, 0]
    jacobian = (c @ a @ a @ model.b).detach().numpy()
    assert row[2] == pytest.approx(float(((probe @ jacobian) ** 2).sum()), rel=1e-12)


# Section 4.2 and case 5: time.


def test_uniform_attention_by_time() -> None:
    result = gradient_profile(systems.UniformAttention(), white(2, 40), max_lag=10, n_times=30)
    start, stop = result["bin_start"].values, result["bin_stop"].values
    times = result["time"].values
    assert start[0] == 10
    assert stop[-1] == 39
    for b in range(4):
        inside = times[(times >= start[b]) & (times <= stop[b])]
        expected = math.sqrt(np.mean(1 / (inside + 1.0) ** 2))
        np.testing.assert_allclose(result["G_bin"][b], expected, rtol=1e-12)
    assert gradient_profile(systems.Delay(1), white(2, 9), n_times=1).sizes["bin"] == 1


# Section 4.2: tails.


def _noisy(curve: np.ndarray, seed: int = 0, replicates: int = 300) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(0, 0.02, (replicates, len(curve)))
    return np.concatenate([curve[None], curve * np.exp(noise)])


def test_tails_are_told_apart_by_replicates() -> None:
    lags = np.arange(1, 101)
    exponential = fit_tail(_noisy(np.exp(-lags / 12.0)))
    assert exponential.wins == 1
    assert exponential.tau[0] == pytest.approx(12)
    assert exponential.half_life[0] == pytest.approx(12 * math.log(2))
    power = fit_tail(_noisy(np.concatenate([[1.1], lags[1:] ** -1.5])))
    assert power.wins == 0
    assert power.beta[0] == pytest.approx(1.5, rel=0.3)
    assert np.isnan(power.half_life).all()


def test_exact_power_law_has_its_exponent() -> None:
    curve = np.concatenate([[2.0], np.arange(1, 80) ** -0.7])
    tail = fit_tail(curve[None])
    assert tail.beta[0] == pytest.approx(0.7, rel=1e-9)
    assert list(tail.lags) == [1, 79]
    profile = gradient_profile(systems.scalar(0.9), white(4, 90), max_lag=60)
    assert float(profile["tail_tau"]) == pytest.approx(9.49122, abs=1e-5)
    assert float(profile["tail_win_exp"]) == 1


# Case 10 and section 9: the receptive field.


def test_field_of_a_tcn_in_four_ways() -> None:
    for kernel, layers, field in ((5, 4, 121), (3, 2, 13), (8, 1, 15)):
        config = {"width": 5, "kernel": kernel, "layers": layers}
        model = build_model("tcn", Spec("continuous", 2, "regression", 1), config, seed=1)
        result = receptive_field(model)
        assert 1 + 2 * (kernel - 1) * (2**layers - 1) == field
        for name in ("rf_analytic", "rf_nan", "rf_gradient"):
            assert float(result[name]) == field, name
        assert int(result["agree"]) == 1
    big = build_model(
        "tcn", Spec("continuous", 1, "class", 10), {"width": 2, "kernel": 8, "layers": 8}
    )
    assert big.receptive_field == 3571


def test_field_of_models_that_never_forget() -> None:
    for name in ("gru", "mamba"):
        result = receptive_field(build_model(name, Spec("token", 5, "class", 5), {"width": 8}))
        assert [float(result[v]) for v in ("rf_nan", "rf_gradient")] == [math.inf] * 2
    result = receptive_field(build_model("transformer", Spec("token", 5, "class", 5), {"width": 8}))
    assert math.isnan(float(result["rf_nan"]))
    assert float(result["rf_gradient"]) == math.inf


def test_field_of_a_plain_module() -> None:
    result = receptive_field(systems.FIR([1.0, 0.0, 2.0]), input_size=1, length=20)
    assert math.isnan(float(result["rf_analytic"]))
    assert [float(result[v]) for v in ("rf_nan", "rf_gradient")] == [3, 3]
    with pytest.raises(UsageError, match="number of inputs is not known"):
        receptive_field(systems.FIR([1.0]))
    with pytest.raises(UsageError, match=r"length 1 shows no field \(allowed: 2 or more\)"):
        receptive_field(systems.FIR([1.0]), input_size=1, length=1)
    waves = build_model("s4d", Spec("continuous", 1, "regression", 1), {"width": 4, "modes": 2})
    assert math.isnan(float(receptive_field(waves)["agree"]))
    tcn = build_model("tcn", Spec("continuous", 1, "regression", 1))
    with pytest.raises(UsageError, match=r"length 100 does not show a field of 121"):
        receptive_field(tcn, length=100)
    with pytest.raises(NotApplicableError, match="bidirectional"):
        receptive_field(build_model("bi-gru", Spec("continuous", 1, "class", 2)))


# Case 6: the normalised profile.


def test_normalised_profile_of_a_linear_map_sums_to_one() -> None:
    """Exact covariances, a rank-deficient output: division by the rank, to 1e-8."""
    rng = np.random.default_rng(0)
    a = 0.6 * np.linalg.qr(rng.standard_normal((4, 4)))[0]
    b, c = rng.standard_normal((4, 2)), rng.standard_normal((2, 4))
    c = np.concatenate([c, c[:1] + c[1:]])  # three outputs of rank two
    model = systems.Linear(*map(torch.from_numpy, (a, b, c)))
    state = sum(
        np.linalg.matrix_power(a, k) @ b @ b.T @ np.linalg.matrix_power(a, k).T for k in range(80)
    )
    outputs, _, rank = inverse_root(c @ state @ c.T)
    assert rank == 2
    squares = squared_jacobians(model, white(1, 81, 2), [80], torch.from_numpy(outputs), 80)
    assert squares.sum() / rank == pytest.approx(1, abs=1e-8)
    found = gradient_profile(model, white(400, 81, 2), max_lag=60)
    assert float(found["Gnorm2_sum"]) == pytest.approx(1, abs=0.05)


def test_normalised_profile_does_not_change_with_the_units() -> None:
    x = white(64, 60, 3)
    for name in ("gru", "tcn"):
        model = build_model(name, Spec("continuous", 3, "class", 5), {"width": 8}).double()
        before = gradient_profile(model, x)["Gnorm2"]
        model.head.weight.data *= 7
        np.testing.assert_allclose(gradient_profile(model, x)["Gnorm2"], before, rtol=1e-6)


def test_shares_of_a_filter_are_its_normalised_profile() -> None:
    found = gradient_profile(systems.FIR([0.5, 1.0, 0.25]), white(500, 60))
    np.testing.assert_allclose(found["Gnorm2"][:3], [0.1905, 0.7619, 0.0476], atol=0.01)
    np.testing.assert_array_equal(found["Gnorm2"][3:], 0)
