"""Relabelling the units of a network: what it leaves, and what it does to the weights."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from cases import CAUSAL, CONTINUOUS, Case
from seqprobe.degeneracy.relabelling import relabelled
from seqprobe.degeneracy.units import layer_weights, layers_of, relabel_model, symmetry
from seqprobe.errors import NotApplicableError
from seqprobe.models import Model, build_model, can_train_together
from seqprobe.models.access import first_output

RECURRENT = [case for case in CAUSAL if can_train_together(case.model)]
EVERY = pytest.mark.parametrize("case", RECURRENT, ids=str)


def drawn(model: Model, seed: int = 0) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Permutations and signs of all layers; the first unit always changes its sign."""
    rng = np.random.default_rng(seed)
    widths = [layer.width for layer in layers_of(model)]
    perms = [rng.permutation(width) for width in widths]
    signs = [np.append(-1.0, rng.choice([-1.0, 1.0], width - 1)) for width in widths]
    return perms, signs


def allowed(model: Model, seed: int = 0) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """A relabelling that the symmetry of the model has."""
    perms, signs = drawn(model, seed)
    if symmetry(model) == "perm":
        signs = [np.ones(len(sign)) for sign in signs]
    return perms, signs


def outputs(model: Model, case: Case) -> torch.Tensor:
    with torch.no_grad():
        return first_output(model, case.inputs(5, 12))


@EVERY
def test_outputs_stay(case: Case) -> None:
    model = case.build().double()
    before = outputs(model, case)
    same = outputs(relabel_model(model, *allowed(model)), case)
    # 1e-12: sums of 8 terms of order 1 in another order, over 12 steps.
    torch.testing.assert_close(same, before, rtol=0, atol=1e-12)
    torch.testing.assert_close(outputs(model, case), before, rtol=0, atol=0)


@EVERY
def test_only_odd_units_may_change_their_signs(case: Case) -> None:
    odd = case.model in ("rnn", "mup") or (
        case.model == "leaky" and case.config.get("activation", "tanh") == "tanh"
    )
    model = case.build().double()
    assert symmetry(model) == ("signed_perm" if odd else "perm")
    orders = [np.arange(layer.width) for layer in layers_of(model)]
    flipped = relabel_model(model, orders, [-np.ones(len(order)) for order in orders])
    moved = (outputs(flipped, case) - outputs(model, case)).abs().max()
    assert (moved <= 1e-12) == odd


@EVERY
def test_the_inverse_gives_the_bytes_back(case: Case) -> None:
    model = case.build()
    perms, signs = drawn(model)
    inverse = [np.argsort(perm) for perm in perms]
    again = [sign[order] for sign, order in zip(signs, inverse, strict=True)]
    back = relabel_model(relabel_model(model, perms, signs), inverse, again).state_dict()
    for name, value in model.state_dict().items():
        assert torch.equal(back[name], value), name


@EVERY
def test_weights_by_unit_move_with_the_units(case: Case) -> None:
    model = case.build()
    perms, signs = drawn(model)
    before, after = layer_weights(model), layer_weights(relabel_model(model, perms, signs))
    for i, (old, new, perm, sign) in enumerate(zip(before, after, perms, signs, strict=True)):
        inputs = old.inputs[perm] * sign[:, None, None]
        if i:
            inputs = inputs[:, :, perms[i - 1]] * signs[i - 1]
        np.testing.assert_array_equal(new.recurrent, relabelled(old.recurrent, perm, sign))
        np.testing.assert_array_equal(new.inputs, inputs)
        np.testing.assert_array_equal(new.bias, old.bias[perm] * sign[:, None])
        np.testing.assert_array_equal(new.readout, old.readout[perm] * sign[:, None])


def test_weights_are_those_that_act() -> None:
    leaky = build_model("leaky", CONTINUOUS, {"width": 5})
    (layer,) = layer_weights(leaky)
    assert layer.recurrent.shape == (1, 5, 5)
    assert not np.diag(layer.recurrent[0]).any()  # without self-loops
    mup = build_model("mup", CONTINUOUS, {"width": 5})
    raw = mup.get_parameter("core.layers.0.weight_hh").detach().numpy()
    np.testing.assert_array_equal(layer_weights(mup)[0].recurrent[0], raw / np.float32(5))
    lstm = build_model("lstm", CONTINUOUS, {"width": 5, "layers": 2})
    first, last = layer_weights(lstm)
    weight = lstm.get_parameter("core.layers.0.weight_hh").detach().numpy()
    np.testing.assert_array_equal(first.recurrent, weight.reshape(4, 5, 5))
    assert (first.inputs.shape, last.inputs.shape) == ((5, 4, 3), (5, 4, 5))
    assert (first.readout.shape, last.readout.shape) == ((5, 0), (5, 2))
    assert first.bias.shape == (5, 4)


def test_refuses_what_has_no_recurrent_matrix() -> None:
    for model in (build_model("tcn", CONTINUOUS, {"width": 4}), nn.Linear(2, 2)):
        with pytest.raises(NotApplicableError, match="no recurrent matrix"):
            layer_weights(model)
