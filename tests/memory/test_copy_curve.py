"""Known answers of copy-length curves: oracles, intervals, bits."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seqprobe.errors import UsageError
from seqprobe.memory import copy_curve
from seqprobe.memory.recall_statistics import (
    Recalled,
    fano_bits,
    last_crossing,
    mutual_information,
    summarise,
    wilson,
    wilson_of_means,
)
from seqprobe.tasks.copy import Copy, CopyConfig
from seqprobe.tasks.recall import Recall, RecallConfig


class Register(nn.Module):
    """Says the symbols again while the delay is at most its reach, else guesses with confidence."""

    def __init__(self, symbols: int, reach: int) -> None:
        super().__init__()
        self.symbols, self.reach = symbols, reach

    def forward(self, x: Tensor) -> Tensor:
        length = x.shape[1]
        logits = torch.zeros(*x.shape[:2], 10)
        if length - self.symbols > self.reach:
            logits[:, -self.symbols :, 1] = 20.0
        else:
            shown = F.one_hot(x[:, : self.symbols, 0].long(), 10)
            logits[:, -self.symbols :] = 20.0 * shown
        return logits


class Ring:
    """Case 24: keeps the last six of M symbols and guesses the others."""

    def __init__(self, symbols: int, capacity: int = 6, n: int = 4000) -> None:
        rng = np.random.default_rng(symbols)
        self.asked = rng.integers(0, 8, (n, symbols))
        lost = max(0, symbols - capacity)
        self.said = self.asked.copy()
        self.said[:, :lost] = rng.integers(0, 8, (n, lost))
        bits = np.zeros((n, symbols))
        bits[:, :lost] = 3.0  # an even guess
        self.row = Recalled(self.asked, self.said, bits, np.ones(n), symbols)


@pytest.mark.parametrize(
    ("symbols", "accuracy", "bits"), [(4, 1, 12), (6, 1, 18), (8, 0.78125, 18), (12, 0.5625, 18)]
)
def test_ring_buffer(symbols: int, accuracy: float, bits: float) -> None:
    row = Ring(symbols).row
    result = summarise([row], np.array([1]), 8, np.random.default_rng(0))
    assert float(result["accuracy"][0]) == pytest.approx(accuracy, abs=0.01)
    assert float(result["bits_mi"][0]) == pytest.approx(bits, abs=0.1)
    assert float(result["bits_ba"][0]) == pytest.approx(bits, abs=1e-9)
    low, high = result["bits_mi_ci"][:, 0].values
    assert low <= float(result["bits_mi"][0]) <= high


@pytest.mark.parametrize("rate", [0.0, 0.3, 0.7])
def test_interval_of_the_bits_covers(rate: float) -> None:
    """Each answer is the symbol with this probability, else one of eight at random."""
    p = rate + (1 - rate) / 8
    q = (1 - p) / 7
    exact = 4 * (3 + p * math.log2(p) + (7 * q * math.log2(q) if q else 0))
    rng = np.random.default_rng(0)
    covered, estimates = 0, []
    for _ in range(120):
        asked = rng.integers(0, 8, (500, 4))
        said = np.where(rng.random((500, 4)) < rate, asked, rng.integers(0, 8, (500, 4)))
        row = Recalled(asked, said, np.zeros((500, 4)), np.ones(500), 4)
        result = summarise([row], np.array([1]), 8, rng)
        low, high = result["bits_mi_ci"][:, 0].values
        covered += low <= exact <= high
        estimates.append(float(result["bits_mi"][0]))
    assert np.mean(estimates) == pytest.approx(exact, abs=0.1)  # at 0 it is cut off below
    assert covered / 120 >= 0.88


def test_many_symbols_do_not_need_all_pairs_of_them() -> None:
    rng = np.random.default_rng(0)
    asked = rng.integers(0, 4000, (50, 3))
    row = Recalled(asked, asked.copy(), np.zeros((50, 3)), np.ones(50), 3)
    result = summarise([row], np.array([1]), 4096, rng)
    assert 3 * 2 < float(result["bits_mi"][0]) < 3 * 12  # fifty sequences cannot show more


def test_half_delay_is_the_last_crossing() -> None:
    delays = np.array([1, 2, 4, 8])
    curves = np.array([[0, 1, 1, 0], [0, 0, 0, 0], [1, 1, 1, 1], [0, 0, 0, 1], [1, 0, 1, 0.0]])
    np.testing.assert_allclose(
        last_crossing(delays, curves, 0.5), [2**2.5, 0, np.inf, np.inf, 2**2.5], rtol=1e-12
    )


def test_curve_of_a_register_falls_where_it_ends() -> None:
    """Answers lie T + M back: a reach of 25 with five symbols ends at T = 20."""
    task = Copy(CopyConfig(delay=10, symbols=5))
    delays = [5, 15, 20, 21, 30]
    result = copy_curve(Register(5, 25), task, delays, protocol="fixed", n_sequences=400)
    assert result["answer_lag"].values.tolist() == [10, 20, 25, 26, 35]
    assert result["accuracy"].values[:3].tolist() == [1, 1, 1]
    np.testing.assert_allclose(result["accuracy"].values[3:], 1 / 8, atol=0.03)
    assert result["accuracy_sequence"].values.tolist() == [1, 1, 1, 0, 0]
    np.testing.assert_allclose(result["bits_ba"].values[:3], 15, atol=1e-3)
    assert result["bits_ba"].values[3:].tolist() == [0, 0]  # sure and wrong
    assert (result["bits_mi"].values[3:] < 0.3).all()  # one answer for all
    assert 20 < float(result["T50"]) < 21
    assert result.attrs["protocol"] == "fixed"
    assert result.attrs["chance"] == 1 / 8
    # Section 13: over all positions even a model that never recalls looks good.
    assert result["accuracy_all_positions"].values[3] > 0.85


def test_one_model_per_delay() -> None:
    task = Copy(CopyConfig(delay=10, symbols=5))
    models = {4: Register(5, 9), 8: Register(5, 9)}
    result = copy_curve(models, task, [4, 8], protocol="retrain", n_sequences=50)
    assert result["accuracy"].values[0] == 1
    assert result["accuracy"].values[1] < 0.3
    assert float(result["area"]) < 1


def test_stream_of_symbols() -> None:
    class Delayed(nn.Module):
        def forward(self, tokens: Tensor) -> Tensor:
            shown = 20.0 * F.one_hot(tokens, 4).float()
            return F.pad(shown, (0, 0, 3, 0))[:, : tokens.shape[1]]

    task = Recall(RecallConfig(length=20, delay=3, symbols=4))
    models = {delay: Delayed() for delay in (2, 3)}
    result = copy_curve(models, task, [2, 3], protocol="stream", n_sequences=100)
    assert result["answer_lag"].values.tolist() == [2, 3]
    np.testing.assert_allclose(result["accuracy"], [0.25, 1], atol=0.05)
    assert result.attrs["symbols_to_copy"] == 17


def test_constants_of_the_copy_task() -> None:
    """Case 23."""
    task = Copy(CopyConfig(delay=1000, symbols=10))
    assert task.length == 1020
    assert task.reach(task.length) == 1010
    chance = (1000 + 10 + 10 / 8) / 1020
    assert chance == pytest.approx(0.9914, abs=1e-4)
    assert Copy(CopyConfig(delay=20, symbols=5)).memoryless_loss() == pytest.approx(
        0.3466, abs=1e-4
    )
    assert float(fano_bits(np.array(0.9), 5, 8)) == pytest.approx(11.2513, abs=1e-3)
    assert float(fano_bits(np.array(1.0), 5, 8)) == 15
    assert float(fano_bits(np.array(1 / 8), 5, 8)) == 0


def test_wilson_interval() -> None:
    """The figures of a worked example: 8 of 10 is .49 to .943, 0 of 10 is 0 to .278."""
    assert wilson(0.8, 10) == pytest.approx((0.4902, 0.9433), abs=1e-3)
    assert wilson(0.0, 10) == pytest.approx((0.0, 0.2775), abs=1e-3)
    assert wilson(1.0, 1000)[0] == pytest.approx(0.99617, abs=1e-4)


def test_a_delay_without_model_is_refused() -> None:
    task = Copy(CopyConfig(delay=10, symbols=5))
    with pytest.raises(UsageError, match="no model is given for delay 6"):
        copy_curve({5: Register(5, 9)}, task, [5, 6], protocol="retrain")


@pytest.mark.parametrize("together", [0.0, 0.5, 1.0])
def test_interval_covers_when_symbols_err_together(together: float) -> None:
    """Case 25: at least 93 %, whatever the correlation within a sequence."""
    rng = np.random.default_rng(0)
    n, m, rate, covered = 200, 5, 0.8, 0
    for _ in range(600):
        shared = rng.random((n, 1)) < rate
        own = rng.random((n, m)) < rate
        right = np.where(rng.random((n, 1)) < together, shared, own)
        low, high = wilson_of_means(right)
        covered += low <= rate <= high
    assert 0.93 <= covered / 600 <= 0.985


def test_miller_madow_takes_off_the_bias() -> None:
    rng = np.random.default_rng(0)
    found = []
    for _ in range(200):
        a, b = rng.integers(0, 8, (2, 300))
        counts = np.zeros((8, 8))
        np.add.at(counts, (a, b), 1)
        found.append(float(mutual_information(counts)))
    assert abs(np.mean(found)) < 0.01  # without it: 49 / (600 ln 2) = .118
    exact = np.eye(8) * 100
    assert float(mutual_information(exact)) == pytest.approx(3 + 7 / (1600 * math.log(2)), abs=1e-9)


def test_delays_ascend() -> None:
    task = Copy(CopyConfig(delay=10, symbols=5))
    with pytest.raises(UsageError, match=r"delays are \[5, 5\] \(allowed: ascending, from 1 on\)"):
        copy_curve(Register(5, 9), task, [5, 5], protocol="fixed")
