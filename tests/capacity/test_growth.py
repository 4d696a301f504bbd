"""States that grow as they are known to, and a verdict that needs two witnesses."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from reference.stores import Leak
from seqprobe import schema
from seqprobe.capacity import state_growth
from seqprobe.capacity.growth_statistics import growth
from seqprobe.capacity.state_growth import Verdict, default_positions
from seqprobe.errors import NotApplicableError, UsageError
from seqprobe.models import build_model
from seqprobe.spec import Spec
from seqprobe.tasks import Batch, make_task


def noise(n: int, length: int, width: int, targets: str = "inputs") -> Batch:
    x = torch.from_numpy(np.random.default_rng(0).standard_normal((n, length, width)))
    y = x
    if targets == "late":  # from step 200 on, what is asked for is something else
        y = x.clone()
        y[:, 200:] = torch.from_numpy(np.random.default_rng(1).standard_normal(y[:, 200:].shape))
    return Batch(x, y)


@pytest.mark.parametrize("alpha", [1.0, 0.999, 0.99])
def test_variance_of_a_leak(alpha: float) -> None:
    """Case 28: (1 - alpha^2t) / (1 - alpha^2), or t.

    Of 20,000 elements a variance is known to 1 %, the logarithm of a ratio of two to .02.
    """

    def variance(t: np.ndarray) -> np.ndarray:
        known: np.ndarray = t if alpha == 1 else (1 - alpha ** (2 * t)) / (1 - alpha**2)
        return known

    result = state_growth(Leak(alpha, 1000), noise(20, 1000, 1000), train_length=250)
    schema.validate(result)
    v = result["state_var"].sel(part="h").isel(head=0)
    t = result["time"].values.astype(float)
    np.testing.assert_allclose(v.values, variance(t), rtol=0.04)
    np.testing.assert_allclose(result["state_rms"].values[0, 0] ** 2, variance(t), rtol=0.04)
    ends = variance(np.array([500.0, 1000.0]))
    ratio = float(np.log2(v.sel(time=1000) / v.sel(time=500)))
    assert ratio == pytest.approx(np.log2(ends[1] / ends[0]), abs=0.06)
    assert float(result["growth_exponent"][0]) == pytest.approx(ratio, abs=0.06)
    grown = ends[1] / variance(np.array([250.0]))[0]
    assert float(result["growth_index_part"][0]) == pytest.approx(grown, rel=0.04)


def test_a_collapse_needs_both_the_state_and_the_loss() -> None:
    def verdict(alpha: float, targets: str) -> Verdict:
        batch = noise(16, 800, 20, targets)
        result = state_growth(Leak(alpha, 20), batch, train_length=100)
        return Verdict(int(result["verdict"]))

    assert verdict(0.9, "inputs") == Verdict.STABLE
    assert verdict(1.0, "inputs") == Verdict.GROWTH
    assert verdict(0.9, "late") == Verdict.DECLINE
    assert verdict(1.0, "late") == Verdict.COLLAPSE


def test_without_a_score_the_verdict_speaks_of_the_state() -> None:
    def verdict(alpha: float) -> Verdict:
        batch = noise(16, 400, 20)
        last = Batch(batch.inputs, batch.inputs[:, -1, 0])
        result = state_growth(Leak(alpha, 20), last, train_length=50)
        assert float(result["scored_beyond"]) == 0
        assert np.isnan(result["loss_beyond"])
        return Verdict(int(result["verdict"]))

    assert verdict(0.9) == Verdict.STABLE
    assert verdict(1.0) == Verdict.GROWTH


def test_a_mean_that_accumulates_is_growth() -> None:
    x = torch.ones(4, 300, 6, dtype=torch.float64)
    result = state_growth(Leak(1.0, 6), Batch(x, x), train_length=30)
    assert Verdict(int(result["verdict"])) == Verdict.GROWTH
    assert float(result["growth_exponent"][0]) == pytest.approx(2, abs=0.01)


def test_a_model_that_knows_nothing_has_nothing_to_lose() -> None:
    """Its loss is that of chance, up and down: no decline, whatever the seed."""
    for seed in range(4):
        task = make_task("recall", {"length": 32, "delay": 3})
        model = build_model("lstm", task.spec, {"width": 8}, seed=seed).eval()
        batch = task.batch("test", 16, seed=seed, length=256)
        result = state_growth(model, batch, train_length=32)
        assert Verdict(int(result["verdict"])) == Verdict.STABLE


@pytest.mark.parametrize("name", ["tcn", "mamba"])
def test_buffers_of_no_steps(name: str) -> None:
    spec = Spec("continuous", 2, "regression", 2)
    model = build_model(name, spec, {"width": 4, "kernel": 1}).eval()
    batch = noise(4, 64, 2)
    batch = Batch(batch.inputs.float(), batch.targets.float())
    if name == "tcn":
        with pytest.raises(NotApplicableError, match="keeps nothing"):
            state_growth(model, batch, train_length=16)
    else:
        assert len(state_growth(model, batch, train_length=16)["part"]) == 2


def test_losses_by_position() -> None:
    result = state_growth(Leak(0.5, 20), noise(16, 800, 20, "late"), train_length=100)
    loss = result["loss"]
    assert (loss.sel(time=slice(0, 199)) == 0).all()
    assert float(loss[-1]) == pytest.approx(2, abs=0.1)  # of two independent unit variances
    assert float(result["loss_chance"]) == pytest.approx(1, abs=0.05)
    assert float(result["loss_rise"]) == pytest.approx(2, abs=0.1)


def test_an_exploding_state_is_a_collapse_and_not_an_error() -> None:
    result = state_growth(Leak(3.0, 4, sees_state=True), noise(4, 1200, 4), train_length=50)
    assert Verdict(int(result["verdict"])) == Verdict.COLLAPSE


def test_pieces_make_no_difference() -> None:
    model = build_model("mamba", Spec("token", 5, "class", 5), {"width": 4, "modes": 3})
    x = torch.randint(5, (6, 64), generator=torch.Generator().manual_seed(0))
    few = state_growth(model, Batch(x, x), train_length=16, positions=[8, 16, 32, 64])
    many = state_growth(model, Batch(x, x), train_length=16, positions=range(1, 65))
    names = ["state_mean", "state_var", "state_maxabs", "participation_ratio"]
    for name in names:
        chosen = many[name].sel(time=few["time"].values).values
        np.testing.assert_allclose(few[name].values, chosen, rtol=1e-4, atol=1e-6)
    assert set(few["part"].values) >= {"layer0.ssm", "layer0.conv"}
    # A matrix state has a head per channel; of a matrix the ratio is that of its singular values.
    assert few["state_var"].sel(part="layer0.ssm").notnull().all()


def test_growth_of_curves() -> None:
    t = np.arange(1, 101)
    found = growth(np.stack([t**2.0, np.ones(100), np.where(t == 60, 9.0, 1.0)]), t, 20)
    np.testing.assert_allclose(found.ratio, [25, 1, 9])
    np.testing.assert_allclose(found.exponent[:2], [2, 0], atol=1e-12)
    assert found.onset[0] == 21
    assert np.isnan(found.onset[1:]).all()  # a spike that goes away is no onset


def test_positions_and_refusals() -> None:
    at = default_positions(64, 1024)
    assert {1, 32, 64, 512, 1024} <= set(at)
    assert at == sorted(at)
    batch = noise(4, 50, 2)
    with pytest.raises(UsageError, match="positions end at 50, within the training length 50"):
        state_growth(Leak(0.5, 2), batch, train_length=50)
    with pytest.raises(UsageError, match="allowed: 1 to 50"):
        state_growth(Leak(0.5, 2), batch, train_length=10, positions=[0, 50])
    attention = build_model("transformer", Spec("continuous", 2, "regression", 2), {"width": 8})
    with pytest.raises(NotApplicableError, match="holds every input by design"):
        state_growth(attention, batch, train_length=10)
