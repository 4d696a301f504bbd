"""torch's recurrent modules behind our contract; torch is the oracle, to 1e-12 in float64."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from seqprobe.adapters.projected import ProjectedLSTMLayer
from seqprobe.adapters.torch_rnn import as_sequence_module, from_torch, to_torch
from seqprobe.dynamics import fixed_points, lyapunov_spectrum, sample_states, state_map, timescales
from seqprobe.dynamics.unit_timescales import unit_timescales
from seqprobe.errors import NotApplicableError
from seqprobe.models import SequenceModule, Trace, build_model, state_parts
from seqprobe.models.base import Stack
from seqprobe.models.bidirectional import Bidirectional
from seqprobe.models.gru import GRULayer
from seqprobe.models.irnn import IRNNLayer
from seqprobe.models.leaky import LeakyLayer
from seqprobe.models.lstm import LSTMLayer
from seqprobe.models.rnn import RNNLayer
from seqprobe.spec import Spec
from seqprobe.state import State

B, T, D, H, P = 3, 13, 2, 5, 3

# What a state is made of, and the module that keeps it.
KINDS: dict[str, tuple[Callable[..., nn.RNNBase], dict[str, Any]]] = {
    "tanh": (nn.RNN, {}),
    "relu": (nn.RNN, {"nonlinearity": "relu"}),
    "gru": (nn.GRU, {}),
    "lstm": (nn.LSTM, {}),
    "projected": (nn.LSTM, {"proj_size": P}),
}
LAYERS: dict[str, type[nn.Module]] = {
    "tanh": RNNLayer,
    "relu": IRNNLayer,
    "gru": GRULayer,
    "lstm": LSTMLayer,
    "projected": ProjectedLSTMLayer,
}
CELLS: list[tuple[Callable[..., nn.RNNCellBase], dict[str, Any]]] = [
    (nn.RNNCell, {}),
    (nn.RNNCell, {"nonlinearity": "relu"}),
    (nn.GRUCell, {}),
    (nn.LSTMCell, {}),
]


def _draw(*shape: int, seed: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def _module(kind: str, layers: int = 1, **options: Any) -> nn.RNNBase:
    torch.manual_seed(0)
    made, more = KINDS[kind]
    options = {"batch_first": True, "dtype": torch.float64} | more | options
    return made(D, H, layers, **options)


def _start(module: nn.RNNBase) -> tuple[Any, State]:
    """Return one initial state, not zero, as torch takes it and as ours take it."""
    sizes = [getattr(module, "proj_size", 0) or H] + [H] * isinstance(module, nn.LSTM)
    parts = [0.5 * _draw(module.num_layers, B, n, seed=n) for n in sizes]
    return parts[0] if len(parts) == 1 else tuple(parts), _named(parts)


def _named(parts: Any) -> State:
    parts = [parts] if isinstance(parts, Tensor) else parts
    count = len(parts[0])
    return {
        f"layer{i}.{name}": part[i]
        for i in range(count)
        for name, part in zip("hc", parts, strict=False)
    }


def _same(a: Tensor, b: Tensor) -> None:
    # Sums of at most a dozen numbers of order one, in another order, over 13 steps.
    torch.testing.assert_close(a, b, atol=1e-12, rtol=0)


def _same_state(a: State, b: State) -> None:
    assert list(a) == list(b)
    for name in a:
        _same(a[name], b[name])


FORMS = list(itertools.product(KINDS, (True, False), (1, 3), (True, False)))


@pytest.mark.parametrize(("kind", "bias", "layers", "batch_first"), FORMS)
def test_modules_are_computed(kind: str, bias: bool, layers: int, batch_first: bool) -> None:
    module = _module(kind, layers, bias=bias, batch_first=batch_first)
    ours = from_torch(module)
    assert [type(layer) for layer in ours.layers] == [LAYERS[kind]] * layers
    given, state = _start(module)
    x = _draw(B, T, D).requires_grad_()
    expected, end = module(x if batch_first else x.transpose(0, 1), given)
    expected = expected if batch_first else expected.transpose(0, 1)
    y, after = ours(x, state)
    _same(y, expected)
    _same_state(after, _named(end))
    cotangent = _draw(*y.shape, seed=2)
    _same(*(torch.autograd.grad((out * cotangent).sum(), x)[0] for out in (y, expected)))
    outputs = []
    for x_t in x.unbind(1):
        y_t, state = ours.step(x_t, state)
        outputs.append(y_t)
    _same(torch.stack(outputs, dim=1), expected)
    _same_state(state, _named(end))
    begun = module(x if batch_first else x.transpose(0, 1))[0]
    _same(ours(x)[0], begun if batch_first else begun.transpose(0, 1))


@pytest.mark.parametrize(("kind", "bias", "layers", "batch_first"), FORMS)
def test_modules_in_both_directions(kind: str, bias: bool, layers: int, batch_first: bool) -> None:
    module = _module(kind, layers, bias=bias, batch_first=batch_first, bidirectional=True)
    ours = from_torch(module)
    assert not ours.causal
    x = _draw(B, T, D)
    expected = module(x)[0] if batch_first else module(x.transpose(0, 1))[0].transpose(0, 1)
    _same(ours(x)[0], expected)
    _same(to_torch(ours)(x)[0], expected)
    with pytest.raises(NotApplicableError, match="has no step"):
        ours.init_state(1)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(("cell", "options"), CELLS)
def test_cells(cell: Callable[..., nn.RNNCellBase], options: dict[str, Any], bias: bool) -> None:
    torch.manual_seed(0)
    module = cell(D, H, bias, dtype=torch.float64, **options)
    ours = from_torch(module)
    h, c = 0.5 * _draw(2, B, H)
    two = cell is nn.LSTMCell
    state = {"layer0.h": h} | ({"layer0.c": c} if two else {})
    for x_t in _draw(B, T, D).unbind(1):
        h, c = module(x_t, (h, c)) if two else (module(x_t, h), c)
        y, state = ours.step(x_t, state)
        _same(y, h)
    _same_state(state, {"layer0.h": h} | ({"layer0.c": c} if two else {}))


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_of_the_weights(kind: str) -> None:
    module = _module(kind, 2)
    ours = from_torch(module)
    x = _draw(B, T, D)
    for network in (module, ours):
        network(x)[0].square().sum().backward()
    for i, layer in enumerate(ours.layers):
        pairs = {"weight_ih": "weight_ih", "weight_hh": "weight_hh", "bias": "bias_ih"}
        if kind == "projected":
            pairs["weight_hr"] = "weight_hr"
        for mine, theirs in pairs.items():
            found = layer.get_parameter(mine).grad
            expected = module.get_parameter(f"{theirs}_l{i}").grad
            assert found is not None
            assert expected is not None
            _same(found, expected)
        if kind == "gru":
            second = module.get_parameter(f"bias_hh_l{i}").grad
            found = layer.get_parameter("bias_n").grad
            assert second is not None
            assert found is not None
            _same(found, second[2 * H :])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("both", [True, False])
def test_weights_come_back_from_torch(kind: str, both: bool) -> None:
    module = _module(kind, 2, bidirectional=both)
    back = to_torch(from_torch(module))
    assert type(back) is type(module)
    assert back.batch_first
    theirs, returned = module.state_dict(), back.state_dict()
    assert theirs.keys() == returned.keys()
    for name, value in theirs.items():
        if name.startswith("weight"):
            assert torch.equal(value, returned[name])
        elif name.startswith("bias_ih"):
            other = name.replace("_ih", "_hh")
            sums, found = value + theirs[other], returned[name] + returned[other]
            if kind == "gru":  # both biases of the candidate are kept
                assert torch.equal(value[2 * H :], returned[name][2 * H :])
                assert torch.equal(theirs[other][2 * H :], returned[other][2 * H :])
            else:
                assert not returned[other].any()
            assert torch.equal(sums, found)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("layers", [1, 3])
def test_weights_come_back_from_ours(kind: str, layers: int) -> None:
    ours = from_torch(_module(kind, layers))
    module = to_torch(ours)
    again = from_torch(module)
    assert ours.state_dict().keys() == again.state_dict().keys()
    for name, value in ours.state_dict().items():
        assert torch.equal(value, again.state_dict()[name]), name
    given, state = _start(module)
    x = _draw(B, T, D)
    expected, end = module(x, given)
    y, after = ours(x, state)
    _same(y, expected)
    _same_state(after, _named(end))


CORES = [
    *itertools.product(("rnn", "irnn"), (nn.RNN,), (1, 2)),
    *itertools.product(("gru",), (nn.GRU,), (1, 2)),
    *itertools.product(("lstm",), (nn.LSTM,), (1, 2)),
    ("bi-gru", nn.GRU, 1),  # two layers of it meet at the top only; torch's meet at each
]


@pytest.mark.parametrize(("name", "kind", "layers"), CORES)
def test_cores_of_models(name: str, kind: type[nn.RNNBase], layers: int) -> None:
    spec = Spec("continuous", D, "regression", 1)
    core = build_model(name, spec, {"width": H, "layers": layers}).double().core
    module = to_torch(core)
    assert type(module) is kind
    x = _draw(B, T, D)
    _same(module(x)[0], core(x)[0])
    if isinstance(core, Stack) and layers == 1:
        layer = core.layers[0]
        assert isinstance(layer, SequenceModule)
        _same(to_torch(layer)(x)[0], core(x)[0])


def test_precision_mode_and_random_numbers_stay() -> None:
    module = nn.GRU(D, H, 2, dropout=0.5, dtype=torch.float32).eval()
    before = copy.deepcopy(module.state_dict())
    drawn = torch.get_rng_state()
    ours = from_torch(module)
    back = to_torch(ours)
    assert torch.equal(drawn, torch.get_rng_state())
    for network in (ours, back):
        assert not network.training
        assert {p.dtype for p in network.parameters()} == {torch.float32}
        assert all(p.requires_grad for p in network.parameters())
        assert network.to("meta") is network
    with torch.no_grad():
        for parameter in from_torch(module).parameters():
            parameter.zero_()
    assert all(torch.equal(v, before[k]) for k, v in module.state_dict().items())
    x = torch.randn(B, T, D)
    expected = module(x.transpose(0, 1))[0].transpose(0, 1)
    torch.testing.assert_close(from_torch(module.train())(x)[0], expected)  # no dropout
    assert from_torch(nn.LSTM(D, H, dtype=torch.bfloat16)).init_state(1)["layer0.c"].dtype is (
        torch.bfloat16
    )
    assert from_torch(nn.LSTM(D, H, device="meta")).init_state(1)["layer0.h"].is_meta


def test_subclasses_that_compute_the_same() -> None:
    class Small(nn.GRU):
        def __init__(self) -> None:
            super().__init__(D, H, batch_first=True, dtype=torch.float64)

    module, x = Small(), _draw(B, T, D)
    _same(from_torch(module)(x)[0], module(x)[0])


def test_parametrised_weights() -> None:
    module = nn.GRUCell(D, H, dtype=torch.float64)
    nn.utils.parametrizations.spectral_norm(module, "weight_hh")
    module.eval()
    x, h = _draw(B, D), _draw(B, H, seed=2)
    _same(from_torch(module).step(x, {"layer0.h": h})[0], module(x, h))


@pytest.mark.parametrize("layers", [1, 2])
def test_internals_of_the_projected_layer(layers: int) -> None:
    """Gates are those of the formulas, in one step and in a sequence, which is the fused one."""
    module = _module("projected", layers)
    ours = from_torch(module)
    assert ours.state_size(7) == layers * (P + H)
    assert [part.shape for part in state_parts(ours, 7).values()] == [(P,), (H,)] * layers
    x, (_, state) = _draw(B, T, D), _start(module)
    trace = Trace("*")
    y, end = ours(x, state, trace)
    fused, fused_end = ours(x, state)
    _same(y, fused)
    _same_state(end, fused_end)
    names = ["input", "forget", "candidate", "output", "c"]
    assert list(trace) == [f"layer{i}.{name}" for i in range(layers) for name in names]
    assert torch.equal(trace["layer0.c"][:, -1], end["layer0.c"])
    weights = module.state_dict()
    bias = weights["bias_ih_l0"] + weights["bias_hh_l0"]
    pre = x[:, 0] @ weights["weight_ih_l0"].T + state["layer0.h"] @ weights["weight_hh_l0"].T
    blocks = (pre + bias).split(H, dim=1)
    i, f, o = (torch.sigmoid(blocks[k]) for k in (0, 1, 3))
    g = torch.tanh(blocks[2])
    for name, value in zip(names, (i, f, g, o, f * state["layer0.c"] + i * g), strict=True):
        _same(trace[f"layer0.{name}"][:, 0], value)
    one = Trace("layer0.forget")
    ours.step(x[:, 0], state, one)
    assert list(one) == ["layer0.forget"]
    _same(one["layer0.forget"], f)
    some = Trace("*.output")
    ours(x, state, some)
    assert list(some) == [f"layer{i}.output" for i in range(layers)]


def test_a_projected_layer_of_its_own_is_drawn() -> None:
    layer = ProjectedLSTMLayer(D, 400, P)
    with torch.no_grad():
        for parameter in layer.parameters():
            assert float(parameter.abs().max()) <= 1 / 20
            # The mean square of 1200 and more uniform numbers, to five standard errors.
            assert abs(float(parameter.square().mean()) * 1200 - 1) < 5 * 0.9 / 1200**0.5
    assert type(to_torch(layer)) is nn.LSTM


def _torch_step(module: nn.LSTM, x: Tensor, u: Tensor) -> Tensor:
    """Return one step of a module of one or more layers on flat states, by torch alone."""
    size = module.proj_size
    blocks = x.view(len(x), module.num_layers, size + H).transpose(0, 1)
    h, c = blocks[..., :size].contiguous(), blocks[..., size:].contiguous()
    _, (h, c) = module(u.expand(len(x), 1, -1), (h, c))
    return torch.cat([h, c], dim=2).transpose(0, 1).flatten(1)


@pytest.mark.parametrize("layers", [1, 2])
def test_fixed_points_of_a_projected_module(layers: int) -> None:
    """Three memories of one bit: 27 points. They and their Jacobians are those of torch's step."""
    module = _module("projected", layers)
    assert isinstance(module, nn.LSTM)
    out = 3 * torch.linalg.qr(_draw(H, P)).Q.T
    with torch.no_grad():
        for name, weight in module.named_parameters():
            if name.startswith("weight_hh"):
                weight.mul_(0.2)
        # Candidates that read back what the first layer passes on hold it, in each of P directions.
        module.get_parameter("weight_hr_l0").copy_(out)
        module.get_parameter("weight_hh_l0")[2 * H : 3 * H] = out.T
    of = state_map(module)
    n = layers * (P + H)
    assert (of.size, of.inputs) == (n, D)
    u = torch.tensor([0.3, -0.2], dtype=torch.float64)
    x = 0.7 * _draw(20, n)
    with torch.no_grad():
        _same(of.step(x, u), _torch_step(module, x, u))
    rows = of.linearise(x, u)[1].dense()
    push = 1e-6 * torch.eye(n, dtype=torch.float64)
    with torch.no_grad():
        for row, jacobian in zip(x, rows, strict=True):
            ahead, back = (_torch_step(module, row + s * push, u) for s in (1, -1))
            # Central differences: eps / 1e-6 of rounding, 1e-12 of truncation.
            torch.testing.assert_close(jacobian, (ahead - back).T / 2e-6, atol=2e-9, rtol=0)
    points = fixed_points(module, x, input=u)
    found = torch.from_numpy(points["x"].values)
    assert np.bincount(points["n_unstable"]).tolist() == [8, 12, 6, 1]  # of a cube
    with torch.no_grad():
        moved = (_torch_step(module, found, u) - found).abs().max()
    assert float(moved) <= 1e-12
    y = found + 1e-3 * _draw(*found.shape)
    eye = torch.eye(n, dtype=torch.float64)
    for _ in range(8):  # Newton on torch's own step
        jacobian = torch.func.vmap(
            torch.func.jacrev(lambda row: _torch_step(module, row[None], u)[0])
        )(y)
        with torch.no_grad():
            y = y - torch.linalg.solve(jacobian - eye, _torch_step(module, y, u) - y)
    torch.testing.assert_close(y, found, atol=1e-10, rtol=0)


def test_time_constants_of_modules() -> None:
    """A forget gate that stands at f forgets in -1 / ln f steps; h has no time of its own."""
    module = nn.LSTM(D, H, batch_first=True, proj_size=P)
    plain = nn.LSTM(D, H)
    f = torch.tensor([0.1, 0.5, 0.9, 0.99, 0.7], dtype=torch.float64)
    for network in (module, plain):
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.zero_()
            network.get_parameter("bias_ih_l0")[H : 2 * H] = torch.logit(f)
        found = unit_timescales(network, torch.randn(4, T, D))
        assert np.isnan(found[:-H]).all()
        np.testing.assert_allclose(found[-H:], -1 / np.log(f.numpy()), rtol=1e-5)  # float32
    gru = _module("gru", 2)
    x = _draw(4, T, D)
    np.testing.assert_array_equal(unit_timescales(gru, x), unit_timescales(from_torch(gru), x))
    assert (unit_timescales(nn.RNNCell(D, H), x.float()) == 0).all()
    result = timescales(gru.float(), _draw(8, 20, D), n_exponents=2)
    np.testing.assert_allclose(result["tau_unit"], unit_timescales(gru, _draw(8, 20, D).float()))


def test_exponents_of_a_module() -> None:
    """Of rectified units that are always on, the exponents are the logarithms of their weights."""
    module = nn.RNN(D, 3, nonlinearity="relu", dtype=torch.float64)
    rates = torch.tensor([0.9, 0.5, 0.2], dtype=torch.float64)
    with torch.no_grad():
        for weight in module.parameters():
            weight.fill_(1.0)
        module.get_parameter("weight_hh_l0").copy_(torch.diag(rates))
    x = _draw(2, 140, D).abs()
    spectrum = lyapunov_spectrum(module, x, n_exponents=3, burn_in=100)
    np.testing.assert_allclose(spectrum["exponent"], rates.log(), atol=1e-12)
    assert sample_states(module, x, 16).shape == (16, 3)
    projected = _module("projected", 2)
    assert sample_states(projected, x, 16).shape == (16, 2 * (P + H))


def _stack(*layers: SequenceModule) -> Stack:
    return Stack(list(layers))


REFUSED: list[tuple[SequenceModule, str]] = [
    (GRULayer(D, H, reset="before"), "a GRU with reset='before'"),
    (LSTMLayer(D, H, peephole=True), "an LSTM with peepholes"),
    (LSTMLayer(D, H, cifg=True), r"coupled gates \(cifg\)"),
    (LeakyLayer(D, H), "computes LeakyLayer"),
    (_stack(RNNLayer(D, H), RNNLayer(H, 4)), r"RNNLayer\(4\) and RNNLayer\(5\)"),
    (_stack(RNNLayer(D, H), GRULayer(H, H)), r"GRULayer\(5\) and RNNLayer\(5\)"),
    (
        _stack(ProjectedLSTMLayer(D, H, 2), ProjectedLSTMLayer(2, H, 3)),
        r"ProjectedLSTMLayer\(5 to 2\) and ProjectedLSTMLayer\(5 to 3\)",
    ),
    (Stack([GRULayer(D, H)], nn.LayerNorm(H)), "ends in LayerNorm"),
    (
        _stack(Bidirectional(GRULayer(D, H), GRULayer(D, H)), GRULayer(2 * H, H)),
        "one direction and two",
    ),
    (Bidirectional(GRULayer(D, H), GRULayer(D, H), pool_last=True), "with pool_last"),
    (
        Bidirectional(
            _stack(GRULayer(D, H), GRULayer(H, H)), _stack(GRULayer(D, H), GRULayer(H, H))
        ),
        "meet at the top only",
    ),
    (build_model("gru", Spec("continuous", D, "regression", 1), {"width": H}), r"model\.core"),
]


@pytest.mark.parametrize(("core", "message"), REFUSED)
def test_what_torch_cannot_compute(core: SequenceModule, message: str) -> None:
    with pytest.raises(NotApplicableError, match=message) as caught:
        to_torch(core)
    assert "\n" not in str(caught.value)


def test_what_cannot_be_taken() -> None:
    class Scaled(nn.GRU):
        def forward(self, *args: Any) -> Any:
            return 2 * super().forward(*args)[0]

    for module in (Scaled(D, H), nn.Linear(D, H), nn.RNNBase("GRU", D, H)):
        with pytest.raises(NotApplicableError, match=r"give your module init_state"):
            from_torch(module)
        with pytest.raises(NotApplicableError, match=r"init_state|wrap it: seqprobe\.wrap"):
            as_sequence_module(module)
    layer = GRULayer(D, H)
    assert as_sequence_module(layer) is layer
    assert isinstance(as_sequence_module(nn.LSTM(D, H)), Stack)
    with pytest.raises(NotApplicableError, match="forward of its own"):
        state_map(Scaled(D, H))
    with pytest.raises(NotApplicableError, match="bidirectional"):
        state_map(nn.LSTM(D, H, proj_size=P, bidirectional=True))
