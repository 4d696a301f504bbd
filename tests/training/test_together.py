"""Seeds trained together: each has the run that it has alone."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from seqprobe.config import from_mapping
from seqprobe.errors import (
    DivergedError,
    InterruptedRunError,
    NotApplicableError,
    UnreadableFileError,
    UsageError,
)
from seqprobe.models import MODELS, Together, build_model
from seqprobe.tasks import Task, make_task
from seqprobe.training import (
    Checkpoint,
    Progress,
    Recipe,
    TrainConfig,
    Until,
    load_checkpoint,
    seconds_per_update,
    train,
    train_together,
)
from seqprobe.training.optimizer import clip_each
from seqprobe.training.record import Record

# Sums in float32 in another order, over 200 updates: measured below 3e-7, as nn.RNN against a loop.
CLOSE = 1e-6


def settings(model: str, task: Task, **options: Any) -> dict[str, Any]:
    config = {"steps": 40, "eval_every": 10, "batch": 8, "warmup": 5, **options.pop("config", {})}
    model_config = {"width": 12, **options.pop("model_config", {})}
    until, patience = options.pop("until", None), options.pop("patience", 1)
    return {
        "model": model,
        "task": task,
        "model_config": from_mapping(MODELS[model].config, model_config, "model"),
        "config": from_mapping(TrainConfig, config, "train"),
        "until": None if until is None else Until.parse(until, task, patience),
        **options,
    }


def short() -> Task:
    return make_task("delay", {"delay": 2, "length": 12})


def group(
    folder: Path, seeds: tuple[int, ...] = (0, 1, 2), model: str = "gru", **options: Any
) -> dict[int, Checkpoint | DivergedError]:
    folder.mkdir(exist_ok=True)
    task = options.pop("task", None) or short()
    paths = {seed: folder / f"{seed}.pt" for seed in seeds}
    arguments = settings(model, task, **options)
    return train_together(paths=paths, resume_path=folder / "group.resume.pt", **arguments)


def stop_at(step: int) -> Callable[[dict[int, Progress]], None]:
    def on_step(now: dict[int, Progress]) -> None:
        if next(iter(now.values())).step == step:
            raise KeyboardInterrupt

    return on_step


FORMS = [
    ("rnn", {}, "delay"),
    ("irnn", {}, "delay"),
    ("leaky", {}, "delay"),
    ("leaky", {"form": "outside", "self_loops": True}, "delay"),
    ("mup", {"gamma": 3.0}, "recall"),
    ("gru", {}, "delay"),
    ("gru", {"layers": 2}, "delay"),
    ("gru", {"reset": "before"}, "recall"),
    ("lstm", {}, "delay"),
    ("lstm", {"peephole": True, "cifg": True}, "recall"),
    ("lstm", {}, "mqar"),
]
TASKS: dict[str, dict[str, Any]] = {
    "delay": {"delay": 2, "length": 12},
    "recall": {"delay": 2, "length": 12},
    "mqar": {"pairs": 2, "min_pairs": 1, "length": 16},
}


@pytest.mark.parametrize(("model", "config", "task"), FORMS)
def test_losses_of_a_group_are_those_of_single_runs(
    model: str, config: dict[str, Any], task: str, tmp_path: Path
) -> None:
    problem = make_task(task, TASKS[task])
    together: dict[int, list[float]] = {0: [], 1: [], 5: []}

    def on_step(now: dict[int, Progress]) -> None:
        for seed, progress in now.items():
            together[seed].append(progress.loss)

    common: dict[str, Any] = {
        "model_config": config,
        "config": {"steps": 200, "eval_every": 100},
    }
    made = group(tmp_path, tuple(together), model, task=problem, on_step=on_step, **common)
    for seed, losses in together.items():
        single: list[float] = []
        alone = train(
            path=tmp_path / f"alone{seed}.pt",
            seed=seed,
            on_step=lambda now, single=single: single.append(now.loss),  # type: ignore[misc]
            **settings(model, problem, **common),
        )
        assert len(losses) == 200
        assert losses == pytest.approx(single, rel=CLOSE, abs=CLOSE)
        own = made[seed]
        assert isinstance(own, Checkpoint)
        assert own.history[0]["score"] == alone.history[0]["score"]  # the same initial weights
        for field in ("model", "task", "spec", "train", "seed", "step", "stopped", "baseline"):
            assert getattr(own, field) == getattr(alone, field)
        for name, weight in alone.weights.items():
            torch.testing.assert_close(own.weights[name], weight, rtol=0, atol=1e-4)


def test_every_seed_stops_when_it_does_alone(tmp_path: Path) -> None:
    config = {"steps": 400, "eval_every": 1, "lr": 0.02, "schedule": "constant"}
    common: dict[str, Any] = {"config": config, "until": "nmse=0.2", "model": "rnn"}
    made = group(tmp_path, (0, 1, 2, 3), **common)
    ends = []
    for seed, own in made.items():
        alone = train(
            path=tmp_path / "x.pt", seed=seed, overwrite=True, **settings(task=short(), **common)
        )
        assert isinstance(own, Checkpoint)
        assert abs(own.history[-1]["step"] - alone.history[-1]["step"]) <= 1
        assert own.stopped.startswith("nmse reached 0.2 at update")
        ends.append(own.step)
        # The weights are of the stop, not of what the others did afterwards.
        assert own.history[-1]["step"] == own.step
    assert len(set(ends)) > 2
    assert not (tmp_path / "group.resume.pt").exists()


def test_a_seed_does_not_depend_on_its_group(tmp_path: Path) -> None:
    groups = [(0, 1, 2, 3, 4), (3, 1), (1,)]
    made = [group(tmp_path / str(i), seeds)[1] for i, seeds in enumerate(groups)]
    first = made[0]
    assert isinstance(first, Checkpoint)
    for other in made[1:]:
        assert isinstance(other, Checkpoint)
        for entry, wanted in zip(other.history, first.history, strict=True):
            assert entry == pytest.approx(wanted, rel=CLOSE, abs=CLOSE, nan_ok=True)


@pytest.mark.parametrize("step", [1, 10, 11, 25, 35])  # of leaky, two have ended before 35
@pytest.mark.parametrize("model", ["gru", "leaky"])
def test_a_resumed_group_ends_with_the_same_bytes(model: str, step: int, tmp_path: Path) -> None:
    common: dict[str, Any] = {
        "model": model,
        "config": {"steps": 90, "lr": 0.01, "schedule": "constant"},
        "until": "nmse=0.35",
    }
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    made = group(whole, **common)
    kept = "goes on from update" if step > 10 else "before the first validation"
    with pytest.raises(InterruptedRunError, match=f"interrupted at update {step}; .*{kept}"):
        group(broken, on_step=stop_at(step), **common)
    again = group(broken, resume=True, **common)
    assert list(again) == list(made) == [0, 1, 2]
    for seed in made:
        assert (broken / f"{seed}.pt").read_bytes() == (whole / f"{seed}.pt").read_bytes()
    assert sorted(path.name for path in broken.iterdir()) == ["0.pt", "1.pt", "2.pt"]


def test_a_complete_group_is_returned(tmp_path: Path) -> None:
    made = group(tmp_path)
    before = (tmp_path / "1.pt").stat().st_mtime_ns
    again = group(tmp_path, resume=True)
    for seed, own in made.items():
        there = again[seed]
        assert isinstance(own, Checkpoint)
        assert isinstance(there, Checkpoint)
        assert there.metrics == own.metrics
    assert (tmp_path / "1.pt").stat().st_mtime_ns == before
    with pytest.raises(UsageError, match="exists; go on with --resume, or delete it"):
        group(tmp_path)
    with pytest.raises(UsageError, match=r"was made with train\.batch = 8, not 4"):
        group(tmp_path, resume=True, config={"batch": 4})


def test_a_group_without_resume_file_starts_again(tmp_path: Path) -> None:
    group(tmp_path)
    bytes_before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    (tmp_path / "1.pt").unlink()
    group(tmp_path, resume=True)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == bytes_before


@pytest.mark.parametrize("key", ["recipe", "weights", "optimizer", "records", "seeds", "step"])
def test_a_damaged_group_gets_one_line(key: str, tmp_path: Path) -> None:
    with pytest.raises(InterruptedRunError):
        group(tmp_path, on_step=stop_at(15))
    file = tmp_path / "group.resume.pt"
    content = torch.load(file, weights_only=True)
    for value in ("no", dict[str, int]()):
        torch.save({**content, key: value}, file)
        with pytest.raises((UnreadableFileError, UsageError)) as caught:
            group(tmp_path, resume=True)
        assert "group.resume.pt" in str(caught.value)


def test_a_group_of_other_seeds_is_not_resumed(tmp_path: Path) -> None:
    with pytest.raises(InterruptedRunError):
        group(tmp_path, on_step=stop_at(15))
    with pytest.raises(UsageError, match=r"was made with seed = \[0, 1, 2\], not \[0, 1\]"):
        group(tmp_path, (0, 1), resume=True)
    with pytest.raises(UnreadableFileError, match="holds a group of seeds in training"):
        load_checkpoint(tmp_path / "group.resume.pt")


@pytest.mark.parametrize("when", [3, 25])
def test_a_diverging_seed_costs_only_itself(
    when: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = group(tmp_path / "whole", (0, 2))
    original, calls = Together.forward, 0

    def forward(self: Together, x: Tensor) -> Tensor:
        nonlocal calls
        calls += 1
        if calls == when + 1 and len(x) == 3:
            with torch.no_grad():
                self.get_parameter("head.weight")[1] = math.inf
        return original(self, x)

    monkeypatch.setattr(Together, "forward", forward)
    with pytest.raises(InterruptedRunError):
        group(tmp_path / "broken", on_step=stop_at(35))
    made = group(tmp_path / "broken", resume=True)
    error = made[1]
    assert isinstance(error, DivergedError)
    if when == 25:
        assert "keeps the best weights, of update" in str(error)
        assert load_checkpoint(tmp_path / "broken/1.pt").status == "diverged"
    else:
        assert "no checkpoint was written" in str(error)
        assert not (tmp_path / "broken/1.pt").exists()
    assert f"at update {when}; " in str(error)
    for seed, own in whole.items():
        there = made[seed]
        assert isinstance(own, Checkpoint)
        assert isinstance(there, Checkpoint)
        assert there.history[-1]["score"] == pytest.approx(own.history[-1]["score"], rel=1e-5)


def test_validations_are_told_once_they_are_saved(tmp_path: Path) -> None:
    seen: list[tuple[int, list[float]]] = []

    def on_validation(seed: int, history: list[dict[str, float]]) -> None:
        assert (tmp_path / f"{seed}.pt").exists() or (tmp_path / "group.resume.pt").exists()
        seen.append((seed, [entry["step"] for entry in history]))

    group(tmp_path, (4, 2), on_validation=on_validation, config={"steps": 20})
    assert seen == [(4, [0, 10]), (2, [0, 10]), (4, [0, 10, 20]), (2, [0, 10, 20])]
    seen.clear()
    common = settings("gru", short(), config={"steps": 20}, on_validation=on_validation)
    train(path=tmp_path / "2.pt", seed=2, overwrite=True, **common)
    assert seen == [(2, [0, 10]), (2, [0, 10, 20])]
    seen.clear()
    group(tmp_path / "none", (2, 4), on_validation=on_validation, config={"steps": 0})
    assert seen == [(2, [0]), (4, [0])]


def test_clipping_is_that_of_every_network_alone() -> None:
    spec = short().spec
    models = [build_model("gru", spec, {"width": 5}, seed=seed) for seed in range(3)]
    together = Together(models)
    generator = torch.Generator().manual_seed(0)
    for i, model in enumerate(models):
        for name, parameter in model.named_parameters():
            parameter.grad = 10.0 ** (i - 1) * torch.randn(parameter.shape, generator=generator)
            stacked = together.get_parameter(name)
            if stacked.grad is None:
                stacked.grad = torch.zeros_like(stacked)
            stacked.grad[i] = parameter.grad
    norms = clip_each(together.parameters(), 5.0)
    assert norms.min() < 5 < norms.max()  # one is left alone
    for i, model in enumerate(models):
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        torch.testing.assert_close(norms[i], norm, rtol=1e-6, atol=0)
        for name, parameter in model.named_parameters():
            stacked = together.get_parameter(name)
            assert stacked.grad is not None
            assert parameter.grad is not None
            own = stacked.grad[i].view_as(parameter)
            torch.testing.assert_close(own, parameter.grad, rtol=1e-6, atol=0)


def test_what_cannot_be_trained_together_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NotApplicableError, match="train them one after another"):
        group(tmp_path, model="tcn")
    with pytest.raises(UsageError, match="no seeds to train"):
        group(tmp_path, ())


@pytest.mark.parametrize("model", ["gru", "tcn"])
def test_timing_writes_nothing(model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    arguments = settings(model, short())
    recipe = Recipe.of(model, short(), arguments["model_config"], arguments["config"])
    for seeds in ([3], [0, 1]):
        assert 0 < seconds_per_update(recipe, seeds) < 5
    assert list(tmp_path.iterdir()) == []


# Patience.


def scored(scores: list[float], patience: int, tmp_path: Path) -> Record:
    recipe = Recipe.of("gru", short(), until=Until("nmse", 0.5, patience))
    record = Record(recipe, tmp_path / "x.pt")
    record.history = [{"step": i, "loss": 1.0, "score": score} for i, score in enumerate(scores)]
    return record


@pytest.mark.parametrize(
    ("scores", "patience", "reached"),
    [
        ([0.9, 0.5], 1, True),
        ([0.9, 0.4], 2, False),
        ([0.9, 0.4, 0.5], 2, True),
        ([0.4, 0.6, 0.4], 2, False),
        ([0.4], 2, False),
        ([0.4, 0.4, 0.6, 0.4, 0.4, 0.4], 3, True),
        ([0.4, math.nan], 1, False),
    ],
)
def test_patience_wants_good_validations_in_a_row(
    scores: list[float], patience: int, reached: bool, tmp_path: Path
) -> None:
    assert scored(scores, patience, tmp_path).reached() is reached


def test_patience_is_said_and_stored(tmp_path: Path) -> None:
    config = {"steps": 400, "lr": 0.01, "schedule": "constant"}
    common = settings("gru", short(), config=config, until="nmse=0.5", patience=3)
    made = train(path=tmp_path / "x.pt", **common)
    assert [entry["score"] <= 0.5 for entry in made.history[-4:]] == [False, True, True, True]
    end = int(made.history[-1]["step"])
    assert made.stopped == f"nmse reached 0.5 in 3 validations in a row at update {end}"
    assert load_checkpoint(tmp_path / "x.pt").train["until"]["patience"] == 3


def test_files_from_before_patience_go_on(tmp_path: Path) -> None:
    common = settings("gru", short(), until="nmse=0.0001")
    with pytest.raises(InterruptedRunError):
        train(
            path=tmp_path / "x.pt",
            on_step=lambda now: stop_at(15)({0: now}),
            **common,
        )
    for name in ("x.pt", "x.resume.pt"):
        content = torch.load(tmp_path / name, weights_only=True)
        old = content if name == "x.pt" else content["recipe"]
        del old["train"]["until"]["patience"]
        torch.save(content, tmp_path / name)
    assert load_checkpoint(tmp_path / "x.pt").train["until"] == {
        "metric": "nmse",
        "threshold": 0.0001,
    }
    assert train(path=tmp_path / "x.pt", resume=True, **common).status == "complete"
    with pytest.raises(UsageError, match=r"patience = 1, not 2"):
        train(
            path=tmp_path / "x.pt",
            resume=True,
            **settings("gru", short(), until="nmse=0.0001", patience=2),
        )
