"""Modules that look like something else: each was read wrongly, or broke, once."""

from __future__ import annotations

import threading
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import seqprobe as sp
from own_modules import TCN, Cells, Encoder, Last, Tokens
from seqprobe.adapters import ForeignModel
from seqprobe.errors import NotApplicableError, SeqprobeError, UsageError
from seqprobe.models.access import float64_twin
from seqprobe.spec import Spec

N, T = 5, 18


def _x(length: int = T) -> Tensor:
    torch.manual_seed(1)
    return torch.randn(N, length, 4)


def test_a_part_that_is_called_at_every_step_is_a_state_at_every_step() -> None:
    """A hook alone would see the first step only."""
    torch.manual_seed(0)
    module, x = Cells(), _x()
    part = sp.wrap(module, x, state="out")
    assert torch.allclose(part.streamed(x), module(x), atol=1e-6)
    cell = sp.wrap(module, x, state="a")
    assert cell.state_size(1) == 8
    _, end = cell(x)
    assert torch.allclose(cell.streamed(x)[:, -1], end["layer0.h"], atol=1e-6)


def test_a_part_that_gives_one_output_per_sequence_is_no_state() -> None:
    with pytest.raises(NotApplicableError, match="gives one output per sequence"):
        sp.wrap(Last(), _x(), state="head")


def test_a_square_input_is_read_along_the_right_axis() -> None:
    torch.manual_seed(0)
    module, x = TCN(channels_first=True), torch.randn(N, 4, 4)
    model = sp.wrap(module, x)
    assert isinstance(model, ForeignModel) and model.form.inputs == "bdt"
    assert torch.equal(model(x)[0], module(x.mT).mT)


def test_two_steps_with_two_outputs() -> None:
    model = sp.wrap(Last(), _x(2))
    assert isinstance(model, ForeignModel) and model.form.outputs == "bk"


class _Reset(Encoder):
    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([super(_Reset, self).forward(piece) for piece in x.split(40, dim=1)], 1)


def test_what_happens_late_is_seen() -> None:
    with pytest.raises(NotApplicableError, match="cannot be stepped: over 50 steps"):
        sp.wrap(_Reset(), _x(50)).init_state(1)


class _NoGrad(Encoder):
    @torch.no_grad()
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x)


def test_a_forward_without_gradients_is_no_zero_gradient() -> None:
    model = sp.wrap(_NoGrad(), _x())
    with pytest.raises(NotApplicableError, match="runs without gradients"):
        sp.memory.gradient_profile(model, _x())
    with pytest.raises(NotApplicableError, match="runs without gradients"):
        sp.capacity.effective_state_size(model, _x())
    assert np.isfinite(sp.memory.total_effect(model, _x())["S_T"]).any()


def test_a_norm_does_not_hide_that_a_model_looks_ahead() -> None:
    """A shift of all inputs alike cancels in it."""

    class Ahead(Encoder):
        def forward(self, x: Tensor) -> Tensor:
            x = nn.functional.layer_norm(x, (4,))
            return super().forward(x + x.roll(-3, dims=1))

    with pytest.raises(NotApplicableError, match="not causal"):
        sp.memory.gradient_profile(sp.wrap(Ahead(), _x()), _x())


@pytest.mark.filterwarnings("ignore:.torch.nn.utils.weight_norm. is deprecated")
@pytest.mark.parametrize("new", [False, True])
def test_weights_that_are_made_at_every_call(new: bool) -> None:
    module = Encoder()
    norm = nn.utils.parametrizations.weight_norm if new else nn.utils.weight_norm
    norm(module.rnn, "weight_hh_l0")
    if not new:
        with pytest.raises(NotApplicableError, match=r"a hook \(WeightNorm\) makes"):
            sp.wrap(module, _x()).init_state(1)
        return
    model = sp.wrap(module, _x())
    module(_x()).sum().backward()  # leaves a graph behind
    with torch.no_grad():
        module.rnn.parametrizations["weight_hh_l0"].original0.mul_(2)  # type: ignore[index,union-attr]
    first = model.step(_x()[:, 0], model.init_state(N))[0]
    assert torch.allclose(first, module(_x()[:, :1])[:, 0], atol=1e-6)
    assert float64_twin(model) is not model


def test_a_mask_of_tokens_that_the_first_rows_lack() -> None:
    class Masked(Tokens):
        def forward(self, tokens: Tensor) -> Tensor:
            return super().forward(tokens) * (tokens != 10)[..., None]

    x = torch.randint(0, 10, (8, T))
    model = sp.wrap(Masked(), x)
    with pytest.raises(NotApplicableError, match=r"no single nn\.Embedding"):
        model.embed(x)


def test_arguments_for_a_model_that_needs_none() -> None:
    model = sp.build_model("gru", Spec("continuous", 4, "regression", 1))
    assert sp.wrap(model, _x()) is model
    with pytest.raises(UsageError, match="leave out state"):
        sp.wrap(model, _x(), state="core")


class _Leaks(NamedTuple):
    slow: Tensor
    fast: Tensor


class _Single(nn.Module):
    """The plainest protocol: a state of single precision, and a named tuple."""

    def __init__(self) -> None:
        super().__init__()
        self.into = nn.Linear(4, 3)

    def init_state(self, batch: int) -> Any:
        return _Leaks(torch.zeros(batch, 3), torch.zeros(batch, 3))

    def step(self, x_t: Tensor, state: Any) -> tuple[Tensor, Any]:
        u = self.into(x_t)
        after = _Leaks(0.9 * state.slow + u, 0.5 * state.fast + u)
        return after.slow - after.fast, after

    def forward(self, x: Tensor) -> Tensor:
        state, outputs = self.init_state(len(x)), []
        for x_t in x.unbind(1):
            y, state = self.step(x_t, state)
            outputs.append(y)
        return torch.stack(outputs, 1)


def test_a_state_of_single_precision_in_a_copy_of_double() -> None:
    torch.manual_seed(0)
    model = sp.wrap(_Single(), _x())
    points = sp.dynamics.fixed_points(model, torch.zeros(3, 6))
    moduli = np.sort(points["eigenvalue"].values[0].real)
    np.testing.assert_allclose(moduli, [0.5] * 3 + [0.9] * 3, atol=1e-12)


def test_functions_that_hold_the_module_itself() -> None:
    torch.manual_seed(0)
    module, x = _Single(), _x()
    model = sp.wrap(
        nn.Sequential(module),
        x,
        init_state=lambda batch: module.init_state(batch),
        step=lambda x_t, state: module.step(x_t, state),
        name="mine",
    )
    assert isinstance(model, ForeignModel) and model.agreement is not None
    assert model.agreement.dtype == "float32"
    with pytest.raises(SeqprobeError, match="step of mine fails: RuntimeError"):
        sp.dynamics.fixed_points(model, torch.zeros(3, 6))


class _Cached(Encoder):
    def forward(self, x: Tensor) -> Tensor:
        self.last = self.rnn(x)[0]
        return self.head(self.last)  # type: ignore[no-any-return]


def test_what_a_forward_leaves_behind_can_be_copied() -> None:
    module = _Cached()
    model = sp.wrap(module, _x())
    module(_x())
    assert module.last.grad_fn is not None
    assert sp.dynamics.fixed_points(model, torch.zeros(1, 48)).sizes["state"] == 48


def test_what_cannot_be_copied_is_one_line() -> None:
    module = Encoder()
    module.lock = threading.Lock()  # type: ignore[assignment]
    with pytest.raises(SeqprobeError, match="model cannot be copied"):
        sp.dynamics.fixed_points(sp.wrap(module, _x()), torch.zeros(1, 48))


class _Flat(Encoder):
    def forward(self, x: Tensor) -> Tensor:
        h = self.rnn(x)[0]
        return self.head(h.reshape(-1, 8)).view(len(x), x.shape[1], 5)  # type: ignore[no-any-return]


def test_a_head_on_all_steps_at_once() -> None:
    torch.manual_seed(0)
    module, x = _Flat(), _x()
    assert torch.allclose(sp.wrap(module, x).features(x), module.rnn(x)[0], atol=1e-6)


class _OneHot(Encoder):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(nn.functional.one_hot(x % 4, 4).float())


class _Table(Encoder):
    def __init__(self) -> None:
        super().__init__()
        self.scale = torch.full((4,), 0.5)  # nobody registered it

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x @ torch.diag(self.scale))


def test_modules_that_make_single_precision_by_themselves() -> None:
    tokens = torch.randint(0, 4, (N, T))
    model = sp.wrap(_OneHot(), tokens)
    assert isinstance(model, ForeignModel) and model.agreement is not None
    assert model.agreement.dtype == "float32" and model.state_size(1) == 48
    table = sp.wrap(_Table(), _x())
    assert isinstance(table, ForeignModel) and table.agreement is not None
    assert table.agreement.dtype == "float64"


def test_a_module_of_one_length() -> None:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Flatten(), nn.Linear(T * 4, 3))
    model = sp.wrap(module, _x())
    profile = sp.memory.gradient_profile(model, _x())
    weight: Any = module[1].weight
    by_hand = weight.reshape(3, T, 4).square().sum(dim=(0, 2)).sqrt().flip(0)
    np.testing.assert_allclose(profile["G"], by_hand.detach(), rtol=1e-5)


class _Noisy(Encoder):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x + 0.1 * torch.randn_like(x))


class _Stateful(Encoder):
    kept: Any = None

    def forward(self, x: Tensor) -> Tensor:
        if self.kept is not None and self.kept[0].shape[1] != len(x):
            self.kept = None
        y, self.kept = self.rnn(x, self.kept)
        return self.head(y)  # type: ignore[no-any-return]


@pytest.mark.parametrize("kind", [_Noisy, _Stateful])
def test_a_module_that_answers_otherwise_when_asked_again(kind: type[nn.Module]) -> None:
    with pytest.raises(NotApplicableError, match=r"two calls of .* differ by"):
        sp.wrap(kind(), _x())


def test_arrays_and_what_is_not_finite() -> None:
    model = sp.wrap(Encoder(), _x().numpy())  # type: ignore[arg-type]
    assert model.spec.input_size == 4
    with pytest.raises(UsageError, match="not finite"):
        sp.wrap(Encoder(), torch.full((N, T, 4), torch.nan))
    with pytest.raises(NotApplicableError, match="has no size yet"):
        sp.wrap(nn.LazyLinear(3), _x())


def test_only_outputs_of_a_model_without_a_state_are_recorded(tmp_path: Any) -> None:
    torch.manual_seed(0)
    module = TCN()
    model, task = sp.wrap(module, _x()), sp.from_arrays(_x())
    with pytest.raises(NotApplicableError, match="no state that is known"):
        sp.activations.record(model, task, tmp_path / "a.h5")
    path = sp.activations.record(model, task, tmp_path / "a.h5", what=["outputs"])
    with sp.activations.open_recording(path) as recording:
        np.testing.assert_allclose(recording["outputs"], module(_x()).detach(), atol=1e-6)
