"""How far training moved a network, against one backward pass per output and what is known."""

from __future__ import annotations

import copy
import importlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from cases import CAUSAL, CONTINUOUS, Case
from seqprobe import schema
from seqprobe.degeneracy.feature_learning import (
    feature_learning,
    initial_model,
    kernel_alignment,
    last_scored,
    tangent_kernel,
)
from seqprobe.errors import NotApplicableError, UsageError
from seqprobe.models import Model, build_model, can_train_together
from seqprobe.models.access import first_output
from seqprobe.tasks import Batch
from seqprobe.training import load

room = importlib.import_module("seqprobe.degeneracy.feature_learning")  # not the function

CHECKPOINTS = Path(__file__).parents[2] / "checkpoints"
RECURRENT = [case for case in CAUSAL if can_train_together(case.model)]
EVERY = pytest.mark.parametrize("case", RECURRENT, ids=str)
CASE = RECURRENT[0]
AT = torch.tensor([7, 3, 6, 0])


def batch_of(case: Case, n: int = 4) -> Batch:
    x = case.inputs(n, 8)
    return Batch(x, torch.zeros(n, 8, case.spec.output_size))


def slow_kernel(model: nn.Module, x: Tensor, at: Tensor) -> np.ndarray:
    rows = []
    for x_i, t in zip(x, at, strict=True):
        y = first_output(model, x_i[None])[0, t]
        for output in y:
            gradients = torch.autograd.grad(output, tuple(model.parameters()), retain_graph=True)
            rows.append(torch.cat([gradient.flatten() for gradient in gradients]))
    jacobian = torch.stack(rows)
    kernel: np.ndarray = (jacobian @ jacobian.T).numpy()
    return kernel


@EVERY
def test_kernel_equals_one_backward_pass_per_output(case: Case) -> None:
    """The plain LSTM runs on its fused kernel in the oracle, and never in what it checks."""
    model = case.build().double()
    x = case.inputs(4, 8)
    found, slow = tangent_kernel(model, x, AT), slow_kernel(model, x, AT)
    # 1e-10 of the largest: sums of less than 2000 products that each passed 8 steps.
    np.testing.assert_allclose(found, slow, rtol=0, atol=1e-10 * np.abs(slow).max())


@pytest.mark.parametrize(("block", "chunk"), [(3000, 1000), (1000, 1), (1, 1)])
def test_kernel_in_blocks_is_the_same(
    block: int, chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    x, at, model = CASE.inputs(5, 8), torch.tensor([7, 3, 6, 0, 7]), CASE.build()
    whole = tangent_kernel(model, x, at)
    monkeypatch.setattr(room, "_BLOCK", block)
    monkeypatch.setattr(room, "_CHUNK", chunk)
    np.testing.assert_allclose(tangent_kernel(model, x, at), whole, rtol=1e-12, atol=1e-12)


@EVERY
def test_an_untrained_copy_did_not_learn(case: Case) -> None:
    model = case.build()
    found = feature_learning(model, copy.deepcopy(model), batch_of(case))
    assert float(found["delta_w"]) == float(found["delta_w_rel"]) == 0
    assert float(found["delta_w_all"]) == 0
    assert float(found["ntk_alignment"]) == pytest.approx(1, abs=1e-12)
    assert float(found["ntk_alignment_se"]) == pytest.approx(0, abs=1e-12)
    schema.validate(found)


class Linear(nn.Module):
    """Linear in its parameters, not in its inputs: features are fixed."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        draw = torch.Generator().manual_seed(seed)
        self.weight = nn.Parameter(torch.randn(2, 5, generator=draw, dtype=torch.float64))
        fixed = torch.Generator().manual_seed(9)
        self.mix = torch.randn(3, 5, generator=fixed, dtype=torch.float64)

    def forward(self, x: Tensor) -> Tensor:
        return torch.sin(x @ self.mix).cumsum(dim=1) @ self.weight.T


def test_what_is_linear_in_its_parameters_is_lazy_at_any_time() -> None:
    x = CASE.inputs(4, 8)
    early, late = (slow_kernel(Linear(seed), x, AT) for seed in (0, 1))
    alignment, error = kernel_alignment(early, late, 4)
    assert alignment == pytest.approx(1, abs=1e-12)
    assert error == pytest.approx(0, abs=1e-12)


def test_a_new_head_changes_the_kernel_of_the_other_weights() -> None:
    model, moved = CASE.build(), CASE.build()
    moved.get_parameter("head.weight").data.neg_()
    moved.get_parameter("head.weight").data[0, 0] += 3
    found = feature_learning(model, moved, batch_of(CASE))
    assert float(found["delta_w"]) == 0 < float(found["delta_w_all"])
    assert 0 < float(found["ntk_alignment"]) < 0.999


def test_alignment_is_a_cosine() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        a, b = (j @ j.T for j in rng.standard_normal((2, 12, 7)))
        found = kernel_alignment(a, b, 6)
        assert 0 <= found[0] <= 1
        assert found == pytest.approx(kernel_alignment(b, a, 6), abs=1e-13)
        # Outputs times c make a kernel times c^2.
        assert found == pytest.approx(kernel_alignment(9 * a, 1e-4 * b, 6), abs=1e-13)
    of_different_outputs = kernel_alignment(np.diag([1.0, 0, 1, 0]), np.diag([0, 1.0, 0, 1]), 2)
    assert of_different_outputs == (0, 0)


def test_scaled_outputs_have_the_same_alignment() -> None:
    class Tripled(nn.Module):
        def __init__(self, of: nn.Module) -> None:
            super().__init__()
            self.of = of

        def forward(self, x: Tensor) -> Tensor:
            return 3 * first_output(self.of, x)

    x = CASE.inputs(4, 8)
    first, second = (slow_kernel(CASE.build(seed).double(), x, AT) for seed in (0, 1))
    tripled = slow_kernel(Tripled(CASE.build(1).double()), x, AT)
    before, after = (kernel_alignment(first, k, 4)[0] for k in (second, tripled))
    assert after == pytest.approx(before, abs=1e-12)


def test_standard_error_is_that_of_leaving_one_sequence_out() -> None:
    rng = np.random.default_rng(1)
    n, k = 7, 3
    a, b = (j @ j.T for j in rng.standard_normal((2, n * k, 40)))
    left = []
    for i in range(n):
        kept = np.arange(n * k) // k != i
        few = np.ix_(kept, kept)
        left.append(np.sum(a[few] * b[few]) / np.linalg.norm(a[few]) / np.linalg.norm(b[few]))
    alignment, error = kernel_alignment(a, b, n)
    whole = np.sum(a * b) / np.linalg.norm(a) / np.linalg.norm(b)
    assert alignment == pytest.approx(whole, abs=1e-13)
    assert error == pytest.approx(np.std(left) * np.sqrt(n - 1), abs=1e-13)
    assert np.isnan(kernel_alignment(a[:k, :k], b[:k, :k], 1)[1])
    assert np.isnan(kernel_alignment(0 * a, b, n)[0])


def test_last_scored_step() -> None:
    mask = torch.tensor([[0, 1, 1, 0], [1, 0, 0, 1], [0, 0, 0, 0]]).bool()
    x = torch.zeros(3, 4, 2)
    assert last_scored(Batch(x, x, mask)).tolist() == [2, 3, 3]
    assert last_scored(Batch(x, x)).tolist() == [3, 3, 3]


def test_what_comes_after_the_last_scored_step_does_not_count() -> None:
    a, b, batch = CASE.build(0), CASE.build(1), batch_of(CASE)
    mask = torch.zeros(4, 8).bool()
    mask[:, 5] = True
    x = batch.inputs.clone()
    x[:, 6:] = 7
    values = [
        float(feature_learning(a, b, Batch(inputs, batch.targets, scored))["ntk_alignment"])
        for inputs, scored in ((batch.inputs, mask), (x, mask), (x[:, :6], None), (x, None))
    ]
    assert values[0] == values[1] == values[2] != values[3]


def test_recurrent_change_is_of_what_acts() -> None:
    initial = build_model("leaky", CONTINUOUS, {"width": 6})
    model = copy.deepcopy(initial)
    weight = model.get_parameter("core.layers.0.weight_hh")
    weight.data += torch.eye(6)  # self-loops, which this form does not have
    weight.data[0, 1] += 3
    weight.data[4, 2] -= 4
    batch = Batch(torch.randn(3, 5, 3), torch.zeros(3, 5, 2))
    found = feature_learning(model, initial, batch)
    acting = initial.get_parameter("core.layers.0.weight_hh").detach().double().numpy().copy()
    np.fill_diagonal(acting, 0)
    # 1e-6: the changes were rounded to float32.
    assert float(found["delta_w"]) == pytest.approx(5, rel=1e-6)
    assert float(found["delta_w_rel"]) == pytest.approx(5 / np.linalg.norm(acting), rel=1e-6)
    assert float(found["delta_w_all"]) == pytest.approx(np.sqrt(25 + 6), rel=1e-6)


def test_relative_change_from_nothing_is_infinite() -> None:
    initial = build_model("irnn", CONTINUOUS, {"width": 6, "scale": 0.0})
    model = copy.deepcopy(initial)
    model.get_parameter("core.layers.0.weight_hh").data[0, 0] = 1
    found = feature_learning(model, initial, Batch(torch.randn(3, 5, 3), torch.zeros(3, 5, 2)))
    assert np.isinf(float(found["delta_w_rel"]))


def test_number_of_sequences_is_the_same_for_all_networks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "_ROWS", 7)  # of two outputs each
    a, b, batch = CASE.build(0), CASE.build(1), batch_of(CASE)
    found = feature_learning(a, b, batch)
    assert '"n_sequences": 3' in found.attrs["parameters"]
    few = feature_learning(a, b, batch.rows(slice(3)))
    assert float(few["ntk_alignment"]) == float(found["ntk_alignment"])


def test_the_initial_model_is_the_one_that_was_trained() -> None:
    trained = load(CHECKPOINTS / "delay" / "gru-s0.pt")
    initial = initial_model(trained)
    fresh = build_model("gru", trained.spec, trained.config, seed=0).state_dict()
    assert not initial.training
    for name, value in initial.state_dict().items():
        assert torch.equal(value, fresh[name])
    x = torch.randn(4, 5, trained.spec.input_size)
    found = feature_learning(trained, initial, Batch(x, x))
    # Training did not forget where it started.
    other = build_model("gru", trained.spec, trained.config, seed=1)
    from_other = feature_learning(trained, other, Batch(x, x))
    assert 0.1 < float(found["delta_w"]) < float(from_other["delta_w"])
    assert found.attrs["checkpoint"] == str(CHECKPOINTS / "delay" / "gru-s0.pt")


def test_models_are_left_as_they_were() -> None:
    models = CASE.build(0), CASE.build(1)
    before = copy.deepcopy([model.state_dict() for model in models])
    feature_learning(*models, batch_of(CASE))
    for model, weights in zip(models, before, strict=True):
        for name, parameter in model.named_parameters():
            assert torch.equal(parameter, weights[name])
            assert parameter.grad is None
            assert parameter.requires_grad


def test_refusals() -> None:
    batch = batch_of(CASE)

    def refused(error: type[Exception], match: str, *given: Any) -> None:
        with pytest.raises(error, match=match) as caught:
            feature_learning(*given)
        assert "\n" not in str(caught.value)

    model = CASE.build()
    refused(UsageError, "settings", model, build_model("rnn", CONTINUOUS, {"width": 9}), batch)
    refused(
        UsageError, "input has shape", model, model, Batch(batch.inputs[..., :1], batch.targets)
    )
    flat: Model = build_model("tcn", CONTINUOUS, {"width": 8})
    refused(NotApplicableError, "no recurrent matrix", flat, flat, batch)
    with pytest.raises(NotApplicableError, match="not loaded from a checkpoint"):
        initial_model(model)
