"""Both directions: the order of the halves, the pooling, and what it refuses."""

from __future__ import annotations

import pytest
import torch

from seqprobe.errors import NotApplicableError
from seqprobe.memory import gradient_profile
from seqprobe.models import MODELS, Model, Trace, build_model
from seqprobe.models.bidirectional import Bidirectional
from seqprobe.spec import Spec

EACH = Spec("continuous", 2, "regression", 1, "each")
LAST = Spec("continuous", 2, "class", 3, "last")
BOTH = [name for name, entry in MODELS.items() if entry.directions == 2]


def _core(model: Model) -> Bidirectional:
    assert isinstance(model.core, Bidirectional)
    return model.core


@pytest.mark.parametrize("name", BOTH)
def test_every_model_runs_in_both_directions(name: str) -> None:
    model = build_model(name, EACH, {"width": 8}).double()
    x = torch.randn(3, 9, 2).double()
    y, state = model(x)
    assert y.shape == (3, 9, 1)
    assert state == {}
    assert not model.causal
    pushed = x.clone()
    pushed[:, 6] += 1
    assert not torch.equal(model(pushed)[0][:, 2], y[:, 2])


def test_halves_are_the_cores_on_the_sequence_and_its_reverse() -> None:
    core = _core(build_model("bi-gru", EACH, {"width": 5}))
    x = torch.randn(2, 7, 2)
    y, _ = core(x)
    torch.testing.assert_close(y[..., :5], core.forward_core(x)[0])
    torch.testing.assert_close(y[..., 5:].flip(1), core.backward_core(x.flip(1))[0])


def test_last_step_has_what_the_backward_core_read_of_all() -> None:
    core = _core(build_model("bi-gru", LAST, {"width": 5}))
    x = torch.randn(2, 7, 2)
    y, _ = core(x)
    torch.testing.assert_close(y[:, -1, 5:], core.backward_core(x.flip(1))[0][:, -1])


def test_internals_stand_in_the_order_of_the_input() -> None:
    core = _core(build_model("bi-gru", EACH, {"width": 5}))
    x = torch.randn(2, 7, 2)
    trace = Trace("*.update")
    core(x, trace=trace)
    assert set(trace) == {"forward.layer0.update", "backward.layer0.update"}
    alone = Trace("*.update")
    core.backward_core(x.flip(1), trace=alone)
    torch.testing.assert_close(trace["backward.layer0.update"], alone["layer0.update"].flip(1))


def test_attention_is_turned_in_queries_and_keys() -> None:
    core = _core(build_model("bi-transformer", EACH, {"width": 8, "layers": 1}))
    trace = Trace("backward.*")
    core(torch.randn(1, 5, 8), trace=trace)
    weights = trace["backward.layer0.attn"][0, :, 0]  # (query, key) in the order of the input
    assert weights.tril(-1).abs().max() == 0  # it attends to what comes later only
    torch.testing.assert_close(weights.sum(dim=1), torch.ones(5))


def test_no_step_no_state_no_memory() -> None:
    model = build_model("bi-lstm", EACH, {"width": 4})
    for call in (
        lambda: model.init_state(1),
        lambda: model.step(torch.zeros(1, 2), {}),
        lambda: model.state_size(3),
        lambda: gradient_profile(model, torch.zeros(2, 9, 2)),
    ):
        with pytest.raises(NotApplicableError, match=r"no step|bidirectional"):
            call()
