"""Known answers of what can be read from a tensor: memory curve, capacity, Fisher memory."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from memory.conftest import uniform, white
from seqprobe import Spec, build_model, load
from seqprobe.errors import NotApplicableError, UsageError
from seqprobe.memory import (
    fisher_memory,
    fisher_memory_curve,
    information_processing_capacity,
    linear_memory,
    symbol_information,
)
from seqprobe.memory.estimates import recentred
from seqprobe.memory.information_processing import _functions, _lagged, _rounding, capacities
from seqprobe.memory.linear_memory import (
    canonical_memory,
    canonical_spectrum,
    channels,
    lagged_inputs,
    memory_curve,
)
from seqprobe.models import SequenceModule
from seqprobe.models.trace import Trace
from seqprobe.state import State

N = 20


def inputs(n: int = 40, length: int = 190, seed: int = 0) -> np.ndarray:
    """40 sequences with 150 steps after a largest lag of 40: 6000 samples, half to fit."""
    return np.random.default_rng(seed).uniform(-1, 1, (n, length, 1))


def run(w: np.ndarray, v: np.ndarray, u: np.ndarray, noise: float = 0.0) -> np.ndarray:
    """States of h_t = W h_{t-1} + v u_t + noise, (N, T, n)."""
    rng = np.random.default_rng(1)
    h = np.zeros((len(u), len(w)))
    rows = []
    for t in range(u.shape[1]):
        h = h @ w.T + u[:, t] * v + noise * rng.standard_normal(h.shape)
        rows.append(h)
    return np.stack(rows, axis=1)


def register(n: int = N, gain: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    return gain * np.diag(np.ones(n - 1), -1), np.eye(n)[0]


def ring(decay: float) -> tuple[np.ndarray, np.ndarray]:
    return decay * np.roll(np.eye(N), 1, axis=0), np.eye(N)[0]


def orthogonal(decay: float) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(2)
    q = np.linalg.qr(rng.standard_normal((N, N)))[0]
    v = rng.standard_normal(N)
    return decay * q, v / np.linalg.norm(v)


def curve(z: np.ndarray, u: np.ndarray, max_lag: int = 40) -> np.ndarray:
    found: np.ndarray = memory_curve(z, u, max_lag, np.random.default_rng(0)).r2[0, :, 0]
    return found


class Filter(SequenceModule):
    """The linear state h_t = W h_{t-1} + V x_t, which is also its output."""

    def __init__(self, w: np.ndarray, v: np.ndarray) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.from_numpy(w))
        self.v = nn.Parameter(torch.from_numpy(v.reshape(len(w), -1)))

    def init_state(self, batch: int) -> State:
        return {"h": self._zeros(batch, len(self.w))}

    def state_size(self, length: int) -> int:
        return len(self.w)

    def step(self, x_t: Tensor, state: State, trace: Trace | None = None) -> tuple[Tensor, State]:
        h = state["h"] @ self.w.T + x_t @ self.v.T
        return h, {"h": h}

    def forward(
        self, x: Tensor, state: State | None = None, trace: Trace | None = None
    ) -> tuple[Tensor, State]:
        state = self.init_state(len(x)) if state is None else state
        rows = []
        for x_t in x.unbind(1):
            y, state = self.step(x_t, state)
            rows.append(y)
        return torch.stack(rows, dim=1), state


# Cases 16 to 19: linear memory.


def test_shift_register_holds_its_last_inputs() -> None:
    """Case 16: capacity N from lag 0, N - 1 from lag 1."""
    x = torch.from_numpy(inputs())
    result = linear_memory(Filter(*register()), x, part="state", max_lag=40)
    r2 = result["r2"].values
    assert (r2[:N] >= 0.999).all()
    assert (r2[N:] <= 0.01).all()
    assert float(result["mc"]) == pytest.approx(20, abs=0.05)
    assert float(result["mc_past"]) == pytest.approx(19, abs=0.05)
    assert float(result["mc_null_corrected"]) == pytest.approx(20, abs=0.02)
    assert float(result["null_level"]) < 0.002
    low, high = result["mc_ci"].values
    assert low <= 20.01
    assert high >= 19.99
    rho = result["canonical"].values
    assert (rho[:N] > 0.999).all()
    # In sample, 20 states explain 41 inputs by chance as well.
    assert float(result["canonical_null"]) == pytest.approx(20 * 41 / 6000)


def test_contracting_ring() -> None:
    """Case 17: (1 - rho^2N) rho^(2 N floor(k / N))."""
    u = inputs()
    r2 = curve(run(*ring(0.9), u), u)
    lags = np.arange(40)
    expected = (1 - 0.9 ** (2 * N)) * 0.9 ** (2 * N * (lags // N))
    np.testing.assert_allclose(r2[:40], expected, atol=0.02)
    assert r2[:40].sum() == pytest.approx(20, abs=0.1)


@pytest.mark.parametrize(("noise", "expected"), [(1e-3, 20.0), (1e-2, 19.994), (0.1, 19.417)])
def test_state_noise_takes_its_share(noise: float, expected: float) -> None:
    """Case 18: N v / (v + sigma^2) of a register whose cells are each disturbed once."""
    rng = np.random.default_rng(3)
    u = inputs()
    clean = run(*register(), u)
    z = clean + noise * rng.standard_normal(clean.shape)
    found = memory_curve(z, u, 40, np.random.default_rng(0))
    total = (found.r2[0] - found.null.mean()).sum()
    assert total == pytest.approx(expected, abs=0.05)


def test_orthogonal_network_holds_as_much_as_it_has_units() -> None:
    u = inputs(40, 800)
    found = memory_curve(run(*orthogonal(0.95), u), u, 200, np.random.default_rng(0))
    assert (found.r2[0] - found.null.mean()).sum() == pytest.approx(20, abs=0.2)


def test_canonical_spectrum_sums_to_the_memory_capacity() -> None:
    """Case 19, for white input, in sample both."""
    rng = np.random.default_rng(4)
    w = rng.standard_normal((8, 8))
    w *= 0.8 / np.abs(np.linalg.eigvals(w)).max()
    u = inputs(8, 4000, seed=5)
    z = run(w, rng.standard_normal(8), u)
    lagged = lagged_inputs(u, 60).reshape(-1, 61)
    flat = z[:, 60:].reshape(-1, 8)
    rho = canonical_spectrum(flat, lagged)
    fit = np.linalg.lstsq(flat - flat.mean(0), lagged - lagged.mean(0), rcond=None)[0]
    residual = lagged - lagged.mean(0) - (flat - flat.mean(0)) @ fit
    r2 = 1 - (residual**2).sum(0) / ((lagged - lagged.mean(0)) ** 2).sum(0)
    assert (rho**2).sum() == pytest.approx(r2.sum(), rel=0.005)


def test_gaussian_information() -> None:
    """Case 20: correlation .9 is .830 nats."""
    rng = np.random.default_rng(0)
    u = rng.standard_normal((40, 500, 1))
    z = 0.9 * u + math.sqrt(1 - 0.81) * rng.standard_normal(u.shape)
    r2 = curve(z, u, 1)[0]
    assert -0.5 * math.log(1 - r2) == pytest.approx(0.830, abs=0.03)


def test_interval_of_the_memory_capacity_covers() -> None:
    """Of the true capacity, by a reader fitted on 10,000 samples, which loses d / n of it."""
    covered, expected = 0, 5 / 3 / (1 / 3 + 0.25)
    for seed in range(100):
        u = inputs(100, 204, seed=seed)
        z = run(*register(5), u)
        z = z + 0.5 * np.random.default_rng([seed, 1]).standard_normal(z.shape)
        found = memory_curve(z, u, 4, np.random.default_rng(seed)).r2.sum(axis=(1, 2))
        low, high = np.percentile(recentred(found)[1:], [2.5, 97.5])
        covered += low <= expected <= high
    assert 88 <= covered <= 100


def test_unrelated_states_have_no_capacity_and_keep_no_direction() -> None:
    u = torch.from_numpy(inputs(64, 96))
    noise = build_model("gru", Spec("continuous", 1, "regression", 1), {"width": 4})
    result = linear_memory(noise, u.float(), max_lag=40)
    assert float(result["directions"]) <= 4
    rng = np.random.default_rng(0)
    z = rng.standard_normal((64, 96, 8))
    curve = memory_curve(z, inputs(64, 96), 64, rng)
    corrected = recentred((curve.r2 - curve.null.mean()).sum(axis=(1, 2)))
    low, high = np.percentile(corrected[1:], [2.5, 97.5])
    assert low <= 0 <= high
    spectrum = canonical_memory(rng.standard_normal((8, 96, 64)), inputs(8, 96), 63)
    assert float(spectrum["directions"].values) == 0


def test_last_step_models_are_read_at_every_step() -> None:
    """And not from as many samples as they have units, which would fit noise."""
    model = build_model("gru", Spec("continuous", 1, "class", 3, "last"), {"width": 12})
    x = white(60, 40).float()
    assert linear_memory(model, x).sizes["lag"] == 27
    with pytest.raises(UsageError, match=r"30 samples to fit a reader of 12 numbers \(allowed: 10"):
        linear_memory(model, x, max_lag=39)
    with pytest.raises(UsageError, match="lag 40 does not fit sequences of 40 steps"):
        linear_memory(model, x, max_lag=40)


def test_bits_are_those_of_one_channel() -> None:
    u = inputs(60, 60)
    clean = linear_memory(Filter(*register(3)), torch.from_numpy(u), part="state", max_lag=4)
    assert (clean["bits"][:3] > 8).all()
    two = linear_memory(
        Filter(np.zeros((2, 2)), np.eye(2)), white(60, 30, 2), part="state", max_lag=2
    )
    assert np.isnan(two["bits"]).all()
    assert int(two["channels"]) == 2


def test_memory_of_tokens_counts_every_symbol() -> None:
    model = build_model("gru", Spec("token", 5, "class", 5), {"width": 12})
    x = torch.randint(5, (24, 40), generator=torch.Generator().manual_seed(0))
    result = linear_memory(model, x, max_lag=10)
    assert float(result["r2"][0]) > 0.8
    assert 4 < float(result["mc_null_corrected"]) <= 12
    # Of five indicators that sum to one, four are independent.
    assert channels(x).shape == (24, 40, 4)


def test_linear_memory_refuses() -> None:
    model = build_model("transformer", Spec("continuous", 1, "regression", 1), {"width": 8})
    x = white(20, 30).float()
    with pytest.raises(NotApplicableError, match="state of this model grows with time"):
        linear_memory(model, x, part="state")
    with pytest.raises(UsageError, match=r"no internal 'layer0.forget' \(allowed: readout, state"):
        linear_memory(model, x, part="layer0.forget")
    with pytest.raises(UsageError, match="sequences are too few"):
        linear_memory(model, x[:3])
    with pytest.raises(NotApplicableError, match="has no states to look into"):
        linear_memory(nn.Linear(1, 1), x)
    with pytest.raises(NotApplicableError, match="inputs never vary"):
        linear_memory(model, torch.ones(20, 30, 1))


def test_internals_can_be_read_by_name() -> None:
    model = build_model("lstm", Spec("continuous", 1, "regression", 1), {"width": 6})
    x = white(24, 40).float()
    result = linear_memory(model, x, part="layer0.c", max_lag=8)
    assert result.attrs["part"] == "layer0.c"
    assert int(result["dimension"]) == 6
    assert int(linear_memory(model, x, part="state")["dimension"]) == 12


# Information on symbols.


class OneHotRegister(Filter):
    """Keeps the last three symbols of four kinds in cells."""

    def __init__(self) -> None:
        super().__init__(np.kron(np.diag(np.ones(2), -1), np.eye(4)), np.eye(12)[:, :4])


def test_information_is_the_entropy_where_the_symbol_is_kept() -> None:
    x = torch.randint(4, (60, 60), generator=torch.Generator().manual_seed(0))
    shown = torch.nn.functional.one_hot(x, 4).double()
    result = symbol_information(OneHotRegister(), shown, part="state", max_lag=6)
    bits = result["information"].values
    np.testing.assert_allclose(result["entropy"], 2, atol=0.01)
    assert (bits[:3] > 1.95).all()
    assert (bits[3:] < 0.02).all()
    assert result["lag"].values.tolist() == list(range(7))


def test_information_refuses_numbers() -> None:
    model = Filter(*register(3))
    with pytest.raises(NotApplicableError, match=r"inputs take .* values"):
        symbol_information(model, white(8, 40), part="state")
    with pytest.raises(NotApplicableError, match="inputs are not symbols"):
        symbol_information(model, white(8, 40, 3), part="state")


# Case 21: information processing capacity.


def _ipc(states: list[np.ndarray], u: np.ndarray, max_lag: int = 9) -> list[float]:
    functions = list(_functions(max_lag, 3, "uniform"))
    z = np.stack(states, axis=1)
    found, _, _ = capacities(z, _lagged(u, max_lag), functions, "uniform")
    degree = np.array([sum(d for _, d in f) for f in functions])
    return [float(found[degree == d].sum()) for d in (1, 2, 3)]


def test_number_of_functions() -> None:
    assert len(list(_functions(13, 3, "uniform"))) == 679
    assert len(list(_functions(7, 5, "uniform"))) == 1286
    assert len(list(_functions(3, 2, "binary"))) == 4 + 6


def test_capacity_by_degree_of_known_states() -> None:
    u = np.random.default_rng(0).uniform(-1, 1, (1, 20_010))
    lag = {k: u[0, 10 - k : 20_010 - k] for k in range(10)}
    u = u[:, 1:]  # lagged inputs start at lag 9
    linear = [lag[k] for k in range(6)]
    square = [lag[k] ** 2 for k in range(6)]
    product = [lag[k] * lag[k + 1] for k in range(6)]
    np.testing.assert_allclose(_ipc(linear, u), [6, 0, 0], atol=0.01)
    np.testing.assert_allclose(_ipc(square, u), [0, 6, 0], atol=0.01)
    # A product of states and functions that share factors has heavier tails than the threshold's.
    np.testing.assert_allclose(_ipc(product, u), [0, 6, 0], atol=0.02)
    np.testing.assert_allclose(_ipc(linear[:3] + square[:3], u), [3, 3, 0], atol=0.01)


def test_capacity_of_an_odd_network_has_no_even_degree() -> None:
    """A tanh network without bias and with a symmetric input is odd."""
    for scale, least in ((1.0, 0.0), (0.2, 5.8)):
        model = build_model("rnn", Spec("continuous", 1, "regression", 1), {"width": 6}, seed=3)
        rng = np.random.default_rng(7)
        w = rng.standard_normal((6, 6))
        w *= 0.8 / np.abs(np.linalg.eigvals(w)).max()
        layer: Any = model.core.layers[0]  # type: ignore[index]
        layer.weight_hh.data = torch.from_numpy(w).float()
        layer.weight_ih.data = torch.from_numpy(scale * rng.standard_normal((6, 1))).float()
        layer.bias.data.zero_()
        x = uniform(20, 1014, seed=1)
        result = information_processing_capacity(model, x, max_lag=13, max_degree=3)
        by_degree = result["ipc"].values
        assert by_degree[1] == 0
        assert least <= float(result["ipc_total"]) <= 6.05
        assert int(result["rank"]) == 6
        assert result["ipc_null"].sum() < 0.05
        assert result["n_functions"].sum() == 679


def test_capacity_of_a_shift_register_is_linear() -> None:
    model = Filter(*register(8))
    result = information_processing_capacity(
        model, uniform(20, 520), part="state", max_lag=12, max_degree=3
    )
    np.testing.assert_allclose(result["ipc"], [8, 0, 0], atol=0.02)
    by_lag = result["ipc_by_lag"].values[0]
    np.testing.assert_allclose(by_lag, [1] * 8 + [0] * 5, atol=0.01)
    normal = information_processing_capacity(
        model, white(20, 520), law="normal", part="state", max_lag=12, max_degree=2
    )
    np.testing.assert_allclose(normal["ipc"], [8, 0], atol=0.02)


def test_capacity_of_products_of_signs() -> None:
    class Signs(Filter):
        """Reads the product of two neighbours beside the last input."""

        def forward(
            self, x: Tensor, state: State | None = None, trace: Trace | None = None
        ) -> tuple[Tensor, State]:
            raise NotImplementedError

        def step(
            self, x_t: Tensor, state: State, trace: Trace | None = None
        ) -> tuple[Tensor, State]:
            h = torch.cat([x_t, x_t * state["h"][:, :1]], dim=1)
            return h, {"h": h}

    x = white(10, 400).sign()
    result = information_processing_capacity(
        Signs(np.zeros((2, 2)), np.zeros(2)), x, law="binary", part="state", max_degree=2
    )
    np.testing.assert_allclose(result["ipc"], [1, 1], atol=0.01)


def test_capacity_by_chance_of_one_long_sequence() -> None:
    model = build_model("gru", Spec("continuous", 1, "regression", 1), {"width": 4})
    result = information_processing_capacity(model, uniform(1, 4000).float(), max_lag=6)
    assert float(result["ipc"].sum()) > 2
    assert float(result["ipc_null"].sum()) < 0.1


def test_capacity_refuses_inputs_of_another_law() -> None:
    model = Filter(*register(3))
    with pytest.raises(
        UsageError, match=r"kurtosis of 1.[78]\d, which is not that of the law 'normal'"
    ):
        information_processing_capacity(model, uniform(4, 400), law="normal", part="state")
    with pytest.raises(UsageError, match=r"not that of the law 'uniform'"):
        information_processing_capacity(model, white(4, 400), part="state")
    slow = uniform(4, 400).repeat_interleave(2, dim=1)
    with pytest.raises(UsageError, match="neighbouring inputs are correlated"):
        information_processing_capacity(model, slow, part="state")
    with pytest.raises(UsageError, match=r"largest degree is 0 \(allowed: 1 or more\)"):
        information_processing_capacity(model, uniform(4, 400), part="state", max_degree=0)


def test_rank_of_float32_states_is_not_rounding() -> None:
    """Eight mixtures of a register of three cells, in single precision."""
    mix = np.random.default_rng(0).standard_normal((8, 3))
    u = np.random.default_rng(1).uniform(-1, 1, (1, 3010))
    cells = np.stack([u[0, 10 - k : 3010 - k] for k in range(3)], axis=1)
    states = (cells @ mix.T).astype(np.float32).astype(np.float64)
    functions = list(_functions(3, 1, "uniform"))
    lagged = _lagged(u[:, 7:], 3)
    assert capacities(states, lagged, functions, "uniform", _rounding(torch.float32))[1] == 3
    assert capacities(states, lagged, functions, "uniform")[1] == 8


def test_capacity_refuses() -> None:
    model = build_model("gru", Spec("continuous", 1, "regression", 1), {"width": 32})
    with pytest.raises(NotApplicableError, match="is for one channel of numbers"):
        information_processing_capacity(model, white(4, 40, 2))
    with pytest.raises(UsageError, match=r"more than 200000 functions up to lag 200 and degree 3"):
        information_processing_capacity(model, uniform(4, 240).float(), max_lag=200)
    with pytest.raises(UsageError, match="samples for 32 states"):
        information_processing_capacity(model, uniform(4, 40).float())


# Case 22: Fisher memory.


def test_fisher_memory_of_normal_networks_is_one() -> None:
    w, v = orthogonal(0.95)
    assert fisher_memory(w, v, 2000).sum() == pytest.approx(1, abs=1e-6)
    d = np.diag(np.linspace(-0.9, 0.95, 6))
    assert fisher_memory(d, np.full(6, 6**-0.5), 3000).sum() == pytest.approx(1, abs=1e-6)


def test_fisher_memory_of_delay_lines() -> None:
    found = fisher_memory(*register(), 30)
    np.testing.assert_allclose(found[:N], 1 / np.arange(1, N + 1), rtol=1e-10)
    assert found.sum() == pytest.approx(3.59774, abs=1e-5)
    k = np.arange(N)
    gained = fisher_memory(*register(gain=2.0), 30)
    np.testing.assert_allclose(gained[:N], 2.0 ** (2 * k) * 3 / (2.0 ** (2 * k + 2) - 1), rtol=1e-8)
    assert gained.sum() == pytest.approx(15.31582, abs=1e-4)
    assert gained.sum() <= N


def test_fisher_memory_along_a_trajectory_equals_the_closed_form() -> None:
    for w, v in (register(6), ring(0.7), orthogonal(0.8)):
        closed = fisher_memory(w, v, 30)
        result = fisher_memory_curve(Filter(w, v), white(2, 160), max_lag=30)
        np.testing.assert_allclose(result["fmc"], closed, rtol=1e-6, atol=1e-12)
        assert float(result["fmc_total"]) == pytest.approx(closed.sum())
        assert int(result["dimension"]) == len(w)


def test_fisher_jacobians_of_a_network() -> None:
    """One step by hand: J_t(0) = tr(B^T C_t^-1 B) with finite differences for B."""
    model = build_model("gru", Spec("continuous", 2, "regression", 1), {"width": 4}).double()
    x = white(1, 2, 2)
    result = fisher_memory_curve(model, x, max_lag=0, n_times=2)

    def state(inputs: Tensor, start: Tensor) -> Tensor:
        return model.step(inputs, {"layer0.h": start})[1]["layer0.h"]

    zero = torch.zeros(1, 4).double()
    first = state(x[:, 0], zero)
    noise, total = torch.eye(4).double() * 0, 0.0
    for inputs_t, before in ((x[:, 0], zero), (x[:, 1], first)):
        a = torch.autograd.functional.jacobian(lambda h, i=inputs_t: state(i, h)[0], before)[:, 0]
        b = torch.autograd.functional.jacobian(lambda i, h=before: state(i, h)[0], inputs_t)[:, 0]
        noise = a @ noise @ a.T + torch.eye(4).double()
        total += float(torch.trace(b.T @ torch.linalg.inv(noise) @ b))
    assert float(result["fmc"][0]) == pytest.approx(total / 2, rel=1e-10)


def test_fisher_memory_beyond_the_digits_of_float64_is_not_a_number() -> None:
    rng = np.random.default_rng(0)
    w = rng.standard_normal((12, 12))
    w *= 1.45 / np.abs(np.linalg.eigvals(w)).max()
    result = fisher_memory_curve(Filter(w, np.eye(12)[0]), white(1, 200), max_lag=150)
    assert float(result["condition"]) > 1e12
    assert np.isnan(result["fmc"]).all()
    assert np.isnan(float(result["fmc_total"]))


def test_fisher_refuses() -> None:
    with pytest.raises(UsageError, match=r"spectral radius of W is 1.1 \(allowed: below 1\)"):
        fisher_memory(1.1 * np.eye(2), np.ones(2), 3)
    spec = Spec("continuous", 1, "regression", 1)
    with pytest.raises(NotApplicableError, match=r"allowed: a fixed size up to 512"):
        fisher_memory_curve(build_model("transformer", spec, {"width": 8}), white(2, 20).float())
    with pytest.raises(NotApplicableError, match="needs a causal model with a step"):
        fisher_memory_curve(build_model("bi-rnn", spec, {"width": 8}), white(2, 20).float())


def test_delay_checkpoints_hold_what_they_need() -> None:
    """Recurrent networks keep one or two inputs more than the delay; see section 10."""
    folder = Path(__file__).resolve().parents[2] / "checkpoints" / "delay"
    for name in ("gru", "lstm"):
        r2 = linear_memory(load(folder / f"{name}-s0.pt"), uniform(64, 96), max_lag=45)["r2"]
        assert (r2[:21] >= 0.98).all()
        assert (r2[35:] <= 0.3).all()
