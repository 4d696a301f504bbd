"""Modules of any origin: how they are called, and the state that is found in them."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import seqprobe as sp
from own_modules import (
    TCN,
    Accumulator,
    Cells,
    Encoder,
    EncoderDecoder,
    Last,
    Mean,
    Normed,
    Tokens,
)
from seqprobe.adapters import ForeignModel
from seqprobe.errors import NotApplicableError, SeqprobeError, UsageError
from seqprobe.models import WholeModel
from seqprobe.models.access import float64_twin
from seqprobe.spec import Spec
from seqprobe.state import flatten, layout, unflatten

# torch says that its LSTM with projections has no fast kernel.
pytestmark = pytest.mark.filterwarnings("ignore:LSTM with projections is not supported")
N, T = 5, 18
STEPPED: dict[str, Callable[[], nn.Module]] = {
    "encoder": Encoder,
    "time first": lambda: Encoder(batch_first=False),
    "last": Last,
    "normed": Normed,
    "cells": Cells,
    "tokens": Tokens,
    "bare": lambda: nn.GRU(4, 6, 2),
    "own step": Accumulator,
}


def _inputs(module: nn.Module) -> Tensor:
    torch.manual_seed(1)
    return torch.randint(0, 11, (N, T)) if isinstance(module, Tokens) else torch.randn(N, T, 4)


def _wrapped(name: str) -> tuple[WholeModel, Tensor]:
    torch.manual_seed(0)
    module = STEPPED[name]()
    x = _inputs(module)
    return sp.wrap(module, x), x


@pytest.mark.parametrize("name", STEPPED)
def test_stepping_is_reading_at_once_from_any_state_on(name: str) -> None:
    model, x = _wrapped(name)
    assert isinstance(model, ForeignModel)
    assert model.agreement is not None and model.agreement.output <= 1e-12
    twin = float64_twin(model)
    x = x.double() if x.is_floating_point() else x
    assert isinstance(twin, WholeModel)
    with torch.no_grad():
        y, end = twin(x)
        _, middle = twin(x[:, :7])
        rest, again = twin(x[:, 7:], middle)
    last = y[:, -1] - rest[:, -1]
    assert last.abs().max() <= 1e-12
    if not model.form.pooled:
        assert (y[:, 7:] - rest).abs().max() <= 1e-12
    assert end.keys() == again.keys() and (flatten(end) - flatten(again)).abs().max() <= 1e-12
    assert model.state_size(T) == flatten(end).shape[1] == flatten(model.init_state(2)).shape[1]


@pytest.mark.parametrize("name", STEPPED)
def test_outputs_are_those_of_the_module_itself(name: str) -> None:
    model, x = _wrapped(name)
    assert isinstance(model, ForeignModel)
    module = model.module
    before = copy.deepcopy(module.state_dict())
    module.train()
    with torch.no_grad():
        theirs = module(x.transpose(0, 1) if name in ("time first", "bare") else x)
    theirs = theirs[0] if isinstance(theirs, tuple) else theirs
    theirs = theirs.transpose(0, 1) if name in ("time first", "bare") else theirs
    sp.memory.gradient_profile(model, x[:2], n_times=2)
    with torch.no_grad():  # torch takes another kernel where nothing is differentiated
        ours = model(x)[0]
    assert torch.equal(ours[:, -1] if model.form.pooled else ours, theirs)
    assert module.training and all(p.requires_grad for p in module.parameters())
    assert all(torch.equal(before[key], value) for key, value in module.state_dict().items())
    assert not any(part._forward_hooks for part in module.modules())
    assert not any("forward" in part.__dict__ for part in module.modules())


@pytest.mark.parametrize("name", ["normed", "cells", "tokens", "own step"])
def test_the_jacobian_of_the_state_is_that_of_finite_differences(name: str) -> None:
    model, x = _wrapped(name)
    twin = float64_twin(model)
    assert isinstance(twin, WholeModel)
    x_t = twin.embed(x[:1])[:, 0].double().detach()
    state = twin(x[:1].double() if x.is_floating_point() else x[:1])[1]
    parts = layout(state)

    def step(vector: Tensor) -> Tensor:
        return flatten(twin.step(x_t, unflatten(vector[None], parts))[1])[0]

    at = flatten(state)[0].detach()
    exact = torch.func.jacrev(step)(at)
    h = 1e-6
    unit = torch.eye(len(at), dtype=torch.float64) * h
    rows = [(step(at + e) - step(at - e)) / (2 * h) for e in unit]
    assert (torch.stack(rows, dim=1) - exact).abs().max() <= 1e-8


def test_the_state_of_a_three_layer_lstm_is_that_of_torch() -> None:
    model, x = _wrapped("encoder")
    assert isinstance(model, ForeignModel)
    _, end = model(x)
    rnn: Any = model.module.rnn
    _, (h, c) = rnn(x)
    assert list(end) == [f"layer{i}.{part}" for i in range(3) for part in "hc"]
    for i in range(3):
        assert torch.equal(end[f"layer{i}.h"], h[i]) and torch.equal(end[f"layer{i}.c"], c[i])


def test_internals_are_those_of_our_own_cells() -> None:
    model, x = _wrapped("encoder")
    trace = sp.Trace("layer1.forget", "layer2.c")
    _, end = model(x, trace=trace)
    assert trace["layer1.forget"].shape == (N, T, 8)
    assert torch.allclose(trace["layer2.c"][:, -1], end["layer2.c"], atol=1e-6)


def test_fixed_points_inside_a_module_are_those_of_its_recurrent_part() -> None:
    """The map is analytic where the recurrence reads the inputs as they are, and the same."""
    torch.manual_seed(3)
    module = nn.Sequential(nn.GRU(4, 6, batch_first=True))
    starts = torch.randn(40, 6)
    model = sp.wrap(module, torch.randn(N, T, 4))
    whole = sp.dynamics.fixed_points(model, starts)
    alone = sp.dynamics.fixed_points(module[0], starts)
    assert whole.attrs["cell"] == alone.attrs["cell"] == "GRUMap"
    np.testing.assert_array_equal(whole["x"], alone["x"])


def test_weights_changed_after_wrapping_are_seen() -> None:
    model, x = _wrapped("encoder")
    assert isinstance(model, ForeignModel)
    first = model.step(x[:, 0], model.init_state(N))[0]
    with torch.no_grad():
        model.module.rnn.weight_ih_l0.mul_(2)  # type: ignore[union-attr,operator]
    second = model.step(x[:, 0], model.init_state(N))[0]
    assert torch.allclose(second, model(x[:, :1])[0][:, 0], atol=1e-6)
    assert not torch.allclose(first, second, atol=1e-4)


@pytest.mark.parametrize("name", ["encoder", "tokens"])
def test_features_are_what_the_head_reads(name: str) -> None:
    model, x = _wrapped(name)
    assert isinstance(model, ForeignModel)
    head: Any = model.module.head
    assert torch.allclose(head(model.features(x)), model(x)[0], atol=1e-6)


@pytest.mark.parametrize("channels_first", [False, True])
def test_a_convolutional_network_is_called_either_way_round(channels_first: bool) -> None:
    torch.manual_seed(0)
    module, x = TCN(channels_first), torch.randn(N, T, 4)
    model = sp.wrap(module, x)
    ours = module(x.mT).mT if channels_first else module(x)
    assert torch.equal(model(x)[0], ours)
    assert int(sp.memory.gradient_profile(model, x)["structural_zero"]) == 7
    features = model.features(x)
    head: Any = module.head
    assert torch.allclose(head(features.mT).mT, model(x)[0], atol=1e-6)
    with pytest.raises(NotApplicableError, match=r"TCN has no state .*--state NAME"):
        model.init_state(1)


def test_a_sequence_classifier_answers_after_the_last_step() -> None:
    model, x = _wrapped("last")
    assert model.spec.readout == "last"
    profile = sp.memory.gradient_profile(model, x)
    assert profile.sizes["lag"] == T and list(profile["time"].values) == [T - 1]


def test_embedded_tokens_are_tokens() -> None:
    model, x = _wrapped("tokens")
    assert model.reads == 4
    assert torch.equal(model(model.embed(x))[0], model(x)[0])


def test_tokens_whose_mask_matters_are_not_embedded() -> None:
    class Masked(Tokens):
        def forward(self, tokens: Tensor) -> Tensor:
            return super().forward(tokens) * (tokens != 0)[..., None]

    torch.manual_seed(0)
    x = torch.randint(1, 11, (N, T))
    model = sp.wrap(Masked(), x, spec=Spec("token", 11, "class", 11))
    with pytest.raises(NotApplicableError, match=r"no single nn\.Embedding"):
        sp.memory.gradient_profile(model, x)
    assert sp.memory.substitution_profile(model, x)["subst_kl"].notnull().any()


def test_an_encoder_decoder_is_not_causal_and_its_encoder_is() -> None:
    torch.manual_seed(0)
    module, x = EncoderDecoder(), torch.randn(N, T, 4)
    whole = sp.wrap(module, x)
    with pytest.raises(NotApplicableError, match="not causal"):
        sp.memory.gradient_profile(whole, x)
    with pytest.raises(NotApplicableError, match=r"cannot be stepped: over 18 .*--state encoder"):
        sp.dynamics.fixed_points(whole, torch.randn(3, 8))
    part = sp.wrap(module, x, state="encoder")
    assert torch.equal(part(x)[0], module.encoder(x)[0])
    assert (
        sp.dynamics.fixed_points(part, sp.dynamics.sample_states(part, x, 32)).sizes["state"] == 8
    )


def test_a_mean_over_time_is_no_step() -> None:
    torch.manual_seed(0)
    model = sp.wrap(Mean(), torch.randn(N, T, 4))
    with pytest.raises(
        NotApplicableError, match=r"outputs differ .* by \d\.\de-0\d of the largest"
    ):
        model.init_state(1)


def test_a_named_part_without_a_state_is_looked_at_as_it_is() -> None:
    torch.manual_seed(0)
    module, x = TCN(), torch.randn(30, T, 4)
    model = sp.wrap(module, x, state="low")
    assert torch.equal(model.streamed(x), module.low(nn.functional.pad(x.mT, (2, 0))).mT)
    found = sp.capacity.state_dimension(model, x, part="state")
    assert int(found["dimension"]) == 6
    with pytest.raises(NotApplicableError, match="measures of recorded states"):
        sp.dynamics.fixed_points(model, torch.randn(3, 6))


def test_a_recording_of_a_named_part(tmp_path: Any) -> None:
    torch.manual_seed(0)
    module, x = TCN(), torch.randn(6, T, 4)
    model = sp.wrap(module, x, state="low")
    task = sp.from_arrays(x)
    path = sp.activations.record(model, task, tmp_path / "acts.h5", dtype="float64")
    with sp.activations.open_recording(path) as recording:
        np.testing.assert_allclose(recording["state"], model.streamed(x).detach(), atol=1e-6)
        assert "targets" not in recording


def test_both_directions_have_no_step() -> None:
    model = sp.wrap(nn.GRU(4, 6, batch_first=True, bidirectional=True), torch.randn(N, T, 4))
    with pytest.raises(NotApplicableError, match="bidirectional"):
        sp.memory.gradient_profile(model, torch.randn(N, T, 4))
    with pytest.raises(NotApplicableError, match="both directions"):
        model.init_state(1)


@pytest.mark.parametrize("kind", ["tensor", "tuple", "dict"])
def test_a_state_of_the_users_own_has_names(kind: str) -> None:
    x = torch.randn(N, T, 4)
    model = sp.wrap(Accumulator(kind), x)
    name = {"tensor": "state", "tuple": "state0", "dict": "sum"}[kind]
    assert list(model.init_state(1)) == [name] and model.state_size(9) == 4
    _, end = model(x)
    assert torch.allclose(end[name], 0.5 * x.sum(dim=1), atol=1e-6)


def test_two_functions_in_place_of_methods() -> None:
    module, x = TCN(), torch.randn(N, T, 4)

    def init_state(batch: int) -> Tensor:  # the last seven inputs
        return torch.zeros(batch, 7, 4, dtype=module.low.weight.dtype)

    def step(x_t: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        window = torch.cat([state[:, 1:], x_t[:, None]], dim=1)
        return copy.deepcopy(module).to(x_t.dtype)(window)[:, -1], window

    # The first outputs differ, because padded zeros go through a bias between the layers.
    with pytest.raises(SeqprobeError, match=r"step of TCN is not its forward: over 18 steps"):
        sp.wrap(module, x, init_state=init_state, step=step)
    assert module.low.bias is not None and module.high.bias is not None
    nn.init.zeros_(module.low.bias)
    model = sp.wrap(module, x, init_state=init_state, step=step)
    assert model.state_size(3) == 28


def test_a_cache_that_grows_is_told_from_what_does_not() -> None:
    class Average(nn.Module):
        scale = 1.0

        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.ones(()))

        def init_state(self, batch: int) -> dict[str, Tensor]:
            return {"seen": torch.zeros(batch, 1, 0, 4, dtype=self.weight.dtype)}

        def step(self, x_t: Tensor, state: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
            seen = torch.cat([state["seen"], x_t[:, None, None]], dim=2)
            return self.weight * seen.mean(dim=(1, 2)), {"seen": seen}

        def forward(self, x: Tensor) -> Tensor:
            count = torch.arange(1, x.shape[1] + 1, dtype=x.dtype)[:, None]
            return self.weight * x.cumsum(dim=1) / count

    model = sp.wrap(Average(), torch.randn(N, T, 4))
    assert model.state_size(5) == 20 and model.state_kinds() == {"seen": "cache"}
    with pytest.raises(NotApplicableError, match="grows with time"):
        sp.dynamics.fixed_points(model, torch.randn(3, 4))


class _Dict(Encoder):
    def forward(self, x: Tensor) -> Any:
        return {"logits": self.head(self.rnn(x)[0])}


class _Packed(Encoder):
    def forward(self, x: Tensor) -> Any:
        return nn.utils.rnn.pack_padded_sequence(
            super().forward(x), [x.shape[1]] * len(x), batch_first=True
        )


class _Two(Encoder):
    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:  # type: ignore[override]
        return super().forward(x)


class _Mixed(Encoder):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x - x.mean(dim=0))


class _Shorter(Encoder):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x)[:, ::2]


class _Fails(Encoder):
    def forward(self, x: Tensor) -> Tensor:
        raise ValueError("no\nsuch thing")


def _broken() -> nn.Module:
    module = Encoder()
    with torch.no_grad():
        module.head.weight[0, 0] = torch.nan
    return module


@pytest.mark.parametrize(
    ("module", "error", "said"),
    [
        (_Dict, NotApplicableError, r"returns a dict \('logits'\), not a tensor"),
        (_Packed, NotApplicableError, "packed sequence"),
        (_Two, NotApplicableError, r"takes \(x, lengths\), and is given inputs alone"),
        (_Mixed, NotApplicableError, "sequences of a batch depend on each other"),
        (_Shorter, NotApplicableError, "allowed: \\(B, T, K\\)"),
        (_Fails, SeqprobeError, r"fails on inputs of shape .*ValueError: no such thing$"),
        (_broken, SeqprobeError, r"weight 'head.weight' holds NaN or infinity \(1 of 40"),
        (lambda: Accumulator("int"), UsageError, "state is of type int"),
    ],
)
def test_what_cannot_be_wrapped_is_one_line(
    module: Callable[[], nn.Module], error: type[SeqprobeError], said: str
) -> None:
    with pytest.raises(error, match=said) as raised:
        sp.wrap(module(), torch.randn(N, T, 4))
    assert "\n" not in str(raised.value)


def test_arguments_that_do_not_fit() -> None:
    x = torch.randn(N, T, 4)
    with pytest.raises(UsageError, match=r"no part 'rn'; did you mean 'rnn'\?"):
        sp.wrap(Encoder(), x, state="rn")
    with pytest.raises(UsageError, match="init_state and step go together"):
        sp.wrap(Encoder(), x, init_state=lambda batch: torch.zeros(batch, 1))
    with pytest.raises(UsageError, match="a function cannot be wrapped"):
        sp.wrap(lambda x: x, x)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="has 5 outputs, the task asks for 3"):
        sp.wrap(Encoder(), x, spec=Spec("continuous", 4, "class", 3))
    with pytest.raises(UsageError, match="one answer per sequence, the task scores every step"):
        sp.wrap(Last(), x, spec=Spec("continuous", 4, "class", 5))
    with pytest.raises(UsageError, match=r"inputs have shape \(5, 18, 4, 1\)"):
        sp.wrap(Encoder(), x[..., None])


def test_a_time_first_module_that_nobody_wrapped_is_refused() -> None:
    with pytest.raises(NotApplicableError, match=r"seqprobe\.wrap"):
        sp.memory.gradient_profile(nn.GRU(4, 6), torch.randn(N, T, 4))
