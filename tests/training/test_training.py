"""The loop learns, stops, resumes to the same bytes, and never leaves half a file."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from seqprobe.config import from_mapping
from seqprobe.errors import (
    DivergedError,
    InterruptedRunError,
    UnreadableFileError,
    UsageError,
)
from seqprobe.models import MODELS
from seqprobe.tasks import make_task
from seqprobe.training import Checkpoint, Progress, TrainConfig, Until, load_checkpoint, train
from seqprobe.training.optimizer import learning_rate

SHORT = {"delay": 2, "length": 12}


def fit(path: Path, *, model: str = "gru", until: str | None = None, **options: Any) -> Checkpoint:
    task = make_task("delay", options.pop("task", SHORT))
    config = {"steps": 40, "eval_every": 10, "batch": 16, "warmup": 5, **options.pop("config", {})}
    model_config = {"width": 12, **options.pop("model_config", {})}
    return train(
        model,
        task,
        path,
        model_config=from_mapping(MODELS[model].config, model_config, "model"),
        config=from_mapping(TrainConfig, config, "train"),
        until=None if until is None else Until.parse(until, task),
        **options,
    )


def stop_at(step: int) -> Callable[[Progress], None]:
    def on_step(now: Progress) -> None:
        if now.step == step:
            raise KeyboardInterrupt

    return on_step


@pytest.mark.parametrize("model", MODELS)
def test_every_model_learns_a_short_delay(model: str, tmp_path: Path) -> None:
    # Units that go a tenth of the way per step need long to learn to tell two steps apart.
    quick = {"tau": 1.0} if model.endswith("mup") else {}
    made = fit(
        tmp_path / "x.pt",
        model=model,
        until="nmse=0.05",
        config={"steps": 1500, "lr": 5e-3, "batch": 32, "schedule": "constant"},
        model_config={"width": 24, **quick},
    )
    assert made.metrics["test"]["score"] < 0.07
    assert made.stopped.startswith("nmse reached 0.05 at update")
    assert made.metrics["valid"]["score"] <= 0.05


def test_the_best_weights_are_kept_not_the_last(tmp_path: Path) -> None:
    made = fit(tmp_path / "x.pt", config={"lr": 0.03, "schedule": "constant", "steps": 60})
    scores = {entry["step"]: entry["score"] for entry in made.history}
    assert made.step == min(scores, key=lambda step: scores[step])
    assert made.metrics["valid"]["score"] == scores[made.step]


def test_checkpoint_says_everything(tmp_path: Path) -> None:
    path = tmp_path / "x.pt"
    made = fit(path, seed=3)
    read = load_checkpoint(path)
    assert read.model == {"name": "gru", "config": {"width": 12, "layers": 1, "embedding": None,
                                                     "reset": "after"}}  # fmt: skip
    assert read.task == {"name": "delay", "config": {"length": 12, "delay": 2}}
    assert read.seed == 3
    assert read.status == "complete"
    assert read.stopped == "train.steps = 40 done"
    assert read.train["lr"] == MODELS["gru"].learning_rate
    assert read.libraries["torch"] == torch.__version__
    assert read.params == made.params == sum(p.numel() for p in read.build_model().parameters())
    assert not list(tmp_path.glob("*.resume.pt"))
    assert not list(tmp_path.glob("*.part"))


def test_same_seed_same_bytes(tmp_path: Path) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        fit(tmp_path / f"{name}.pt", seed=seed)
    a, b, c = ((tmp_path / f"{name}.pt").read_bytes() for name in "abc")
    assert a == b
    assert a != c


@pytest.mark.parametrize("step", [1, 10, 11, 25, 39])
@pytest.mark.parametrize("model", ["gru", "transformer"])
def test_resumed_run_ends_with_the_same_bytes(model: str, step: int, tmp_path: Path) -> None:
    dropout = {"dropout": 0.3} if model == "transformer" else {}
    whole, broken = tmp_path / "whole.pt", tmp_path / "broken.pt"
    fit(whole, model=model, model_config=dropout)
    kept = "--resume goes on from" if step > 10 else "before the first validation"
    with pytest.raises(InterruptedRunError, match=f"interrupted at update {step}; .*{kept}"):
        fit(broken, model=model, model_config=dropout, on_step=stop_at(step))
    fit(broken, model=model, model_config=dropout, resume=True)
    assert broken.read_bytes() == whole.read_bytes()


def test_resume_of_a_complete_run_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "x.pt"
    made = fit(path)
    before = path.stat().st_mtime_ns
    again = fit(path, resume=True)
    assert again.metrics == made.metrics
    assert path.stat().st_mtime_ns == before


def test_kept_optimiser_lets_an_open_ended_run_go_on(tmp_path: Path) -> None:
    config = {"schedule": "constant", "steps": 20}
    fit(tmp_path / "x.pt", config=config, keep_resume=True)
    fit(tmp_path / "x.pt", config={**config, "steps": 40}, resume=True)
    fit(tmp_path / "whole.pt", config={**config, "steps": 40})
    assert (tmp_path / "x.pt").read_bytes() == (tmp_path / "whole.pt").read_bytes()


def test_a_cosine_run_does_not_go_on_past_its_end(tmp_path: Path) -> None:
    fit(tmp_path / "x.pt", keep_resume=True)
    with pytest.raises(UsageError, match=r"was made with train\.steps = 40, not 60"):
        fit(tmp_path / "x.pt", config={"steps": 60}, resume=True)


def test_a_new_run_drops_the_resume_file_of_an_old_one(tmp_path: Path) -> None:
    path = tmp_path / "x.pt"
    with pytest.raises(InterruptedRunError):
        fit(path, on_step=stop_at(25))
    with pytest.raises(InterruptedRunError, match="nothing was kept"):
        fit(path, config={"batch": 8}, overwrite=True, on_step=stop_at(5))
    assert not (tmp_path / "x.resume.pt").exists()


@pytest.mark.parametrize("name", ["x.resume.pt", "x.PT"])
def test_checkpoint_names_are_kept_apart_from_resume_files(name: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"a checkpoint is named \*\.pt"):
        fit(tmp_path / name)


@pytest.mark.parametrize("key", ["recipe", "weights", "optimizer", "generator", "history"])
def test_damaged_resume_file_gets_one_line(key: str, tmp_path: Path) -> None:
    path = tmp_path / "x.pt"
    with pytest.raises(InterruptedRunError):
        fit(path, on_step=stop_at(25))
    content = torch.load(tmp_path / "x.resume.pt", weights_only=True)
    for value in ("no", dict[str, int]()):
        torch.save({**content, key: value}, tmp_path / "x.resume.pt")
        with pytest.raises((UnreadableFileError, UsageError)) as caught:
            fit(path, resume=True)
        assert "x.resume.pt" in str(caught.value)


def test_only_matrices_decay(tmp_path: Path) -> None:
    from seqprobe.training.loop import Trainer
    from seqprobe.training.recipe import Recipe

    forms: list[tuple[str, dict[str, object]]] = [("lstm", {"peephole": True})]
    forms += [(name, {}) for name in ("tcn", "transformer", "s4d", "mamba", "leaky")]
    for name, config in forms:
        settings = from_mapping(MODELS[name].config, config, "model")
        recipe = Recipe(name, settings, make_task("delay"), TrainConfig(weight_decay=0.1), None, 0)
        trainer = Trainer(recipe, tmp_path / "x.pt", torch.device("cpu"))
        decayed = {id(p) for p in trainer.optimizer.param_groups[0]["params"]}
        names = {n for n, p in trainer.model.named_parameters() if id(p) in decayed}
        assert names
        assert all(n.split(".")[-1].startswith(("weight", "direction")) for n in names)
        assert not any("norm" in n for n in names)


def test_existing_checkpoint_is_not_lost(tmp_path: Path) -> None:
    path = tmp_path / "x.pt"
    fit(path)
    with pytest.raises(UsageError, match="exists; go on with --resume, or replace it"):
        fit(path, seed=1)
    fit(path, seed=1, overwrite=True)
    assert load_checkpoint(path).seed == 1


def test_resume_with_other_settings_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.pt"
    with pytest.raises(InterruptedRunError):
        fit(path, on_step=stop_at(25))
    with pytest.raises(UsageError, match=r"was made with train\.batch = 16, not 32"):
        fit(path, config={"batch": 32}, resume=True)
    with pytest.raises(UsageError, match="was made with seed = 0, not 4"):
        fit(path, seed=4, resume=True)
    (tmp_path / "x.resume.pt").unlink()
    with pytest.raises(UsageError, match="is not complete and its resume file is gone"):
        fit(path, resume=True)


EXPLODING = {"lr": 1e30, "clip": 1e30, "schedule": "constant", "warmup": 0}


def test_diverging_loss_keeps_the_last_good_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def rate(step: int, config: TrainConfig) -> float:
        return 1e-3 if step < 25 else 1e30

    monkeypatch.setattr("seqprobe.training.recipe.learning_rate", rate)
    path = tmp_path / "x.pt"
    with pytest.raises(DivergedError, match=r"became \S+ at update 26; .* best weights, of update"):
        fit(path, model="tcn", config={"clip": 1e30})
    kept = load_checkpoint(path)
    assert kept.status == "diverged"
    assert kept.step in (10, 20)
    assert all(torch.isfinite(w).all() for w in kept.weights.values())
    assert list(tmp_path.iterdir()) == [path]
    with pytest.raises(DivergedError, match=r"diverged: .*; start again with --overwrite"):
        fit(path, model="tcn", config={"clip": 1e30}, resume=True)


@pytest.mark.parametrize("steps", [1, 40])
def test_divergence_before_the_first_validation_writes_nothing(steps: int, tmp_path: Path) -> None:
    config = {**EXPLODING, "eval_every": 1000, "steps": steps}
    with pytest.raises(DivergedError, match="no checkpoint was written"):
        fit(tmp_path / "x.pt", model="tcn", config=config)
    assert list(tmp_path.iterdir()) == []


def test_no_steps_keeps_untrained_weights(tmp_path: Path) -> None:
    made = fit(tmp_path / "x.pt", config={"steps": 0})
    assert made.step == 0
    assert made.status == "complete"
    assert not made.solved


def test_gradient_is_clipped_after_the_backward_pass(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    norms = []
    clip = torch.nn.utils.clip_grad_norm_

    def spy(parameters: Any, limit: float) -> torch.Tensor:
        parameters = list(parameters)
        norms.append(clip(parameters, limit).item())
        grads = [p.grad.flatten() for p in parameters if p.grad is not None]
        after: torch.Tensor = torch.linalg.vector_norm(torch.cat(grads))
        assert after <= limit * 1.001
        return after

    monkeypatch.setattr(torch.nn.utils, "clip_grad_norm_", spy)
    fit(tmp_path / "x.pt", config={"steps": 3, "clip": 1e-3})
    assert len(norms) == 3
    assert min(norms) > 1e-3  # so that the limit acted each time


def test_schedule_rises_and_falls() -> None:
    config = TrainConfig(steps=100, lr=1.0, warmup=10)
    rates = [learning_rate(step, config) for step in range(100)]
    assert rates[0] == pytest.approx(0.1, rel=1e-2)
    assert max(rates) == pytest.approx(rates[9], rel=0.03)
    assert rates[-1] == pytest.approx(0.01, abs=0.002)
    constant = TrainConfig(steps=100, lr=1.0, warmup=0, schedule="constant")
    assert {learning_rate(step, constant) for step in range(100)} == {1.0}


@pytest.mark.parametrize("text", ["nmse", "accuracy=0.9", "nmse=low", "nmse=nan", "=0.1"])
def test_stopping_rule_must_be_the_task_s(text: str) -> None:
    with pytest.raises(UsageError, match=r"scored by 'nmse' \(allowed: nmse=NUMBER\)"):
        Until.parse(text, make_task("delay"))


@pytest.mark.slow
def test_killed_command_resumes_to_the_same_bytes(tmp_path: Path) -> None:
    """SIGKILL a real process at arbitrary moments until it gets through."""
    arguments = [sys.executable, "-m", "seqprobe", "train", "gru", "delay", "--steps", "300"]
    arguments += ["--set", "train.eval_every=20", "--set", "model.width=16", "--device", "cpu"]
    whole = [*arguments, "-o", str(tmp_path / "whole.pt")]
    subprocess.run(whole, check=True, capture_output=True)
    broken = [*arguments, "-o", str(tmp_path / "broken.pt"), "--resume"]
    kills = 0
    for attempt in range(40):
        process = subprocess.Popen(broken, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(2.5 + 0.05 * attempt**2)  # a busy machine needs seconds to get anywhere
        if process.poll() is not None:
            break
        process.send_signal(signal.SIGKILL)
        process.wait()
        kills += 1
        for path in tmp_path.glob("broken.pt"):
            load_checkpoint(path)
    assert kills >= 2
    assert process.returncode == 0
    assert (tmp_path / "broken.pt").read_bytes() == (tmp_path / "whole.pt").read_bytes()
