"""Networks computed together are the networks computed one by one."""

from __future__ import annotations

import pytest
import torch

from cases import CAUSAL, CONTINUOUS, Case
from seqprobe.config import from_mapping
from seqprobe.errors import NotApplicableError
from seqprobe.models import MODELS, Together, build_model, can_train_together, group_size

TOGETHER = ["rnn", "irnn", "leaky", "mup", "gru", "lstm"]
CASES = [case for case in CAUSAL if case.model in TOGETHER]
S, B, T = 3, 4, 37  # T is more than one chunk and not a multiple of it


def test_what_is_made_of_recurrent_cells_is_trained_together() -> None:
    assert [name for name in MODELS if can_train_together(name)] == TOGETHER


@pytest.mark.parametrize("case", CASES, ids=str)
def test_stacked_networks_equal_each_alone(case: Case) -> None:
    """In float64 sums of at most 16 terms in another order: 1e-12 of outputs and gradients."""
    models = [case.build(seed).double() for seed in range(S)]
    inputs = torch.stack([case.inputs(B, T, seed) for seed in range(S)])
    together = Together(models)
    outputs = together(inputs)
    outputs.square().sum().backward()
    gradients = dict(together.named_parameters())
    for i, model in enumerate(models):
        alone, _ = model(inputs[i])
        torch.testing.assert_close(outputs[i], alone, rtol=1e-12, atol=1e-12)
        alone.square().sum().backward()
        for name, parameter in model.named_parameters():
            stacked = gradients[name].grad
            assert stacked is not None
            assert parameter.grad is not None
            own = stacked[i].view_as(parameter)
            scale = parameter.grad.abs().max().item() + 1
            torch.testing.assert_close(own, parameter.grad, rtol=0, atol=1e-12 * scale)


def test_weights_come_out_as_they_went_in() -> None:
    case = Case("lstm", {"width": 8, "layers": 2, "peephole": True}, CONTINUOUS)
    models = [case.build(seed) for seed in range(S)]
    together = Together(models)
    together.keep([2, 0])
    for i, model in enumerate([models[2], models[0]]):
        weights, wanted = together.weights(i), model.state_dict()
        assert list(weights) == list(wanted)
        assert all(torch.equal(weights[name], wanted[name]) for name in wanted)


@pytest.mark.parametrize("name", ["tcn", "bi-gru", "mamba"])
def test_other_architectures_are_refused(name: str) -> None:
    with pytest.raises(NotApplicableError, match=r"allowed: rnn, irnn, leaky, mup, gru, lstm\)"):
        Together([build_model(name, CONTINUOUS, {"width": 8})])
    assert group_size(name, MODELS[name].config(), 8) == 1


@pytest.mark.parametrize(
    ("name", "width", "batch", "size"),
    [
        ("rnn", 64, 8, 16),
        ("rnn", 64, 64, 16),
        ("rnn", 64, 256, 8),
        ("rnn", 256, 32, 4),
        ("gru", 64, 8, 16),
        ("gru", 128, 32, 8),
        ("gru", 1024, 512, 4),
        ("lstm", 32, 8, 1),
    ],
)
def test_groups_fit_into_the_cache(name: str, width: int, batch: int, size: int) -> None:
    config = from_mapping(MODELS[name].config, {"width": width}, "model")
    assert group_size(name, config, batch) == size


def test_only_the_fused_form_is_computed_alone() -> None:
    config = from_mapping(MODELS["lstm"].config, {"width": 32, "peephole": True}, "model")
    assert group_size("lstm", config, 8) == 16
