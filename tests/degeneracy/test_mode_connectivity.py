"""The loss between two networks, against a loop over networks and against what is known."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch

from seqprobe import schema
from seqprobe.degeneracy.mode_connectivity import Alignment, barriers, mode_connectivity
from seqprobe.degeneracy.units import layers_of, relabel_model, symmetry
from seqprobe.errors import NotApplicableError, UsageError
from seqprobe.models import Model, build_model
from seqprobe.models.access import first_output
from seqprobe.tasks import Batch, Task, make_task

FORMS: list[tuple[str, dict[str, Any]]] = [
    ("rnn", {}),
    ("gru", {}),
    ("gru", {"layers": 2}),
    ("lstm", {"peephole": True}),
    ("lstm", {}),
    ("leaky", {}),
    ("leaky", {"form": "outside", "activation": "leaky_relu"}),
    ("mup", {}),
]
TASK = make_task("flipflop", {"bits": 2, "length": 12})


def build(name: str, seed: int, task: Task = TASK, **config: Any) -> Model:
    """A network far from its start, so that relabelling it matters."""
    model = build_model(name, task.spec, {"width": 8, **config}, seed=seed)
    generator = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        parameter.data += 0.5 * torch.randn(parameter.shape, generator=generator)
    return model


def drawn(model: Model, seed: int) -> tuple[list[np.ndarray], list[np.ndarray]]:
    rng = np.random.default_rng(seed)
    widths = [layer.width for layer in layers_of(model)]
    signed = symmetry(model) == "signed_perm"
    perms = [rng.permutation(width) for width in widths]
    return perms, [rng.choice([-1.0, 1.0], n) if signed else np.ones(n) for n in widths]


def undone(perms: list[np.ndarray], signs: list[np.ndarray]) -> Alignment:
    inverse = [np.argsort(perm) for perm in perms]
    return inverse, [sign[order] for sign, order in zip(signs, inverse, strict=True)]


def own_batch(model: Model, n: int = 20) -> Batch:
    """Inputs with what the model answers as targets, so that its loss is 0."""
    x = TASK.batch("test", n).inputs
    with torch.no_grad():
        return Batch(x, first_output(copy.deepcopy(model).double(), x.double()))


@pytest.mark.parametrize(("name", "config"), FORMS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_no_barrier_to_a_relabelled_copy(
    name: str, config: dict[str, Any], dtype: torch.dtype
) -> None:
    a = build(name, 0, **config).to(dtype)
    perms, signs = drawn(a, 1)
    b = relabel_model(a, perms, signs)
    found = mode_connectivity(a, b, *undone(perms, signs), own_batch(a), TASK)
    # Relabelling moves bits and does not round, and the loss is computed in float64 for both.
    assert 0 <= float(found["barrier"]) <= 1e-9
    assert float(found["barrier_unaligned"]) > 1e-3
    assert float(found["loss"].max()) <= 1e-9
    schema.validate(found)


TASKS = [
    ("flipflop", {"bits": 2, "length": 12, "delay": 3}),  # a mask
    ("induction", {"length": 32}),  # tokens, and the last step alone is scored
]


@pytest.mark.parametrize(("task_name", "settings"), TASKS)
@pytest.mark.parametrize(("name", "config"), FORMS)
def test_equals_a_loop_over_networks(
    task_name: str, settings: dict[str, Any], name: str, config: dict[str, Any]
) -> None:
    task = make_task(task_name, settings)
    a, b = (build(name, seed, task, **config) for seed in (0, 1))
    alignment = drawn(b, 2)
    batch = task.batch("test", 37)  # more than one piece, and not a whole number of them
    found = mode_connectivity(a, b, *alignment, batch, task, points=4)
    for suffix, end in (("", relabel_model(b, *alignment)), ("_unaligned", b)):
        errors = np.stack([slow_errors(a, end, alpha, batch, task) for alpha in found["alpha"]])
        # 1e-12: products of 8 terms summed in another order, over less than 100 steps.
        np.testing.assert_allclose(found[f"loss{suffix}"], errors.mean(axis=1), rtol=1e-12)
        alpha = found["alpha"].values[:, None]
        rise = errors - (1 - alpha) * errors[0] - alpha * errors[-1]
        at = rise.mean(axis=1).argmax()
        height, error = rise[at].mean(), rise[at].std(ddof=1) / np.sqrt(37)
        assert float(found[f"barrier{suffix}"]) == pytest.approx(height, abs=1e-12)
        if at not in (0, 3):  # at an end the rise is 0 but for the rounding of the oracle
            assert float(found[f"barrier{suffix}_se"]) == pytest.approx(error, abs=1e-12)


def slow_errors(a: Model, b: Model, alpha: Any, batch: Batch, task: Task) -> np.ndarray:
    made = copy.deepcopy(a).double()
    for p, q in zip(made.parameters(), b.parameters(), strict=True):
        p.data = (1 - float(alpha)) * p.data + float(alpha) * q.data.double()
    x = batch.inputs.double() if batch.inputs.is_floating_point() else batch.inputs
    with torch.no_grad():
        errors: np.ndarray = task.errors(first_output(made, x), batch).numpy()
    return errors


def test_half_way_to_the_negative_of_all_units_nothing_is_left() -> None:
    a = build("rnn", 0)
    same, negative = [np.arange(8)], [-np.ones(8)]
    batch = own_batch(a)
    b = relabel_model(a, same, negative)
    found = mode_connectivity(a, b, same, negative, batch, TASK)
    bias = a.get_parameter("head.bias").detach().double()
    left = float((batch.targets - bias).square().mean())
    assert float(found["loss_unaligned"][5]) == pytest.approx(left, rel=1e-12)
    assert float(found["barrier_unaligned"]) >= left - 1e-12
    assert float(found["barrier"]) <= 1e-9


def test_no_barrier_where_the_loss_is_convex() -> None:
    """Between two heads on the same units: the squared error is a parabola in alpha."""
    a = build("gru", 0)
    b = copy.deepcopy(a)
    b.get_parameter("head.weight").data.neg_()
    same = [np.arange(8)], [np.ones(8)]
    found = mode_connectivity(a, b, *same, TASK.batch("test", 20), TASK)
    assert float(found["barrier"]) == float(found["barrier_unaligned"]) == 0
    bent = np.diff(found["loss"], n=2)
    assert bent.min() > 0
    np.testing.assert_allclose(bent, bent[0], rtol=1e-9)  # second differences of values of order 1


def test_models_and_batch_are_left_as_they_were() -> None:
    a, b = build("lstm", 0), build("lstm", 1)
    before = copy.deepcopy((a.state_dict(), b.state_dict()))
    batch = TASK.batch("test", 5)
    inputs = batch.inputs.clone()
    mode_connectivity(a, b, *drawn(b, 0), batch, TASK)
    for model, weights in zip((a, b), before, strict=True):
        assert model.training
        for name, value in model.state_dict().items():
            assert torch.equal(value, weights[name])
            assert model.get_parameter(name).requires_grad
    assert torch.equal(batch.inputs, inputs)


def test_all_pairs_of_an_ensemble() -> None:
    models = [build("rnn", seed) for seed in range(4)]
    batch = TASK.batch("test", 16)
    pairs = [(0, 1), (3, 1), (2, 0)]
    alignments: dict[tuple[int, int], Alignment] = {
        (i, j): drawn(models[j], 10 * i + j) for i, j in pairs
    }
    calls: list[tuple[float, float]] = []

    def update(done: float, total: float) -> None:
        calls.append((done, total))

    found = barriers(models, alignments, batch, TASK, update=update)
    assert calls == [(0, 3), (1, 3), (2, 3), (3, 3)]
    for (i, j), alignment in alignments.items():
        one = mode_connectivity(models[i], models[j], *alignment, batch, TASK)
        for matrix, name in zip(found, ("barrier", "barrier_unaligned"), strict=True):
            assert matrix[i, j] == matrix[j, i] == float(one[name])
    for matrix in found:
        assert not np.diag(matrix).any()
        assert np.isnan(matrix[[0, 1, 2], [3, 2, 3]]).all()


def test_a_pair_looks_the_same_from_both_ends() -> None:
    a, b = build("rnn", 0), build("rnn", 1)
    perms, signs = drawn(b, 3)
    batch = TASK.batch("test", 16)
    there = mode_connectivity(a, b, perms, signs, batch, TASK)
    back = mode_connectivity(b, a, *undone(perms, signs), batch, TASK)
    for name in ("barrier", "barrier_unaligned"):
        assert float(there[name]) == pytest.approx(float(back[name]), abs=1e-12)
    np.testing.assert_allclose(there["loss"], back["loss"][::-1], rtol=1e-12)


def test_what_overflows_is_named() -> None:
    a, b = build("irnn", 0), build("irnn", 1)
    for model in (a, b):
        model.get_parameter("core.layers.0.weight_hh").data.fill_(1e30)
        model.get_parameter("core.layers.0.bias").data.fill_(1.0)
    found = mode_connectivity(a, b, *drawn(b, 0), TASK.batch("test", 4), TASK)
    assert not np.isfinite(float(found["barrier"]))


def test_one_sequence_has_no_standard_error() -> None:
    a, b = build("rnn", 0), build("rnn", 1)
    found = mode_connectivity(a, b, *drawn(b, 0), TASK.batch("test", 1), TASK)
    assert np.isfinite(float(found["barrier_unaligned"]))
    assert np.isnan(float(found["barrier_unaligned_se"]))


def test_refusals() -> None:
    a, b, batch = build("rnn", 0), build("rnn", 1), TASK.batch("test", 4)
    fits = drawn(b, 0)

    def refused(match: str, other: Model = b, **changes: Any) -> None:
        given: dict[str, Any] = {"batch": batch, "task": TASK, "perms": fits[0], "signs": fits[1]}
        with pytest.raises(UsageError, match=match) as error:
            mode_connectivity(a, other, **(given | changes))
        assert "\n" not in str(error.value)

    refused("settings", build("rnn", 1, width=9))
    refused("settings", build("rnn", 1, start="uniform"))
    refused("architecture", build("gru", 1))
    refused("specification", build("rnn", 1, make_task("flipflop", {"bits": 3})))
    refused("trained on", task=make_task("flipflop", {"bits": 3}))
    refused("input has shape", batch=make_task("flipflop", {"bits": 3}).batch("test", 4))
    refused("2 points", points=2)
    perms, signs = fits
    for wrong in (
        ([*perms, *perms], [*signs, *signs]),
        ([perms[0][:7]], [signs[0][:7]]),
        ([np.zeros(8, dtype=int)], signs),
        (perms, [2 * signs[0]]),
    ):
        refused("relabelling does not fit", perms=wrong[0], signs=wrong[1])
    flat = build_model("tcn", TASK.spec, {"width": 8})
    with pytest.raises(NotApplicableError, match="no recurrent matrix"):
        mode_connectivity(flat, flat, *fits, batch, TASK)
