"""Cycles, Lyapunov exponents and timescales of systems where they are known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.signal import lfilter

from reference.dynamical import float64, henon, linear, logistic, oscillator
from seqprobe import schema
from seqprobe.dynamics import (
    CallableMap,
    fixed_points,
    limit_cycles,
    lyapunov_spectrum,
    sample_states,
    timescales,
)
from seqprobe.dynamics.autocorrelation import (
    autocovariance,
    fit_decay,
    integrated_time,
    lag_one_time,
    null_model,
)
from seqprobe.dynamics.lyapunov import kaplan_yorke
from seqprobe.dynamics.unit_timescales import unit_timescales
from seqprobe.errors import SeqprobeError, UsageError
from seqprobe.models import build_model
from seqprobe.models.leaky import LeakyLayer
from seqprobe.spec import Spec
from seqprobe.tasks import make_task
from seqprobe.training import load_checkpoint

ROOT_FOLDER = Path(__file__).resolve().parents[2]
SPEC = Spec("continuous", 2, "regression", 2)


class TestLimitCycles:
    def test_period_two_of_the_logistic_map(self) -> None:
        found = limit_cycles(logistic(3.2), torch.tensor([[0.3], [0.6], [0.9]]))
        assert found["kind"].values.tolist() == [1]
        assert found["period"].values.tolist() == [2]
        np.testing.assert_allclose(
            np.sort(found["orbit"].values.ravel()), [0.513045, 0.799455], atol=1e-6
        )
        assert complex(found["multiplier"][0, 0]) == pytest.approx(0.16, abs=1e-8)
        assert float(found["certificate"][0]) < 1e-12
        assert found["status"].values.tolist() == [1, 1, 1]
        assert found["hits"].values.tolist() == [3]

    def test_period_four_is_not_two(self) -> None:
        found = limit_cycles(logistic(3.5), torch.tensor([[0.3]]))
        assert found["period"].values.tolist() == [4]

    @pytest.mark.parametrize("angle", [2 * np.pi / 12, 0.3, 1.0])
    def test_a_known_oscillator(self, angle: float) -> None:
        """A circle of radius 1; what lies beside it shrinks by 1 - 2 pull per step."""
        found = limit_cycles(oscillator(angle), float64((2, 2)), transient=500, window=1024)
        assert found["kind"].values.tolist() == [2]
        period = 2 * np.pi / angle
        assert float(found["period"][0]) == pytest.approx(period, rel=1e-7)
        np.testing.assert_allclose(found["multiplier"][0].real, [1, 0.8**period], rtol=1e-3)
        np.testing.assert_allclose(np.linalg.norm(found["orbit"][0], axis=1), 1, atol=1e-9)
        assert float(found["certificate"][0]) < 1e-9
        assert float(found["amplitude"][0]) == pytest.approx(1, abs=1e-9)

    @pytest.mark.slow
    def test_where_there_is_none(self) -> None:
        still = limit_cycles(linear(0.5 * torch.eye(2).double()), float64((3, 2)))
        assert still.sizes["cycle"] == 0
        assert still["status"].values.tolist() == [0, 0, 0]
        chaos = limit_cycles(logistic(3.9), torch.tensor([[0.3], [0.4]]))
        assert chaos.sizes["cycle"] == 0
        assert chaos["status"].values.tolist() == [3, 3]
        left = limit_cycles(linear(2 * torch.eye(2).double()), float64((1, 2)))
        assert left["status"].values.tolist() == [5]

    def test_a_network_that_generates_sines(self) -> None:
        checkpoint = load_checkpoint(ROOT_FOLDER / "checkpoints/sine/rnn-s0.pt")
        model, task = checkpoint.build_model(), checkpoint.build_task()
        starts = sample_states(model, task.batch("test", 16), 4)
        found = limit_cycles(model, starts, input=torch.tensor([0.5]))
        assert found.sizes["cycle"] == 1
        assert float(found["period"][0]) == pytest.approx(20, rel=0.03)  # 5 Hz at 100 steps/s
        assert float(np.abs(found["multiplier"].values[0, 1])) < 1
        assert float(found["readout"].max()) == pytest.approx(1, abs=0.25)
        assert "orbit" in found

    @pytest.mark.parametrize("modulus", [0.9999, 0.999, 0.9985, 0.99])
    def test_a_spiral_that_decays_is_no_circle(self, modulus: float) -> None:
        c, s = modulus * np.cos(0.3), modulus * np.sin(0.3)
        of = linear(torch.tensor([[c, -s], [s, c]], dtype=torch.float64))
        found = limit_cycles(of, float64((2, 2)), transient=500, window=1024)
        assert found.sizes["cycle"] == 0
        assert set(found["status"].values) <= {0, 4}

    @pytest.mark.slow
    def test_a_torus_is_no_circle(self) -> None:
        """Two oscillators side by side, whose circles one by one are invariant but repel."""
        one, other = oscillator(0.3), oscillator(1.0)

        def step(x: torch.Tensor, u: torch.Tensor) -> torch.Tensor:
            return torch.cat([one.step(x[:, :2], u), other.step(x[:, 2:], u)], dim=1)

        found = limit_cycles(CallableMap(step, 4), float64((1, 4)), transient=300, window=512)
        assert found.sizes["cycle"] == 0
        assert found["status"].values.tolist() == [4]

    def test_is_read_back_as_it_was(self, tmp_path: Path) -> None:
        for of in (oscillator(0.3), linear(0.5 * torch.eye(2).double())):
            found = limit_cycles(of, float64((1, 2)), transient=300, window=512)
            schema.write(found, tmp_path / "x.nc")
            assert schema.read(tmp_path / "x.nc").identical(found)

    def test_refusals(self) -> None:
        with pytest.raises(UsageError, match="transient 0"):
            limit_cycles(logistic(3.2), torch.zeros(1, 1), transient=0)
        with pytest.raises(UsageError, match="starts have shape"):
            limit_cycles(logistic(3.2), torch.zeros(1, 2))


class TestLyapunov:
    def test_a_linear_map(self) -> None:
        a = 0.3 * float64((5, 5))
        found = lyapunov_spectrum(linear(a), starts=float64((1, 5)), n_steps=6000, n_exponents=5)
        expected = np.sort(np.log(np.abs(np.linalg.eigvals(a.numpy()))))[::-1]
        np.testing.assert_allclose(found["exponent"], expected, atol=2e-3)
        assert float(found["kaplan_yorke"]) == 0
        np.testing.assert_allclose(found["time_constant"], -1 / expected, rtol=0.01)

    @pytest.mark.slow
    def test_the_logistic_map(self) -> None:
        found = lyapunov_spectrum(
            logistic(4.0), starts=torch.tensor([[0.3]]), n_steps=10_000, n_exponents=1
        )
        assert float(found["exponent"][0]) == pytest.approx(np.log(2), abs=0.01)

    @pytest.mark.slow
    def test_henon(self) -> None:
        found = lyapunov_spectrum(
            henon(), starts=torch.zeros(12, 2), n_steps=1500, n_exponents=2, burn_in=100
        )
        assert float(found["exponent"].sum()) == pytest.approx(np.log(0.3), abs=1e-10)
        starts = 0.1 * float64((12, 2))
        found = lyapunov_spectrum(henon(), starts=starts, n_steps=1500, n_exponents=2)
        low, high = found["exponent_ci"].values[:, 0]
        assert low < 0.419 < high
        assert float(found["exponent"][0]) == pytest.approx(0.419, abs=0.01)
        assert float(found["kaplan_yorke"]) == pytest.approx(1.258, abs=0.01)

    def test_of_a_limit_cycle(self) -> None:
        """One exponent is 0, so that the attractor has dimension 1, however short the record."""
        found = lyapunov_spectrum(
            oscillator(0.3), starts=float64((10, 2)), n_steps=200, n_exponents=2, transient=500
        )
        np.testing.assert_allclose(found["exponent"], [0, np.log(0.8)], atol=1e-3)
        assert float(found["kaplan_yorke"]) == 1

    def test_an_integrator_neither_grows_nor_decays(self) -> None:
        of = CallableMap(lambda x, u: x + u, 1, 1)
        found = lyapunov_spectrum(of, float64((4, 50, 1)), n_exponents=1)
        assert float(found["time_constant"][0]) == np.inf

    def test_at_an_attractor_they_are_its_eigenvalues(self) -> None:
        model = load_checkpoint(ROOT_FOLDER / "checkpoints/flipflop/gru-s0.pt").build_model()
        batch = make_task("flipflop").batch("test", 16)
        points = fixed_points(model, sample_states(model, batch, 64))
        assert int(points["stability"][0]) == 0
        x = torch.from_numpy(points["x"].values[:1])
        found = lyapunov_spectrum(model, starts=x, n_steps=1500, n_exponents=4)
        expected = np.log(np.abs(points["eigenvalue"].values[0, :4]))
        np.testing.assert_allclose(found["exponent"], expected, atol=5e-3)

    def test_a_driven_map(self) -> None:
        """The input decides the factor of every step: the exponent is its mean logarithm."""
        of = CallableMap(lambda x, u: u * x, 1, 1)
        u = 0.5 + torch.rand(64, 100, 1, dtype=torch.float64)
        found = lyapunov_spectrum(of, u, starts=torch.ones(64, 1), n_exponents=1, burn_in=0)
        assert float(found["exponent"][0]) == pytest.approx(float(u.log().mean()), abs=1e-12)
        low, high = found["exponent_ci"].values[:, 0]
        spread = float(u.log().mean(dim=1).std()) / 8
        assert high - low == pytest.approx(2 * 1.96 * spread, rel=0.2)

    @pytest.mark.slow
    def test_intervals_cover(self) -> None:
        """Of one long record by blocks of time: the exponent of independent factors."""
        of = CallableMap(lambda x, u: u * x, 1, 1)
        inside = 0
        for seed in range(100):
            generator = torch.Generator().manual_seed(seed)
            u = 0.5 + torch.rand(1, 400, 1, dtype=torch.float64, generator=generator)
            found = lyapunov_spectrum(of, u, starts=torch.ones(1, 1), n_exponents=1, burn_in=0)
            low, high = found["exponent_ci"].values[:, 0]
            truth = 1.5 * np.log(1.5) - 0.5 * np.log(0.5) - 1
            inside += low <= truth <= high
        assert 86 <= inside <= 99

    @pytest.mark.parametrize(
        ("exponents", "expected"),
        [([-0.1, -0.2], 0.0), ([0.5, -1.0], 1.5), ([0.3, 0.1, -0.8], 2.5), ([0.1, -0.05], np.nan)],
    )
    def test_kaplan_yorke(self, exponents: list[float], expected: float) -> None:
        if np.isnan(expected):  # all there are, or more to come
            assert kaplan_yorke(np.array(exponents), len(exponents)) == len(exponents)
        np.testing.assert_allclose(kaplan_yorke(np.array(exponents)), expected)

    def test_refusals(self) -> None:
        of = logistic(3.2)
        with pytest.raises(UsageError, match="neither inputs nor starts"):
            lyapunov_spectrum(of)
        with pytest.raises(UsageError, match=r"allowed: 1 to 1\)"):
            lyapunov_spectrum(of, starts=torch.zeros(1, 1))
        with pytest.raises(UsageError, match="burn-in of 2000 steps"):
            lyapunov_spectrum(of, starts=torch.zeros(1, 1), n_exponents=1, burn_in=2000)
        with pytest.raises(SeqprobeError, match="not finite from step"):
            lyapunov_spectrum(logistic(5.0), starts=torch.ones(1, 1) / 3, n_exponents=1)


def autoregressive(
    tau: float, trials: int, length: int, rng: np.random.Generator, units: int = 1
) -> np.ndarray:
    """Stationary records (N, T, U) with autocorrelation exp(-k / tau)."""
    phi = np.exp(-1 / tau)
    warm = int(20 * tau)
    noise = rng.standard_normal((trials, length + warm, units)) * np.sqrt(1 - phi**2)
    return np.asarray(lfilter([1], [1, -phi], noise, axis=1)[:, warm:])


class TestAutocorrelation:
    def test_covariance_against_the_definition(self) -> None:
        x = np.random.default_rng(0).standard_normal((3, 20, 2))
        found = autocovariance(x, 5)
        centred = x - x.mean(axis=(0, 1))
        for k in range(6):
            expected = (centred[:, : 20 - k] * centred[:, k:]).mean(axis=1)
            np.testing.assert_allclose(found[:, k], expected, atol=1e-12)

    @pytest.mark.parametrize("tau", [0.7, 5.0, 40.0])
    def test_an_exact_exponential(self, tau: float) -> None:
        acf = np.exp(-np.arange(101) / tau)[None]
        fit = fit_decay(acf, 10**7, 1, both=False)
        np.testing.assert_allclose(fit.tau, tau, rtol=1e-3)
        np.testing.assert_allclose(lag_one_time(acf), tau, rtol=1e-9)
        phi = np.exp(-1 / tau)
        known = 1 + 2 * phi * (1 - phi**100) / (1 - phi)
        np.testing.assert_allclose(integrated_time(acf), known, rtol=1e-9)

    def test_two_exact_exponentials(self) -> None:
        k = np.arange(201)
        acf = 0.6 * np.exp(-k / 40) + 0.4 * np.exp(-k / 3)
        fit = fit_decay(acf[None], 10**7, 1)
        assert fit.n_terms.tolist() == [2]
        np.testing.assert_allclose([fit.tau[0], fit.fast[0]], [40, 3], rtol=0.05)
        np.testing.assert_allclose(fit.share, 0.6, atol=0.02)

    def test_short_records_are_not_biased(self) -> None:
        """The mean of a record of five time constants hides a third of its correlation."""
        rng = np.random.default_rng(0)
        found, direct = [], []
        for _ in range(40):
            rows = np.concatenate(
                [autocovariance(x[None], 40) for x in autoregressive(20, 30, 100, rng)]
            )
            acf = rows.mean(axis=0).T  # each record's own mean was removed
            acf = acf / acf[:, :1]
            found.append(fit_decay(acf, 100, 1, both=False).tau[0])
            direct.append(fit_decay(acf, 10**7, 1, both=False).tau[0])
        assert np.median(found) == pytest.approx(20, rel=0.15)
        assert np.median(direct) < 14

    def test_one_exponential_is_not_taken_for_two(self) -> None:
        rng = np.random.default_rng(0)
        null = null_model(400, 8, 60, rng)
        records = [autoregressive(10, 8, 400, rng, 1) for _ in range(100)]
        rows = np.concatenate([autocovariance(x, 60).mean(axis=0).T for x in records])
        rows = rows / rows[:, :1]
        believed = fit_decay(rows, 400, 8, needed=null.needed).n_terms
        assert (believed == 2).mean() < 0.13  # 5 % by construction
        naive = fit_decay(rows, 400, 8).n_terms
        assert (naive == 2).mean() > 0.3  # what Akaike's criterion alone would say

    @pytest.mark.slow
    def test_a_sum_of_two_is_told(self) -> None:
        rng = np.random.default_rng(0)
        null = null_model(2000, 8, 150, rng)
        rows = []
        for _ in range(10):
            x = autoregressive(40, 64, 2000, rng) + autoregressive(3, 64, 2000, rng)
            rows.append(autocovariance(x, 150).mean(axis=0).T)
        acf = np.concatenate(rows)
        fit = fit_decay(acf / acf[:, :1], 2000, 64, needed=null.needed)
        assert (fit.n_terms == 2).mean() >= 0.9
        assert np.median(fit.tau) == pytest.approx(40, rel=0.15)
        assert np.nanmedian(fit.fast) == pytest.approx(3, rel=0.2)

    @pytest.mark.parametrize("tau", [5.0, 20.0])
    def test_intervals_of_one_record_cover(self, tau: float) -> None:
        rng = np.random.default_rng(0)
        null = null_model(4000, 1, 100, rng)
        inside = 0
        for _ in range(100):
            covariance = autocovariance(autoregressive(tau, 1, 4000, rng), 100)[0].T
            fit = fit_decay(covariance / covariance[:, :1], 4000, 1, both=False)
            low, high = null.interval(fit.tau)[:, 0]
            inside += low <= tau <= high
        assert 87 <= inside <= 100


class TestTimescales:
    @pytest.mark.slow
    @pytest.mark.parametrize("tau", [5.0, 20.0])
    def test_a_leaky_unit_in_white_noise(self, tau: float) -> None:
        phi = float(np.exp(-1 / tau))
        of = CallableMap(lambda x, u: phi * x + u, 10, 10)  # ten units, each with its own noise
        inside = 0
        for seed in range(4):
            generator = torch.Generator().manual_seed(seed)
            u = torch.randn(32, 300, 10, dtype=torch.float64, generator=generator)
            found = timescales(of, u, burn_in=100, n_exponents=1, seed=seed)
            low, high = found["tau_ac_ci"].values
            inside += int(((low <= tau) & (tau <= high)).sum())
        assert 34 <= inside <= 40
        np.testing.assert_allclose(found["tau_eigenvalue"], tau, rtol=1e-9)
        assert float(found["tau_lyapunov"][0]) == pytest.approx(tau, rel=1e-9)
        assert np.isnan(found["tau_unit"]).all()

    def test_of_networks(self, tmp_path: Path) -> None:
        model = load_checkpoint(ROOT_FOLDER / "checkpoints/flipflop/leaky-s0.pt").build_model()
        batch = make_task("flipflop").batch("test", 16, length=120)
        found = timescales(model, batch)
        layer = model.core.layers[0]  # type: ignore[index]
        assert isinstance(layer, LeakyLayer)
        tau = layer.time_constants.detach().numpy()
        np.testing.assert_allclose(found["tau_unit"], -1 / np.log(1 - 1 / tau), rtol=1e-3)
        # Pulses come with probability 0.2, so that a bit stays for five steps: -1 / ln 0.8 = 4.5.
        assert float(found["tau_population"]) == pytest.approx(4.5, rel=0.2)
        share = 1 - found["tau_unit"].values / found["tau_ac"].values
        np.testing.assert_allclose(found["network_share"], share)
        assert found["acf"].shape == (64, 55)
        assert 0 < float(found["tau_gradient"]) < 20
        schema.write(found, tmp_path / "x.nc")
        assert schema.read(tmp_path / "x.nc").identical(found)

    @pytest.mark.parametrize("model", ["rnn", "gru", "lstm", "s4d", "mamba", "tcn"])
    def test_what_units_keep_by_themselves(self, model: str) -> None:
        """The factor by which a step multiplies a real, with all else held."""
        network = build_model(model, SPEC, {"width": 4}).double()
        x = float64((1, 1, 2))
        alone = unit_timescales(network, x.expand(1, 400, 2))
        assert alone.shape == (network.state_size(1),)
        if model == "rnn":
            assert (alone == 0).all()
        elif model == "tcn":
            assert np.isnan(alone).all()
        elif model in ("s4d", "mamba"):
            found = fixed_points(network, torch.zeros(1, network.state_size(1)), input=x[0, 0])
            moduli = np.abs(found["eigenvalue"].values[0])
            known = np.sort(-1 / np.log(moduli[moduli > 0]))
            # The buffers of Mamba's convolution fill in the first of 400 steps.
            np.testing.assert_allclose(np.sort(alone[np.isfinite(alone)]), known, rtol=1e-3)
        else:
            gate = alone[np.isfinite(alone)]
            assert len(gate) == 4
            assert (gate > 0).all()

    def test_units_that_never_move_are_nan(self) -> None:
        of = CallableMap(lambda x, u: torch.cat([0.5 * x[:, :1] + u, 0 * x[:, 1:]], dim=1), 2, 1)
        found = timescales(of, float64((16, 60, 1)), n_exponents=1)
        assert np.isnan(found["tau_ac"].values).tolist() == [False, True]

    def test_a_drift_has_no_time_constant(self) -> None:
        """Of a running sum sequences cannot tell more than that it is long."""
        of = CallableMap(lambda x, u: x + u, 1, 1)
        found = timescales(of, float64((16, 200, 1)), n_exponents=1, max_lag=40)
        assert float(found["tau_ac_ci"][1, 0]) > 100
        assert float(found["tau_eigenvalue"][0]) == np.inf

    @pytest.mark.slow
    def test_few_long_records(self) -> None:
        of = CallableMap(lambda x, u: 0.9 * x + u, 1, 1)
        found = timescales(of, float64((2, 2000, 1)), n_exponents=1)
        low, high = found["tau_ac_ci"].values[:, 0]
        assert low < 9.49 < high
        assert "autoregressive" in found.attrs["interval"]

    def test_refusals(self) -> None:
        of = CallableMap(lambda x, u: 0.9 * x + u, 1, 1)
        with pytest.raises(UsageError, match="burn-in of 20 steps"):
            timescales(of, float64((2, 20, 1)), burn_in=20)
        with pytest.raises(UsageError, match="sequences of 5 steps are too short"):
            timescales(of, float64((2, 5, 1)))
        with pytest.raises(UsageError, match="largest lag is 1 "):
            timescales(of, float64((2, 20, 1)), max_lag=1)
