"""The task suite of Huang et al. 2024: known answers, and every variant's chance and baseline."""

from __future__ import annotations

import hashlib
import time
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from data_sets import DATA, needs_data
from seqprobe.errors import NotApplicableError, UsageError
from seqprobe.tasks import TASKS, Batch, Task, make_task
from seqprobe.tasks.generated import GeneratedTask
from seqprobe.tasks.lorenz96 import Lorenz96, integrate

SUITE = ("flipflop", "sine", "discrimination", "path-integration", "lorenz96")
VARIANTS: list[tuple[str, dict[str, Any]]] = [
    ("flipflop", {}),
    ("flipflop", {"bits": 4, "pulse": 0.5, "length": 20, "auxiliary": True}),
    ("flipflop", {"bits": 2, "delay": 7, "auxiliary": True}),
    ("sine", {}),
    ("sine", {"channels": 3, "auxiliary": True}),
    ("sine", {"channels": 2, "delay": 12, "auxiliary": True, "frequencies": 5}),
    ("discrimination", {}),
    ("discrimination", {"channels": 3, "min_delay": 0, "max_delay": 1}),
    ("discrimination", {"channels": 2, "auxiliary": True}),
    ("path-integration", {}),
    ("path-integration", {"dimensions": 3, "channels": 2}),
    ("path-integration", {"channels": 2, "delay": 9, "auxiliary": True}),
    ("path-integration", {"dimensions": 3, "auxiliary": True}),
    ("lorenz96", {}),
    ("lorenz96", {"channels": 5, "forcing": 12.0, "auxiliary": True}),
    ("lorenz96", {"channels": 12, "delay": 4, "dt": 0.05}),
]
every_variant = pytest.mark.parametrize(("name", "settings"), VARIANTS, ids=str)

# sha256 of the bytes of inputs and targets of three splits, recorded before there were channels of
# sines, delays and auxiliary outputs (c7e8ea4): shipped checkpoints were made with these batches.
OLD: list[tuple[str, dict[str, Any], str]] = [
    ("flipflop", {}, "1ef84e40b8877dc6f6d1e79e2a2dd16f76594e1fd5de37f28d00115f0c8d4247"),
    (
        "flipflop",
        {"bits": 1, "length": 9},
        "3fe6f0a56269901bfe46cf9de5bd4380d2f51d279059824b15611aafd99d7844",
    ),
    ("sine", {}, "a7b9f066738355b3a9ac546f5a41cf0a32d29a8d49edc07a370212b63e75e111"),
    (
        "sine",
        {"frequencies": 4},
        "d8cf5527d7debda84457fb3611cab0dce184ac7233cbc3b21417cab4ec722381",
    ),
]


@pytest.mark.parametrize(("name", "settings", "digest"), OLD)
def test_defaults_draw_what_they_always_drew(
    name: str, settings: dict[str, Any], digest: str
) -> None:
    found = hashlib.sha256()
    for split in ("train", "valid", "test"):
        batch = make_task(name, settings).batch(split, 7, seed=3, index=2)
        assert batch.mask is None
        for values in (batch.inputs, batch.targets):
            found.update(values.contiguous().numpy().tobytes())
    assert found.hexdigest() == digest


def _score(task: Task, outputs: Tensor, batch: Batch) -> float:
    return task.scores(outputs, batch).double().mean().item()


def _scored(values: Tensor, batch: Batch) -> Tensor:
    """Return the rows (steps, K) of values (B, T, K) that are scored."""
    return values.flatten(0, 1) if batch.mask is None else values[batch.mask]


def _best_constant(task: Task, batch: Batch) -> float:
    mean = _scored(batch.targets, batch).mean(0)
    return _score(task, mean.expand_as(batch.targets), batch)


def _memoryless(task: Task, batch: Batch) -> Tensor:
    """Return the answers that the task's baseline is the score of."""
    x, y = batch.inputs, batch.targets
    if task.name == "lorenz96":
        return _persistence(task, batch)
    if task.name == "discrimination":
        f2 = [found.values for key, found in task.conditions(batch).items() if key[:2] == "f2"]
        u = (torch.stack(f2, dim=1)[:, None] - 2) / 8
        answers = [2 * u - 1]
        if task.config.auxiliary:
            answers.append(0.8 * (u.square() + (1 - u).square()) / 2)
        return torch.cat(answers, dim=2).expand_as(y)
    if task.name == "path-integration":
        one = torch.ones_like(x[..., :1])
        rows = torch.cat([x, one], dim=2).double()
        fit = torch.linalg.pinv(_scored(rows, batch)) @ _scored(y, batch).double()
        best: Tensor = rows @ fit
        return best.float()
    if task.name == "flipflop" and not task.config.delay:
        return torch.cat([x, x.prod(2, keepdim=True)], 2) if task.config.auxiliary else x
    return torch.zeros_like(y)


def _persistence(task: Task, batch: Batch) -> Tensor:
    """Return the answer of lag 1 + delay steps ago, which is what the present input holds."""
    ahead, y = 1 + task.config.delay, batch.targets
    late = y.clone()  # the first steps, whose present has no target, count as right
    late[:, ahead:] = y[:, :-ahead]
    late[..., : task.config.channels] = batch.inputs
    return late


@every_variant
def test_chance_and_baseline_are_what_is_simulated(name: str, settings: dict[str, Any]) -> None:
    # 3 %: references of some 10^4 independent values are good to about 1 %, twice.
    task = make_task(name, settings)
    batch = task.batch("test", 2000)
    assert _best_constant(task, batch) == pytest.approx(task.chance, rel=0.03)
    found = _score(task, _memoryless(task, batch), batch)
    if name == "lorenz96" and task.config.auxiliary:
        found *= task.length / (task.length - 1 / task.spec.output_size)  # see `_persistence`
    assert found == pytest.approx(task.baseline().score, rel=0.03)
    assert task.solved_at < min(task.chance, task.baseline().score) / 8
    assert not task.solved(task.baseline().score)


@every_variant
def test_variants_have_the_sizes_they_say(name: str, settings: dict[str, Any]) -> None:
    task = make_task(name, settings)
    batch = task.batch("train", 3, seed=4, index=2)
    again = make_task(name, settings).batch("train", 3, seed=4, index=2)
    assert torch.equal(batch.inputs, again.inputs)
    assert torch.equal(batch.targets, again.targets)
    assert batch.inputs.shape == (3, task.length, task.spec.input_size)
    assert batch.targets.shape == (3, task.length, task.spec.output_size)
    assert batch.inputs.dtype == batch.targets.dtype == torch.float32
    assert batch.inputs.abs().max() < 5  # standardised, or scaled to at most 1
    assert task.loss(batch.targets, batch) == 0
    for condition in task.conditions(batch).values():
        assert condition.values.shape == (3,)


@pytest.mark.parametrize("delay", [0, 4])
@pytest.mark.parametrize("auxiliary", [False, True])
def test_flipflop_against_a_scan(delay: int, auxiliary: bool) -> None:
    settings = {"bits": 3, "length": 25, "delay": delay, "auxiliary": auxiliary}
    task = make_task("flipflop", settings)
    batch = task.batch("train", 20, seed=1)
    assert torch.equal(
        batch.inputs,
        make_task("flipflop", {"bits": 3, "length": 25}).batch("train", 20, seed=1).inputs,
    )
    assert (batch.inputs[:, 0] != 0).all()
    for x, y in zip(batch.inputs.tolist(), batch.targets.tolist(), strict=True):
        for t in range(delay, 25):
            past = x[: t - delay + 1]
            held = [[v[c] for v in past if v[c]][-1] for c in range(3)]
            assert y[t] == held + [held[0] * held[1] * held[2]] * auxiliary
    if delay:
        assert batch.mask is not None
        assert batch.mask.sum(1).tolist() == [25 - delay] * 20
        assert not batch.mask[:, :delay].any()


def test_discrimination_against_the_inputs() -> None:
    task = make_task("discrimination", {"channels": 2, "auxiliary": True})
    batch = task.batch("test", 600)
    assert batch.mask is not None
    found = {name: one.values for name, one in task.conditions(batch).items()}
    assert set(found["delay"].tolist()) == set(range(5, 21))
    assert task.length == 45
    for row, (x, y, mask) in enumerate(zip(batch.inputs, batch.targets, batch.mask, strict=True)):
        on = x[:, 0].nonzero().flatten().tolist()
        assert on[:5] == [5, 6, 7, 8, 9]
        assert on[5:] == list(range(on[5], on[5] + 5))
        assert on[5] - 10 == found["delay"][row]
        assert mask.nonzero().flatten().tolist() == list(range(on[9] + 1, on[9] + 11))
        assert not y[~mask].any()
        f1, f2 = x[on[0]], x[on[9]]
        assert (x[on[:5]] == f1).all()
        assert (x[on[5:]] == f2).all()
        expected = torch.cat([(f2 - f1).sign(), (f2 - f1).abs()])
        assert (y[mask] == expected).all()
        for c in range(2):
            assert 10 * f1[c] == found[f"f1_{c}"][row]
            assert 10 * f2[c] == found[f"f2_{c}"][row]
    pulses = torch.stack([found["f1_0"], found["f2_0"], found["f1_1"], found["f2_1"]])
    assert pulses.min() >= 2
    assert pulses.max() <= 10
    off_diagonal = torch.corrcoef(pulses) - torch.eye(4)
    assert off_diagonal.abs().max() < 4 / 600**0.5  # independent: 4 standard errors
    longest = make_task("discrimination", {"min_delay": 20})
    assert longest.reach(45) == 35 - 9  # from the first step of the answer to the last of f1


def _positions(x: Tensor, axes: int) -> Tensor:
    """Return the path of one agent's inputs (B, T, 2 d)."""
    x = x.double()
    azimuth, speed = torch.pi * x[..., 0], 0.5 * x[..., axes - 1]
    elevation = torch.pi / 2 * x[..., 1] if axes == 3 else torch.zeros_like(azimuth)
    heading = [azimuth.cos() * elevation.cos(), azimuth.sin() * elevation.cos(), elevation.sin()]
    moves = (speed[..., None] * torch.stack(heading, dim=-1))[..., :axes]
    assert not x[:, 1:, axes:].any()  # the start is shown once
    return 5 * x[:, :1, axes:] + moves.cumsum(1)


@pytest.mark.parametrize("axes", [2, 3])
@pytest.mark.parametrize("delay", [0, 6])
def test_paths_are_the_sum_of_their_inputs(axes: int, delay: int) -> None:
    settings = {"dimensions": axes, "channels": 3, "length": 300, "delay": delay}
    batch = make_task("path-integration", settings | {"auxiliary": True}).batch("test", 50)
    late = slice(delay, None)
    for agent, x in enumerate(batch.inputs.split(2 * axes, dim=2)):
        assert x.abs().max() <= 1
        path = _positions(x, axes)
        target = batch.targets[..., axes * agent :][..., :axes].double()
        expected = path[:, : 300 - delay]
        torch.testing.assert_close(target[:, late], expected, rtol=0, atol=1e-5)
        assert target.abs().max() <= 5
        assert (target.abs().amax((0, 1)) > 4.9).all()  # it does come to the walls
        away = (path - 5 * x[:, :1, axes:].double()).norm(dim=2)[:, : 300 - delay]
        distance = batch.targets[:, late, 3 * axes + agent].double()
        torch.testing.assert_close(distance, away / (2 * axes**0.5), rtol=0, atol=1e-5)
    assert (batch.mask is None) == (delay == 0)
    if batch.mask is not None:
        assert batch.mask[0].tolist() == [False] * delay + [True] * (300 - delay)


@pytest.mark.parametrize("axes", [2, 3])
def test_headings_turn_smoothly_but_at_walls(axes: int) -> None:
    batch = make_task("path-integration", {"dimensions": axes}).batch("test", 300)
    speed = 0.5 * batch.inputs[:, 1:, axes - 1, None]
    heading = batch.targets.diff(dim=1) / speed.clamp(min=1e-9)
    turns = (heading[:, 1:] * heading[:, :-1]).sum(2).clamp(-1, 1).acos()
    # A fast middle half is free of float32 noise; walls are at less than half of all steps.
    fast = (speed[:, 1:, 0] > 0.05) & (speed[:, :-1, 0] > 0.05)
    inside = (batch.targets[:, 1:-1].abs().amax(2) < 4) & fast
    assert turns[inside].square().mean().sqrt().item() == pytest.approx(
        0.3 if axes == 2 else 0.3 * 1.5**0.5, rel=0.1
    )
    assert turns[inside].max() < 5 * 0.3 * (axes - 1) ** 0.5


@pytest.mark.parametrize(("sites", "forcing"), [(4, 8.0), (8, 8.0), (40, 8.0), (6, 20.0)])
def test_lorenz96_against_a_finer_integration(sites: int, forcing: float) -> None:
    task = make_task("lorenz96", {"channels": sites, "forcing": forcing, "length": 10})
    assert isinstance(task, Lorenz96)
    states = task.states(np.random.default_rng(0), 50, 10)
    fine = 10 * int(np.ceil(0.02 * forcing / 0.16))
    for t in range(10):  # one step at a time: over many, chaos would decide
        ahead = integrate(states[:, t].T, forcing, 0.02, 1, fine)[-1].T
        error = np.abs(ahead - states[:, t + 1]).max() / states.std()
        # 30 times below the root of `solved_at`, a tenth of persistence: nothing to learn there.
        assert error < task.solved_at**0.5 / 30


def test_lorenz96_asks_for_later_inputs() -> None:
    for delay in (0, 5):
        task = make_task("lorenz96", {"delay": delay, "auxiliary": True, "channels": 7})
        batch = task.batch("test", 1500)
        ahead = 1 + delay
        torch.testing.assert_close(
            batch.targets[:, :-ahead, :7], batch.inputs[:, ahead:], rtol=0, atol=0
        )
        # 3 %, as above: 1500 trials of two time units are some 10^4 values.
        for values in (batch.inputs, batch.targets[..., :7], batch.targets[..., 7]):
            assert values.mean().item() == pytest.approx(0, abs=0.05)
            assert values.std().item() == pytest.approx(1, rel=0.03)
        # The energy is a square of what the sites say.
        energy = (batch.targets[..., :7] + 2.35 / 3.64).square().mean(2).flatten()
        both = torch.stack([energy, batch.targets[..., 7].flatten()])
        assert torch.corrcoef(both)[0, 1] > 0.999
        assert task.next_step


def test_lorenz96_is_fast() -> None:
    task = make_task("lorenz96")
    task.batch("train", 64)
    times = []
    for index in range(5):
        start = time.process_time()
        task.batch("train", 64, index=index)
        times.append(time.process_time() - start)
    assert min(times) < 0.1  # 30 ms where it was written; twice 50 ms for other machines


@pytest.mark.parametrize("auxiliary", [False, True])
@pytest.mark.parametrize("delay", [0, 15])
def test_sines_against_the_formula(delay: int, auxiliary: bool) -> None:
    settings = {"channels": 3, "delay": delay, "auxiliary": auxiliary}
    task = make_task("sine", settings)
    batch = task.batch("test", 300)
    found = task.conditions(batch)
    assert list(found) == ["frequency_0", "frequency_1", "frequency_2"]
    frequency = torch.stack([one.values for one in found.values()], dim=1)[:, None]
    assert torch.corrcoef(frequency[:, 0].T).fill_diagonal_(0).abs().max() < 4 / 300**0.5
    onset = delay and 5 + delay
    time = 0.01 * (torch.arange(100)[:, None] - onset + 1)
    phase = 2 * torch.pi * frequency * time
    expected = torch.cat([phase.sin(), phase.cos()] if auxiliary else [phase.sin()], dim=2)
    expected[:, :onset] = 0
    torch.testing.assert_close(batch.targets, expected, rtol=0, atol=1e-4)
    shown = batch.inputs[..., :3]
    seen = shown[:, : 5 if delay else 100]
    torch.testing.assert_close(seen, (frequency / 30).expand_as(seen), rtol=0, atol=1e-6)
    if delay:
        assert not shown[:, 5:].any()
        assert (batch.inputs[..., 3] == (torch.arange(100) >= onset)).all()
    else:
        assert batch.inputs.shape[2] == 3


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=needs_data(DATA[n]) if n in DATA else ()) for n in TASKS]
)
def test_longer_trials(name: str) -> None:
    task = make_task(name)
    if not isinstance(task, GeneratedTask):
        with pytest.raises(NotApplicableError, match=f"^task '{name}' has no trials longer[^\n]*$"):
            task.longer(2)
        return
    longer = task.longer(2)
    assert type(longer) is type(task)
    # The pauses of a discrimination trial grow and its pulses do not.
    assert longer.length == (65 if name == "discrimination" else 2 * task.length)
    assert longer.batch("test", 3).inputs.shape[1] == longer.length
    assert longer.spec == task.spec
    assert longer.metric == task.metric
    assert task.longer(1).config == task.config
    assert task.longer(3).batch("train", 2).inputs.shape[1] == task.longer(3).length
    for factor in (0, -1, 1.5):
        with pytest.raises(UsageError, match=f"^factor = {factor} makes no longer trials"):
            task.longer(factor)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "settings", "changed"),
    [
        ("flipflop", {"delay": 5}, {"length": 128}),
        ("delay", {}, {"length": 192}),
        ("path-integration", {"delay": 5, "auxiliary": True}, {"length": 200}),
        ("lorenz96", {"delay": 5}, {"length": 200}),
        ("sine", {"delay": 20}, {"length": 200, "delay": 40}),
        ("discrimination", {"min_delay": 3}, {"min_delay": 6, "max_delay": 40}),
        ("mqar", {"min_pairs": 2}, {"length": 128}),
        ("copy", {"min_delay": 10}, {"delay": 220, "min_delay": 40}),
    ],
)
def test_what_grows(name: str, settings: dict[str, Any], changed: dict[str, int]) -> None:
    task = make_task(name, settings)
    assert task.longer(2).config == make_task(name, settings | changed).config


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("flipflop", {"delay": 64}, "length 64 leaves no step to recall at delay 64"),
        ("flipflop", {"bits": 1, "auxiliary": True}, "says nothing new of one memory"),
        ("sine", {"delay": 95}, r"length 100 is too short for task 'sine' \(allowed: 101"),
        ("discrimination", {"min_delay": 9, "max_delay": 8}, "is above task.max_delay = 8"),
        ("path-integration", {"delay": 100}, "length 100 leaves no step to recall at delay 100"),
        ("path-integration", {"dimensions": 4}, r"task.dimensions = 4 is not allowed"),
        ("lorenz96", {"channels": 3}, "task.channels = 3 is out of range"),
        ("lorenz96", {"forcing": 0.5}, "task.forcing = 0.5 is out of range"),
    ],
)
def test_impossible_settings(name: str, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        make_task(name, settings)


@pytest.mark.parametrize(
    ("name", "settings", "length", "message"),
    [
        ("flipflop", {"delay": 5}, 5, "length 5 leaves no step to recall at delay 5"),
        ("path-integration", {"delay": 5}, 5, "length 5 leaves no step to recall at delay 5"),
        ("sine", {"delay": 5}, 10, "length 10 is too short for task 'sine'"),
        ("discrimination", {}, 46, "trials of 'discrimination' have 45 steps, not 46"),
    ],
)
def test_impossible_lengths(name: str, settings: dict[str, Any], length: int, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        make_task(name, settings).batch("test", 2, length=length)


def test_too_long_trials_are_refused() -> None:
    with pytest.raises(UsageError, match=r"task\.length = 2097152 is out of range"):
        make_task("flipflop", {"length": 2**20}).longer(2)
