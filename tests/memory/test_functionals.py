"""Summaries of a profile on profiles whose summary is known."""

from __future__ import annotations

import numpy as np
import pytest

from seqprobe.memory import functionals

LAGS = np.arange(41)


def rows(*profiles: np.ndarray | list[float]) -> np.ndarray:
    return np.array(profiles, dtype=float)


def test_threshold_length_is_the_last_crossing() -> None:
    profile = rows([1.0, 0.05, 0.2, 0.0, 0.1, 0.01])
    lengths = functionals.threshold_lengths(profile, np.array([0.1, 0.01, 1.0]))
    assert lengths.tolist() == [[4, 5, 0]]


def test_mass_quantiles_are_the_smallest_lag_that_holds_the_share() -> None:
    profile = np.sqrt(rows([0.5, 0.3, 0.2, 0.0]))
    levels = np.array([0.4, 0.6, 0.99, 1.0])
    assert functionals.mass_quantiles(profile, levels).tolist() == [[0, 1, 2, 2]]


def test_shares_survive_very_large_and_small_profiles() -> None:
    for scale in (1e-200, 1e200):
        share = functionals.shares(scale * rows([1.0, 2.0]))
        np.testing.assert_allclose(share, [[0.2, 0.8]])


def test_silence_has_no_peak_and_no_share() -> None:
    profile = rows([0.0, 0.0, 0.0])
    assert np.isnan(functionals.peak_lag(profile)).all()
    assert np.isnan(functionals.shares(profile)).all()
    assert np.isnan(functionals.mass_quantiles(profile, np.array([0.5]))).all()
    assert np.isnan(functionals.threshold_lengths(profile, np.array([0.5]))).all()
    assert functionals.structural_zero(profile[0]) == 0


def test_structural_zero_is_after_the_last_lag_that_is_not_zero() -> None:
    assert functionals.structural_zero(np.array([0.0, 1.0, 0.0, 1e-300, 0.0, 0.0])) == 4
    assert np.isnan(functionals.structural_zero(np.array([0.0, 1.0])))


def test_exponential_tail_after_a_peak() -> None:
    profile = rows(np.where(LAGS < 5, 0.1, np.exp(-(LAGS - 5) / 7.0)))
    tail = functionals.fit_tail(profile)
    assert tail.half_life[0] == pytest.approx(7 * np.log(2), rel=1e-10)
    assert tail.r2 == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize(
    "profile",
    [
        1.0 / (LAGS + 1) ** 0.3,  # a power law
        np.where(LAGS < 20, 0.01, 1 / np.maximum(LAGS, 1) ** 2.0),  # one after a late peak
        np.where(LAGS < 20, np.exp(-LAGS / 20.0), np.exp(-(LAGS - 20) / 5 - 1)),  # a knee
        np.ones(41),  # flat
        1.001**LAGS,  # the peak is the last lag: no tail
        np.exp(-LAGS / 500.0),  # too slow to see a half-life
        np.exp(-LAGS / 20.0) * np.abs(np.cos(LAGS)),  # oscillates more than it decays
        np.where(LAGS < 5, np.exp(-LAGS / 2.0), 0.0),  # too short before it is zero
    ],
)
def test_no_half_life_where_no_exponential_fits(profile: np.ndarray) -> None:
    assert np.isnan(functionals.fit_tail(rows(profile)).half_life).all()


def test_no_half_life_where_replicates_prefer_a_power_law() -> None:
    exponential, power = np.exp(-(LAGS + 1) / 9.0), 1.0 / (LAGS + 1) ** 2
    mostly = np.array([exponential] * 99 + [power])
    assert np.isfinite(functionals.fit_tail(mostly).half_life[0])
    often = np.array([exponential] * 80 + [power] * 20)
    assert np.isnan(functionals.fit_tail(often).half_life).all()


def test_a_replicate_that_rises_has_no_finite_half_life() -> None:
    rows_ = np.array([np.exp(-LAGS / 9.0)] * 99 + [np.exp(LAGS / 90.0)])
    tail = functionals.fit_tail(rows_)
    assert np.isinf(tail.half_life[-1])
    assert np.isfinite(tail.half_life[:-1]).all()
    assert tail.lags == (1, 40)


def test_tail_ends_at_the_noise_floor() -> None:
    clean = np.exp(-LAGS / 3.0)
    noisy = np.maximum(clean, 1e-4)
    assert np.isnan(functionals.fit_tail(rows(noisy)).half_life).all()
    tail = functionals.fit_tail(rows(noisy), floor=1e-4)
    assert tail.half_life[0] == pytest.approx(3 * np.log(2), rel=1e-10)
