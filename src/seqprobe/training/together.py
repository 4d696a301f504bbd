"""Task x model x seeds -> checkpoints: seeds of one configuration trained as one network."""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from seqprobe.errors import DivergedError, InterruptedRunError, UsageError
from seqprobe.files import check_output
from seqprobe.models import ModelConfig, Together, build_model
from seqprobe.tasks import Batch, Task
from seqprobe.training.checkpoint import Checkpoint, write_tensors
from seqprobe.training.config import TrainConfig, Until
from seqprobe.training.loop import Progress, check_path
from seqprobe.training.optimizer import adamw, clip_each, decayed_names
from seqprobe.training.penalty import penalised
from seqprobe.training.recipe import Recipe
from seqprobe.training.record import Record
from seqprobe.training.resume import finished, restore

__all__ = ["GroupTrainer", "train_together"]

RESUME_FORMAT = "seqprobe.resume.together"


class GroupTrainer:
    """Runs that differ in the seed alone: their weights as one network, and where they are.

    A run that has ended leaves the network, so that what is written of it is of the update that it
    ended at, and the others do not wait for it.

    Parameters
    ----------
    recipe
        What to train, for any seed.
    paths
        Where the checkpoint of each seed goes.
    resume_path
        Where `save` writes.
    device
        Where to train.

    Attributes
    ----------
    seeds
        Those still in training, in the order of the network.
    outcomes
        How the others ended.
    """

    def __init__(
        self, recipe: Recipe, paths: Mapping[int, Path], resume_path: Path, device: torch.device
    ) -> None:
        self.recipe = recipe
        self.resume_path = resume_path
        self.device = device
        self.records = {
            seed: Record(dataclasses.replace(recipe, seed=seed), path)
            for seed, path in paths.items()
        }
        self.seeds = list(paths)
        self.outcomes: dict[int, Checkpoint | DivergedError] = {}
        spec, settings = recipe.task.spec, recipe.model_config
        models = [build_model(recipe.model, spec, settings, seed=seed) for seed in self.seeds]
        self.network = Together(models).to(device)
        self.model = models[0].to(device)  # takes the weights of whoever is scored
        self.decayed = decayed_names(self.model)
        self.optimizer = self._adamw()
        self.step = 0
        self.saved = 0

    def _adamw(self) -> torch.optim.AdamW:
        return adamw(self.network, self.decayed, self.recipe.config.weight_decay, fused=True)

    def run(
        self,
        on_step: Callable[[dict[int, Progress]], None] | None = None,
        on_validation: Callable[[int, list[dict[str, float]]], None] | None = None,
    ) -> None:
        """Train until every seed has ended; see `train_together`."""
        config = self.recipe.config
        if self.step == 0:
            scored = self.validate(dict.fromkeys(self.seeds, math.nan))
            if on_validation is not None:
                for seed in scored:
                    if seed not in self.seeds:  # the others are not saved yet
                        on_validation(seed, self.records[seed].history)
        while self.seeds:
            losses = self.update()
            if on_step is not None and losses:
                on_step(
                    {
                        seed: Progress(self.step, config.steps, loss, self.records[seed].score)
                        for seed, loss in losses.items()
                    }
                )
            if self.step % config.eval_every == 0 or self.step == config.steps:
                scored = self.validate(losses)
                self.save()
                if on_validation is not None:
                    for seed in scored:
                        on_validation(seed, self.records[seed].history)

    def update(self) -> dict[int, float]:
        """Take one step of the optimiser and return the loss before it of seeds that go on."""
        task, config = self.recipe.task, self.recipe.config
        batches = [
            task.batch("train", config.batch, seed=seed, index=self.step).to(self.device)
            for seed in self.seeds
        ]
        for group in self.optimizer.param_groups:
            group["lr"] = self.recipe.rate(self.step)
        inputs = torch.stack([batch.inputs for batch in batches])
        losses = losses_of(task, inputs, self.network(inputs), batches)
        self.optimizer.zero_grad(set_to_none=True)
        penalised(losses, self.network, config).sum().backward()  # no weight is in two of them
        norms = clip_each(self.network.parameters(), config.clip)
        self.optimizer.step()
        numbers = dict(
            zip(self.seeds, zip(losses.tolist(), norms.tolist(), strict=True), strict=True)
        )
        for seed, (loss, norm) in numbers.items():
            try:
                self.records[seed].check(self.model, self.step, "loss", loss)
                self.records[seed].check(self.model, self.step, "gradient norm", norm)
            except DivergedError as error:
                self.outcomes[seed] = error
        self.drop()
        self.step += 1
        return {seed: numbers[seed][0] for seed in self.seeds}

    def validate(self, losses: Mapping[int, float]) -> list[int]:
        """Score every seed, end those that are done, and return those with a finite score."""
        scored = []
        for index, seed in enumerate(self.seeds):
            record = self.records[seed]
            self.model.load_state_dict(self.network.weights(index))
            try:
                record.validate(self.model, self.step, losses[seed])
            except DivergedError as error:
                self.outcomes[seed] = error
                continue
            scored.append(seed)
            if record.reached() or self.step >= self.recipe.config.steps:
                self.outcomes[seed] = record.finish(self.model, self.step)
        self.drop()
        return scored

    def drop(self) -> None:
        """Take seeds that have ended out of the network and the optimiser."""
        kept = [i for i, seed in enumerate(self.seeds) if seed not in self.outcomes]
        if len(kept) == len(self.seeds):
            return
        self.seeds = [self.seeds[i] for i in kept]
        content = self.optimizer.state_dict()
        for moments in content["state"].values():
            for name in ("exp_avg", "exp_avg_sq"):
                moments[name] = moments[name][kept]
        self.network.keep(kept)
        self.optimizer = self._adamw()
        self.optimizer.load_state_dict(content)

    def _recipe(self) -> dict[str, Any]:
        return self.recipe.as_dict() | {"seed": list(self.records)}

    def save(self) -> None:
        """Write what `restore` needs to go on, if there is anything to go on with."""
        if not self.seeds:
            return
        errors = {k: str(v) for k, v in self.outcomes.items() if isinstance(v, DivergedError)}
        content = {
            "format": RESUME_FORMAT,
            "recipe": self._recipe(),
            "step": self.step,
            "seeds": self.seeds,
            "diverged": errors,
            "records": {seed: self.records[seed].state() for seed in self.seeds},
            "weights": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
        }
        write_tensors(content, self.resume_path)
        self.saved = self.step

    def restore(self) -> None:
        """Go back to where `save` was called; see `seqprobe.training.resume.restore`."""
        otherwise = "delete it to start again"
        restore(self.resume_path, RESUME_FORMAT, self._recipe(), self._restore, otherwise)
        for seed, record in self.records.items():
            if seed not in self.seeds and seed not in self.outcomes:
                self.outcomes[seed] = finished(record.path, record.recipe)

    def _restore(self, content: dict[str, Any]) -> None:
        if type(content["step"]) is not int or not set(content["seeds"]) <= set(self.records):
            raise TypeError("step or seeds are not those of a group")
        diverged = {seed: DivergedError(text) for seed, text in content["diverged"].items()}
        self.step = self.saved = content["step"]
        self.network.keep([self.seeds.index(seed) for seed in content["seeds"]])
        self.network.load_state_dict(content["weights"])
        self.seeds = content["seeds"]
        self.optimizer = self._adamw()
        self.optimizer.load_state_dict(content["optimizer"])
        for seed in self.seeds:
            self.records[seed].restore(content["records"][seed], self.device)
        self.outcomes.update(diverged)

    def interrupted(self) -> InterruptedRunError:
        """Return the error that says how to go on."""
        how = "before the first validation, so that nothing was kept"
        if self.resume_path.exists():
            how = f"the same call with --resume goes on from update {self.saved}"
        return InterruptedRunError(f"interrupted at update {self.step}; {how}")


def losses_of(task: Task, inputs: Tensor, outputs: Tensor, batches: Sequence[Batch]) -> Tensor:
    """Return the training loss of every network, (S,).

    Parameters
    ----------
    task
        The task.
    inputs, outputs
        Of all networks, (S, B, T, ...).
    batches
        What each of them read.
    """
    if type(task).loss is not Task.loss or any(batch.mask is not None for batch in batches):
        pairs = zip(outputs.unbind(0), batches, strict=True)
        return torch.stack([task.loss(own, batch) for own, batch in pairs])
    # The loss is the mean of the errors of sequences, which know nothing of each other: one call.
    # Not with masks, because a batch may score as many steps of each of its sequences as it likes.
    targets = torch.cat([batch.targets for batch in batches])
    errors = task.errors(outputs.flatten(0, 1), Batch(inputs.flatten(0, 1), targets))
    losses: Tensor = errors.unflatten(0, (len(batches), -1)).mean(dim=1)
    return losses


def train_together(
    model: str,
    task: Task,
    paths: Mapping[int, str | os.PathLike[str]],
    *,
    resume_path: str | os.PathLike[str],
    model_config: ModelConfig | None = None,
    config: TrainConfig | None = None,
    until: Until | None = None,
    device: torch.device | None = None,
    resume: bool = False,
    on_step: Callable[[dict[int, Progress]], None] | None = None,
    on_validation: Callable[[int, list[dict[str, float]]], None] | None = None,
) -> dict[int, Checkpoint | DivergedError]:
    """Train seeds of one configuration as one network and keep the best weights of each.

    Every seed has the weights, the data, the validations and the end that it has in
    `seqprobe.training.train`. Products are summed in another order, so that numbers agree to
    rounding and not to the byte: losses to 1e-6 over 200 updates. A group goes on as a whole: the
    same call with ``resume=True`` after a kill ends with the same bytes as an undisturbed one.

    Parameters
    ----------
    model
        Name of the architecture; see `seqprobe.models.can_train_together`.
    task
        The task; the sequences of its training batches have one length.
    paths
        Where the checkpoint of each seed goes, ``*.pt``; written when that seed has ended.
    resume_path
        Where the whole group is saved at every validation; deleted when all have ended.
    model_config, config
        Settings of model and training; defaults if None.
    until
        Stop a seed once its validation score is this good.
    device
        Where to train; None for the CPU.
    resume
        Go on from `resume_path` if it is there; return the checkpoints if all are complete. A group
        that is neither is trained from its beginning.
    on_step
        Called after every update, before the validation that may follow, with the progress of
        every seed that goes on.
    on_validation
        Called with a seed and all its validations so far, once the last of them is on disk.

    Returns
    -------
    dict
        By seed the checkpoint as written, or the error of a seed that diverged; the others go on.

    Raises
    ------
    UsageError
        If a file exists without ``resume``, or ``resume`` finds runs with other settings.
    NotApplicableError
        If the architecture is not made of recurrent cells, or looks ahead where it must not.
    InterruptedRunError
        On Ctrl-C; the group can be resumed from its last validation.
    """
    places = {seed: check_path(path) for seed, path in paths.items()}
    if not places:
        raise UsageError("no seeds to train (allowed: at least one)")
    recipe = Recipe.of(model, task, model_config, config, until)
    trainer = GroupTrainer(recipe, places, check_output(resume_path), device or torch.device("cpu"))
    if resume and trainer.resume_path.exists():
        trainer.restore()
    else:
        ended = _ended(trainer.records.values(), resume)
        if len(ended) == len(places):
            return ended
        trainer.resume_path.unlink(missing_ok=True)  # of an older group, with other settings
    try:
        trainer.run(on_step, on_validation)
    except KeyboardInterrupt:
        raise trainer.interrupted() from None
    trainer.resume_path.unlink(missing_ok=True)
    return {seed: trainer.outcomes[seed] for seed in places}


def _ended(records: Iterable[Record], resume: bool) -> dict[int, Checkpoint | DivergedError]:
    """Return the checkpoints that are there, which must be complete and of these settings."""
    ended: dict[int, Checkpoint | DivergedError] = {}
    for record in records:
        if not record.path.exists():
            continue
        if not resume:
            raise UsageError(f"'{record.path}' exists; go on with --resume, or delete it")
        try:
            ended[record.recipe.seed] = finished(record.path, record.recipe)
        except DivergedError as error:
            ended[record.recipe.seed] = error
    return ended
