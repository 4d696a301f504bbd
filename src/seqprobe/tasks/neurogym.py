"""Tasks of neuroscience from the package neurogym, trial by trial.

neurogym pins the versions of others, so that it is no dependency: it is imported when a trial is
drawn. A checkpoint holds the sizes of its environment and opens without it.
"""

from __future__ import annotations

import dataclasses
import re
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any, Literal, cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from seqprobe.config import bounded
from seqprobe.errors import NotApplicableError, UsageError
from seqprobe.seeding import generator
from seqprobe.spec import Spec
from seqprobe.tasks.base import (
    Baseline,
    Batch,
    Condition,
    Metric,
    TaskConfig,
    masked_mean,
    mean_square,
)
from seqprobe.tasks.environment import Environment, Trial, draws_alike, package
from seqprobe.tasks.generated import GeneratedTask

__all__ = ["Neurogym", "NeurogymConfig"]

_PILOT = 1000  # trials that tell the longest, and what can be answered without looking
# A constructor that draws one of ten numbers unseeded is missed once in ten to the eighth.
_REPEATS, _REPEATED = 8, 64
_NAME = re.compile(r"[A-Za-z0-9_.-]+")
_ACCURACY = Metric("accuracy", "fraction of steps", "higher")
_MSE = Metric("mse", "squared output units", "lower")


@dataclass(frozen=True)
class NeurogymConfig(TaskConfig):
    """Settings of an environment of neurogym.

    Attributes
    ----------
    id
        Its name, such as ``PerceptualDecisionMaking-v0`` or ``yang19.dms-v0``.
    arguments
        Arguments of its constructor, as in ``dt = 20, timing = {delay = 500}`` (TOML).
    stretch
        Every duration that the environment draws is multiplied by this.
    length
        Steps of a sequence: shorter trials are padded and masked, longer ones drawn again. 0 for
        the longest of 1000 trials.
    inputs, outputs, answer
        What the environment observes and answers; 0 and empty for what it says itself. A checkpoint
        stores what it was trained with.
    """

    id: str = "PerceptualDecisionMaking-v0"
    arguments: str = ""
    stretch: int = bounded(1, 1, 1024)
    length: int = bounded(0, 0, 2**20)
    inputs: int = bounded(0, 0, 2**20)
    outputs: int = bounded(0, 0, 2**20)
    answer: Literal["", "class", "regression"] = ""


class Neurogym(GeneratedTask):
    """One trial of a neurogym environment per sequence, with its ground truth as the target.

    Inputs are the observations (B, T, D). Every step of a trial is scored, and none after its end.
    Where actions are discrete the target is a class: loss cross-entropy in nats, metric accuracy.
    Where they are a box it is regression: loss and metric mean squared error. Every trial counts
    the same.

    A batch comes from a new environment, seeded by (split, seed, index). Refused are environments
    that draw something unseeded, and those whose ground truth is absent (they are for reinforcement
    learning) or none of their actions. Conditions are the period of every step and the numbers that
    the environment tells of a trial.

    Much of a trial is fixation, the same answer always. Chance is the best constant answer, and the
    baseline the best answer that knows the time step and not the input, both found on 1000 trials
    and scored on the test trials. Solved means half of the baseline's errors. `longer` stretches
    all durations that the environment draws. Source: Molano-Mazon et al. 2022 (neurogym).
    """

    name = "neurogym"
    summary = "a trial of a neurogym environment, every step scored"
    Config = NeurogymConfig

    def __init__(self, config: NeurogymConfig | None = None) -> None:
        super().__init__(config)
        # A colon would make gymnasium import a module that a file names.
        if not _NAME.fullmatch(self.config.id):
            raise UsageError(
                f"task.id = {self.config.id!r} is not a name (allowed: letters, digits, '_', '-',"
                " '.'), such as PerceptualDecisionMaking-v0"
            )
        self._arguments()

    @cached_property
    def spec(self) -> Spec:  # type: ignore[override]  # the environment decides it
        """Observations in; one class per action, or numbers, out."""
        own = self.config
        if own.inputs and own.outputs and own.answer:
            return Spec("continuous", own.inputs, own.answer, own.outputs, "each")
        return self._environment().spec

    @property
    def metric(self) -> Metric:  # type: ignore[override]
        """Accuracy for classes, mean squared error for numbers."""
        return _ACCURACY if self.spec.output_kind == "class" else _MSE

    @property
    def length(self) -> int:
        """Length T of the sequences."""
        return self.config.length or max(len(trial.inputs) for trial in self._pilot())

    @property
    def chance(self) -> float:  # type: ignore[override]
        """Test score of the best constant answer."""
        return _levels(self.pinned().config)[0]

    @property
    def solved_at(self) -> float:  # type: ignore[override]
        """Score of half the baseline's errors."""
        score = self.baseline().score
        return (1 + score) / 2 if self.metric.better == "higher" else score / 2

    def baseline(self) -> Baseline:
        """Return the test score of the best answer that knows the time step alone."""
        return Baseline("best answer by the time step", _levels(self.pinned().config)[1])

    def pinned(self) -> Neurogym:
        """Return the task with the sizes of its environment in its settings."""
        spec = self.spec
        return Neurogym(
            dataclasses.replace(
                self.config,
                length=self.length,
                inputs=spec.input_size,
                outputs=spec.output_size,
                answer=spec.output_kind,
            )
        )

    def libraries(self) -> dict[str, str]:
        """Return the version of neurogym."""
        return {"neurogym": str(getattr(package(), "__version__", "unknown"))}

    def check_length(self, length: int) -> None:
        """Refuse any length but that of the sequences."""
        if length != self.length:
            raise UsageError(
                f"sequences of '{self.config.id}' have {self.length} steps, not {length}"
                f" (allowed: {self.length}; other trials by task.arguments or task.stretch)"
            )

    def _lengthened(self, factor: int) -> dict[str, Any]:
        if factor == 1:
            return {}
        return {"stretch": factor * self.config.stretch, "length": 0}

    def draw(self, rng: np.random.Generator, size: int, length: int) -> Batch:
        """Draw trials from a new environment; see `GeneratedTask.draw`."""
        pilot = self._pilot()
        environment = self._environment()
        environment.seed(int(rng.integers(2**32)))
        trials: list[Trial] = []
        missed = 0
        while len(trials) < size:
            trial = environment.trial()
            if len(trial.inputs) <= length:
                trials.append(trial)
                missed = 0
            elif (missed := missed + 1) > _PILOT:
                raise UsageError(
                    f"{missed} trials of '{self.config.id}' in a row have more than {length} steps;"
                    " give a larger task.length, or 0 for the longest"
                )
        return self._padded(trials, length, pilot)

    def _padded(self, trials: Sequence[Trial], length: int, pilot: Sequence[Trial]) -> Batch:
        """Return trials padded to a length, with their conditions."""
        spec = self.spec
        x = np.zeros((len(trials), length, spec.input_size), np.float32)
        classes = spec.output_kind == "class"
        y: np.ndarray = (
            np.zeros((len(trials), length), np.int64)
            if classes
            else np.zeros((len(trials), length, spec.output_size), np.float32)
        )
        steps = np.array([len(trial.inputs) for trial in trials])
        for i, trial in enumerate(trials):
            x[i, : steps[i]], y[i, : steps[i]] = trial.inputs, trial.targets
        mask = np.arange(length) < steps[:, None]
        return Batch(*map(torch.from_numpy, (x, y, mask)), about=_about(trials, length, pilot))

    def errors(self, outputs: Tensor, batch: Batch) -> Tensor:
        """Return the loss of every trial, (B,): cross-entropy in nats, or squared error."""
        if self.spec.output_kind == "regression":
            return mean_square(outputs, batch)
        nats = F.cross_entropy(outputs.transpose(1, 2), batch.targets, reduction="none")
        return masked_mean(nats, batch.mask)

    def scores(self, outputs: Tensor, batch: Batch) -> Tensor:
        """Return the fraction of right steps of every trial, (B,), or its squared error."""
        if self.spec.output_kind == "regression":
            return mean_square(outputs, batch)
        right = (outputs.argmax(dim=2) == batch.targets).to(outputs.dtype)
        return masked_mean(right, batch.mask)

    def _pilot(self) -> tuple[Trial, ...]:
        own = self.config
        return _pilot(NeurogymConfig(own.id, own.arguments, own.stretch))

    def _environment(self) -> Environment:
        """Return a new environment, refusing one whose sizes are not those of the settings."""
        own = self.config
        environment = Environment(own.id, self._arguments(), own.stretch)
        here = environment.spec
        wanted = (own.inputs, own.outputs, own.answer)
        found = (here.input_size, here.output_size, here.output_kind)
        if any(w and w != f for w, f in zip(wanted, found, strict=True)):
            raise UsageError(
                f"neurogym environment '{own.id}' has {found[0]} inputs and {found[1]} outputs"
                f" ({found[2]}) here, the settings say {wanted[0]} and {wanted[1]}"
                f" ({wanted[2] or 'any'}); use the version of neurogym that they are from"
            )
        return environment

    def _arguments(self) -> dict[str, Any]:
        text = self.config.arguments
        try:
            return cast(dict[str, Any], tomllib.loads(f"value = {{{text}}}")["value"])
        except tomllib.TOMLDecodeError as error:
            raise UsageError(
                f"task.arguments = {text!r} cannot be read ({error}); write them as in"
                " dt = 20, timing = {delay = 500}"
            ) from None


def _about(trials: Sequence[Trial], length: int, pilot: Sequence[Trial]) -> dict[str, Condition]:
    """Return the period of every step and what is told of every trial.

    Names are those of the pilot, so that all batches have the same.
    """
    names = list(dict.fromkeys(name for trial in pilot for name in trial.periods))
    period = np.full((len(trials), length), -1, np.int64)
    for i, trial in enumerate(trials):
        for name, (start, stop) in trial.periods.items():
            if name in names:
                period[i, start : min(stop, len(trial.inputs))] = names.index(name)
    words = ", ".join(f"{i} {name}" for i, name in enumerate(names))
    found = {
        "period": Condition(
            torch.from_numpy(period), f"period of the trial ({words}; -1 none)", "1"
        )
    }
    for key in dict.fromkeys(key for trial in pilot for key in trial.facts):
        values = [trial.facts.get(key, float("nan")) for trial in trials]
        found[f"trial_{key}"] = Condition(
            torch.tensor(values, dtype=torch.float64), f"{key} of the trial", "1"
        )
    return found


@lru_cache(maxsize=4)
def _pilot(config: NeurogymConfig) -> tuple[Trial, ...]:
    """Return trials of an environment, having checked that a seed decides what it draws."""
    environment = Neurogym(config)._environment()
    seed = int(generator(0, "neurogym", "pilot").integers(2**32))
    environment.seed(seed)
    trials = tuple(environment.trial() for _ in range(_PILOT))
    for _ in range(_REPEATS):
        again = Neurogym(config)._environment()
        again.seed(seed)
        if not draws_alike(again, trials[:_REPEATED]):
            raise NotApplicableError(
                f"neurogym environment '{config.id}' draws other trials from the same seed, so that"
                " no result could be repeated; take another"
            )
    spec = environment.spec
    classes = {int(target) for trial in trials for target in np.unique(trial.targets)}
    strange = classes - set(range(spec.output_size))
    if spec.output_kind == "class" and strange:  # as an angle that was cut down to an integer
        raise NotApplicableError(
            f"neurogym environment '{config.id}' has a ground truth of {min(strange)}, which is"
            f" none of its {spec.output_size} actions; take another"
        )
    return trials


@lru_cache(maxsize=16)
def _levels(config: NeurogymConfig) -> tuple[float, float]:
    """Return the test scores of the best constant answer, and of the best one by the time step."""
    task = Neurogym(config)
    fitting = [trial for trial in task._pilot() if len(trial.inputs) <= task.length]
    if not fitting:
        fitting = list(task._pilot())
    known = task._padded(fitting, task.length, ())
    assert known.mask is not None  # every batch has one
    answers = known.targets.double()
    if task.spec.output_kind == "class":
        answers = F.one_hot(known.targets, task.spec.output_size).double()
    weights = (known.mask / known.mask.sum(dim=1, keepdim=True)).double()
    sums = torch.einsum("bt,btk->tk", weights, answers)
    total = weights.sum(dim=0)[:, None]
    constant = sums.sum(dim=0) / total.sum()
    by_step = torch.where(total > 0, sums / total.clamp(min=1e-300), constant)
    batch = next(task.evaluation("test"))
    scores = [
        task.scores(best.expand(*batch.inputs.shape[:2], -1), batch).mean().item()
        for best in (constant, by_step)
    ]
    return scores[0], scores[1]
