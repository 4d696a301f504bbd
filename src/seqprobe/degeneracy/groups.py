"""Which networks are compared with which: ensembles of one setting, and sets of one task."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from typing import Any

from seqprobe.config import flatten
from seqprobe.errors import NotApplicableError
from seqprobe.models import Model
from seqprobe.tasks import Task, make_task

__all__ = ["Ensembles"]


@dataclass(frozen=True)
class Ensembles:
    """Networks by what they have in common.

    An ensemble is made of networks that differ in their seed alone. Where no two do, all of
    one task are an ensemble, because there is nothing else to compare.

    Attributes
    ----------
    models
        Networks loaded from checkpoints.
    across
        Compare networks of different ensembles too, if they have the same task.
    """

    models: Sequence[Model]
    across: bool = False

    def __post_init__(self) -> None:
        for i, model in enumerate(self.models):
            if model.origin is None:
                raise NotApplicableError(
                    f"network {i} was not loaded from a checkpoint, so that its task and seed are"
                    " not known; use the measures one by one"
                )

    @cached_property
    def settings(self) -> list[dict[str, Any]]:
        """All settings of every network by dotted key, but the seed."""
        found = []
        for model in self.models:
            assert model.origin is not None  # checked above
            config = {
                "model": {"name": model.name, **json.loads(model.origin.model_config)},
                "task": {"name": model.origin.task, **json.loads(model.origin.task_config)},
                "train": json.loads(model.origin.train_config),
            }
            found.append(flatten(config))
        return found

    @cached_property
    def task_keys(self) -> list[str]:
        """What tells the task of every network, with its settings, from others."""
        return [
            json.dumps({k: v for k, v in own.items() if k.startswith("task.")}, sort_keys=True)
            for own in self.settings
        ]

    @cached_property
    def tasks(self) -> list[Task]:
        """The task of every network; networks of one task share the object."""
        made: dict[str, Task] = {}
        for model, key in zip(self.models, self.task_keys, strict=True):
            if key not in made:
                assert model.origin is not None  # checked above
                made[key] = make_task(model.origin.task, json.loads(model.origin.task_config))
        return [made[key] for key in self.task_keys]

    @cached_property
    def members(self) -> list[list[int]]:
        """Positions of the networks of every ensemble."""
        alike = _together([json.dumps(own, sort_keys=True) for own in self.settings])
        if all(len(group) == 1 for group in alike):
            return self.sets
        return alike

    @cached_property
    def mixed(self) -> bool:
        """Whether ensembles hold networks of different settings, for want of others."""
        return any(self.settings[i] != self.settings[g[0]] for g in self.members for i in g)

    @cached_property
    def sets(self) -> list[list[int]]:
        """Positions of the networks of every task."""
        return _together(self.task_keys)

    @cached_property
    def pairs(self) -> list[tuple[int, int]]:
        """Pairs that are compared, (i, j) with i < j."""
        groups = self.sets if self.across else self.members
        return sorted(pair for group in groups for pair in combinations(group, 2))

    @cached_property
    def compared(self) -> list[int]:
        """Positions of the networks that are compared with another one."""
        return sorted({i for pair in self.pairs for i in pair})

    @cached_property
    def common(self) -> list[dict[str, Any]]:
        """Settings that all networks of an ensemble share."""
        return [
            {
                key: value
                for key, value in self.settings[group[0]].items()
                if all(self.settings[i].get(key) == value for i in group)
            }
            for group in self.members
        ]

    @cached_property
    def varied(self) -> list[str]:
        """Settings that differ between ensembles."""
        keys = dict.fromkeys(key for common in self.common for key in common)
        return [key for key in keys if len({repr(own.get(key)) for own in self.common}) > 1]

    @cached_property
    def labels(self) -> list[str]:
        """A name for every ensemble."""
        made = []
        for group, common in zip(self.members, self.common, strict=True):
            words = [f"{key}={common[key]}" for key in self.varied if key in common]
            names = dict.fromkeys(self.settings[i]["model.name"] for i in group)
            plain = f"{common['task.name']} {'/'.join(names)}"
            made.append(", ".join(words) if words else plain)
        return made

    @cached_property
    def of(self) -> list[int]:
        """The ensemble of every network."""
        place = {i: k for k, group in enumerate(self.members) for i in group}
        return [place[i] for i in range(len(self.models))]


def _together(keys: Sequence[str]) -> list[list[int]]:
    found: dict[str, list[int]] = {}
    for i, key in enumerate(keys):
        found.setdefault(key, []).append(i)
    return list(found.values())
