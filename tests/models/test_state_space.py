"""S4D and Mamba against their definitions, their other forms, and an independent implementation."""

from __future__ import annotations

import math
from functools import partial

import pytest
import torch
from mambapy.mamba import Mamba, MambaConfig
from torch import Tensor, nn

from seqprobe.errors import UsageError
from seqprobe.models import Model, build_model
from seqprobe.models.base import Stack
from seqprobe.models.mamba import MambaBlock
from seqprobe.models.ops.fft_conv import causal_fft_conv, naive_causal_conv
from seqprobe.models.ops.selective_scan import chunked_selective_scan, selective_scan
from seqprobe.models.s4d import S4DBlock
from seqprobe.spec import Spec


@pytest.mark.parametrize("length", [1, 2, 7, 64])
def test_fft_convolution_equals_the_sum(length: int) -> None:
    u = torch.randn(2, 3, length).double()
    kernel = torch.randn(3, length).double()
    torch.testing.assert_close(
        causal_fft_conv(u, kernel), naive_causal_conv(u, kernel), rtol=0, atol=1e-12
    )


def _scan_inputs(length: int) -> tuple[Tensor, ...]:
    generator = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator).double()

    delta = torch.nn.functional.softplus(draw(2, length, 5))
    a = -torch.arange(1, 4).double().repeat(5, 1)
    return draw(2, 5, 3), draw(2, length, 5), delta, a, draw(2, length, 3), draw(2, length, 3)


@pytest.mark.parametrize("length", [1, 15, 16, 17, 50])
@pytest.mark.parametrize("chunk", [1, 4, 16])
def test_chunked_scan_equals_the_loop_in_value_and_gradient(length: int, chunk: int) -> None:
    inputs = [tensor.requires_grad_() for tensor in _scan_inputs(length)]
    results = []
    for scan in (selective_scan, partial(chunked_selective_scan, chunk=chunk)):
        y, h = scan(*inputs)
        gradients = torch.autograd.grad(y.square().sum() + h.square().sum(), inputs)
        results.append((y, h, *gradients))
    for loop, chunked in zip(*results, strict=True):
        torch.testing.assert_close(loop, chunked, rtol=1e-9, atol=1e-10)


def test_chunked_scan_survives_decays_that_vanish() -> None:
    h, x, delta, a, b, c = _scan_inputs(40)
    y, _ = selective_scan(h, x, 1e3 * delta, a, b, c)
    z, _ = chunked_selective_scan(h, x, 1e3 * delta, a, b, c)
    assert torch.isfinite(z).all()
    torch.testing.assert_close(y, z, rtol=1e-9, atol=1e-9)


def test_scan_of_a_constant_input_is_the_closed_form() -> None:
    """One mode, constant step: h_t = sum_k exp(Delta A k) Delta B x."""
    ones = torch.ones(1, 20, 1).double()
    a = torch.tensor([[-0.7]]).double()
    y, _ = selective_scan(torch.zeros(1, 1, 1).double(), ones, 0.3 * ones, a, ones, ones)
    decay = math.exp(-0.21)
    expected = torch.tensor([0.3 * (1 - decay ** (t + 1)) / (1 - decay) for t in range(20)])
    torch.testing.assert_close(y[0, :, 0], expected.double(), rtol=1e-6, atol=0)


def layers_of(model: Model) -> list[nn.Module]:
    core = model.core
    assert isinstance(core, Stack)
    return list(core.layers)


@pytest.mark.parametrize("layers", [1, 2])
def test_mamba_equals_an_independent_implementation(layers: int) -> None:
    width, modes = 24, 5
    own = build_model(
        "mamba", Spec("token", 7, "class", 3), {"width": width, "layers": layers, "modes": modes}
    )
    peer = Mamba(MambaConfig(d_model=width, n_layers=layers, d_state=modes, pscan=False))
    names = {
        "norm.weight": "norm.weight",
        "inp.weight": "mixer.in_proj.weight",
        "conv.weight": "mixer.conv1d.weight",
        "conv.bias": "mixer.conv1d.bias",
        "select.weight": "mixer.x_proj.weight",
        "step_size.weight": "mixer.dt_proj.weight",
        "step_size.bias": "mixer.dt_proj.bias",
        "log_decay": "mixer.A_log",
        "skip": "mixer.D",
        "out.weight": "mixer.out_proj.weight",
    }
    weights: dict[str, Tensor] = {}
    for i in range(layers):
        block = layers_of(own)[i].state_dict()
        assert set(block) == set(names)
        weights |= {f"layers.{i}.{peer_name}": block[name] for name, peer_name in names.items()}
    peer.load_state_dict(weights)
    x = torch.randn(2, 33, width)
    block_outputs, _ = layers_of(own)[0](x)
    torch.testing.assert_close(block_outputs, peer.layers[0](x), rtol=1e-5, atol=1e-5)
    stacked = x
    for layer in layers_of(own):
        stacked, _ = layer(stacked)
    torch.testing.assert_close(stacked, peer(x), rtol=1e-5, atol=1e-5)


def test_mamba_steps_start_where_the_paper_says() -> None:
    torch.manual_seed(0)
    block = MambaBlock(64)
    delta = torch.nn.functional.softplus(block.step_size.bias.detach())
    assert 1e-3 <= delta.min() < 2e-3
    assert 5e-2 < delta.max() <= 0.1 * (1 + 1e-5)
    assert torch.equal(torch.exp(block.log_decay)[0].round(), torch.arange(1.0, 17.0))


@pytest.mark.parametrize("start", ["lin", "inv"])
def test_s4d_kernel_is_that_of_its_poles(start: str) -> None:
    block = S4DBlock(3, 8, start).double()  # type: ignore[arg-type]
    n = torch.arange(4).double()
    frequency = math.pi * n if start == "lin" else 8 / math.pi * (8 / (2 * n + 1) - 1)
    pole = torch.complex(torch.full_like(n, -0.5), frequency)
    step = block.log_step.exp().detach()
    readout = torch.view_as_complex(block.readout.detach())
    lags = torch.arange(12)
    impulse = torch.zeros(1, 12, 3).double()
    impulse[0, 0] = 1
    block.norm = torch.nn.Identity()  # type: ignore[assignment]
    y = torch.zeros(12, 3).double()
    for channel in range(3):
        z = step[channel] * pole
        terms = readout[channel] * (torch.exp(z) - 1) / pole * torch.exp(z * lags[:, None])
        y[:, channel] = 2 * terms.sum(dim=1).real
    y[0] += block.skip.detach()
    from seqprobe.models import Trace

    trace = Trace("ssm")
    block(impulse, trace=trace)
    torch.testing.assert_close(trace["ssm"][0].detach(), y, rtol=1e-5, atol=1e-6)


def test_s4d_needs_conjugate_pairs() -> None:
    with pytest.raises(UsageError, match=r"model.modes = 5 is odd"):
        S4DBlock(3, 5)


def test_s4d_recurrence_equals_its_convolution_over_a_long_sequence() -> None:
    model = build_model("s4d", Spec("continuous", 2, "regression", 1), {"width": 6}).double()
    x = torch.randn(2, 300, 2).double()
    y, _ = model(x)
    state = model.init_state(2)
    for t, x_t in enumerate(x.unbind(1)):
        y_t, state = model.step(x_t, state)
        torch.testing.assert_close(y_t, y[:, t], rtol=0, atol=1e-9)
