"""Building by name and by budget, input checks, and the trace."""

from __future__ import annotations

import pytest
import torch

from seqprobe.errors import UsageError
from seqprobe.models import MODELS, Trace, build_model, count_parameters, match_params, parse_budget
from seqprobe.models.gru import GRUConfig
from seqprobe.spec import Spec

SPEC = Spec("continuous", 1, "class", 10, "last")


@pytest.mark.parametrize("name", [n for n in MODELS if not n.startswith("bi-")])
@pytest.mark.parametrize("budget", [20_000, 100_000])
def test_budget_is_met_within_five_percent(name: str, budget: int) -> None:
    config = match_params(name, SPEC, MODELS[name].config(), budget)
    size = count_parameters(build_model(name, SPEC, config))
    assert abs(size - budget) <= 0.05 * budget


def test_unreachable_budget_names_the_neighbours() -> None:
    with pytest.raises(UsageError, match=r"no width of 'gru' has 60 parameters.*width \d+ has"):
        match_params("gru", SPEC, GRUConfig(), 60)


@pytest.mark.parametrize(("text", "value"), [("20000", 20000), ("20k", 20000), ("1.5M", 1500000)])
def test_budget_spellings(text: str, value: int) -> None:
    assert parse_budget(text) == value


@pytest.mark.parametrize("text", ["", "k", "many", "-3", "0", "nan", "1e30"])
def test_budget_that_is_no_number(text: str) -> None:
    with pytest.raises(UsageError, match="is not a number of parameters"):
        parse_budget(text)


def test_unknown_names_get_a_suggestion() -> None:
    with pytest.raises(UsageError, match="unknown model 'grv'; did you mean 'gru'"):
        build_model("grv", SPEC)
    with pytest.raises(UsageError, match=r"unknown key 'model\.widht'; did you mean 'width'"):
        build_model("gru", SPEC, {"widht": 3})
    with pytest.raises(UsageError, match="takes GRUConfig, got RNNConfig"):
        build_model("gru", SPEC, MODELS["rnn"].config())


def test_wrong_input_shapes_are_named() -> None:
    model = build_model("gru", SPEC, {"width": 4})
    for shape in [(2, 5), (2, 5, 3), (2, 0, 1), (0, 5, 1)]:
        with pytest.raises(UsageError, match=r"model takes \(B, T, 1\)"):
            model(torch.zeros(shape))
    with pytest.raises(UsageError, match=r"model takes \(B, 1\)"):
        model.step(torch.zeros(2, 5, 1), model.init_state(2))


def test_tokens_may_be_embedded_by_the_caller() -> None:
    model = build_model("lstm", Spec("token", 9, "class", 9), {"width": 6, "embedding": 4})
    tokens = torch.randint(9, (2, 5))
    embedded = model.embed(tokens)
    assert embedded.shape == (2, 5, 4)
    assert torch.equal(model(tokens)[0], model(embedded)[0])


def test_trace_keeps_what_was_asked_for() -> None:
    model = build_model("lstm", SPEC, {"width": 4, "layers": 2})
    trace = Trace("layer1.forget", "*.output")
    model(torch.zeros(1, 3, 1), trace=trace)
    assert set(trace) == {"layer0.output", "layer1.output", "layer1.forget"}
    with pytest.raises(UsageError, match=r"did you mean 'layer1\.forget'"):
        trace["layer1.forgot"]


def test_gradients_reach_a_traced_tensor() -> None:
    model = build_model("gru", SPEC, {"width": 4})
    trace = Trace("layer0.update")
    y, _ = model(torch.randn(1, 3, 1), trace=trace)
    (gradient,) = torch.autograd.grad(y.sum(), next(model.core.parameters()), retain_graph=True)
    assert gradient.abs().sum() > 0
    assert trace["layer0.update"].requires_grad
