"""The muP form: its equations, its symmetry, and what gamma and the width leave alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from seqprobe.dynamics import state_map
from seqprobe.dynamics.readout import readout
from seqprobe.errors import UsageError
from seqprobe.models import Model, architecture, build_model
from seqprobe.models.mup import MuPLayer
from seqprobe.spec import Spec

SPEC = Spec("continuous", 3, "regression", 2)
B, T = 4, 11


def made(seed: int = 0, **config: Any) -> Model:
    return build_model("mup", SPEC, config, seed=seed).double()


def layer_of(model: Model) -> MuPLayer:
    layer = model.core.get_submodule("layers.0")
    assert isinstance(layer, MuPLayer)
    return layer


def inputs(seed: int = 0) -> Tensor:
    return torch.randn(B, T, 3, generator=torch.Generator().manual_seed(seed)).double()


def test_the_network_follows_its_equations() -> None:
    model, x = made(width=6, gamma=3.0, tau=0.25), inputs()
    layer = layer_of(model)
    torch.nn.init.normal_(layer.bias)
    j, u, b = (p.detach().numpy() for p in (layer.weight_hh, layer.weight_ih, layer.bias))
    w = model.head.weight.detach().numpy()
    y, state = model(x)
    for row in range(B):
        h = np.zeros(6)
        for t in range(T):
            h = h + 0.25 * (-h + j @ np.tanh(h) / 6 + u @ x[row, t].numpy() + b)
            f = w @ np.tanh(h) / (3.0 * 6)
            np.testing.assert_allclose(y[row, t].detach().numpy(), f, rtol=0, atol=1e-12)
        np.testing.assert_allclose(state["layer0.h"][row].detach().numpy(), h, rtol=0, atol=1e-12)


def test_weights_start_as_in_the_paper() -> None:
    """Standard deviations of 256 draws or more, whose relative error is 1/sqrt(2 n) < 0.045."""
    width = 256
    model = build_model("mup", Spec("continuous", 2, "regression", 2), {"width": width})
    layer = layer_of(model)
    for weight, std in (
        (layer.weight_hh, width**0.5),
        (layer.weight_ih, 1.0),
        (model.head.weight, 1.0),
        (layer.recurrent_weight(), width**-0.5),
    ):
        assert weight.detach().std().item() == pytest.approx(
            std, rel=4 * (2 * weight.numel()) ** -0.5
        )
    assert layer.bias.detach().abs().max() == 0
    assert "head.bias" not in model.state_dict()
    torch.testing.assert_close(layer.recurrent_weight(), layer.weight_hh.T / width)


def test_outputs_start_as_one_over_gamma() -> None:
    x = inputs()
    one, state = made(width=16)(x)
    for gamma in (0.1, 10.0):
        other, same = made(width=16, gamma=gamma)(x)
        torch.testing.assert_close(other * gamma, one, rtol=1e-12, atol=1e-15)
        assert torch.equal(same["layer0.h"], state["layer0.h"])
        entry = architecture("mup")
        assert entry.rate_scale(made(gamma=gamma).config) == gamma


def test_the_network_is_odd() -> None:
    """Units may be renamed with a sign: h, inputs and bias flip, and the outputs with them."""
    model, x = made(width=8), inputs()
    y, state = model(x)
    layer = layer_of(model)
    flipped, opposite = model(-x)
    torch.testing.assert_close(flipped, -y, rtol=0, atol=1e-15)
    torch.testing.assert_close(opposite["layer0.h"], -state["layer0.h"], rtol=0, atol=1e-15)
    sign = torch.tensor([1.0, -1.0] * 4).double()
    with torch.no_grad():
        torch.nn.init.normal_(layer.bias)
        y, state = model(x)
        layer.weight_hh.mul_(sign[:, None] * sign)
        layer.weight_ih.mul_(sign[:, None])
        layer.bias.mul_(sign)
        model.head.weight.mul_(sign)
        renamed, signed = model(x)
    torch.testing.assert_close(renamed, y, rtol=0, atol=1e-15)
    torch.testing.assert_close(signed["layer0.h"], state["layer0.h"] * sign, rtol=0, atol=1e-15)


def test_what_is_read_of_a_state_is_the_output() -> None:
    """`seqprobe.dynamics` applies the head to states, which are h and not phi(h)."""
    model, x = made(width=5, gamma=2.0), inputs()
    of = readout(model, state_map(model))
    assert of is not None
    y, state = model(x)
    torch.testing.assert_close(of(state["layer0.h"], x[:, -1]), y[:, -1], rtol=0, atol=1e-14)


@pytest.mark.parametrize("name", ["mup", "bi-mup"])
def test_a_stack_is_refused(name: str) -> None:
    with pytest.raises(
        UsageError, match=r"model\.layers = 2 is not allowed for 'mup' \(allowed: 1"
    ):
        build_model(name, SPEC, {"layers": 2})


@pytest.mark.parametrize("key", ["gamma", "tau"])
@pytest.mark.parametrize("value", [0.0, -1.0, 1e9])
def test_settings_out_of_range_are_refused(key: str, value: float) -> None:
    with pytest.raises(UsageError, match=rf"model\.{key} = .* is out of range"):
        build_model("mup", SPEC, {key: value})
