"""Task x model x seed -> checkpoint."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from seqprobe.errors import DivergedError, InterruptedRunError, UsageError
from seqprobe.files import check_output
from seqprobe.models import ModelConfig, build_model
from seqprobe.seeding import torch_seeded
from seqprobe.tasks import Task
from seqprobe.training.checkpoint import Checkpoint, write_tensors
from seqprobe.training.config import TrainConfig, Until
from seqprobe.training.optimizer import adamw, decayed_names
from seqprobe.training.penalty import penalised
from seqprobe.training.recipe import Recipe
from seqprobe.training.record import Record
from seqprobe.training.resume import RESUME_SUFFIX, finished, restore

__all__ = ["Progress", "Trainer", "check_path", "train"]

RESUME_FORMAT = "seqprobe.resume"


@dataclass(frozen=True)
class Progress:
    """What is known after one update.

    Attributes
    ----------
    step, steps
        Updates done, and the most there will be.
    loss
        Training loss of this update, without penalties.
    score
        Last validation score, of an earlier update.
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
        self.optimizer = adamw(self.model, decayed_names(self.model), recipe.config.weight_decay)
        self.record = Record(recipe, path)
        self.step = 0

    def run(
        self,
        on_step: Callable[[Progress], None] | None = None,
        on_validation: Callable[[int, list[dict[str, float]]], None] | None = None,
    ) -> Checkpoint:
        """Train until a stopping rule holds; see `train`."""
        config, record = self.recipe.config, self.record
        if not record.history:
            record.validate(self.model, self.step, loss=math.nan)
        self.model.train()
        while self.step < config.steps and not record.reached():
            loss = self.update()
            if on_step is not None:
                on_step(Progress(self.step, config.steps, loss, record.score))
            if self.step % config.eval_every == 0 or self.step == config.steps:
                record.validate(self.model, self.step, loss)
                self.save()
                if on_validation is not None:
                    on_validation(self.recipe.seed, record.history)
        checkpoint = record.finish(self.model, self.step)
        if on_validation is not None and self.step == 0:  # saved only now
            on_validation(self.recipe.seed, record.history)
        return checkpoint

    def update(self) -> float:
        """Take one step of the optimiser and return the training loss of the task before it."""
        task, config = self.recipe.task, self.recipe.config
        batch = task.batch("train", config.batch, seed=self.recipe.seed, index=self.step)
        batch = batch.to(self.device)
        for group in self.optimizer.param_groups:
            group["lr"] = self.recipe.rate(self.step)
        loss: Tensor = task.loss(self.model(batch.inputs)[0], batch)
        self.record.check(self.model, self.step, "loss", loss.item())
        self.optimizer.zero_grad(set_to_none=True)
        penalised(loss, self.model, config).backward()
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), config.clip)
        self.record.check(self.model, self.step, "gradient norm", norm.item())
        self.optimizer.step()
        self.step += 1
        return loss.item()

    def interrupted(self) -> InterruptedRunError:
        """Return the error that says how to go on."""
        how = "before the first validation, so that nothing was kept"
        if self.resume_path.exists():
            saved = self.record.history[-1]["step"]
            how = f"the same call with --resume goes on from update {saved}"
        return InterruptedRunError(f"interrupted at update {self.step}; {how}")

    def save(self) -> None:
        """Write the best weights so far, and what `restore` needs to go on."""
        stopped = f"not yet, at update {self.step}"
        self.record.checkpoint(self.model, "training", stopped).save(self.path)
        self.save_resume()

    def save_resume(self) -> None:
        """Write what `restore` needs to go on."""
        cuda = self.device.type == "cuda"
        content = {
            "format": RESUME_FORMAT,
            "recipe": self.recipe.as_dict(),
            "step": self.step,
            **self.record.state(),
            "weights": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "generator": torch.get_rng_state(),
            "generator_cuda": torch.cuda.get_rng_state(self.device) if cuda else None,
        }
        write_tensors(content, self.resume_path)

    def restore(self) -> None:
        """Go back to where `save` was called; see `seqprobe.training.resume.restore`."""
        recipe, otherwise = self.recipe.as_dict(), "start again with --overwrite"
        restore(self.resume_path, RESUME_FORMAT, recipe, self._restore, otherwise)

    def _restore(self, content: dict[str, Any]) -> None:
        self.model.load_state_dict(content["weights"])
        self.optimizer.load_state_dict(content["optimizer"])
        if type(content["step"]) is not int:
            raise TypeError("step must be of type int")
        self.step = content["step"]
        self.record.restore(content, self.device)
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
    on_validation: Callable[[int, list[dict[str, float]]], None] | None = None,
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
        Called after every update, before the validation that may follow.
    on_validation
        Called with the seed and all validations so far, once the last of them is on disk.

    Returns
    -------
    Checkpoint
        As written, with the score on the test split.

    Raises
    ------
    UsageError
        If the file exists, or ``resume`` finds a run with other settings.
    NotApplicableError
        If the model looks ahead and the task asks for later inputs, or it has no weights that a
        penalty of `config` could act on.
    DivergedError
        If the loss is not finite; the last good checkpoint stays.
    InterruptedRunError
        On Ctrl-C; the run can be resumed from its last validation.
    """
    path = check_path(path)
    recipe = Recipe.of(model, task, model_config, config, until, seed=seed)
    trainer = Trainer(recipe, path, device or torch.device("cpu"))
    interrupted = resume and trainer.resume_path.exists()
    if path.exists() and not interrupted:
        if resume:
            return finished(path, recipe)
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
            checkpoint = trainer.run(on_step, on_validation)
        except KeyboardInterrupt:
            raise trainer.interrupted() from None
        except DivergedError:
            trainer.resume_path.unlink(missing_ok=True)
            raise
    if keep_resume:
        trainer.save_resume()
    else:
        trainer.resume_path.unlink(missing_ok=True)
    return checkpoint


def check_path(path: str | os.PathLike[str]) -> Path:
    """Refuse a checkpoint that cannot be written, or would be taken for a resume file."""
    path = check_output(path, (".pt",))
    if path.suffix != ".pt" or path.name.endswith(RESUME_SUFFIX):
        raise UsageError(f"cannot write '{path}': a checkpoint is named *.pt, not *{RESUME_SUFFIX}")
    return path
