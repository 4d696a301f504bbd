"""What a study costs, from a few timed updates of every configuration."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from seqprobe.studies.study import Study
from seqprobe.studies.training import recipe_of
from seqprobe.training import seconds_per_update

__all__ = ["Cost", "estimate"]


@dataclass(frozen=True)
class Cost:
    """What the training of a group costs at most.

    Attributes
    ----------
    seconds_per_update
        Of all seeds of the group.
    updates
        Largest number of updates.
    """

    seconds_per_update: float
    updates: int

    @property
    def seconds(self) -> float:
        """Seconds to the last update."""
        return self.seconds_per_update * self.updates


def estimate(
    study: Study, on_progress: Callable[[float, float, str], None] = lambda done, total, text: None
) -> dict[str, Cost]:
    """Return what every unit's group costs at most, by the name of the unit.

    Groups of one configuration and size are timed once, on one thread.
    """
    costs: dict[str, Cost] = {}
    timed: dict[str, Cost] = {}
    for i, job in enumerate(study.jobs):
        head = job[0]
        key = repr((sorted(head.settings.items()), len(job)))
        if key not in timed:
            on_progress(i, len(study.jobs), head.name)
            recipe = recipe_of(head.recipe)
            seconds = seconds_per_update(recipe, [unit.seed for unit in job])
            timed[key] = Cost(seconds, recipe.config.steps)
        costs |= {unit.name: timed[key] for unit in job}
    return costs
