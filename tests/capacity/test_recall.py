"""Recall capacity of oracles, the Hebbian line, and bits that rounding takes away."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from reference.stores import FirstSymbols, Leak, SymbolBuffer, associative_accuracy
from seqprobe import schema
from seqprobe.capacity import (
    hebbian_accuracy,
    hebbian_capacity,
    quantised_bits,
    recall_capacity,
)
from seqprobe.errors import NotApplicableError, UsageError
from seqprobe.models import build_model
from seqprobe.tasks import make_task
from seqprobe.tasks.selective_copy import SelectiveCopy, SelectiveCopyConfig

COPY = SelectiveCopy(SelectiveCopyConfig(length=40, symbols=4, alphabet=8))


def test_a_store_of_six_symbols() -> None:
    """Case 24: accuracies 1, 1, .781, .5625 and 12, 18, 18, 18 bits for 4, 6, 8, 12 symbols."""
    result = recall_capacity(FirstSymbols(6, 8), COPY, [4, 6, 8, 12], n_sequences=400)
    schema.validate(result)
    np.testing.assert_allclose(result["accuracy"].values, [1, 1, 0.78125, 0.5625], atol=0.01)
    np.testing.assert_allclose(result["bits"].values, [12, 18, 18, 18], atol=1e-6)
    low, high = result["accuracy_ci"].values
    assert (low <= [1, 1, 0.78125, 0.5625]).all()
    assert (high + 1e-9 >= [1, 1, 0.78125, 0.5625]).all()
    assert (result["state_size"] == 6).all()
    assert float(result["bits_held"]) == pytest.approx(18)
    assert float(result["bits_per_real_held"]) == pytest.approx(3)
    # At 12 symbols accuracy is still above a half; at .9 it ends between 6 and 8.
    capacity = result["capacity"].sel(threshold=[0.5, 0.9]).values
    assert capacity[0] == np.inf
    assert 6 < capacity[1] < 8


def test_the_load_may_be_any_setting_and_is_recorded() -> None:
    task = make_task("mqar", {"length": 24, "pairs": 2, "keys": 6, "values": 4})
    model = build_model("gru", task.spec, {"width": 4})
    result = recall_capacity(model, task, [2, 4, 6], n_sequences=20)  # type: ignore[arg-type]
    assert result["answers"].values.tolist() == [2, 4, 6]
    assert result["sequence_length"].values.tolist() == [24, 24, 24]
    longer = recall_capacity(model, task, [1, 2, 3], load="key_length", n_sequences=20)  # type: ignore[arg-type]
    assert longer.attrs["load_name"] == "key_length"
    assert longer["sequence_length"].values.tolist() == [24, 24, 24]
    assert np.isnan(longer["hebbian_capacity"]).all()
    attention = build_model("transformer", task.spec, {"width": 8, "layers": 1, "heads": 2})
    grown = recall_capacity(attention, task, [2, 4], n_sequences=20)  # type: ignore[arg-type]
    # Keys and values of all steps of the context, two tokens per pair.
    assert grown["state_size"].values.tolist() == [2 * 4 * 8, 2 * 8 * 8]
    assert np.isnan(grown["hebbian_capacity"]).all()


def test_refusals() -> None:
    model = FirstSymbols(2, 8)
    with pytest.raises(UsageError, match=r"loads are \[4, 2\]"):
        recall_capacity(model, COPY, [4, 2])
    with pytest.raises(UsageError, match="task 'selective-copy' has no load 'pairs'"):
        recall_capacity(model, COPY, [4], load="pairs")
    with pytest.raises(UsageError, match="thresholds are"):
        recall_capacity(model, COPY, [4], thresholds=[1.0])
    task = make_task("mqar", {"length": 24, "pairs": 2, "keys": 6})
    with pytest.raises(UsageError, match="more than there are keys"):
        task.at("pairs", 7)  # type: ignore[attr-defined]
    both = build_model("bi-gru", COPY.spec, {"width": 4})
    with pytest.raises(NotApplicableError, match="bidirectional"):
        recall_capacity(both, COPY, [4])


def test_the_hebbian_line_is_what_a_hebbian_store_recalls() -> None:
    """Case 27: d = 128, V = 256, within .03; P*(50 %) / d^2 between .06 and .09."""
    rng = np.random.default_rng(0)
    for share in (0.02, 0.05, 0.1, 0.2):
        pairs = round(share * 128**2)
        found = associative_accuracy(128, pairs, 256, rng, rule="hebb", orthonormal=False)
        assert hebbian_accuracy(pairs, 128**2, 256) == pytest.approx(found, abs=0.04)
    for d in (32, 64, 128, 256):
        assert 0.06 < hebbian_capacity(0.5, d**2, 256) / d**2 < 0.09
    assert hebbian_accuracy(hebbian_capacity(0.7, 400, 16), 400, 16) == pytest.approx(0.7)
    assert hebbian_capacity(0.9, 2, 1000) == 0


def test_the_delta_rule_is_exact_for_orthonormal_keys() -> None:
    rng = np.random.default_rng(0)
    assert associative_accuracy(64, 64, 16, rng, rule="delta", orthonormal=True) == 1
    random = np.mean(
        [associative_accuracy(16, 8, 64, rng, rule="delta", orthonormal=False) for _ in range(200)]
    )
    assert random == pytest.approx(0.9, abs=0.05)


def test_a_buffer_of_three_bits_needs_three_bits() -> None:
    """Cells that hold one of eight values lose nothing from three bits on, and half at two."""
    task = make_task("recall", {"length": 20, "delay": 5, "symbols": 8})
    batch = task.batch("test", 400)
    result = quantised_bits(SymbolBuffer(5, 8), task, batch, levels=[1, 2, 3, 4, 8])
    schema.validate(result)
    assert float(result["bits_untouched"]) == pytest.approx(15, abs=1e-6)
    np.testing.assert_allclose(result["bits"].values[2:], 15, atol=1e-6)
    assert (result["bits"].values[:2] < 5).all()
    assert float(result["knee_level"]) == 3
    assert float(result["storage_bits"]) == 15
    assert float(result["bits_per_real"]) == pytest.approx(3)


def test_noise_takes_bits_away_and_none_takes_none() -> None:
    task = make_task("recall", {"length": 20, "delay": 5, "symbols": 8})
    batch = task.batch("test", 200)
    result = quantised_bits(SymbolBuffer(5, 8), task, batch, kind="noise", levels=[0, 0.02, 1])
    np.testing.assert_allclose(result["bits"].values[:2], 15, atol=1e-6)
    assert result["bits"].values[2] < 1
    assert float(result["knee_level"]) == 0.02


@pytest.mark.parametrize("name", ["mqar", "induction", "selective-copy", "passkey", "copy"])
def test_every_recall_task_says_when_its_state_is_full(name: str) -> None:
    task = make_task(name, {"encoding": "token"} if name == "copy" else {})
    model = build_model("lstm", task.spec, {"width": 4})
    result = quantised_bits(model, task, task.batch("test", 32), levels=[4])
    assert float(result["bits_untouched"]) >= 0
    assert 0 < result.attrs["touched_after"] < task.length


def test_bits_of_reals_are_gaussian() -> None:
    """A delay line holds all; with noise of variance s^2 of the input's, 1/2 log2(1 + 1/s^2)."""
    task = make_task("delay", {"length": 30, "delay": 4})

    class Line(Leak):
        def step(self, x_t, state, trace=None):  # type: ignore[no-untyped-def]
            h = torch.cat([state["h"][:, 1:], x_t], dim=1)
            return state["h"][:, :1], {"h": h}

    batch = task.batch("test", 4000)
    result = quantised_bits(Line(1.0, 4), task, batch, kind="noise", levels=[0.1, 0.5])
    expected = 4 * 0.5 * np.log2(1 / np.square([0.1, 0.5]))
    np.testing.assert_allclose(result["bits"].values, expected, rtol=0.02)


def test_an_exact_memory_of_reals_has_the_bits_of_its_precision() -> None:
    task = make_task("delay", {"length": 30, "delay": 4})

    class Line(Leak):
        def step(self, x_t, state, trace=None):  # type: ignore[no-untyped-def]
            return state["h"][:, :1], {"h": torch.cat([state["h"][:, 1:], x_t], dim=1)}

    result = quantised_bits(Line(1.0, 4), task, task.batch("test", 256), levels=[4, 8, 23])
    assert float(result["bits_untouched"]) == pytest.approx(4 * 52, rel=0.01)  # of double
    # b bits of a range of sqrt(12) standard deviations: b bits per real.
    np.testing.assert_allclose(result["bits"].values, 4 * np.array([4, 8, 23]), rtol=0.03)


def test_batches_with_fewer_pairs_than_the_settings() -> None:
    task = make_task("mqar", {"min_pairs": 2, "pairs": 5, "length": 32, "keys": 8, "values": 4})
    model = build_model("gru", task.spec, {"width": 4})
    for batch in task.evaluation("test"):
        assert batch.mask is not None
        pairs = int(batch.mask[0].sum())
        result = quantised_bits(model, task, batch, levels=[8])
        assert result.attrs["touched_after"] == 2 * pairs


def test_a_store_without_a_size_has_no_line() -> None:
    class Silent(torch.nn.Module):
        def forward(self, tokens: torch.Tensor) -> torch.Tensor:
            return torch.zeros(*tokens.shape, 64)

    result = recall_capacity(Silent(), make_task("mqar"), [4], n_sequences=10)  # type: ignore[arg-type]
    assert np.isnan(result["hebbian_capacity"]).all()
    assert hebbian_capacity(0.4, 64, 2) == np.inf  # a guess is right every other time
    assert np.isnan(hebbian_accuracy(1, 0, 64))
    low, high = result["accuracy_sequence_ci"].values
    assert low == 0 < high


def test_quantising_refuses_what_has_no_meaning() -> None:
    task = make_task("recall", {"length": 20, "delay": 5})
    batch = task.batch("test", 40)
    model = SymbolBuffer(5, 8)
    with pytest.raises(UsageError, match="4 sequences are too few to know the range"):
        quantised_bits(model, task, task.batch("test", 4))
    with pytest.raises(UsageError, match="whole numbers of bits, 1 to 24"):
        quantised_bits(model, task, batch, levels=[2.5])
    with pytest.raises(UsageError, match="kind is 'floor'"):
        quantised_bits(model, task, batch, kind="floor")  # type: ignore[arg-type]
    flipflop = make_task("flipflop")
    with pytest.raises(NotApplicableError, match="answers of task 'flipflop' do not say"):
        quantised_bits(
            build_model("gru", flipflop.spec, {"width": 4}), flipflop, flipflop.batch("test", 4)
        )
