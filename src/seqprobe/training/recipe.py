"""Everything that decides the result of a training run."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from seqprobe.config import flatten, from_mapping
from seqprobe.errors import NotApplicableError, UsageError
from seqprobe.models import MODELS, ModelConfig, architecture
from seqprobe.provenance import libraries
from seqprobe.tasks import TASKS, Task
from seqprobe.training.config import TrainConfig, Until
from seqprobe.training.optimizer import learning_rate
from seqprobe.training.penalty import check_penalties

__all__ = ["Recipe", "check_same", "with_defaults"]


@dataclass(frozen=True)
class Recipe:
    """Everything that decides the result of a training run; `of` fills in what was left open.

    Attributes
    ----------
    model
        Name of the architecture.
    model_config
        Its settings.
    task
        The task, with all that its data decide in its settings.
    config
        Settings of the training, with a learning rate.
    until
        When to stop before ``config.steps``, or None.
    seed
        Seed of weights, data order and dropout.
    """

    model: str
    model_config: ModelConfig
    task: Task
    config: TrainConfig
    until: Until | None
    seed: int

    @classmethod
    def of(
        cls,
        model: str,
        task: Task,
        model_config: ModelConfig | None = None,
        config: TrainConfig | None = None,
        until: Until | None = None,
        *,
        seed: int = 0,
    ) -> Recipe:
        """Return the recipe of a run, as `seqprobe.training.train` would follow it.

        Parameters
        ----------
        model
            Name of the architecture.
        task
            The task.
        model_config, config
            Settings of model and training; defaults if None.
        until
            When to stop early.
        seed
            Seed of weights, data order and dropout.

        Raises
        ------
        UsageError
            If there is no architecture of that name.
        NotApplicableError
            If the model looks ahead and the task asks for later inputs, or it has no weights that
            a penalty of `config` could act on.
        """
        entry = architecture(model)
        if task.next_step and entry.directions == 2:
            raise NotApplicableError(
                f"'{model}' reads the future, where the answers of task '{task.name}' are;"
                f" use '{model.removeprefix('bi-')}'"
            )
        config = config or TrainConfig()
        check_penalties(model, config)
        if config.lr is None:
            config = dataclasses.replace(config, lr=entry.learning_rate)
        model_config = model_config or from_mapping(entry.config, {}, "model")
        return cls(model, model_config, task.pinned(), config, until, seed)

    def rate(self, step: int) -> float:
        """Return the learning rate of an update, counted from 0."""
        scale = architecture(self.model).rate_scale(self.model_config)
        return scale * learning_rate(step, self.config)

    def libraries(self) -> dict[str, str]:
        """Return the versions of all packages that decide the result, plug-ins among them."""
        sources = (MODELS.plugin(self.model), TASKS.plugin(self.task.name))
        plugins = {source.distribution: source.version for source in sources if source is not None}
        return libraries() | plugins | self.task.libraries()

    def as_dict(self) -> dict[str, Any]:
        """Return the recipe as plain values, to store and to compare."""
        return {
            "model": {"name": self.model, "config": dataclasses.asdict(self.model_config)},
            "task": {"name": self.task.name, "config": dataclasses.asdict(self.task.config)},
            "spec": dataclasses.asdict(self.task.spec),
            "train": dataclasses.asdict(self.config)
            | {"until": None if self.until is None else dataclasses.asdict(self.until)},
            "seed": self.seed,
        }


def check_same(found: dict[str, Any], wanted: dict[str, Any], path: Path) -> None:
    """Refuse to continue a run with other settings, naming the first that differs.

    A run whose learning rate does not depend on its end may be given another end.
    """
    old, new = flatten(with_defaults(found)), flatten(wanted)
    open_ended = new.get("train.schedule") == "constant"
    for key in sorted(old.keys() | new.keys()):
        if open_ended and (key == "train.steps" or key.startswith("train.until")):
            continue
        if old.get(key) != new.get(key):
            raise UsageError(
                f"'{path}' was made with {key} = {old.get(key)!r}, not {new.get(key)!r};"
                " give the same settings, or start again with --overwrite"
            )


def with_defaults(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return a recipe with the defaults of settings that are newer than it."""
    filled = {
        key: dict(value) if isinstance(value, dict) else value for key, value in content.items()
    }
    model, task = content["model"]["name"], content["task"]["name"]
    defaults = {
        "model": dataclasses.asdict(MODELS[model].config()) if model in MODELS else {},
        "task": dataclasses.asdict(TASKS[task].Config()) if task in TASKS else {},
    }
    for section, values in defaults.items():
        filled[section]["config"] = values | content[section]["config"]
    filled["train"] = dataclasses.asdict(TrainConfig()) | filled["train"]
    until = filled["train"].get("until")
    if until is not None:
        filled["train"]["until"] = {"patience": 1} | until
    return filled
