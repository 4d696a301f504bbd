"""Figures of recordings show the numbers of the result."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from matplotlib.axes import Axes

from seqprobe import plots
from seqprobe.dynamics import recorded_timescales
from seqprobe.errors import UsageError
from seqprobe.memory import decode

RNG = np.random.default_rng(0)
STATES = np.cumsum(RNG.standard_normal((20, 40, 3)), axis=1)
ANGLE = (0.3 * np.arange(800)) % (2 * np.pi)
AROUND = np.stack([np.cos(ANGLE), np.sin(ANGLE)], 1) + 0.1 * RNG.standard_normal((800, 2))


def _offsets(ax: Axes, label: str) -> float:
    (line,) = [line for line in ax.lines if line.get_label() == label]
    return float(np.asarray(line.get_xdata())[0])


def test_angles() -> None:
    reading = decode(AROUND, ANGLE, circular=True)
    ax = plots.decode(reading, steps=50)
    true = np.asarray(ax.lines[0].get_ydata(), dtype=float)
    kept = true[np.isfinite(true)]
    np.testing.assert_allclose(kept, np.degrees(reading["target"].values[:50]))
    assert np.isnan(true).sum() == 2  # 50 steps go round twice, without a line across
    assert ax.get_ylabel() == "target (degrees)"
    assert ax.get_xlabel() == "time (steps)"
    ax = plots.decode_error(reading)
    assert _offsets(ax, "median") == float(reading["median_error"])
    assert _offsets(ax, "median, shifted target") == float(reading["median_error_null"])
    assert sum(patch.get_height() for patch in ax.patches) == pytest.approx(100)  # type: ignore[attr-defined]


def test_numbers_in_trials(tmp_path: Path) -> None:
    target = xr.DataArray(STATES.sum(axis=2), dims=("trial", "time"), attrs={"units": "cm"})
    reading = decode(STATES, target)
    ax = plots.decode(reading)
    np.testing.assert_array_equal(np.asarray(ax.lines[0].get_ydata()), target.values[10])
    ax = plots.decode_error(reading)
    assert _offsets(ax, "root mean square") == float(reading["rmse"])
    assert ax.get_xlabel() == "absolute error (cm)"
    figure = plots.decode_figure(reading)
    plots.save(figure, tmp_path / "decode.pdf")
    assert (tmp_path / "decode.pdf").stat().st_size > 1000


def test_timescales_by_region(tmp_path: Path) -> None:
    region = ("unit", np.array(["a", "b", "a"]), {"units": "1", "long_name": "region"})
    states = xr.DataArray(STATES, dims=("trial", "time", "unit"), coords={"region": region})
    scales = recorded_timescales(states, max_lag=5)
    scales["tau_ac"][1] = np.inf  # as of a drift
    ax = plots.recorded_timescales(scales, by="region")
    drawn = {str(line.get_label()): np.asarray(line.get_xdata()) for line in ax.lines}
    np.testing.assert_array_equal(drawn["a"], np.sort(scales["tau_ac"].values[[0, 2]]))
    assert len(drawn["b"]) == 0
    assert ax.get_xlabel() == "autocorrelation time (steps)"
    assert len(plots.recorded_timescales(scales).lines) == 1
    with pytest.raises(UsageError, match=r"no coordinate 'layer' \(allowed: region\)"):
        plots.recorded_timescales(scales, by="layer")
