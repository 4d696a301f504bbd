"""What is decoded from states whose targets are known to so much and no more."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from scipy.special import iv
from sklearn.linear_model import Ridge

from seqprobe import schema
from seqprobe.errors import UsageError
from seqprobe.memory import decode
from seqprobe.memory.readout import RIDGES, read_out


def walk(rng: np.random.Generator, n: int, step: float = 0.5) -> np.ndarray:
    """Return an angle that walks at random, in [0, 2 pi)."""
    angle: np.ndarray = np.cumsum(step * rng.standard_normal(n)) % (2 * np.pi)
    return angle


def ring(
    rng: np.random.Generator, angle: np.ndarray, units: int, peak: float, k: float
) -> np.ndarray:
    """Return Poisson counts of units with von Mises tuning, evenly spread."""
    preferred = np.arange(units) * 2 * np.pi / units
    return rng.poisson(peak * np.exp(k * (np.cos(angle[:, None] - preferred) - 1)))


def linear(rng: np.random.Generator, n: int, noise: float) -> tuple[np.ndarray, np.ndarray]:
    """Return states and a target with unit variance beside its noise."""
    z = rng.standard_normal((n, 5))
    return z, z @ (np.array([1.0, -1, 1, 1, -1]) / np.sqrt(5)) + noise * rng.standard_normal(n)


def test_a_linear_target_of_known_r2() -> None:
    """R2 = 1 / (1 + noise^2) = 0.8; rmse is the noise. 2000 samples know R2 to 0.01."""
    z, y = linear(np.random.default_rng(0), 4000, 0.5)
    found = decode(z, y)
    schema.validate(found)
    assert float(found["r2"]) == pytest.approx(0.8, abs=0.02)
    assert float(found["rmse"]) == pytest.approx(0.5, abs=0.02)
    low, high = found["r2_ci"].values
    assert low < 0.8 < high < low + 0.06
    # Five weights fitted to 2000 samples of nothing lose 5 / 2000.
    assert float(found["r2_null"]) == pytest.approx(-0.0025, abs=0.002)
    assert found["r2_null_ci"].values[1] < 0.005
    assert float(found["r2_constant"]) == pytest.approx(0, abs=0.01)
    assert float(found["p_value"]) == pytest.approx(1 / 201)


@pytest.mark.parametrize(("units", "peak", "k"), [(40, 2.0, 2.0), (12, 8.0, 4.0)])
def test_a_ring_of_poisson_units_reaches_the_cramer_rao_bound(
    units: int, peak: float, k: float
) -> None:
    """The population vector is efficient for von Mises tuning with Poisson noise.

    Fisher's information of evenly spread units is ``k N peak e^-k I_1(k)``, and the variance of the
    angle of ``sum_i n_i e^(i phi_i)``, the best linear reading, is its inverse. 4000 tested samples
    know a median to 2 %; the weights cost as many samples as there are units.
    """
    rng = np.random.default_rng(1)
    angle = walk(rng, 8000)
    found = decode(ring(rng, angle, units, peak, k), angle, circular=True)
    schema.validate(found)
    sd = np.degrees(1 / np.sqrt(k * units * peak * np.exp(-k) * iv(1, k)))
    assert float(found["median_error"]) == pytest.approx(0.6745 * sd, rel=0.06)
    assert float(found["mean_error"]) == pytest.approx(np.sqrt(2 / np.pi) * sd, rel=0.06)
    low, high = found["median_error_ci"].values
    assert low < float(found["median_error"]) < high
    assert float(found["median_error_null"]) == pytest.approx(90, abs=8)
    assert float(found["p_value"]) < 0.01
    error = found["decoded"] - found["target"]
    signed = np.degrees((error.values + np.pi) % (2 * np.pi) - np.pi)
    np.testing.assert_allclose(found["error"].values, signed, atol=1e-9)


def test_another_target_is_at_chance() -> None:
    rng = np.random.default_rng(2)
    states = ring(rng, walk(rng, 4000), 12, 8.0, 4.0)
    found = decode(states, walk(rng, 4000), circular=True)
    low, high = found["median_error_null_ci"].values
    assert low < 90 < high
    assert low < float(found["median_error"]) < high
    assert float(found["p_value"]) > 0.05


def test_slow_signals_look_alike_and_the_null_says_so() -> None:
    """Walks that know nothing of each other: R2 is wild, and so are those of shifted targets.

    Two or three of 25 are expected below 0.1, seven or more in 1 of 100.
    """
    p = []
    for seed in range(25):
        rng = np.random.default_rng(seed)
        states, y = np.cumsum(rng.standard_normal((400, 5)), axis=0), rng.standard_normal(400)
        p.append(float(decode(states, np.cumsum(y))["p_value"]))
    assert sum(value < 0.1 for value in p) <= 6


def test_readers_equal_those_of_scikit_learn() -> None:
    rng = np.random.default_rng(3)
    z, new = rng.standard_normal((2, 103, 6)) * np.arange(1, 7) + 2
    targets = rng.standard_normal((103, 3, 2)) + z[:, :1, None] * np.array([0, 0.1, 1])[:, None]
    found = read_out(z, targets, new)
    x, mean, sd = (z - z.mean(axis=0)) / z.std(axis=0), z.mean(axis=0), z.std(axis=0)
    for g in range(3):
        y, errors = targets[:, g], []
        for ridge in RIDGES:
            off = 0.0
            for fold in np.array_split(np.arange(103), 5):
                rest = np.setdiff1d(np.arange(103), fold)
                fit = Ridge(alpha=ridge * len(rest)).fit(x[rest], y[rest])
                off += np.square(fit.predict(x[fold]) - y[fold]).sum()
            errors.append(off)
        best = RIDGES[int(np.argmin(errors))]
        assert found.ridge[g] == best
        expected = Ridge(alpha=best * 103).fit(x, y).predict((new - mean) / sd)
        np.testing.assert_allclose(found.decoded[:, g], expected, atol=1e-9)
    assert len(set(found.ridge)) > 1


def test_trials_are_whole_and_the_first_half_fits(tmp_path: Path) -> None:
    rng = np.random.default_rng(4)
    z, y = linear(rng, 30 * 50, 0.5)
    states, target = z.reshape(30, 50, 5), y.reshape(30, 50)
    found = decode(states, target)
    flat = decode(z, y)
    assert float(found["r2"]) == float(flat["r2"])  # the same samples, in other blocks
    assert found["decoded"].dims == ("trial", "time")
    np.testing.assert_array_equal(found["trial"].values, np.arange(15, 30))
    np.testing.assert_array_equal(found["target"].values, target[15:])
    schema.write(found, tmp_path / "decode.nc")
    xr.testing.assert_identical(schema.read(tmp_path / "decode.nc"), found)
    # What is done to the second half changes nothing of what was fitted.
    other = decode(states, np.concatenate([target[:15], target[15:] + 100]))
    np.testing.assert_array_equal(other["decoded"].values, found["decoded"].values)


def test_one_tested_trial_has_no_interval() -> None:
    z, y = linear(np.random.default_rng(7), 600, 0.5)
    found = decode(z.reshape(2, 300, 5), y.reshape(2, 300))
    assert float(found["r2"]) == pytest.approx(0.8, abs=0.06)
    assert np.isnan(found["r2_ci"].values).all()
    assert found["decoded"].shape == (1, 300)


def test_labels_and_units_are_kept() -> None:
    z, y = linear(np.random.default_rng(5), 400, 0.5)
    time = xr.Variable(("time",), 0.5 * np.arange(400) + 3, {"units": "s"})
    attrs = {"units": "cm", "long_name": "place"}
    target = xr.DataArray(y, dims="time", coords={"time": time}, attrs=attrs)
    states = xr.DataArray(z.T, dims=("unit", "time"), coords={"time": time})
    found = decode(states, target)
    schema.validate(found)
    assert found["rmse"].attrs["units"] == found["error"].attrs["units"] == "cm"
    assert found["decoded"].attrs["long_name"] == "decoded place"
    assert float(found["time"][0]) == 103
    assert found["time"].attrs == {"units": "s", "long_name": "time"}
    with pytest.raises(UsageError, match="differ in 'time'"):
        decode(states, target.assign_coords(time=time + 1))


def test_refusals() -> None:
    z, y = linear(np.random.default_rng(6), 400, 0.5)
    hole = y.copy()
    hole[3] = np.nan
    for arguments, message in (
        ((z, y[:-1]), r"states have shape \(400, 5\), targets \(399,\)"),
        ((z, y[:, None]), "targets"),
        ((z, hole), "1 targets are not finite"),
        ((z[:60], y[:60]), "30 samples to fit a reader of 5 units"),
        ((z, np.ones(400)), "never vary"),
    ):
        with pytest.raises(UsageError, match=message) as caught:
            decode(*arguments)
        assert "\n" not in str(caught.value)
    with pytest.raises(UsageError, match="1 blocks"):
        decode(z, y, blocks=1)


@pytest.mark.slow
def test_intervals_cover() -> None:
    """Blocks of 20 know the spread of R2: 95 % intervals hold 0.8 in 88 to 99 % of 200 cases."""
    hits = 0
    for seed in range(200):
        z, y = linear(np.random.default_rng(seed), 800, 0.5)
        low, high = decode(z, y)["r2_ci"].values
        hits += low < 0.8 * (1 - 5 / 400 / 4) < high
    assert 0.88 <= hits / 200 <= 0.99


def test_a_unit_that_is_constant_but_for_rounding_tells_nothing() -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((1000, 3))
    y = x[:, 0] + 0.1 * rng.standard_normal(1000)
    unit = np.r_[np.full(500, 0.1), 0.1 + rng.random(500)]
    without, beside = decode(x, y), decode(np.c_[x, unit], y)
    assert float(without["r2"]) > 0.98
    np.testing.assert_allclose(beside["r2"], without["r2"], rtol=1e-9)


@pytest.mark.parametrize("named", [True, False])
def test_angles_in_degrees_are_not_read_as_turns(named: bool) -> None:
    rng = np.random.default_rng(0)
    angle = rng.uniform(0, 360, 400)
    x = np.c_[np.cos(np.radians(angle)), np.sin(np.radians(angle))]
    target = xr.DataArray(angle, dims="time", attrs={"units": "degrees"} if named else {})
    with pytest.raises(UsageError, match=r"numpy\.radians"):
        decode(x, target if named else angle, circular=True)
