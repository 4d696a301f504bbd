"""The TCN against a plain transcription of its definition, and its receptive field three ways."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from seqprobe.models import Model, build_model
from seqprobe.models.tcn import TCNBlock
from seqprobe.spec import Spec

SCALAR = Spec("continuous", 1, "regression", 1)


def _peer(block: TCNBlock, x: Tensor) -> Tensor:
    """The block by torch's own weight norm: pad both sides, cut the right end off."""
    y = x.transpose(1, 2)
    for own in (block.conv0, block.conv1):
        out, d_in, kernel = own.direction.shape
        conv = nn.Conv1d(d_in, out, kernel, padding=own.past, dilation=own.dilation).double()
        conv = weight_norm(conv)
        with torch.no_grad():
            conv.parametrizations.weight.original0.copy_(own.gain[:, None, None])
            conv.parametrizations.weight.original1.copy_(own.direction)
            conv.bias.copy_(own.bias)
        y = torch.relu(conv(y)[:, :, : x.shape[1]])
    return torch.relu(y + block.residual(x.transpose(1, 2))).transpose(1, 2)


@pytest.mark.parametrize(("d_in", "width"), [(3, 5), (5, 5)])
@pytest.mark.parametrize(("kernel", "dilation"), [(1, 1), (3, 1), (3, 4), (8, 2)])
def test_block_equals_the_padded_and_cut_form(
    d_in: int, width: int, kernel: int, dilation: int
) -> None:
    block = TCNBlock(d_in, width, kernel, dilation).double()
    x = torch.randn(2, 20, d_in).double()
    torch.testing.assert_close(block(x)[0], _peer(block, x), rtol=0, atol=1e-12)


def test_start_is_that_of_a_plain_convolution() -> None:
    """Weight norm undoes the N(0, 0.01) of the reference code; only the 1x1 path really has it."""
    torch.manual_seed(0)
    block = TCNBlock(16, 64, 8, 1)
    direction = block.conv0.direction.detach()
    weight = block.conv0.gain.detach()[:, None, None] * direction
    weight = weight / direction.norm(dim=(1, 2), keepdim=True)
    bound = (16 * 8) ** -0.5
    assert weight.abs().max() <= bound * (1 + 1e-5)
    assert weight.std() == pytest.approx(bound / 3**0.5, rel=0.05)
    assert isinstance(block.residual, nn.Conv1d)
    assert block.residual.weight.detach().std() == pytest.approx(0.01, rel=0.2)


def _tcn(kernel: int, levels: int) -> Model:
    config = {"width": 6, "kernel": kernel, "layers": levels}
    return build_model("tcn", SCALAR, config, seed=1).double().eval()


@pytest.mark.parametrize(("kernel", "levels", "field"), [(5, 4, 121), (5, 3, 57), (2, 1, 3)])
def test_receptive_field_three_ways(kernel: int, levels: int, field: int) -> None:
    model = _tcn(kernel, levels)
    assert model.receptive_field == 1 + 2 * (kernel - 1) * (2**levels - 1) == field
    length, s = field + 40, 20
    x = torch.randn(1, length, 1).double()

    spoiled = x.clone()
    spoiled[:, s] = torch.nan
    touched = torch.isnan(model(spoiled)[0][0, :, 0]).nonzero().flatten()
    assert touched.tolist() == list(range(s, s + field))

    # All paths open: where ReLUs are shut the gradient is zero for want of luck, not of structure.
    for module in model.modules():
        if isinstance(module, TCNBlock):
            for conv in (module.conv0, module.conv1):
                conv.direction.data.abs_()
                conv.bias.data.abs_()
    x = x.abs().requires_grad_()
    (gradient,) = torch.autograd.grad(model(x)[0][0, -1].sum(), x)
    lags = gradient[0, :, 0].flip(0).nonzero().flatten()
    assert int(lags.max()) + 1 == field


def test_published_default_sees_3571_steps() -> None:
    assert _tcn(8, 8).receptive_field == 3571


def test_dropout_acts_in_training_only() -> None:
    model = build_model("tcn", SCALAR, {"dropout": 0.5}, seed=0)
    x = F.pad(torch.ones(1, 1, 1), (0, 0, 0, 30))
    assert not torch.equal(model.train()(x)[0], model(x)[0])
    assert torch.equal(model.eval()(x)[0], model(x)[0])
