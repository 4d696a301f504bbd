"""Arrays with and without names of their dimensions give every measure the same numbers."""

from __future__ import annotations

from collections.abc import Callable
from itertools import permutations

import numpy as np
import pytest
import xarray as xr

from seqprobe.arrays import as_labels, as_samples, as_trials, cut, ordered, seconds_per_step
from seqprobe.capacity import cloud_dimension, cover_capacity, manifold_capacity
from seqprobe.degeneracy import dsa
from seqprobe.degeneracy.representation import (
    DISTANCES,
    directed_pwcca,
    euclidean_procrustes,
    pairwise,
)
from seqprobe.dynamics import recorded_timescales
from seqprobe.errors import UsageError
from seqprobe.memory import decode

DIMS = ("trial", "time", "unit")
RNG = np.random.default_rng(0)
STATES = np.cumsum(RNG.standard_normal((12, 30, 4)), axis=1) * 0.3 + RNG.standard_normal(
    (12, 30, 4)
)
LABELS = np.arange(12)[:, None] % 3 + np.zeros((1, 30), dtype=int)
TARGET = STATES[..., 0] - STATES[..., 1] + RNG.standard_normal((12, 30))


def named(values: np.ndarray, order: tuple[str, ...], dims: tuple[str, ...] = DIMS) -> xr.DataArray:
    return xr.DataArray(values, dims=dims).transpose(*order)


def small_dsa(x: np.ndarray | xr.DataArray) -> xr.Dataset:
    return dsa([x, x], delays=(1,), ranks=(3,), restarts=2)


MEASURES: dict[str, Callable[[np.ndarray | xr.DataArray], xr.Dataset]] = {
    "cloud_dimension": cloud_dimension,
    "cover_capacity": lambda x: cover_capacity(x, loads=[4, 12], draws=5),
    "manifold_capacity": lambda x: manifold_capacity(
        x, xr.DataArray(LABELS, dims=DIMS[:2]), draws=10
    ),
    "dsa": small_dsa,
    "recorded_timescales": lambda x: recorded_timescales(x, max_lag=5),
    "decode": lambda x: decode(x, TARGET, blocks=3),
}


@pytest.mark.parametrize("measure", MEASURES)
def test_the_order_of_named_dimensions_does_not_matter(measure: str) -> None:
    expected = MEASURES[measure](STATES)
    for order in (("unit", "trial", "time"), ("time", "unit", "trial")):
        xr.testing.assert_identical(
            MEASURES[measure](named(STATES, order)).drop_attrs(), expected.drop_attrs()
        )


def test_distances_take_names_in_any_order() -> None:
    other = STATES @ RNG.standard_normal((4, 5))
    flat = [x.reshape(-1, x.shape[2]) for x in (STATES, other)]
    expected = pairwise(flat)
    for order in permutations(DIMS):
        found = pairwise([named(STATES, order), other])
        for name in DISTANCES:
            np.testing.assert_array_equal(found[name], expected[name])
    rows = named(flat[0], ("unit", "time"), ("time", "unit"))
    assert DISTANCES["cka"](rows, flat[1]) == expected["cka"][0, 1]
    assert euclidean_procrustes(rows, flat[1]) == euclidean_procrustes(*flat)
    assert directed_pwcca(rows, flat[1]) == directed_pwcca(*flat)


def test_a_long_recording_is_cut() -> None:
    long = RNG.standard_normal((103, 3))
    pieces = cut(long, 5)
    assert pieces.shape == (5, 20, 3)
    np.testing.assert_array_equal(pieces.reshape(-1, 3), long[:100])
    recording = named(long, ("unit", "time"), ("time", "unit"))
    np.testing.assert_array_equal(as_trials(recording, 5), pieces)
    pieces = cut(long, 4)
    for found, expected in (
        (cloud_dimension(recording, segments=4), cloud_dimension(pieces)),
        (
            recorded_timescales(recording, segments=4, max_lag=4),
            recorded_timescales(pieces, max_lag=4),
        ),
    ):
        xr.testing.assert_identical(found.drop_attrs(), expected.drop_attrs())
    found, expected = (
        dsa([x, x], segments=4, delays=(1,), ranks=(2,), restarts=2) for x in (recording, pieces)
    )
    xr.testing.assert_identical(found.drop_attrs(), expected.drop_attrs())
    # Without names (n, d) are n sequences of one state, as it was.
    assert as_trials(long).shape == (103, 3)
    assert as_trials(named(long, ("unit", "trial"), ("trial", "unit"))).shape == (103, 1, 3)


def test_neighbours_in_time_are_not_taken_for_neighbours() -> None:
    """Of a smooth path the states before and after are nearest, and equally far: no dimension."""
    kernel, noise = np.hanning(40), RNG.standard_normal((100_000, 3))
    path = np.stack([np.convolve(e, kernel, "valid") for e in noise.T], axis=1)
    assert float(cloud_dimension(path[:2000])["two_nn"]) > 5
    found = cloud_dimension(xr.DataArray(path, dims=("time", "unit")))
    assert int(found["every"]) > 20
    assert float(found["two_nn"]) == pytest.approx(3, abs=0.25)
    assert float(found["participation_ratio"]) == pytest.approx(3, abs=0.05)


def test_samples_and_labels_go_together() -> None:
    order = ("unit", "time", "trial")
    samples = as_samples(named(STATES, order))
    labels = as_labels(named(LABELS, ("time", "trial"), DIMS[:2]))
    np.testing.assert_array_equal(samples, STATES.reshape(-1, 4))
    np.testing.assert_array_equal(labels, LABELS.ravel())
    assert as_labels(np.array([["a", "b"]])).tolist() == ["a", "b"]


def test_names_of_xarrays_own_are_none() -> None:
    np.testing.assert_array_equal(as_trials(xr.DataArray(STATES)), STATES)


def test_seconds_of_the_time_axis() -> None:
    time = xr.Variable(("time",), 1000 + 0.1 * np.arange(50), {"units": "s"})
    x = xr.DataArray(np.zeros((50, 2)), dims=("time", "unit"), coords={"time": time})
    assert seconds_per_step(x) == 0.1
    assert seconds_per_step(x.values) is None
    assert seconds_per_step(x.assign_coords(time=np.arange(50))) is None
    with pytest.raises(UsageError, match=r"steps of 'time' are 0\.1 to 0\.2 s"):
        seconds_per_step(x.isel(time=[0, 1, 2, 4, 5]))


def layered() -> xr.DataArray:
    return xr.DataArray(np.zeros((2, 30, 4)), dims=("layer", "time", "unit"))


@pytest.mark.parametrize(
    "measure",
    [
        cloud_dimension,
        cover_capacity,
        recorded_timescales,
        small_dsa,
        lambda x: manifold_capacity(x, LABELS[:2]),
        lambda x: decode(x, TARGET[:2]),
        lambda x: pairwise([x, x]),
    ],
)
def test_wrong_names_get_one_line(measure: Callable[[xr.DataArray], object]) -> None:
    with pytest.raises(UsageError, match=r"have the dimensions \(layer, time, unit\)") as caught:
        measure(layered())
    assert "\n" not in str(caught.value)


def test_refusals() -> None:
    with pytest.raises(UsageError, match=r"dimensions \(time\) \(allowed: unit with trial"):
        ordered(xr.DataArray(np.zeros(5), dims="time"))
    with pytest.raises(UsageError, match=r"targets have the dimensions \(unit\)"):
        ordered(xr.DataArray(np.zeros(5), dims="unit"), "targets", last=False)
    with pytest.raises(UsageError, match="type complex128"):
        ordered(np.zeros(3) + 1j)
    with pytest.raises(UsageError, match="it has trials"):
        cut(STATES)
    with pytest.raises(UsageError, match=r"20 segments of a recording of 30 steps .*1 to 15"):
        cut(STATES[0])
    with pytest.raises(UsageError, match=r"\(30, 4\) .*seqprobe.arrays.cut"):
        recorded_timescales(STATES[0])
    with pytest.raises(UsageError, match=r"\(30, 4\) .*seqprobe.arrays.cut"):
        small_dsa(STATES[0])
