"""Time constants of recordings whose time constants are known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr
from scipy.signal import lfilter

from seqprobe import schema
from seqprobe.dynamics import recorded_timescales, timescales
from seqprobe.errors import UsageError
from seqprobe.models import build_model
from seqprobe.spec import Spec


def autoregressive(rng: np.random.Generator, n: int, tau: np.ndarray) -> np.ndarray:
    """Return unit-variance signals (n, d) with autocorrelation e^(-k / tau)."""
    phi = np.exp(-1 / tau)
    noise = rng.standard_normal((n, len(tau)))
    return np.stack(
        [lfilter([np.sqrt(1 - p**2)], [1, -p], e) for p, e in zip(phi, noise.T, strict=True)], 1
    )


def recording(values: np.ndarray, step: float) -> xr.DataArray:
    units = values.shape[1]
    time = xr.Variable(("time",), 500 + step * np.arange(len(values)), {"units": "s"})
    region = np.where(np.arange(units) < units / 2, "a", "b")
    coords = {"time": time, "region": ("unit", region, {"units": "1", "long_name": "region"})}
    return xr.DataArray(values, dims=("time", "unit"), coords=coords)


def test_a_recording_in_seconds(tmp_path: Path) -> None:
    """6000 steps know a constant of 8 steps to 8 %, and the median of ten such units to 4 %."""
    tau = np.repeat([3.0, 8.0], 10)
    x = autoregressive(np.random.default_rng(0), 6000, tau)
    found = recorded_timescales(recording(x, 0.05), max_lag=40, segments=60)
    schema.validate(found)
    fast, slow = found["tau_ac"].values.reshape(2, 10)
    assert np.median(fast) == pytest.approx(0.15, rel=0.08)
    assert np.median(slow) == pytest.approx(0.4, rel=0.1)
    low, high = found["tau_ac_ci"].values
    assert ((low < 0.05 * tau) & (0.05 * tau < high)).sum() >= 16
    assert found["tau_ac"].attrs["units"] == found["lag"].attrs["units"] == "s"
    assert float(found["lag"][-1]) == 2.0
    assert found["region"].values.tolist() == ["a"] * 10 + ["b"] * 10
    schema.write(found, tmp_path / "scales.nc")
    xr.testing.assert_identical(schema.read(tmp_path / "scales.nc"), found)


def test_seconds_and_steps() -> None:
    x = autoregressive(np.random.default_rng(1), 600, np.array([3.0, 5.0])).reshape(20, 30, 2)
    in_steps, in_seconds = (recorded_timescales(x, max_lag=8, dt=dt) for dt in (None, 0.05))
    assert in_steps["tau_ac"].attrs["units"] == "steps"
    assert in_seconds["tau_ac"].attrs["units"] == "s"
    for name in ("tau_ac", "tau_ac_ci", "tau_lag1", "tau_integrated", "tau_population", "lag"):
        expected = 0.05 * in_steps[name].values
        np.testing.assert_allclose(in_seconds[name].values, expected, rtol=1e-12)


def test_noise_of_counts_is_left_out_with_lag_0() -> None:
    """Poisson counts of a rate of 8 steps: lag 0 holds their noise too, later lags do not.

    ``e^(x / 2)`` of a Gaussian forgets a little faster than x: ``e^(rho / 4) - 1`` instead of rho,
    which are 7.6 steps. Ten units know the median to 5 %.
    """
    rng = np.random.default_rng(1)
    rate = 2 * np.exp(0.5 * autoregressive(rng, 8000, np.full(10, 8.0)))
    counts = recording(rng.poisson(rate), 1.0)
    with_noise, without = (
        recorded_timescales(counts, max_lag=24, first_lag=first, segments=80) for first in (0, 1)
    )
    assert (without["acf"].values[:, 1] < 0.6).all()
    # The noise is taken for a second exponential where it is seen at all.
    assert (with_noise["tau_ac_model"].values == 2).sum() >= 5
    assert np.median(without["tau_ac"]) == pytest.approx(7.6, rel=0.1)
    np.testing.assert_array_equal(without["tau_ac_model"].values, 1)


def test_units_of_noise_alone_have_no_time_constant() -> None:
    x = np.random.default_rng(2).standard_normal((20, 30, 12))
    x[..., 1:, :] -= 0.5 * x[..., :-1, :]  # neighbours are less alike than by chance
    found = recorded_timescales(x, max_lag=8, first_lag=1)
    assert np.isnan(found["tau_ac"].values).all()
    assert np.isnan(found["tau_ac_ci"].values).all()


def test_equals_what_a_model_gives() -> None:
    spec = Spec("continuous", 2, "regression", 1)
    model = build_model("leaky", spec, {"width": 5}, seed=0)
    x = torch.randn(8, 30, 2, generator=torch.Generator().manual_seed(0))
    expected = timescales(model, x, burn_in=0, n_exponents=1)
    state, states = model.init_state(8), []
    with torch.no_grad():
        model = model.double()
        state = {name: part.double() for name, part in state.items()}
        for x_t in x.double().unbind(1):
            _, state = model.step(x_t, state)
            states.append(torch.cat([part.flatten(1) for part in state.values()], dim=1))
    found = recorded_timescales(torch.stack(states, dim=1).numpy())
    for name in ("acf", "tau_ac", "tau_ac_ci", "tau_population"):
        np.testing.assert_allclose(found[name].values, expected[name].values, rtol=1e-6)


def test_refusals() -> None:
    x = np.random.default_rng(0).standard_normal((20, 40, 2))
    hole = x.copy()
    hole[1, 2, 0] = np.inf
    for values, options, message in (
        (hole, {}, "1 states are not finite"),
        (np.ones((20, 40, 2)), {}, "never vary"),
        (x, {"dt": 0.0}, "dt = 0.0"),
        (x, {"max_lag": 40}, "largest lag is 40"),
        (x, {"max_lag": 5, "first_lag": 4}, "first lag is 4 .*0 to 3"),
        (x[:, :5], {}, "too short"),
    ):
        with pytest.raises(UsageError, match=message) as caught:
            recorded_timescales(values, **options)
        assert "\n" not in str(caught.value)
