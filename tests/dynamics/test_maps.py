"""Analytic Jacobians against automatic ones, and steps against the models they come from."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from cases import CAUSAL, Case
from reference.dynamical import float64
from seqprobe.dynamics import CallableMap, state_map
from seqprobe.dynamics.maps import GRUBeforeMap, GRUMap, LSTMMap, StackMap
from seqprobe.errors import NotApplicableError, SeqprobeError
from seqprobe.models import Model, build_model
from seqprobe.models.access import in_dtype
from seqprobe.spec import Spec
from seqprobe.state import flatten, layout, unflatten

FIXED = [case for case in CAUSAL if case.model != "transformer" and "kernel=1" not in str(case)]
every_case = pytest.mark.parametrize("case", FIXED, ids=str)
SPEC = Spec("continuous", 3, "regression", 2)
ANALYTIC = [
    ("rnn", {}),
    ("irnn", {}),
    ("leaky", {"form": "inside"}),
    ("leaky", {"form": "outside", "activation": "leaky_relu"}),
    ("leaky", {"form": "outside"}),
    ("gru", {"reset": "after"}),
    ("gru", {"reset": "before"}),
    ("lstm", {}),
    ("lstm", {"cifg": True}),
]


def _model(name: str, config: dict[str, object], layers: int = 1) -> Model:
    case = Case(name, {"width": 6, "layers": layers, **config}, SPEC)
    model = in_dtype(case.build(), torch.float64)
    assert isinstance(model, Model)
    return model


def _generic(model: Model) -> CallableMap:
    """The same step, differentiated by torch."""
    parts = layout(model.init_state(1))

    def step(x: Tensor, u: Tensor) -> Tensor:
        return flatten(model.core.step(u, unflatten(x, parts))[1])

    return CallableMap(step, model.state_size(1), 3)


@every_case
def test_a_step_of_the_map_is_a_step_of_the_model(case: Case) -> None:
    model = in_dtype(case.build(), torch.float64)
    assert isinstance(model, Model)
    of = state_map(model)
    x = case.inputs(3, 4)
    state = model.init_state(3)
    flat = flatten(state)
    read = model.embed(x)
    for t in range(4):
        _, state = model.step(x[:, t], state)
        flat = of.step(flat, (read if x.dim() == 2 else x)[:, t])
    torch.testing.assert_close(flat, flatten(state), atol=1e-12, rtol=1e-12)


@pytest.mark.parametrize("layers", [1, 3])
@pytest.mark.parametrize(("name", "config"), ANALYTIC)
def test_jacobians_are_those_of_autograd(name: str, config: dict[str, object], layers: int) -> None:
    model = _model(name, config, layers)
    of, slow = state_map(model), _generic(model)
    assert not isinstance(of, CallableMap)
    x, u = 0.5 * float64((5, of.size)), float64((5, 3), 1)
    for fast, oracle in zip(of.linearise(x, u)[1:], slow.linearise(x, u)[1:], strict=True):
        torch.testing.assert_close(fast.dense(), oracle.dense(), atol=1e-13, rtol=1e-12)
        v = float64((5, fast.dense().shape[2], 2), 2)
        torch.testing.assert_close(fast.times(v), fast.dense() @ v, atol=1e-12, rtol=1e-12)
        torch.testing.assert_close(oracle.times(v), fast.dense() @ v, atol=1e-12, rtol=1e-12)
    torch.testing.assert_close(of.linearise(x, u)[0], of.step(x, u))


@pytest.mark.parametrize("layers", [1, 3])
@pytest.mark.parametrize(("name", "config"), ANALYTIC)
def test_reduced_residual_is_linearised_rightly(
    name: str, config: dict[str, object], layers: int
) -> None:
    of = state_map(_model(name, config, layers))
    y, u = 0.5 * float64((4, of.unknowns)), float64((4, 3), 1)
    r, by_state, by_input = of.linearise_residual(y, u)
    torch.testing.assert_close(r, of.residual(y, u), atol=1e-15, rtol=1e-13)
    for operator, axis in ((by_state, 0), (by_input, 1)):
        columns = torch.func.jacrev(of.residual, argnums=axis)(y, u)
        oracle = torch.stack([columns[i, :, i] for i in range(4)])
        torch.testing.assert_close(operator.dense(), oracle, atol=1e-13, rtol=1e-12)
        v = float64((4, oracle.shape[2], 2), 2)
        torch.testing.assert_close(operator.times(v), oracle @ v, atol=1e-12, rtol=1e-12)


@pytest.mark.parametrize("cell", [nn.RNNCell, nn.GRUCell, nn.LSTMCell])
@pytest.mark.parametrize("bias", [True, False])
def test_torch_cells(cell: type[nn.RNNCellBase], bias: bool) -> None:
    torch.manual_seed(0)
    module = cell(2, 5, bias=bias).double()  # type: ignore[call-arg]
    of = state_map(module)
    u, x = float64((4, 2)), 0.5 * float64((4, of.size), 1)
    with torch.no_grad():
        if cell is nn.LSTMCell:
            after = torch.cat(module(u, x.chunk(2, dim=1)), dim=1)
        else:
            after = module(u, x)
    torch.testing.assert_close(of.step(x, u), after, atol=1e-13, rtol=1e-12)


@pytest.mark.parametrize("kind", [nn.RNN, nn.GRU, nn.LSTM])
@pytest.mark.parametrize("batch_first", [True, False])
def test_torch_modules_of_two_layers(kind: type[nn.GRU], batch_first: bool) -> None:
    torch.manual_seed(0)
    module = kind(2, 4, 2, batch_first=batch_first).double()
    of = state_map(module)
    assert isinstance(of, StackMap)
    x = float64((1, 6, 2))
    flat = torch.zeros(1, of.size, dtype=torch.float64)
    for u in x.unbind(1):
        flat = of.step(flat, u)
    with torch.no_grad():
        _, end = module(x if batch_first else x.transpose(0, 1))
    parts = end if isinstance(end, tuple) else (end,)
    expected = torch.cat([part[i] for i in range(2) for part in parts], dim=1)
    torch.testing.assert_close(flat, expected, atol=1e-12, rtol=1e-12)


def test_a_rectified_torch_module_and_a_float32_one() -> None:
    torch.manual_seed(0)
    module = nn.RNN(2, 4, nonlinearity="relu")
    x, u = float64((3, 4)), float64((3, 2), 1)
    with torch.no_grad():
        after = module(u[None].float(), x[None].float())[1][0]
    torch.testing.assert_close(state_map(module).step(x, u).float(), after)


@pytest.mark.parametrize(("name", "config"), ANALYTIC[5:])
def test_identities_between_full_and_reduced_jacobians(
    name: str, config: dict[str, object]
) -> None:
    """GRU: J = I + D(1 - z) R. LSTM: R is the Schur complement of J - I. Signs agree in all."""
    of = state_map(_model(name, config))
    u = float64((3,), 1)
    y = torch.zeros(1, of.unknowns, dtype=torch.float64)
    for _ in range(60):
        r, jacobian, _ = of.linearise_residual(y, u)
        y = y - 0.5 * torch.linalg.solve(jacobian.dense(), r)
    x = of.lift(y, u)
    assert float((of.step(x, u) - x).abs().max()) < 1e-12
    full = of.linearise(x, u)[1].dense()[0]
    reduced = of.linearise_residual(y, u)[1].dense()[0]
    eye = torch.eye(of.size, dtype=torch.float64)
    n = of.unknowns
    if isinstance(of, GRUMap):
        keep = of._update(x, u)
        torch.testing.assert_close(full, eye + (1 - keep).T * reduced, atol=1e-12, rtol=1e-10)
    elif isinstance(of, LSTMMap):
        a, b, c, d = (full - eye)[:n, :n], full[:n, n:], full[n:, :n], (full - eye)[n:, n:]
        torch.testing.assert_close(
            reduced, a - b @ torch.linalg.solve(d, c), atol=1e-12, rtol=1e-10
        )
    else:
        assert isinstance(of, GRUBeforeMap)
    assert torch.linalg.slogdet(eye - full)[0] == torch.linalg.slogdet(-reduced)[0]


@pytest.mark.parametrize("name", ["rnn", "gru", "lstm", "s4d", "mamba", "tcn"])
def test_the_model_is_left_as_it_was(name: str) -> None:
    model = build_model(name, SPEC, {"width": 8}).train()
    next(model.parameters()).requires_grad_(False)
    wanted = [p.requires_grad for p in model.parameters()]
    before = copy.deepcopy(model.state_dict())
    of = state_map(model)
    of.linearise(torch.zeros(2, of.size).double(), torch.zeros(3).double())[1].dense()
    assert model.training
    assert [p.requires_grad for p in model.parameters()] == wanted
    assert all(p.grad is None and p.dtype == torch.float32 for p in model.parameters())
    for key, value in model.state_dict().items():
        assert torch.equal(value, before[key]), key


def test_what_is_refused() -> None:
    class Doubled(nn.Linear):
        pass

    with pytest.raises(NotApplicableError, match="no step to iterate"):
        state_map(Doubled(2, 2))
    with pytest.raises(NotApplicableError, match="CallableMap"):
        state_map(lambda x, u: x)
    with pytest.raises(NotApplicableError, match="grows with time"):
        state_map(build_model("transformer", SPEC, {"width": 8}))
    with pytest.raises(NotApplicableError, match="bidirectional"):
        state_map(build_model("bi-gru", SPEC, {"width": 8}))
    with pytest.raises(NotApplicableError, match="bidirectional"):
        state_map(nn.GRU(2, 3, bidirectional=True))
    with pytest.raises(NotApplicableError, match="keeps nothing"):
        state_map(build_model("tcn", SPEC, {"width": 8, "kernel": 1}))
    broken = build_model("gru", SPEC, {"width": 8})
    with torch.no_grad():
        broken.core.layers[0].weight_hh[0, 0] = torch.nan  # type: ignore[union-attr,index]
    with pytest.raises(SeqprobeError, match=r"core.layers.0.weight_hh' has 1 values that are NaN"):
        state_map(broken)


def test_a_subclass_is_not_taken_for_its_parent() -> None:
    """A user's cell may compute something else, and is differentiated as it is."""
    from seqprobe.models.base import Stack
    from seqprobe.models.rnn import RNNLayer

    class Halved(RNNLayer):
        def activation(self, pre: Tensor) -> Tensor:
            return 0.5 * torch.tanh(pre)

    of = state_map(Stack([Halved(2, 3)]))
    assert isinstance(of, CallableMap)
    x = float64((2, 3))
    assert float(of.step(x, torch.zeros(2).double()).abs().max()) < 0.5
