"""Every task has what a task must have, and the numbers it claims."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from seqprobe.errors import UsageError
from seqprobe.tasks import TASKS, Batch, Task, make_task

every_task = pytest.mark.parametrize("name", TASKS)


def _bytes(batch: Batch) -> set[bytes]:
    return {row.numpy().tobytes() for row in batch.inputs}


@every_task
def test_batches_depend_on_split_seed_and_index_alone(name: str) -> None:
    task = make_task(name)
    first = task.batch("train", 8, seed=1, index=5)
    task.batch("train", 8, seed=1, index=9)
    again = make_task(name).batch("train", 8, seed=1, index=5)
    assert torch.equal(first.inputs, again.inputs)
    assert torch.equal(first.targets, again.targets)
    other = task.batch("train", 8, seed=2, index=5)
    assert not torch.equal(first.inputs, other.inputs)


@every_task
def test_splits_share_no_sequence(name: str) -> None:
    task = make_task(name)
    train = set().union(*(_bytes(task.batch("train", 64, index=i)) for i in range(30)))
    valid, test = _bytes(task.batch("valid")), _bytes(task.batch("test"))
    # A few of the 8x8 digits may coincide; none do.
    assert not train & valid
    assert not train & test
    assert not valid & test


@every_task
def test_shapes_and_scores(name: str) -> None:
    task = make_task(name)
    batch = task.batch("valid", 6)
    assert batch.inputs.shape == (6, task.length, task.spec.input_size)
    outputs = torch.randn(6, task.length, task.spec.output_size, requires_grad=True)
    loss = task.loss(outputs, batch)
    loss.backward()
    assert loss.dim() == 0
    assert task.scores(outputs, batch).shape == (6,)
    assert outputs.grad is not None
    scored = outputs.grad.abs().sum(dim=(0, 2)) > 0
    if task.spec.readout == "last":
        assert scored.nonzero().flatten().tolist() == [task.length - 1]


@every_task
def test_unknown_split_and_length(name: str) -> None:
    with pytest.raises(UsageError, match="unknown split 'dev'"):
        make_task(name).batch("dev", 2)  # type: ignore[arg-type]


def test_unknown_task_gets_a_suggestion() -> None:
    with pytest.raises(UsageError, match="unknown task 'digit'; did you mean 'digits'"):
        make_task("digit")


def _constant(task: Task, value: float, batch: Batch) -> Tensor:
    return torch.full((*batch.inputs.shape[:2], task.spec.output_size), value)


def test_delay_is_the_input_of_d_steps_ago() -> None:
    task = make_task("delay", {"delay": 3, "length": 9})
    batch = task.batch("test", 4)
    assert batch.mask is not None
    assert batch.mask[0].tolist() == [False] * 3 + [True] * 6
    assert torch.equal(batch.targets[:, 3:], batch.inputs[:, :-3])
    assert task.loss(batch.targets, batch) == 0
    wrong_before = batch.targets.clone()
    wrong_before[:, :3] = 100
    assert task.loss(wrong_before, batch) == 0


def test_delay_chance_is_one() -> None:
    task = make_task("delay")
    batch = task.batch("test", 4000)
    score = task.scores(_constant(task, 0.0, batch), batch)
    assert score.mean().item() == pytest.approx(task.chance, abs=0.01)
    assert task.baseline().score == task.chance
    assert batch.inputs.abs().max() <= 1
    assert batch.inputs.var().item() == pytest.approx(1 / 3, abs=0.01)


def test_delay_refuses_sequences_that_are_too_short() -> None:
    with pytest.raises(UsageError, match="length 20 leaves no step to recall at delay 20"):
        make_task("delay", {"length": 20})
    with pytest.raises(UsageError, match="length 10 leaves no step"):
        make_task("delay").batch("test", 2, length=10)


def test_digits_are_the_bundled_images() -> None:
    task = make_task("digits")
    sizes = {split: len(task.batch(split).targets) for split in ("train", "valid", "test")}
    assert sizes == {"train": 898, "valid": 449, "test": 450}
    batch = task.batch("train")
    assert batch.inputs.min() == 0
    assert batch.inputs.max() == 1
    assert torch.equal((batch.inputs * 16).round(), batch.inputs * 16)
    share = np.bincount(task.batch("test").targets.numpy()) / 450
    assert (abs(share - 0.1) < 0.01).all()


def test_digits_epochs_see_every_image_once() -> None:
    task = make_task("digits")
    stream = [task.batch("train", 449, seed=4, index=i) for i in range(4)]
    one, two = _bytes(stream[0]) | _bytes(stream[1]), _bytes(stream[2]) | _bytes(stream[3])
    assert one == two == _bytes(task.batch("train"))
    assert not torch.equal(stream[0].inputs, stream[2].inputs)
    across = task.batch("train", 500, seed=4, index=1)
    assert len(across.targets) == 500


def test_digits_baseline_and_chance() -> None:
    task = make_task("digits")
    assert task.baseline().score == pytest.approx(0.96, abs=0.015)
    batch = task.batch("test")
    assert task.scores(_constant(task, 0.0, batch), batch).mean().item() == pytest.approx(
        task.chance, abs=0.005
    )


def test_digits_refuse_what_they_do_not_have() -> None:
    task = make_task("digits")
    with pytest.raises(UsageError, match="64 pixels, not 32"):
        task.batch("test", 2, length=32)
    with pytest.raises(UsageError, match="test set has 450 digits"):
        task.batch("test", 451)
