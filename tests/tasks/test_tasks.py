"""Every task has what a task must have, and the numbers it claims."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from data_sets import DATA, needs_data
from seqprobe.errors import UsageError
from seqprobe.tasks import TASKS, Batch, Task, make_task
from seqprobe.tasks.chartext import CharText
from seqprobe.tasks.copy import Copy, CopyConfig
from seqprobe.tasks.music import Music
from seqprobe.tasks.speech import Speech

every_task = pytest.mark.parametrize(
    "name", [pytest.param(n, marks=needs_data(DATA[n]) if n in DATA else ()) for n in TASKS]
)


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
    # Five digits in a known sentence come up twice now and then.
    task = make_task(name, {"digits": 12} if name == "passkey" else {})
    if isinstance(task, (Music, CharText, Speech)):
        return  # windows of disjoint pieces and recordings, which are tested with the real data
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
    width = () if task.spec.input_kind == "token" else (task.spec.input_size,)
    assert batch.inputs.shape == (6, task.length, *width)
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
def test_impossible_requests_are_refused(name: str) -> None:
    task = make_task(name)
    with pytest.raises(UsageError, match="unknown split 'dev'"):
        task.batch("dev", 2)  # type: ignore[arg-type]
    for size in (0, -1):
        with pytest.raises(UsageError, match=f"{size} sequences were asked for"):
            task.batch("train", size)
    for length in (0, -5):
        with pytest.raises(UsageError, match=f"length {length} is too short"):
            task.batch("train", 2, length=length)


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


def test_recall_is_the_symbol_of_d_steps_ago() -> None:
    task = make_task("recall", {"delay": 3, "length": 9, "symbols": 5})
    batch = task.batch("test", 400)
    assert torch.equal(batch.targets[:, 3:], batch.inputs[:, :-3])
    right = torch.nn.functional.one_hot(batch.targets, 5).float() * 50
    assert task.scores(right, batch).min() == 1
    assert task.loss(right, batch) < 1e-6
    even = torch.zeros(400, 9, 5)
    assert task.loss(even, batch).item() == pytest.approx(np.log(5), rel=1e-5)
    assert task.scores(even, batch).mean().item() == pytest.approx(task.chance, abs=0.03)
    assert task.reach(9) == 3
    with pytest.raises(UsageError, match="length 3 leaves no step to recall at delay 3"):
        task.batch("test", 2, length=3)


def test_copy_with_mixed_delays() -> None:
    task = make_task("copy", {"delay": 9, "min_delay": 4, "symbols": 2})
    lengths = {task.batch("train", 2, index=i).inputs.shape[1] for i in range(60)}
    assert lengths == set(range(8, 14))
    assert task.batch("test", 2).inputs.shape[1] == task.length == 13
    scored = [batch.inputs.shape for batch in task.evaluation("valid")]
    assert [shape[1] for shape in scored] == list(range(8, 14))
    assert {shape[0] for shape in scored} == {512 // 6}
    assert task.reach(13) == 11
    expected = np.mean([2 * np.log(8) / length for length in range(8, 14)])
    assert f"loss {expected:.5f} nats" in task.baseline().name
    with pytest.raises(UsageError, match=r"task.min_delay = 10 is above task.delay = 9"):
        make_task("copy", {"delay": 9, "min_delay": 10})


def test_delay_refuses_sequences_that_are_too_short() -> None:
    with pytest.raises(UsageError, match="length 20 leaves no step to recall at delay 20"):
        make_task("delay", {"length": 20})
    with pytest.raises(UsageError, match="length 10 leaves no step"):
        make_task("delay").batch("test", 2, length=10)


@pytest.mark.parametrize("length", [2, 3, 200])
def test_adding_marks_two_different_steps(length: int) -> None:
    task = make_task("adding", {"length": length})
    batch = task.batch("train", 3000)
    numbers, marks = batch.inputs.unbind(2)
    assert (marks.sum(dim=1) == 2).all()
    torch.testing.assert_close((numbers * marks).sum(dim=1, keepdim=True), batch.targets)
    assert marks.mean(dim=0).numpy() == pytest.approx(np.full(length, 2 / length), abs=0.05)


def test_adding_chance_and_baseline() -> None:
    task = make_task("adding")
    batch = task.batch("test", 50_000)
    one = task.scores(_constant(task, 1.0, batch), batch).mean().item()
    assert one == pytest.approx(1 / 6, abs=0.002)
    numbers, marks = batch.inputs.unbind(2)
    first = (numbers * marks * (marks.cumsum(1) == 1)).sum(dim=1)
    guess = (first + 0.5)[:, None, None].expand(-1, task.length, 1)
    assert task.scores(guess, batch).mean().item() == pytest.approx(1 / 12, abs=0.002)
    assert task.baseline().score == 1 / 12


@pytest.mark.parametrize("encoding", ["scalar", "onehot"])
def test_copy_has_the_published_layout(encoding: str) -> None:
    task = make_task("copy", {"delay": 7, "symbols": 3, "encoding": encoding})
    assert task.length == 13
    batch = task.batch("train", 500)
    x = batch.inputs[..., 0].long() if encoding == "scalar" else batch.inputs.argmax(dim=2)
    assert batch.inputs.shape == (500, 13, task.spec.input_size)
    assert set(x[:, :3].flatten().tolist()) == set(range(1, 9))
    assert (x[:, 3:9] == 0).all()  # T - 1 zeros
    assert (x[:, 9:] == 9).all()  # M + 1 nines
    assert (batch.targets[:, :10] == 0).all()  # T + M zeros
    assert torch.equal(batch.targets[:, 10:], x[:, :3])  # each T + M steps after it was shown


def test_copy_scores_the_copied_symbols_only() -> None:
    task = make_task("copy", {"delay": 1000})
    batch = task.batch("test", 2000)
    silent = torch.nn.functional.one_hot(torch.zeros_like(batch.targets), 10).float()
    everywhere = (silent.argmax(2) == batch.targets).float().mean().item()
    assert everywhere == pytest.approx(0.99, abs=0.001)
    assert task.scores(silent, batch).mean().item() == 0
    guess = silent.clone()
    guess[:, -10:] = torch.nn.functional.one_hot(torch.tensor(3), 10).float()
    assert task.scores(guess, batch).mean().item() == pytest.approx(1 / 8, abs=0.01)


@pytest.mark.parametrize(("delay", "loss"), [(100, 0.1733), (500, 0.03999), (1000, 0.02039)])
def test_copy_memoryless_loss(delay: int, loss: float) -> None:
    task = Copy(CopyConfig(delay=delay))
    batch = task.batch("test", 50)
    logits = torch.full((50, task.length, 10), -1e9)
    logits[:, :-10, 0] = 0
    logits[:, -10:, 1:9] = 0
    assert task.loss(logits, batch).item() == pytest.approx(loss, rel=1e-3)
    assert f"loss {task.memoryless_loss():.5f} nats" in task.baseline().name
    assert task.memoryless_loss() == pytest.approx(loss, rel=1e-3)


def test_flipflop_holds_the_last_pulse() -> None:
    task = make_task("flipflop", {"bits": 2, "length": 30})
    batch = task.batch("train", 200)
    held = batch.inputs[:, 0].clone()
    assert (held != 0).all()
    for t in range(30):
        now = batch.inputs[:, t]
        held = torch.where(now != 0, now, held)
        assert torch.equal(batch.targets[:, t], held)
    assert batch.inputs[:, 1:].abs().mean().item() == pytest.approx(0.2, abs=0.01)


def test_flipflop_chance_and_baseline() -> None:
    task = make_task("flipflop")
    batch = task.batch("test", 2000)
    assert task.scores(_constant(task, 0.0, batch), batch).mean().item() == 1
    repeated = task.scores(batch.inputs, batch).mean().item()
    assert repeated == pytest.approx(task.baseline().score, abs=0.005)


def test_integrator_sums_and_clips() -> None:
    task = make_task("integrator")
    batch = task.batch("test", 4000)
    total = batch.inputs.double().cumsum(1).clamp(-1.5, 1.5)
    torch.testing.assert_close(batch.targets.double(), total, rtol=0, atol=1e-5)
    chance = task.scores(_constant(task, 0.0, batch), batch).mean().item()
    assert chance == pytest.approx(task.chance, rel=0.03)
    assert 0 < task.baseline().score < task.chance


def test_sine_has_the_frequency_of_its_input() -> None:
    task = make_task("sine")
    batch = task.batch("test", 3000)
    frequency = 30 * batch.inputs[:, 0, 0]
    assert 1 <= frequency.min() < 1.1
    assert 29.9 < frequency.max() <= 30
    levels = make_task("sine", {"frequencies": 4}).batch("test", 100).inputs[:, 0, 0] * 30
    assert sorted(set(levels.round(decimals=3).tolist())) == pytest.approx(
        [1, 32 / 3, 61 / 3, 30], abs=1e-3
    )
    time = 0.01 * torch.arange(1, 101)
    expected = torch.sin(2 * torch.pi * frequency[:, None] * time)
    torch.testing.assert_close(batch.targets[..., 0], expected, rtol=0, atol=1e-4)
    chance = task.scores(_constant(task, 0.0, batch), batch).mean().item()
    assert chance == pytest.approx(0.5, abs=0.01)
    with pytest.raises(UsageError, match=r"is above task\.high"):
        make_task("sine", {"low": 20, "high": 10})


@pytest.mark.parametrize(("name", "length"), [("adding", 1), ("copy", 20)])
def test_lengths_with_nothing_to_score_are_refused(name: str, length: int) -> None:
    with pytest.raises(UsageError, match=f"length {length} is too short for task '{name}'"):
        make_task(name).batch("test", 2, length=length)


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
    with pytest.raises(UsageError, match="have 64 pixels, not 32"):
        task.batch("test", 2, length=32)
    with pytest.raises(UsageError, match="test set of 'digits' has 450 images"):
        task.batch("test", 451)
