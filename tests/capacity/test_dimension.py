"""Dimensions of clouds with a known spectrum, and what few or correlated samples do to them."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from seqprobe import schema
from seqprobe.capacity import cloud_dimension, state_dimension
from seqprobe.capacity.two_nn import correlation_time, slope_dimension, thinned, two_neighbours
from seqprobe.errors import NotApplicableError, SeqprobeError, UsageError
from seqprobe.models import build_model
from seqprobe.spec import Spec


def smooth(rng: np.random.Generator, n: int, d: int, window: int = 20) -> np.ndarray:
    """Return moving averages of white noise (n, d)."""
    noise = rng.standard_normal((n + window - 1, d))
    kernel = np.ones(window) / window
    return np.stack([np.convolve(noise[:, i], kernel, "valid") for i in range(d)], axis=1)


@pytest.mark.parametrize("n", [200, 2000, 20_000])
def test_few_samples_lower_the_plain_participation_ratio_alone(n: int) -> None:
    result = cloud_dimension(np.random.default_rng(n).standard_normal((n, 50)))
    assert float(result["participation_ratio_raw"]) == pytest.approx(50 / (1 + 50 / n), rel=0.02)
    assert float(result["participation_ratio"]) == pytest.approx(50, rel=0.03)
    low, high = result["participation_ratio_ci"].values
    assert low < 50 < high or n == 20_000
    if n == 20_000:
        assert float(result["effective_rank"]) == pytest.approx(49.98, abs=0.05)


def test_the_spectrum_one_over_i() -> None:
    rng = np.random.default_rng(0)
    z = rng.standard_normal((200_000, 50)) / np.sqrt(np.arange(1, 51))
    result = cloud_dimension(z)
    assert float(result["participation_ratio"]) == pytest.approx(12.456, abs=0.1)
    assert float(result["participation_ratio_raw"]) == pytest.approx(12.456, abs=0.1)
    shares = np.cumsum(1 / np.arange(1, 51)) / np.sum(1 / np.arange(1, 51))
    expected = [int((shares < q).sum()) + 1 for q in result["quantile"].values]
    np.testing.assert_allclose(result["dimensions"].values, expected, atol=1)


def test_intervals_of_the_participation_ratio_cover_the_truth() -> None:
    """Sequences are the independent unit: their steps here are one sample, repeated with noise."""
    truth = np.square(3.0 + 1 + 0.5) / (9 + 1 + 0.25)
    covered = 0
    for seed in range(100):
        rng = np.random.default_rng(seed)
        centre = rng.standard_normal((40, 1, 3)) * np.sqrt([3.0, 1.0, 0.5])
        result = cloud_dimension(np.repeat(centre, 10, axis=1))
        low, high = result["participation_ratio_ci"].values
        covered += low <= truth <= high
    assert covered >= 88


@pytest.mark.parametrize(("n", "length", "d"), [(10, 1, 50), (20, 1, 500), (8, 100, 50)])
def test_very_few_samples_do_not_bias_the_participation_ratio(n: int, length: int, d: int) -> None:
    """The mean of many clouds is the truth, also where each sequence stays in one place."""
    found = []
    for seed in range(30):
        rng = np.random.default_rng(seed)
        z = np.repeat(rng.standard_normal((n, 1, d)), length, axis=1)
        found.append(float(cloud_dimension(z)["participation_ratio"]))
    # A ratio of unbiased numbers has a bias of the order of its relative variance.
    assert np.median(found) == pytest.approx(d, rel=0.25)


def test_three_sequences_are_too_few_for_it() -> None:
    assert np.isnan(
        cloud_dimension(np.random.default_rng(0).standard_normal((3, 5)))["participation_ratio"]
    )


@pytest.mark.parametrize("spread", [1e-3, 1e-9])
def test_two_neighbours_of_tight_clusters(spread: float) -> None:
    rng = np.random.default_rng(0)
    centres = np.repeat(10 * rng.standard_normal((10, 8)), 200, axis=0)
    points = centres + spread * rng.standard_normal((2000, 8))
    found = slope_dimension(two_neighbours(points, np.arange(2000)).ratios)
    assert found == pytest.approx(7.6, abs=0.4)


@pytest.mark.parametrize("wide", [400, 600])
def test_spectra_of_wide_states(wide: int) -> None:
    """More numbers than samples: three directions are three directions."""
    rng = np.random.default_rng(0)
    z = rng.standard_normal((32, 40, 3)) @ rng.standard_normal((3, wide))
    result = cloud_dimension(z)
    assert result["dimensions"].values[-1] <= 3
    assert float(result["participation_ratio"]) <= 3.1
    assert float(result["two_nn"]) == pytest.approx(3, abs=0.5)


@pytest.mark.parametrize(("d", "low", "high"), [(2, 1.9, 2.1), (8, 6.8, 8.3), (20, 14, 17.5)])
def test_two_neighbours_of_cubes(d: int, low: float, high: float) -> None:
    result = cloud_dimension(np.random.default_rng(d).random((2000, d)))
    assert low < float(result["two_nn"]) < high


def test_states_close_in_time_look_like_a_line_unless_they_are_thinned_out() -> None:
    """Case 33: ten dimensions, smooth over twenty steps."""
    z = smooth(np.random.default_rng(0), 40_000, 10).reshape(2, 20_000, 10)
    raw = float(cloud_dimension(z[:, :1000], every=1)["two_nn"])
    assert raw < 6
    result = cloud_dimension(z)
    assert int(result["every"]) == pytest.approx(20, abs=2)
    assert 8.5 < float(result["two_nn"]) < 11.5


def test_correlation_time_of_a_moving_average() -> None:
    z = smooth(np.random.default_rng(1), 20_000, 5)[None]
    assert correlation_time(z) == pytest.approx(20, abs=3)
    assert correlation_time(np.random.default_rng(1).standard_normal((4, 500, 3))) == 1
    assert correlation_time(np.ones((2, 10, 3))) == 1


def test_points_that_coincide_are_dropped() -> None:
    points = np.random.default_rng(0).random((500, 2))
    doubled = np.concatenate([points, points, points])
    found = two_neighbours(doubled, np.arange(1500))
    assert found.duplicates == pytest.approx(2 / 3)
    assert slope_dimension(found.ratios) == pytest.approx(
        slope_dimension(two_neighbours(points, np.arange(500)).ratios)
    )
    result = cloud_dimension(np.repeat(np.eye(3), 100, axis=0))
    assert np.isnan(result["two_nn"])
    assert float(result["duplicates"]) == pytest.approx(0.99)


def test_thinning_keeps_sequences_apart() -> None:
    z = np.arange(24).reshape(2, 12, 1)
    points, of = thinned(z, 5, 100)
    assert points[:, 0].tolist() == [1, 6, 11, 13, 18, 23]
    assert of.tolist() == [0, 0, 0, 1, 1, 1]
    with pytest.raises(UsageError, match="every = 0"):
        thinned(z, 0, 10)


def test_states_of_models_carry_the_canonical_spectrum() -> None:
    model = build_model("gru", Spec("continuous", 1, "regression", 1), {"width": 6}, seed=0)
    x = torch.randn(64, 60, 1)
    result = state_dimension(model, x)
    schema.validate(result)
    assert result.attrs["part"] == "state"
    assert 0 < float(result["directions"]) <= 6
    assert int(result["dimension"]) == 6
    still = state_dimension(model, torch.zeros(8, 10, 1) + torch.arange(8)[:, None, None] * 0)
    assert "directions" not in still
    wide = build_model("mamba", Spec("continuous", 1, "regression", 1), {"width": 16})
    assert np.isnan(state_dimension(wide, torch.randn(8, 12, 1))["directions"])


def test_refusals() -> None:
    with pytest.raises(UsageError, match="1 sequences are too few for a dimension"):
        cloud_dimension(np.ones((1, 10, 3)))
    with pytest.raises(SeqprobeError, match="not all finite"):
        cloud_dimension(np.full((4, 10, 3), np.nan))
    attention = build_model("transformer", Spec("continuous", 1, "regression", 1), {"width": 8})
    with pytest.raises(NotApplicableError, match="use part 'readout'"):
        state_dimension(attention, torch.randn(4, 8, 1))
    assert int(state_dimension(attention, torch.randn(4, 8, 1), part="readout")["dimension"]) == 8
