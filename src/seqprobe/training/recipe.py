"""Everything that decides the result of a training run."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from seqprobe.errors import UsageError
from seqprobe.models import ModelConfig
from seqprobe.tasks import Task
from seqprobe.training.config import TrainConfig, Until

__all__ = ["Recipe", "check_same"]


@dataclass(frozen=True)
class Recipe:
    """Everything that decides the result of a training run."""

    model: str
    model_config: ModelConfig
    task: Task
    config: TrainConfig
    until: Until | None
    seed: int

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
    old, new = _flat(found), _flat(wanted)
    open_ended = new.get("train.schedule") == "constant"
    for key in sorted(old.keys() | new.keys()):
        if open_ended and (key == "train.steps" or key.startswith("train.until")):
            continue
        if old.get(key) != new.get(key):
            raise UsageError(
                f"'{path}' was made with {key} = {old.get(key)!r}, not {new.get(key)!r};"
                " give the same settings, or start again with --overwrite"
            )


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        name = f"{prefix}{key}"
        flat |= _flat(value, name + ".") if isinstance(value, dict) else {name: value}
    return flat
