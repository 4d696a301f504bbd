"""What a training run has shown so far: its scores and its best weights."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from seqprobe.errors import DivergedError
from seqprobe.models import Model
from seqprobe.training.checkpoint import Checkpoint
from seqprobe.training.evaluate import evaluate
from seqprobe.training.recipe import Recipe

__all__ = ["Record"]


class Record:
    """The scores and best weights of one run, and the checkpoint that is made of them.

    Parameters
    ----------
    recipe
        What is trained.
    path
        Where the checkpoint goes.

    Attributes
    ----------
    history
        One ``{"step", "loss", "score"}`` per validation; the loss is the task's, without penalties.
    best, best_step, best_weights
        The best validation score, its update, and the weights that had it.
    """

    def __init__(self, recipe: Recipe, path: Path) -> None:
        self.recipe = recipe
        self.path = path
        self.best_step = 0
        self.best_weights: dict[str, Tensor] = {}
        self.best: dict[str, Any] = {"score": math.nan}
        self.history: list[dict[str, float]] = []

    @property
    def score(self) -> float:
        """The last validation score."""
        return self.history[-1]["score"]

    def validate(self, model: Model, step: int, loss: float) -> None:
        """Score a model and keep its weights if they are the best so far."""
        scored = evaluate(model, self.recipe.task, "valid")
        self.check(model, step, f"validation {scored['metric']}", scored["score"])
        self.history.append({"step": step, "loss": loss, "score": scored["score"]})
        metric = self.recipe.task.metric
        if not self.best_weights or metric.improves(scored["score"], self.best["score"]):
            self.best, self.best_step = scored, step
            self.best_weights = _copied(model.state_dict())

    def reached(self) -> bool:
        """Say whether the last validations, as many as patience asks for, met the threshold."""
        until = self.recipe.until
        if until is None:
            return False
        scores = [entry["score"] for entry in self.history[-until.patience :]]
        return until.met(scores, self.recipe.task.metric)

    def check(self, model: Model, step: int, what: str, value: float) -> None:
        """Raise if a number is not finite, keeping the best weights if a validation saw any."""
        if math.isfinite(value):
            return
        kept = "no checkpoint was written"
        if len(self.history) > 1:
            self.checkpoint(model, "diverged", f"{what} {value} at update {step}").save(self.path)
            kept = f"'{self.path}' keeps the best weights, of update {self.best_step}"
        raise DivergedError(
            f"{what} became {value} at update {step}; {kept};"
            f" try a smaller train.lr (it was {self.recipe.config.lr:g})"
        )

    def finish(self, model: Model, step: int) -> Checkpoint:
        """Write and return the checkpoint of a run that a stopping rule ended."""
        checkpoint = self.checkpoint(model, "complete", self._why_stopped(step))
        checkpoint.save(self.path)
        return checkpoint

    def _why_stopped(self, step: int) -> str:
        until = self.recipe.until
        if until is None or not self.reached():
            return f"train.steps = {self.recipe.config.steps} done"
        patient = f" in {until.patience} validations in a row" if until.patience > 1 else ""
        return f"{until.metric} reached {until.threshold:g}{patient} at update {step}"

    def checkpoint(self, model: Model, status: str, stopped: str) -> Checkpoint:
        """Return the best weights with all that is known about them.

        The model computes the test score, and keeps the weights that it has.
        """
        task = self.recipe.task
        baseline = task.baseline()
        metrics = {"valid": self.best}
        if status != "training":
            present = _copied(model.state_dict())
            model.load_state_dict(self.best_weights)
            metrics["test"] = evaluate(model, task, "test")
            model.load_state_dict(present)
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
            libraries=self.recipe.libraries(),
        )

    def state(self) -> dict[str, Any]:
        """Return what `restore` needs, as builtins and tensors."""
        return {
            "best": self.best,
            "best_step": self.best_step,
            "best_weights": self.best_weights,
            "history": self.history,
        }

    def restore(self, content: dict[str, Any], device: torch.device) -> None:
        """Go back to where `state` was called.

        Raises
        ------
        TypeError, KeyError, AttributeError
            If the content is not of `state`.
        """
        for name, kind in (("best", dict), ("best_step", int), ("history", list)):
            if type(content[name]) is not kind:
                raise TypeError(f"{name} must be of type {kind.__name__}")
            setattr(self, name, content[name])
        self.best_weights = {k: w.to(device) for k, w in content["best_weights"].items()}


def _copied(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: weight.detach().clone() for name, weight in weights.items()}
