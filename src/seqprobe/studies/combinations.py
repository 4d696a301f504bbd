"""From a plan to units: every combination of settings is tried before anything is trained."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import torch

from seqprobe.config import fields_of, from_mapping
from seqprobe.errors import NotApplicableError, SeqprobeError, UsageError, suggestion, unknown_name
from seqprobe.models import (
    MODELS,
    ModelConfig,
    architecture,
    build_model,
    can_train_together,
    group_size,
    match_params,
    parse_budget,
)
from seqprobe.studies.plan import Plan, Settings
from seqprobe.studies.study import Skipped
from seqprobe.studies.unit import Unit
from seqprobe.tasks import TASKS, Task, TaskConfig, make_task
from seqprobe.training import Recipe, TrainConfig, Until

__all__ = ["make_units"]

# Settings that are no fields of a class, with the type of their values.
_EXTRA: dict[str, dict[str, tuple[type, ...]]] = {
    "model": {"name": (str,), "params": (str, int)},
    "task": {"name": (str,)},
    "train": {"until": (str,), "patience": (int,)},
}


def make_units(plan: Plan, file: Path) -> tuple[tuple[Unit, ...], tuple[Skipped, ...]]:
    """Return the units of a plan, and the combinations that cannot be with the reason.

    Raises
    ------
    UsageError
        If a key or a value is wrong wherever it stands, or no combination is possible.
    """
    points = list(plan.points())
    _check_names(plan, points, file)
    _check_owners(plan, file)
    _check_settings(plan, points, file)
    varied = {*plan.grid, *plan.vary, *(key for case in plan.cases for key in case)}
    units: dict[str, Unit] = {}
    skipped: list[Skipped] = []
    first: SeqprobeError | None = None
    for point in points:
        try:
            made = _units_of(point, plan)
        except (UsageError, NotApplicableError) as error:
            first = first or error
            own = {key: value for key, value in point.items() if key in varied}
            skipped.append(Skipped(own, str(error)))
        else:
            units |= {unit.name: unit for unit in made}
    if first is not None and not units:
        raise first
    return tuple(units.values()), tuple(skipped)


def _check_names(plan: Plan, points: Iterable[Settings], file: Path) -> None:
    """Refuse architectures and tasks that do not exist."""
    for point in points:
        for key, kind, known in (("model.name", "model", MODELS), ("task.name", "task", TASKS)):
            if key not in point:
                raise UsageError(
                    f"'{file}' does not say {key}; give it under [fixed], [grid] or [[case]]"
                )
            if point[key] not in known:
                raise unknown_name(kind, str(point[key]), known)
    for name in plan.per_name:  # it may be used in the other size only
        if name not in MODELS and name not in TASKS:
            raise UsageError(
                f"[for.{name}] of '{file}' is for no model or task"
                f"{suggestion(name, (*MODELS, *TASKS))} (see 'seqprobe ls models' and 'ls tasks')"
            )
    for model, task in plan.per_pair:
        if model not in MODELS or task not in TASKS:
            sections = tuple(_EXTRA)
            tasks = tuple(TASKS) if model in MODELS else ()
            raise UsageError(
                f"[for.{model}] of '{file}' has '{task}', which is no setting (allowed: keys of"
                f" {', '.join(sections)}; for a model also a task, whose settings follow)"
                f"{suggestion(task, (*sections, *tasks))}"
            )


def _check_settings(plan: Plan, points: list[Settings], file: Path) -> None:
    """Refuse keys that no unit could have and values that no unit with that key could have."""
    classes: dict[str, list[type]] = {
        "model": [architecture(n).config for n in _used(plan, points, "model.name", MODELS)],
        "task": [TASKS[name].Config for name in _used(plan, points, "task.name", TASKS)],
        "train": [TrainConfig],
    }
    for key, value in plan.assigned():
        section, _, name = key.partition(".")
        if name in _EXTRA[section]:
            allowed = _EXTRA[section][name]
            if type(value) not in allowed or (name == "patience" and value < 1):
                words = " or ".join({str: "text", int: "a positive integer"}[k] for k in allowed)
                raise UsageError(f"'{file}': {key} = {value!r} is not allowed (allowed: {words})")
            continue
        owners = [found for found in classes[section] if name in fields_of(found)]
        if not owners:
            known = dict.fromkeys(n for found in classes[section] for n in fields_of(found))
            known |= dict.fromkeys(_EXTRA[section])
            names = [f"{section}.{n}" for n in known]
            raise UsageError(
                f"unknown key '{key}' in '{file}'{suggestion(key, names)}"
                f" (allowed: {', '.join(names)})"
            )
        try:
            from_mapping(owners[0], {name: value}, section)
        except UsageError as error:
            raise UsageError(f"'{file}': {error}") from None


def _check_owners(plan: Plan, file: Path) -> None:
    """Refuse settings under [for.NAME] that this architecture or task does not have."""
    owned = [((name,), settings) for name, settings in plan.per_name.items()]
    for owners, settings in [*owned, *plan.per_pair.items()]:
        for key in settings.keys() & {"model.name", "task.name"}:
            raise UsageError(
                f"[for.{'.'.join(owners)}] of '{file}' gives {key}, which decides what the settings"
                " are for; give it under [grid], [[case]] or [fixed]"
            )
        for owner in owners:
            is_model = owner in MODELS
            section = "model" if is_model else "task"
            own = [*fields_of(architecture(owner).config if is_model else TASKS[owner].Config)]
            own += _EXTRA[section]
            for key in settings:
                name = key.partition(".")[2]
                if key.startswith(f"{section}.") and name not in own:
                    raise UsageError(
                        f"'{owner}' has no {key}, which [for.{'.'.join(owners)}] of '{file}' gives"
                        f" it{suggestion(name, own)} (allowed: {', '.join(own)})"
                    )


def _used(
    plan: Plan, points: Iterable[Settings], key: str, known: Mapping[str, Any]
) -> dict[str, None]:
    """Return the names that the study uses, or has settings for."""
    owners = [*plan.per_name, *(name for pair in plan.per_pair for name in pair)]
    return dict.fromkeys([*(p[key] for p in points), *(name for name in owners if name in known)])


def _units_of(point: Settings, plan: Plan) -> list[Unit]:
    """Return a unit per seed of one configuration."""
    recipe = _recipe(point)
    size = 1
    if plan.together and can_train_together(recipe.model):
        size = group_size(recipe.model, recipe.model_config, recipe.config.batch)
    units = []
    for start in range(0, len(plan.seeds), size):
        group = plan.seeds[start : start + size]
        for seed in group:
            own = dataclasses.replace(recipe, seed=seed).as_dict()
            units.append(Unit(own, group))
    return units


def _recipe(point: Settings) -> Recipe:
    """Return everything that decides the training of a configuration, for seed 0."""
    sections: dict[str, dict[str, Any]] = {"model": {}, "task": {}, "train": {}}
    for key, value in point.items():
        section, _, name = key.partition(".")
        sections[section][name] = value
    model, problem = sections["model"].pop("name"), sections["task"].pop("name")
    _check_owned(point, "model", architecture(model).config, model)
    _check_owned(point, "task", TASKS[problem].Config, problem)
    task = make_task(problem, sections["task"])
    until, patience = sections["train"].pop("until", None), sections["train"].pop("patience", None)
    if patience is not None and until is None:
        raise UsageError("train.patience needs train.until; give both")
    stop = None if until is None else Until.parse(until, task, patience or 1)
    recipe = Recipe.of(
        model,
        task,
        _model_config(model, task, sections["model"]),
        from_mapping(TrainConfig, sections["train"], "train"),
        stop,
    )
    _try(model, recipe.model_config, problem, recipe.task.config)
    return recipe


@cache
def _try(model: str, model_config: ModelConfig, problem: str, task_config: TaskConfig) -> None:
    """Let a model read one sequence: only then some combinations turn out to be impossible."""
    task = TASKS[problem](task_config)
    batch = task.batch("train", 1)
    with torch.no_grad():
        build_model(model, task.spec, model_config)(batch.inputs)


def _model_config(model: str, task: Task, values: Mapping[str, Any]) -> ModelConfig:
    plain = {key: value for key, value in values.items() if key != "params"}
    config = from_mapping(architecture(model).config, plain, "model")
    if "params" not in values:
        return config
    if "width" in values:
        raise UsageError("model.params chooses the width; leave model.width out")
    return match_params(model, task.spec, config, parse_budget(str(values["params"])))


def _check_owned(point: Settings, section: str, config: type, name: str) -> None:
    """Refuse a setting that another architecture or task of the study has, but not this one."""
    for key in point:
        if key.startswith(f"{section}.") and key.partition(".")[2] not in (
            *fields_of(config),
            *_EXTRA[section],
        ):
            raise UsageError(f"'{name}' has no {key}; give it under [for.NAME] of those that have")
