"""Networks of transformers: steps, states, derivatives, and analyses through the contract."""

from __future__ import annotations

import copy
from typing import Any, cast

import numpy as np
import pytest
import torch
from torch import Tensor

from huggingface_cases import (
    CONFIGS,
    MORE,
    VOCABULARY,
    build,
    double,
    from_config,
    tokens,
    transformers,
)
from seqprobe import memory
from seqprobe.adapters.huggingface import FAMILIES, HuggingFaceModel, from_huggingface
from seqprobe.errors import NotApplicableError, SeqprobeError, UsageError
from seqprobe.models import Trace
from seqprobe.state import flatten, layout, size, unflatten

# What importing the networks themselves says, here as in a user's program.
pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated")


def _state_jacobian_by_differences(function: Any, at: Tensor, columns: Tensor) -> Tensor:
    step = 1e-6
    sides = []
    for column in columns:
        push = torch.zeros_like(at)
        push[column] = step
        sides.append((function(at + push) - function(at - push)) / (2 * step))
    return torch.stack(sides, dim=1)


def _check_family(name: str) -> None:
    network = build(name)
    wanted = network(input_ids=tokens(2, 9), use_cache=False).logits.detach()
    model = from_huggingface(build(name))
    found = model.verified
    # Rounding of float64; a part of it in float32 would leave 1e-8.
    assert found is not None
    assert max(found.outputs, found.state, found.rows) < 1e-13 and found.embedding < 1e-14
    assert (found.tokens, found.dtype) == (12, "float64")

    # The scan of our step against the untouched network, in float32.
    state = model.init_state(2)
    rows = []
    for length, token in enumerate(tokens(2, 9).unbind(1), start=1):
        before = {part: tensor.clone() for part, tensor in state.items()}
        given = state
        with torch.no_grad():
            y, state = model.step(token, state)
        rows.append(y)
        assert all(torch.equal(given[part], before[part]) for part in before)
        assert size(state) == model.state_size(length)
    scale = wanted.abs().max()
    torch.testing.assert_close(torch.stack(rows, 1) / scale, wanted / scale, atol=2e-5, rtol=0)
    kinds = model.state_kinds()
    assert all(model.init_state(1)[p].shape[2] == 0 for p, kind in kinds.items() if kind == "cache")
    _check_jacobian(double(model))


def _check_jacobian(twin: HuggingFaceModel) -> None:
    """Compare the Jacobian of outputs and next state in the state with central differences."""
    with torch.no_grad():
        _, state = twin(tokens(1, 7))
    parts, start = layout(state), flatten(state)[0]
    token = twin.embed(torch.tensor([7]))

    def step(vector: Tensor) -> Tensor:
        y, after = twin.step(token, unflatten(vector[None], parts))
        return torch.cat([y[0], flatten(after)[0]])

    jacobian = torch.func.jacrev(step)(start)
    columns = torch.randperm(len(start), generator=torch.Generator().manual_seed(0))[:8]
    wanted = _state_jacobian_by_differences(step, start, columns)
    # Differences have an error of 1e-16 / 1e-6 from rounding and 1e-12 f''' from curvature.
    error = (jacobian[:, columns] - wanted).abs().max() / wanted.abs().max()
    assert error < 1e-6
    forwards = torch.func.jacfwd(step)(start)
    torch.testing.assert_close(forwards, jacobian, atol=1e-9, rtol=1e-9)


@pytest.mark.parametrize("name", CONFIGS)
def test_a_family_steps_as_it_reads(name: str) -> None:
    _check_family(name)


@pytest.mark.slow
@pytest.mark.parametrize("name", MORE)
def test_more_families_step_as_they_read(name: str) -> None:
    _check_family(name)


_GENERIC = {
    **{"hidden_size": 16, "d_model": 16, "n_embd": 16, "num_hidden_layers": 2, "n_layer": 2},
    **{"n_layers": 2, "num_attention_heads": 2, "n_head": 2, "n_heads": 2, "head_dim": 8},
    **{"num_key_value_heads": 2, "intermediate_size": 24, "ffn_dim": 24, "vocab_size": VOCABULARY},
    **{"max_position_embeddings": 64, "n_positions": 64, "pad_token_id": 0, "bos_token_id": 1},
    **{"eos_token_id": 2, "num_experts": 4, "num_local_experts": 4, "n_routed_experts": 4},
    **{"num_experts_per_tok": 2, "moe_intermediate_size": 8},
}
_OWN: dict[str, dict[str, Any]] = {
    "gpt_neo": {
        "num_layers": 2,
        "attention_types": [[["global", "local"], 1]],
        "window_size": 4,
    },
    "falcon": {"head_dim": None},  # follows from the other sizes
    "deepseek_v3": {"head_dim": None},
}
_ATTENTION = [
    name
    for family in FAMILIES
    if family.name == "attention"
    for name in family.model_types
    if name not in {**CONFIGS, **MORE}
]


@pytest.mark.slow
@pytest.mark.parametrize("model_type", _ATTENTION)
def test_every_attention_network_of_the_table_passes_the_check(model_type: str) -> None:
    kind = transformers.CONFIG_MAPPING[model_type]
    named = {key: value for key, value in _GENERIC.items() if hasattr(kind(), key)}
    named |= _OWN.get(model_type, {})
    given = {key: value for key, value in named.items() if value is not None}
    found = from_huggingface(from_config(kind(**given))).verified
    assert found is not None and found.outputs < 1e-13


def test_states_have_the_names_and_kinds_of_their_family() -> None:
    model = from_huggingface(build("jamba"), verify=False)
    assert {name: tuple(part.shape[1:]) for name, part in model.init_state(1).items()} == {
        "layer0.conv": (32, 3),
        "layer0.ssm": (32, 4),
        "layer1.key": (1, 0, 8),
        "layer1.value": (1, 0, 8),
    }
    assert model.state_kinds() == {
        "layer0.conv": "buffer",
        "layer1.key": "cache",
        "layer1.value": "cache",
    }
    rwkv = from_huggingface(build("rwkv"), verify=False)
    assert rwkv.state_kinds() == {} and rwkv.state_size(1) == rwkv.state_size(9) == 3 * 5 * 16
    assert float(rwkv.init_state(1)["layer0.maximum"].max()) == pytest.approx(-1e30)


def test_a_buffer_has_the_newest_column_last() -> None:
    model = double(from_huggingface(build("mamba"), verify=False))
    with torch.no_grad():
        first, second = tokens(1, 2)[:, 0], tokens(1, 2)[:, 1]
        _, state = model.step(first, model.init_state(1))
        _, after = model.step(second, state)
    name = "layer0.conv"
    assert torch.equal(after[name][..., -2], state[name][..., -1])
    assert not state[name][..., 0].any() and after[name][..., -1].all()


def test_an_object_is_left_as_it_was() -> None:
    network = build("rwkv").train()
    next(network.parameters()).requires_grad_(False)
    before = copy.deepcopy(network.state_dict())
    wanted = [p.requires_grad for p in network.parameters()]
    attention = network.config._attn_implementation
    model = from_huggingface(network)
    with torch.no_grad():
        model(tokens(1, 5))
    assert all(module.training for module in network.modules())
    assert [p.requires_grad for p in network.parameters()] == wanted
    assert all(torch.equal(before[key], value) for key, value in network.state_dict().items())
    assert network.config._attn_implementation == attention and network.config.rescale_every == 2
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in network.modules())
    memory.gradient_profile(model, tokens(2, 6))
    assert not model.training and model.network.dtype == torch.float32


def test_a_network_that_was_rescaled_is_scaled_back() -> None:
    network = build("rwkv")
    with torch.no_grad():
        wanted = network(input_ids=tokens(1, 5)).logits  # rescales in place
        assert network.rwkv.layers_are_rescaled
        found, _ = from_huggingface(network)(tokens(1, 5))
    torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-4)


def test_a_long_sequence_keeps_its_gradient() -> None:
    short = from_huggingface(build("xlstm", max_inference_chunksize=6), verify=False)
    x = short.embed(tokens(1, 9)).detach().requires_grad_()
    y, _ = short(x)
    (gradient,) = torch.autograd.grad(y[0, -1].sum(), x)
    assert gradient[0, 0].any()
    torch.testing.assert_close(y, build("xlstm")(inputs_embeds=x, use_cache=False).logits)


def test_a_float64_copy_computes_in_float64() -> None:
    model = double(from_huggingface(build("llama"), verify=False))
    x = model.embed(tokens(1, 5))
    with torch.no_grad():
        pushed = (model(x + 1e-12)[0] - model(x)[0]).abs().max()
        plain = copy.deepcopy(model.network)
        rounded = plain(inputs_embeds=x).logits - model(x)[0]
    assert 0 < pushed < 1e-9  # an input in float32 would not move, or by 1e-8
    assert 1e-9 < rounded.abs().max() < 1e-4  # what the casts of transformers lose


def test_internals_and_features_are_what_the_network_says() -> None:
    network = build("llama")
    model = from_huggingface(network, verify=False)
    x, trace = tokens(2, 6), Trace("*")
    y, _ = model(x, trace=trace)
    raw = network(input_ids=x, output_hidden_states=True)
    features = network.model(input_ids=x).last_hidden_state
    torch.testing.assert_close(model.features(x), features, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(trace["features"], trace["hidden2"])
    torch.testing.assert_close(trace["hidden1"], raw.hidden_states[1], atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(trace["attn0"].sum(dim=3), torch.ones(2, 6, 2))
    assert trace["attn1"][:, 0, :, 1:].abs().max() == 0  # nothing after the first token
    torch.testing.assert_close(network.lm_head(trace["features"]), y)
    _, state = model(x[:, :4])
    step = Trace("attn0", "features")
    model.step(x[:, 4], state, step)
    torch.testing.assert_close(step["attn0"], trace["attn0"][:, 4, :, :5], atol=1e-5, rtol=1e-4)
    assert set(step) == {"attn0", "features"}
    with pytest.raises(UsageError, match="use step for one token"):
        model(x, state, trace)


def test_a_sequence_continues_from_a_state() -> None:
    model = double(from_huggingface(build("bamba"), verify=False))
    x = tokens(2, 9)
    with torch.no_grad():
        whole, end = model(x)
        _, middle = model(x[:, :5])
        rest, after = model(x[:, 5:], middle)
        single, _ = model(x[:, :1])
    torch.testing.assert_close(rest, whole[:, 5:], atol=1e-12, rtol=1e-12)
    torch.testing.assert_close(single, whole[:, :1], atol=1e-12, rtol=1e-12)
    for name, part in end.items():
        torch.testing.assert_close(after[name], part, atol=1e-12, rtol=1e-12)


def test_low_precision_keeps_what_the_network_keeps_in_float32() -> None:
    model = from_huggingface(build("rwkv").to(torch.bfloat16), verify=False)
    state = model.init_state(2)
    with torch.no_grad():
        _, after = model.step(tokens(2, 1)[:, 0], state)
    assert {name: part.dtype for name, part in after.items()} == {
        name: part.dtype for name, part in state.items()
    }
    assert state["layer0.numerator"].dtype == torch.float32
    assert state["layer0.time"].dtype == torch.bfloat16


def test_a_network_without_an_adapter_has_gradients_and_no_step() -> None:
    config = transformers.OpenAIGPTConfig(
        vocab_size=VOCABULARY, n_positions=64, n_embd=16, n_layer=1, n_head=2
    )
    model = from_huggingface(from_config(config))
    assert model.verified is None and model(tokens(1, 4))[1] == {}
    assert np.isfinite(memory.gradient_profile(model, tokens(2, 6)).G).all()
    for call in (
        lambda: model.step(tokens(1, 1)[:, 0], {}),
        lambda: model.init_state(1),
        lambda: model.state_size(1),
    ):
        with pytest.raises(NotApplicableError, match=r"'openai-gpt', so it has no step \(covered"):
            call()


def test_a_network_that_looks_ahead_is_refused() -> None:
    bert = transformers.BertConfig(
        vocab_size=VOCABULARY, hidden_size=16, num_hidden_layers=1, num_attention_heads=2
    )
    with pytest.raises(NotApplicableError, match="'bert' is not causal: another token at step 3"):
        from_huggingface(from_config(bert))
    with pytest.raises(NotApplicableError, match="no head that gives logits"):
        from_huggingface(transformers.BertModel(bert))
    t5 = transformers.T5Config(
        vocab_size=VOCABULARY, d_model=16, d_kv=8, num_layers=1, num_heads=2, d_ff=16
    )
    with pytest.raises(NotApplicableError, match="'t5' has an encoder that reads the whole"):
        from_huggingface(transformers.T5ForConditionalGeneration(t5))


def test_few_positions_make_a_short_check() -> None:
    found = from_huggingface(build("gpt2", n_positions=5)).verified
    assert found is not None and found.tokens == 5


def test_a_step_that_differs_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    right = HuggingFaceModel.step
    monkeypatch.setattr(
        HuggingFaceModel,
        "step",
        lambda self, x_t, state: (right(self, x_t, state)[0] + 1e-6, state),
    )
    with pytest.raises(NotApplicableError, match=r"'gpt2' does not compute what the network does"):
        from_huggingface(build("gpt2"))


def test_a_network_that_reads_more_than_embeddings_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(
        "seqprobe.adapters.huggingface.verification._from_tokens",
        lambda model, x: model(x)[0] + x[..., None],
    )
    with pytest.raises(NotApplicableError, match="'gpt2' reads more of a token than its embedding"):
        from_huggingface(build("gpt2"))


def test_logits_that_overflow_are_refused() -> None:
    network = build("llama")
    for weight in (network.model.norm.weight, network.lm_head.weight):
        weight.data *= 1e20
    with pytest.raises(SeqprobeError, match="logits of 'llama' are not finite in float32"):
        from_huggingface(network)


@pytest.mark.parametrize("name", ["gpt2", "mamba"])
def test_nothing_is_printed(name: str, capfd: pytest.CaptureFixture[str]) -> None:
    network = build(name)
    capfd.readouterr()
    model = from_huggingface(network)
    model(tokens(1, 4))
    assert capfd.readouterr() == ("", "")


def test_inputs_of_another_shape_are_refused() -> None:
    model = from_huggingface(build("gpt2"), verify=False)
    lines = {
        r"shape \(4,\), model takes \(B, T\) integer tokens or \(B, T, 16\)": torch.zeros(4).long(),
        r"shape \(1, 4, 3\), model takes": torch.zeros(1, 4, 3),
        r"tokens run from 0 to 50 \(allowed: 0 to 49\)": torch.tensor([[0, 50]]),
        r"sequence has 65 tokens, 'gpt2' has learned 64 positions": tokens(1, 65),
    }
    for line, x in lines.items():
        with pytest.raises(UsageError, match=line):
            model(x)
    with pytest.raises(UsageError, match=r"model takes \(B\) integer tokens"):
        model.step(tokens(1, 2), model.init_state(1))
    broken = build("gpt2")
    broken.transformer.h[1].mlp.c_fc.bias.data[3] = torch.nan
    with pytest.raises(SeqprobeError, match=r"weight 'transformer.h.1.mlp.c_fc.bias' has 1 values"):
        from_huggingface(broken)
    with pytest.raises(UsageError, match="int is not a model of Hugging Face"):
        from_huggingface(cast("Any", 3))
