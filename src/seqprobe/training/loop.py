"""Task x model x seed -> checkpoint."""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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
from seqprobe.files import check_output
from seqprobe.models import ModelConfig, architecture, build_model
from seqprobe.seeding import torch_seeded
from seqprobe.tasks import Task
from seqprobe.training.checkpoint import Checkpoint, load_checkpoint, read_tensors, write_tensors
from seqprobe.training.config import TrainConfig, Until
from seqprobe.training.evaluate import evaluate
from seqprobe.training.recipe import Recipe, check_same

__all__ = ["RESUME_SUFFIX", "Progress", "train"]

RESUME_FORMAT = "seqprobe.resume"
RESUME_SUFFIX = ".resume.pt"
_DECAYED = ("weight", "weight_ih", "weight_hh", "direction")
_FINAL_RATE = 0.01  # of the peak, at the end of the cosine


@dataclass(frozen=True)
class Progress:
    """What is known after one update.

    Attributes
    ----------
    step, steps
        Updates done, and the most there will be.
    loss
        Training loss of this update.
    score
        Last validation score.
    """

    step: int
    steps: int
    loss: float
    score: float


class Trainer:
    """One training run: its weights, its optimiser, and where it is.

    Parameters
    ----------
    recipe
        What to train.
    path
        Where the checkpoint goes.
    device
        Where to train.
    """

    def __init__(self, recipe: Recipe, path: Path, device: torch.device) -> None:
        self.recipe = recipe
        self.path = path
        self.resume_path = path.with_suffix(RESUME_SUFFIX)
        self.device = device
        self.model = build_model(
            recipe.model, recipe.task.spec, recipe.model_config, seed=recipe.seed
        ).to(device)
        named = list(self.model.named_parameters())
        decayed = [p for name, p in named if _decays(name, p)]
        others = [p for name, p in named if not _decays(name, p)]
        self.optimizer = torch.optim.AdamW(
            [
                {"params": decayed, "weight_decay": recipe.config.weight_decay},
                {"params": others, "weight_decay": 0.0},
            ]
        )
        self.step = 0
        self.best_step = 0
        self.best_weights: dict[str, Tensor] = {}
        self.best: dict[str, Any] = {"score": math.nan}
        self.history: list[dict[str, float]] = []

    def run(self, on_step: Callable[[Progress], None] | None = None) -> Checkpoint:
        """Train until a stopping rule holds; see `train`."""
        task, config = self.recipe.task, self.recipe.config
        if not self.history:
            self.validate(loss=math.nan)
        self.model.train()
        while self.step < config.steps and not self.reached():
            batch = task.batch("train", config.batch, seed=self.recipe.seed, index=self.step)
            batch = batch.to(self.device)
            for group in self.optimizer.param_groups:
                group["lr"] = learning_rate(self.step, config)

            loss = task.loss(self.model(batch.inputs)[0], batch)
            self.stop_if_diverged("loss", loss.item())
            self.optimizer.zero_grad(set_to_none=True)
            loss.backward()
            norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), config.clip)
            self.stop_if_diverged("gradient norm", norm.item())
            self.optimizer.step()
            self.step += 1

            if self.step % config.eval_every == 0 or self.step == config.steps:
                self.validate(loss.item())
                self.checkpoint("training", f"not yet, at update {self.step}").save(self.path)
                self.save()
            if on_step is not None:
                score = self.history[-1]["score"]
                on_step(Progress(self.step, config.steps, loss.item(), score))
        checkpoint = self.checkpoint("complete", self.why_stopped())
        checkpoint.save(self.path)
        return checkpoint

    def validate(self, loss: float) -> None:
        """Score the present weights and keep them if they are the best so far."""
        scored = evaluate(self.model, self.recipe.task, "valid")
        self.stop_if_diverged(f"validation {scored['metric']}", scored["score"])
        self.history.append({"step": self.step, "loss": loss, "score": scored["score"]})
        if not self.best_weights or self.recipe.task.metric.improves(
            scored["score"], self.best["score"]
        ):
            self.best, self.best_step = scored, self.step
            self.best_weights = _copied(self.model.state_dict())

    def reached(self) -> bool:
        """Say whether the stopping threshold is met by the best weights."""
        until = self.recipe.until
        metric = self.recipe.task.metric
        return until is not None and metric.reaches(self.best["score"], until.threshold)

    def why_stopped(self) -> str:
        """Return the stopping rule that ended the run."""
        until = self.recipe.until
        if until is not None and self.reached():
            return f"{until.metric} reached {until.threshold:g} at update {self.step}"
        return f"train.steps = {self.recipe.config.steps} done"

    def stop_if_diverged(self, what: str, value: float) -> None:
        """Raise if a number is not finite, keeping the best weights if a validation saw any."""
        if math.isfinite(value):
            return
        kept = "no checkpoint was written"
        if len(self.history) > 1:
            self.checkpoint("diverged", f"{what} {value} at update {self.step}").save(self.path)
            kept = f"'{self.path}' keeps the best weights, of update {self.best_step}"
        self.resume_path.unlink(missing_ok=True)
        raise DivergedError(
            f"{what} became {value} at update {self.step}; {kept};"
            f" try a smaller train.lr (it was {self.recipe.config.lr:g})"
        )

    def interrupted(self) -> InterruptedRunError:
        """Return the error that says how to go on."""
        how = "before the first validation, so that nothing was kept"
        if self.resume_path.exists():
            saved = self.history[-1]["step"]
            how = f"the same call with --resume goes on from update {saved}"
        return InterruptedRunError(f"interrupted at update {self.step}; {how}")

    def checkpoint(self, status: str, stopped: str) -> Checkpoint:
        """Return the best weights with all that is known about them."""
        task = self.recipe.task
        baseline = task.baseline()
        metrics = {"valid": self.best}
        if status != "training":
            present = _copied(self.model.state_dict())
            self.model.load_state_dict(self.best_weights)
            metrics["test"] = evaluate(self.model, task, "test")
            self.model.load_state_dict(present)
        return Checkpoint(
            **self.recipe.as_dict(),
            step=self.best_step,
            status=status,
            stopped=stopped,
            metrics=metrics,
            chance=task.chance,
            baseline={"name": baseline.name, "score": baseline.score},
            solved="test" in metrics and task.solved(metrics["test"]["score"]),
            history=self.history,
            weights={name: weight.cpu() for name, weight in self.best_weights.items()},
        )

    def save(self) -> None:
        """Write what `restore` needs to go on."""
        cuda = self.device.type == "cuda"
        content = {
            "format": RESUME_FORMAT,
            "recipe": self.recipe.as_dict(),
            "step": self.step,
            "best": self.best,
            "best_step": self.best_step,
            "best_weights": self.best_weights,
            "history": self.history,
            "weights": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "generator": torch.get_rng_state(),
            "generator_cuda": torch.cuda.get_rng_state(self.device) if cuda else None,
        }
        write_tensors(content, self.resume_path)

    def restore(self) -> None:
        """Go back to where `save` was called.

        Raises
        ------
        UsageError
            If the file belongs to a run with other settings.
        UnreadableFileError
            If it is damaged or not a resume file.
        """
        content = read_tensors(self.resume_path)
        if content.get("format") != RESUME_FORMAT:
            raise UnreadableFileError(f"'{self.resume_path}' is not a resume file of seqprobe")
        try:
            check_same(content["recipe"], self.recipe.as_dict(), self.resume_path)
            self._restore(content)
        except UsageError:
            raise
        except Exception as error:  # whatever a damaged file provokes, it is one line
            raise UnreadableFileError(
                f"'{self.resume_path}' is damaged ({type(error).__name__}: {error});"
                " start again with --overwrite"
            ) from None

    def _restore(self, content: dict[str, Any]) -> None:
        self.model.load_state_dict(content["weights"])
        self.optimizer.load_state_dict(content["optimizer"])
        for name, kind in (("step", int), ("best", dict), ("best_step", int), ("history", list)):
            if type(content[name]) is not kind:
                raise TypeError(f"{name} must be of type {kind.__name__}")
            setattr(self, name, content[name])
        self.best_weights = {k: w.to(self.device) for k, w in content["best_weights"].items()}
        torch.set_rng_state(content["generator"])
        if content["generator_cuda"] is not None and self.device.type == "cuda":
            torch.cuda.set_rng_state(content["generator_cuda"], self.device)


def train(
    model: str,
    task: Task,
    path: str | os.PathLike[str],
    *,
    model_config: ModelConfig | None = None,
    config: TrainConfig | None = None,
    until: Until | None = None,
    seed: int = 0,
    device: torch.device | None = None,
    resume: bool = False,
    keep_resume: bool = False,
    overwrite: bool = False,
    on_step: Callable[[Progress], None] | None = None,
) -> Checkpoint:
    """Train a model on a task and keep its best weights.

    The file at `path` holds the weights with the best validation score; beside it, until training
    is complete, ``<name>.resume.pt`` holds what is needed to go on. Both are written at every
    validation. The same call with ``resume=True`` after a kill ends with the same bytes as an
    undisturbed run, on the same machine with the same number of threads.

    Parameters
    ----------
    model
        Name of the architecture.
    task
        The task.
    path
        Where the checkpoint goes, ``*.pt``.
    model_config, config
        Settings of model and training; defaults if None.
    until
        Stop once the validation score is this good.
    seed
        Seed of weights, data order and dropout.
    device
        Where to train; None for the CPU.
    resume
        Go on from ``<name>.resume.pt`` if it is there; return the checkpoint if it is complete.
    keep_resume
        Keep the resume file at the end.
    overwrite
        Replace an existing checkpoint.
    on_step
        Called after every update.

    Returns
    -------
    Checkpoint
        As written, with the score on the test split.

    Raises
    ------
    UsageError
        If the file exists, or ``resume`` finds a run with other settings.
    NotApplicableError
        If the model looks ahead and the task asks for later inputs.
    DivergedError
        If the loss is not finite; the last good checkpoint stays.
    InterruptedRunError
        On Ctrl-C; the run can be resumed from its last validation.
    """
    path = check_output(path, (".pt",))
    if path.suffix != ".pt" or path.name.endswith(RESUME_SUFFIX):
        raise UsageError(f"cannot write '{path}': a checkpoint is named *.pt, not *{RESUME_SUFFIX}")
    entry = architecture(model)
    config = config or TrainConfig()
    if config.lr is None:
        config = dataclasses.replace(config, lr=entry.learning_rate)
    task = task.pinned()
    recipe = Recipe(
        model, model_config or from_mapping(entry.config, {}, "model"), task, config, until, seed
    )
    if task.next_step and entry.directions == 2:
        raise NotApplicableError(
            f"'{model}' reads the future, where the answers of task '{task.name}' are;"
            f" use '{model.removeprefix('bi-')}'"
        )
    trainer = Trainer(recipe, path, device or torch.device("cpu"))
    interrupted = resume and trainer.resume_path.exists()
    if path.exists() and not interrupted:
        if resume:
            return _finished(path, recipe)
        if not overwrite:
            raise UsageError(
                f"'{path}' exists; go on with --resume, or replace it with --overwrite"
            )
    with torch_seeded(seed, "dropout"):
        if interrupted:
            trainer.restore()
        else:
            trainer.resume_path.unlink(missing_ok=True)  # of an older run, with other settings
        try:
            checkpoint = trainer.run(on_step)
        except KeyboardInterrupt:
            raise trainer.interrupted() from None
    if keep_resume:
        trainer.save()
    else:
        trainer.resume_path.unlink(missing_ok=True)
    return checkpoint


def learning_rate(step: int, config: TrainConfig) -> float:
    """Return the learning rate of an update, counted from 0."""
    assert config.lr is not None  # `train` fills it in; the optional is for the user
    rate = config.lr * min(1.0, (step + 1) / max(1, config.warmup))
    if config.schedule == "cosine":
        done = step / max(1, config.steps)
        rate *= _FINAL_RATE + (1 - _FINAL_RATE) * (1 + math.cos(math.pi * done)) / 2
    return rate


def _finished(path: Path, recipe: Recipe) -> Checkpoint:
    """Return the complete checkpoint that ``--resume`` found nothing left to do for."""
    checkpoint = load_checkpoint(path)
    found = {name: getattr(checkpoint, name) for name in recipe.as_dict()}
    check_same(found, recipe.as_dict(), path)
    if checkpoint.status == "diverged":
        raise DivergedError(
            f"'{path}' diverged: {checkpoint.stopped}; start again with --overwrite"
        )
    if checkpoint.status != "complete":
        raise UsageError(
            f"'{path}' is not complete and its resume file is gone; start again with --overwrite"
        )
    return checkpoint


def _decays(name: str, parameter: Tensor) -> bool:
    """Say whether weight decay applies: to weight matrices, not to biases, gains and poles."""
    return parameter.dim() > 1 and name.rpartition(".")[2] in _DECAYED


def _copied(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: weight.detach().clone() for name, weight in weights.items()}
