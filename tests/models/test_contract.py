"""Every architecture keeps the contract, in each of its forms and on both kinds of input."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from cases import CAUSAL, Case
from reference import naive
from seqprobe.models import MODELS, Trace, state_parts
from seqprobe.state import flatten, layout, size, unflatten

every_case = pytest.mark.parametrize("case", CAUSAL, ids=str)
LENGTH = 13


def test_zoo_covers_the_registry() -> None:
    causal = {name for name, entry in MODELS.items() if entry.directions == 1}
    assert {case.model for case in CAUSAL} == causal
    assert set(MODELS) == causal | {f"bi-{name}" for name in causal}


@every_case
def test_forward_is_the_scan_of_step(case: Case) -> None:
    model = case.build().double()
    x = case.inputs(3, LENGTH)
    y, state = model(x)
    stepped, end = naive.scan(model, x)
    torch.testing.assert_close(y, stepped, rtol=0, atol=1e-9)
    assert state.keys() == end.keys()
    for name in state:
        torch.testing.assert_close(state[name], end[name], rtol=0, atol=1e-9)


@every_case
def test_forward_continues_from_a_state(case: Case) -> None:
    model = case.build().double()
    x = case.inputs(2, LENGTH)
    whole, _ = model(x)
    _, middle = model(x[:, :5])
    rest, _ = model(x[:, 5:], middle)
    torch.testing.assert_close(rest, whole[:, 5:], rtol=0, atol=1e-9)


@every_case
def test_batch_rows_are_independent(case: Case) -> None:
    model = case.build().double()
    x, other = case.inputs(4, LENGTH), case.inputs(4, LENGTH, seed=1)
    other[2] = x[2]
    assert torch.equal(model(x)[0][2], model(other)[0][2])


@every_case
def test_outputs_before_an_impulse_are_bit_identical(case: Case) -> None:
    model = case.build().double()
    x = case.inputs(2, LENGTH)
    pushed = x.clone()
    pushed[:, 6] = pushed[:, 6] + 1 if x.is_floating_point() else (pushed[:, 6] + 1) % 7
    y, z = model(x)[0], model(pushed)[0]
    if model.exact_causality:
        assert torch.equal(y[:, :6], z[:, :6])
    else:
        assert (y[:, :6] - z[:, :6]).abs().max() <= 1e-12 * y.abs().max()
    assert not torch.equal(y[:, 6], z[:, 6])


@every_case
@pytest.mark.parametrize("length", [0, 1, LENGTH])
def test_state_size_counts_the_real_tensors(case: Case, length: int) -> None:
    model = case.build()
    state = model.init_state(2) if length == 0 else model(_typed(case, length))[1]
    assert size(state) == model.state_size(length)
    assert flatten(state).shape == (2, model.state_size(length))
    parts = state_parts(model, length)
    assert {name: part.shape for name, part in parts.items()} == {
        name: tuple(tensor.shape[1:]) for name, tensor in state.items()
    }
    assert sum(part.reals for part in parts.values()) == model.state_size(length)


@every_case
def test_gradients_flow_through_a_passed_in_state(case: Case) -> None:
    model = case.build().double()
    x = case.inputs(2, LENGTH)
    _, state = model(x[:, :5])
    parts = layout(state)
    vector = flatten(state).detach().requires_grad_()
    y, _ = model(x[:, 5:], unflatten(vector, parts))
    if not parts or vector.shape[1] == 0:  # a TCN of kernel 1 keeps nothing
        return
    (gradient,) = torch.autograd.grad(y.sum(), vector)
    assert torch.isfinite(gradient).all()
    assert gradient.abs().sum() > 0


@every_case
def test_double_leaves_no_float32_behind(case: Case) -> None:
    model = case.build().double()
    y, state = model(case.inputs(2, LENGTH))
    assert y.dtype == torch.float64
    assert all(tensor.dtype.to_real() == torch.float64 for tensor in state.values())
    y_t, state = model.step(case.inputs(2, 1)[:, 0], model.init_state(2))
    assert y_t.dtype == torch.float64
    assert all(tensor.dtype.to_real() == torch.float64 for tensor in state.values())


@every_case
def test_save_and_load_is_bit_identical(case: Case, tmp_path: Path) -> None:
    model = case.build(seed=1).eval()
    torch.save(model.state_dict(), tmp_path / "weights.pt")
    other = case.build(seed=2).eval()
    other.load_state_dict(torch.load(tmp_path / "weights.pt", weights_only=True))
    x = _typed(case, LENGTH)
    assert torch.equal(model(x)[0], other(x)[0])


@every_case
def test_same_seed_draws_the_same_weights(case: Case) -> None:
    x = _typed(case, LENGTH)
    a, b, c = case.build(seed=3), case.build(seed=3), case.build(seed=4)
    assert torch.equal(a(x)[0], b(x)[0])
    assert not torch.equal(a(x)[0], c(x)[0])


@every_case
def test_internals_of_forward_are_those_of_the_steps(case: Case) -> None:
    model = case.build().double().eval()
    x = case.inputs(2, LENGTH)
    trace = Trace()
    y, _ = model(x, trace=trace)
    torch.testing.assert_close(y, model(x)[0], rtol=0, atol=1e-9)
    assert len(trace) > 0
    state = model.init_state(2)
    for t, x_t in enumerate(x.unbind(1)):
        step_trace = Trace()
        _, state = model.step(x_t, state, trace=step_trace)
        assert set(step_trace) == set(trace)
        for name in trace:
            whole = trace[name][:, t]
            whole = whole[..., : t + 1] if name.endswith("attn") else whole
            torch.testing.assert_close(step_trace[name], whole, rtol=0, atol=1e-9)


@every_case
def test_every_parameter_gets_a_gradient(case: Case) -> None:
    model = case.build().double()
    model(case.inputs(4, LENGTH))[0].square().sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name


def _typed(case: Case, length: int) -> torch.Tensor:
    x = case.inputs(2, length)
    return x.float() if x.is_floating_point() else x
