"""Own cells against torch's, and against their equations written out one unit at a time."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from seqprobe.models.gru import GRULayer
from seqprobe.models.irnn import IRNNLayer
from seqprobe.models.leaky import Form, LeakyLayer
from seqprobe.models.lstm import LSTMLayer
from seqprobe.models.recurrent import RecurrentLayer
from seqprobe.models.rnn import RNNLayer
from seqprobe.models.trace import Trace

B, T, D, H = 3, 11, 4, 6


def _x() -> Tensor:
    return torch.randn(B, T, D, generator=torch.Generator().manual_seed(0)).double()


def _with_weights(peer: nn.RNNBase, own: RecurrentLayer) -> nn.RNNBase:
    """Copy our weights into torch's module, which splits each bias into two."""
    weights = {
        "weight_ih_l0": own.weight_ih,
        "weight_hh_l0": own.weight_hh,
        "bias_ih_l0": own.bias,
        "bias_hh_l0": torch.zeros_like(own.bias),
    }
    if isinstance(own, GRULayer):
        weights["bias_hh_l0"] = torch.cat([torch.zeros(2 * H).double(), own.bias_n])
    peer.load_state_dict(weights)
    return peer


@pytest.mark.parametrize(
    ("own", "peer"), [(RNNLayer, nn.RNN), (GRULayer, nn.GRU), (LSTMLayer, nn.LSTM)]
)
def test_own_cell_equals_torch(
    own: Callable[[int, int], RecurrentLayer], peer: Callable[..., nn.RNNBase]
) -> None:
    layer = own(D, H).double()
    if isinstance(layer, GRULayer):
        nn.init.normal_(layer.bias_n)
    other = _with_weights(peer(D, H, batch_first=True).double(), layer)
    x = _x().requires_grad_()
    y, _ = layer(x)
    z, _ = other(x)
    torch.testing.assert_close(y, z, rtol=0, atol=1e-12)
    (gy,) = torch.autograd.grad(y.square().sum(), x)
    (gz,) = torch.autograd.grad(z.square().sum(), x)
    torch.testing.assert_close(gy, gz, rtol=0, atol=1e-11)


@pytest.mark.parametrize("peephole", [False, True])
@pytest.mark.parametrize("cifg", [False, True])
def test_lstm_options_follow_their_equations(peephole: bool, cifg: bool) -> None:
    layer = LSTMLayer(D, H, peephole=peephole, cifg=cifg).double()
    for vector in layer.peephole.values():
        nn.init.normal_(vector)
    blocks = ["f", "g", "o"] if cifg else ["i", "f", "g", "o"]
    w = dict(zip(blocks, layer.weight_ih.split(H), strict=True))
    u = dict(zip(blocks, layer.weight_hh.split(H), strict=True))
    b = dict(zip(blocks, layer.bias.split(H), strict=True))
    p = {name: torch.zeros(H).double() for name in "ifo"}
    p |= dict(layer.peephole.items())
    assert len(layer.peephole) == (0 if not peephole else 2 if cifg else 3)
    x = _x()
    y, _ = layer(x)
    h = c = torch.zeros(B, H).double()
    for t in range(T):
        pre = {name: x[:, t] @ w[name].T + h @ u[name].T + b[name] for name in blocks}
        f = torch.sigmoid(pre["f"] + p["f"] * c)
        i = 1 - f if cifg else torch.sigmoid(pre["i"] + p["i"] * c)
        c = f * c + i * torch.tanh(pre["g"])
        h = torch.sigmoid(pre["o"] + p["o"] * c) * torch.tanh(c)
        torch.testing.assert_close(y[:, t], h, rtol=0, atol=1e-12)


def test_gru_with_the_reset_before_follows_its_equations() -> None:
    layer = GRULayer(D, H, reset="before").double()
    (wr, wz, wn), (ur, uz, un) = layer.weight_ih.split(H), layer.weight_hh.split(H)
    br, bz, bn = layer.bias.split(H)
    x = _x()
    y, _ = layer(x)
    h = torch.zeros(B, H).double()
    for t in range(T):
        r = torch.sigmoid(x[:, t] @ wr.T + h @ ur.T + br)
        z = torch.sigmoid(x[:, t] @ wz.T + h @ uz.T + bz)
        n = torch.tanh(x[:, t] @ wn.T + (r * h) @ un.T + bn)
        h = (1 - z) * h + z * n
        torch.testing.assert_close(y[:, t], h, rtol=0, atol=1e-12)


@pytest.mark.parametrize("self_loops", [False, True])
@pytest.mark.parametrize("form", ["inside", "outside"])
def test_leaky_units_follow_their_equations(form: Form, self_loops: bool) -> None:
    layer = LeakyLayer(D, H, form=form, activation="tanh", self_loops=self_loops).double()
    tau = torch.tensor([1.001, 1.1, 1.5, 3.0, 10.0, 100.0]).double()
    layer.excess.data = torch.log(torch.expm1(tau - 1))
    torch.testing.assert_close(layer.time_constants, tau)
    w = layer.weight_hh.detach().clone()
    if not self_loops:
        w.fill_diagonal_(0)
    x = _x()
    y, _ = layer(x)
    h = torch.zeros(B, H).double()
    for t in range(T):
        drive = x[:, t] @ layer.weight_ih.T + h @ w.T + layer.bias
        kept = (1 - 1 / tau) * h
        inside = kept + torch.tanh(drive) / tau
        h = inside if form == "inside" else torch.tanh(kept + drive / tau)
        torch.testing.assert_close(y[:, t], h, rtol=0, atol=1e-12)


def test_time_constants_are_trained_also_where_they_are_near_one() -> None:
    torch.manual_seed(0)
    layer = LeakyLayer(D, 200)
    tau = layer.time_constants.detach()
    assert 1 < tau.min() < 1.05
    assert 1.95 < tau.max() < 2
    layer.excess.data[0] = -8.0  # tau = 1.0003
    layer(_x().float())[0].square().sum().backward()
    assert layer.excess.grad is not None
    assert (layer.excess.grad != 0).all()


def test_rectified_network_starts_as_an_integrator() -> None:
    layer = IRNNLayer(1, H)
    layer.weight_ih.data.fill_(1.0)
    y, _ = layer(torch.ones(1, 9, 1))
    torch.testing.assert_close(y[0, :, 0], torch.arange(1.0, 10.0))
    half = IRNNLayer(D, H, scale=0.5)
    assert torch.equal(half.weight_hh.detach(), 0.5 * torch.eye(H))
    assert half.weight_ih.detach().std() == pytest.approx(0.001, rel=0.5)
    assert half.bias.detach().abs().max() == 0


def test_the_two_resets_are_different_functions() -> None:
    after, before = GRULayer(D, H, "after").double(), GRULayer(D, H, "before").double()
    before.load_state_dict({k: v for k, v in after.state_dict().items() if k != "bias_n"})
    assert (after(_x())[0] - before(_x())[0]).abs().max() > 1e-3


def test_fused_lstm_equals_the_loop_in_float32() -> None:
    layer = LSTMLayer(D, H)
    x = _x().float()
    fused, fused_state = layer(x)
    loop, loop_state = layer(x, trace=Trace("forget"))
    torch.testing.assert_close(fused, loop, rtol=1e-5, atol=1e-6)
    for part in ("h", "c"):
        torch.testing.assert_close(fused_state[part], loop_state[part], rtol=1e-5, atol=1e-6)


def test_forget_gate_starts_open() -> None:
    for cifg in (False, True):
        layer = LSTMLayer(D, 64, cifg=cifg)
        blocks = layer.bias.detach().split(64)
        forget = blocks[0 if cifg else 1]
        assert forget.mean() == pytest.approx(1.0, abs=0.05)
        assert forget.min() > 0.8


def test_recurrent_blocks_start_orthogonal() -> None:
    for block in GRULayer(D, H).weight_hh.detach().split(H):
        torch.testing.assert_close(block @ block.T, torch.eye(H), rtol=0, atol=1e-5)
