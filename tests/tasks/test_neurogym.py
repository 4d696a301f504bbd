"""neurogym as a task: against a stand-in with known trials, and all of it where it is installed."""

from __future__ import annotations

import importlib
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import fake_neurogym
from data_sets import needs_data
from seqprobe.activations import record
from seqprobe.degeneracy import sigma_ood
from seqprobe.errors import NotApplicableError, SeqprobeError, UsageError
from seqprobe.memory import gradient_profile
from seqprobe.schema import read
from seqprobe.tasks import Batch, Task, make_task
from seqprobe.tasks.environment import Environment, draws_alike
from seqprobe.tasks.neurogym import _levels, _pilot
from seqprobe.training import TrainConfig, load, load_checkpoint, train

LINE = {"id": "TrialEnv-v0"}


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setitem(sys.modules, "neurogym", fake_neurogym)
    _clear()
    yield
    _clear()


@pytest.fixture
def absent(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setitem(sys.modules, "neurogym", None)
    _clear()
    yield
    _clear()


def _clear() -> None:
    _pilot.cache_clear()
    _levels.cache_clear()


def _onehot(batch: Batch, classes: int) -> torch.Tensor:
    return 50.0 * F.one_hot(batch.targets, classes)


def test_trials_are_padded_and_masked(fake: None) -> None:
    task = make_task("neurogym", LINE)
    assert (task.spec.input_size, task.spec.output_size) == (3, 3)
    assert (task.spec.input_kind, task.spec.output_kind, task.spec.readout) == (
        *("continuous", "class", "each"),
    )
    assert task.length == 9  # 2 + 5 + 2
    batch = task.batch("train", 300)
    assert batch.inputs.shape == (300, 9, 3)
    assert batch.targets.shape == (300, 9)
    assert batch.mask is not None
    steps = batch.mask.sum(dim=1)
    assert Counter(steps.tolist()).keys() == {7, 8, 9}
    assert torch.equal(batch.mask, torch.arange(9) < steps[:, None])
    assert not batch.inputs[~batch.mask].any()
    # Two steps of decision at the end of each; the choice is the channel that was shown.
    rows = torch.arange(300)
    assert ((batch.targets > 0).sum(dim=1) == 2).all()
    shown = batch.inputs[:, 2, 1:].abs().argmax(dim=1)
    assert torch.equal(batch.targets[rows, steps - 1], 1 + shown)


def test_a_batch_is_a_function_of_split_seed_and_index(fake: None) -> None:
    first = make_task("neurogym", LINE).batch("train", 5, seed=3, index=7)
    task = make_task("neurogym", LINE)
    task.batch("train", 5)
    again = task.batch("train", 5, seed=3, index=7)
    assert torch.equal(first.inputs, again.inputs)
    assert torch.equal(first.targets, again.targets)
    for other in (
        task.batch("train", 5, seed=3, index=8),
        task.batch("train", 5, seed=4, index=7),
        task.batch("valid", 5, seed=3, index=7),
    ):
        assert not torch.equal(first.inputs, other.inputs)


def test_periods_and_conditions(fake: None) -> None:
    task = make_task("neurogym", LINE)
    batch = task.batch("test", 40)
    assert batch.mask is not None
    found = task.conditions(batch)
    assert set(found) == {"period", "trial_choice", "trial_strong"}  # no text, no pairs
    period = found["period"].values
    assert found["period"].long_name.endswith("(0 fixation, 1 stimulus, 2 decision; -1 none)")
    assert torch.equal(period >= 0, batch.mask)
    assert torch.equal(period == 2, batch.targets > 0)
    assert (period[:, :2] == 0).all()
    assert torch.equal(found["trial_choice"].values + 1, batch.targets.max(dim=1).values.double())
    part = batch.rows(slice(10, 20)).to(torch.device("cpu"))
    assert torch.equal(task.conditions(part)["period"].values, period[10:20])
    pieces = list(batch.split(16))
    assert [len(task.conditions(piece)["trial_choice"].values) for piece in pieces] == [16, 16, 8]


def test_levels_are_those_of_constants(fake: None) -> None:
    task = make_task("neurogym", LINE)
    # Fixation is right for all but two steps; of 7, 8 and 9 steps equally often.
    fixating = np.mean([5 / 7, 6 / 8, 7 / 9])
    assert task.chance == pytest.approx(fixating, abs=0.01)
    # By time: steps 0 to 4 fixation, step 5 too (2 of 3), steps 6 is decision for 7 or 8 (2 of 3),
    # steps 7 and 8 are decision whenever they are there; then one of two choices at random.
    by_time = np.mean([(5 + 0 + 0.5) / 7, (6 + 0.5 + 0.5) / 8, (6 + 0 + 0.5 + 0.5) / 9])
    assert task.baseline().score == pytest.approx(by_time, abs=0.02)
    assert task.solved_at == pytest.approx((1 + task.baseline().score) / 2)
    batch = task.batch("test")
    assert batch.mask is not None
    zero = torch.zeros(*batch.targets.shape, 3)
    zero[..., 0] = 1
    assert task.scores(zero, batch).mean().item() == pytest.approx(task.chance, abs=1e-6)
    right = _onehot(batch, 3)
    assert task.scores(right, batch).min() == 1
    assert task.loss(right, batch) < 1e-6
    wrong_after = torch.where(batch.mask[..., None], right, torch.randn_like(right))
    assert task.scores(wrong_after, batch).min() == 1
    even = torch.zeros_like(right)
    assert task.loss(even, batch).item() == pytest.approx(np.log(3), rel=1e-5)


def test_a_box_is_regression(fake: None) -> None:
    task = make_task("neurogym", {"id": "Reach-v0"})
    assert (task.spec.output_kind, task.spec.output_size, task.length) == ("regression", 2, 4)
    batch = task.batch("train", 8)
    assert batch.targets.shape == (8, 4, 2)
    assert task.metric.better == "lower"
    # Half of the steps are 0, the others have variance 1/2 that no constant explains.
    assert task.chance == pytest.approx(0.25, abs=0.02)
    assert task.baseline().score == pytest.approx(0.25, abs=0.02)
    assert task.solved_at == pytest.approx(task.baseline().score / 2)
    assert task.loss(batch.targets, batch) == 0
    assert task.solved(0.1)


def test_arguments_and_stretch(fake: None) -> None:
    slow = make_task("neurogym", LINE | {"arguments": "dt = 50, timing = {stimulus = [600]}"})
    assert slow.length == 4 + 12 + 4
    longer = make_task("neurogym", LINE).longer(2)
    assert longer.length == 18
    assert longer.config.stretch == 2
    assert make_task("neurogym", LINE).longer(1).config == make_task("neurogym", LINE).config
    pinned = make_task("neurogym", LINE).pinned()
    assert pinned.longer(3).length == 27
    assert pinned.longer(3).spec == pinned.spec


def test_short_sequences_hold_short_trials(fake: None) -> None:
    task = make_task("neurogym", LINE | {"length": 7})
    batch = task.batch("train", 50)
    assert batch.mask is not None
    assert batch.mask.all()
    with pytest.raises(UsageError, match=r"trials of 'TrialEnv-v0' in a row have more than 6 step"):
        make_task("neurogym", LINE | {"length": 6}).batch("train", 2)
    with pytest.raises(UsageError, match=r"^sequences of 'TrialEnv-v0' have 9 steps, not 12 \(all"):
        make_task("neurogym", LINE).batch("train", 2, length=12)


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"id": "os:Evil-v0"}, UsageError, "task.id = 'os:Evil-v0' is not a name"),
        ({"id": ""}, UsageError, "task.id = '' is not a name"),
        ({"arguments": "dt: 20"}, UsageError, r"task.arguments = 'dt: 20' cannot be read \("),
        ({"id": "No-v0"}, UsageError, "'No-v0' cannot be made .LookupError: .* doesn't exist"),
        (LINE | {"arguments": "x = 1"}, UsageError, "'TrialEnv-v0' cannot be made .TypeError: "),
        ({"id": "Bandit-v0"}, NotApplicableError, "has no observations with a ground truth"),
        ({"id": "Raises-v0"}, NotApplicableError, r"makes no trial \(KeyError: 'no\\nblock'\)"),
        ({"id": "Unseeded-v0"}, NotApplicableError, "draws other trials from the same seed"),
        ({"id": "Angle-v0"}, NotApplicableError, "a ground truth of 5, .* none of its 3 actions"),
        ({"id": "Multi-v0"}, NotApplicableError, "actions of type MultiDiscrete"),
        (LINE | {"inputs": 4}, UsageError, r"has 3 inputs and 3 outputs \(class\) here, the sett"),
        (LINE | {"answer": "regression"}, UsageError, r"settings say 0 and 0 \(regression\)"),
    ],
)
def test_what_cannot_be_gets_one_line(
    fake: None, settings: dict[str, Any], error: type[SeqprobeError], message: str
) -> None:
    with pytest.raises(error, match=message) as caught:
        make_task("neurogym", settings).batch("train", 2)
    assert "\n" not in str(caught.value)


def test_it_is_trained_and_analysed_and_opens_without_neurogym(
    fake: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "x.pt"
    task = make_task("neurogym", LINE)
    config = TrainConfig(steps=150, lr=1e-2, eval_every=75)
    made = train("gru", task, path, config=config)
    assert made.score["score"] > made.baseline["score"] + 0.02
    assert made.task["config"] == {
        **{"id": "TrialEnv-v0", "arguments": "", "stretch": 1},
        **{"length": 9, "inputs": 3, "outputs": 3, "answer": "class"},
    }
    assert made.libraries["neurogym"] == "0.0"
    model = load(path)
    profile = gradient_profile(model, task.batch("test", 8))
    assert profile["G"].notnull().all()
    record(model, task, tmp_path / "a.h5", trials=70)
    kept = read(tmp_path / "a.h5")
    assert kept["period"].dims == ("trial", "time")
    assert kept["trial_choice"].dims == ("trial",)
    own = load_checkpoint(path).build_task()
    spread = sigma_ood([model, load(path)], {"longer": own.longer(2)}, sequences=16)
    assert spread["sigma_ood"].values.max() == 0
    _clear()
    monkeypatch.setitem(sys.modules, "neurogym", None)
    model = load(path)
    assert model(torch.zeros(1, 9, 3))[0].shape == (1, 9, 3)
    assert own.spec == model.spec
    assert own.length == 9
    with pytest.raises(UsageError, match="task 'neurogym' needs another package"):
        load_checkpoint(path).build_task().batch("test", 2)


def test_where_it_is_missing_a_line_says_what_to_install(absent: None) -> None:
    with pytest.raises(UsageError, match=r"^task 'neurogym' needs another package \([^\n]*: pip i"):
        make_task("neurogym").batch("train", 2)


# What neurogym 2.3.1 registers and cannot be learned from ground truth.
SKIPPED = {
    *("Bandit-v0", "EconomicDecisionMaking-v0", "DawTwoStep-v0", "Null-v0"),
    *("AnnubesEnv-v0", "perceptualdecisionmaking.ibl20-v0"),
}
UNSEEDED = {"HierarchicalReasoning-v0"}
# Their ground truth is an angle, which neurogym cuts down to an integer that is no action.
ANGLES = {"Reaching1D-v0", "Reaching1DWithSelfDistraction-v0"}


def _adapts(name: str) -> bool | None:
    """Say whether an environment draws trials, and those of the seed; None if it draws none."""
    try:
        environments = [Environment(name, {}) for _ in range(9)]
        for environment in environments:
            environment.seed(5)
        trials = [environments[0].trial() for _ in range(64)]
    except SeqprobeError as error:
        assert "\n" not in str(error)
        return None
    return all(draws_alike(environment, trials) for environment in environments[1:])


@pytest.mark.slow
@needs_data("neurogym")
def test_all_environments_adapt_or_say_why_not() -> None:
    names = importlib.import_module("neurogym.envs.registration").ALL_EXTENDED_ENVS
    adapted = {name: _adapts(name) for name in names}
    assert len(names) == 52
    assert {name for name, same in adapted.items() if same is None} == SKIPPED
    assert {name for name, same in adapted.items() if same is False} == UNSEEDED
    assert list(adapted.values()).count(True) == 45
    usable = [name for name in sorted(names) if _is_usable(make_task("neurogym", {"id": name}))]
    assert set(names) - set(usable) == SKIPPED | ANGLES | UNSEEDED
    still = {name for name in usable if not _is_longer(make_task("neurogym", {"id": name}))}
    assert still == {"ToneDetection-v0"}  # its noise has a fixed length


def _is_longer(task: Task) -> bool:
    try:
        length = task.longer(2).length
    except NotApplicableError as error:
        assert "makes no trial with its durations times 2" in str(error)
        return False
    return length > task.length


def _is_usable(task: Task) -> bool:
    try:
        task = task.pinned()
    except SeqprobeError as error:
        assert "\n" not in str(error)
        return False
    batch = task.batch("train", 16)
    assert batch.mask is not None
    assert batch.inputs.shape == (16, task.length, task.spec.input_size)
    period = task.conditions(batch)["period"].values
    assert not (period >= 0)[~batch.mask].any()
    again = make_task("neurogym", {"id": task.config.id}).batch("train", 16)
    assert torch.equal(batch.inputs, again.inputs)
    assert torch.equal(batch.targets, again.targets)
    constant, by_time = task.chance, task.baseline().score
    assert not task.metric.improves(
        constant, by_time + (1e-2 if task.metric.better == "higher" else -1e-2)
    )
    return True
