"""Means over pairs and spreads, and what their intervals are worth."""

from __future__ import annotations

import numpy as np
import pytest

from seqprobe.degeneracy.ensemble import (
    check_ensemble,
    mean_over_networks,
    mean_over_pairs,
    spread,
)
from seqprobe.errors import UsageError


def _distances(points: np.ndarray) -> np.ndarray:
    apart: np.ndarray = np.abs(points[:, None] - points)
    return apart


def test_mean_over_pairs_by_hand() -> None:
    mean, interval = mean_over_pairs(_distances(np.array([0.0, 1.0, 3.0])))
    assert mean == pytest.approx((1 + 3 + 2) / 3)
    assert interval[0] <= mean <= interval[1]


def test_pairs_that_are_missing_do_not_count() -> None:
    values = _distances(np.array([0.0, 1.0, 3.0]))
    values[0, 2] = values[2, 0] = np.nan
    assert mean_over_pairs(values)[0] == pytest.approx(1.5)
    nothing = np.full((3, 3, 2), np.nan)
    mean, interval = mean_over_pairs(nothing)
    assert np.isnan(mean).all()
    assert np.isnan(interval).all()


def test_two_networks_have_a_mean_and_no_interval() -> None:
    mean, interval = mean_over_pairs(_distances(np.array([0.0, 2.0])))
    assert mean == 2
    assert np.isnan(interval).all()
    assert np.isnan(spread(np.array([1.0, 2.0]))[1]).all()


def test_intervals_resample_networks_and_cover_the_truth() -> None:
    """Of |x_i - x_j| for normal x, whose mean is 2 / sqrt(pi).

    400 ensembles of 20: the standard error of a coverage of 95 % is 1.1 %, and percentile
    intervals of 20 cover a few per cent less. Resampling pairs covers far less.
    """
    rng = np.random.default_rng(0)
    truth, inside, by_pairs = 2 / np.sqrt(np.pi), 0, 0
    for trial in range(400):
        distances = _distances(rng.standard_normal(20))
        _, (low, high) = mean_over_pairs(distances, seed=trial)
        inside += low <= truth <= high
        values = distances[np.triu_indices(20, 1)]
        means = values[rng.integers(len(values), size=(200, len(values)))].mean(axis=1)
        low, high = np.percentile(means, [2.5, 97.5])
        by_pairs += low <= truth <= high
    assert 0.88 <= inside / 400 <= 0.98
    assert by_pairs / 400 < 0.75


def test_spread_is_divided_by_n() -> None:
    values = np.array([[1.0, 5.0], [2.0, 5.0], [6.0, 5.0]])
    found, interval = spread(values)
    assert found[0] == pytest.approx(np.sqrt(14 / 3))  # deviations -2, -1, 3
    assert found[1] == 0
    assert (interval[:, 1] == 0).all()


def test_spread_of_nearly_equal_large_numbers_is_not_lost() -> None:
    found, (low, high) = spread(1e6 + 1e-6 * np.arange(6.0))
    assert found == pytest.approx(1e-6 * np.sqrt(35 / 12), rel=1e-3)
    assert low <= found <= high * 1.001


def test_mean_over_networks_leaves_out_nan() -> None:
    mean, _ = mean_over_networks(np.array([1.0, np.nan, 3.0]))
    assert mean == 2


def test_one_network_is_refused() -> None:
    with pytest.raises(UsageError, match=r"1 networks cannot differ.*2 or more"):
        check_ensemble(1)
