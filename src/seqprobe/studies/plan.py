"""Read ``study.toml``: what a sweep varies, as plain values, before anything is built."""

from __future__ import annotations

import itertools
import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from seqprobe.errors import UnreadableFileError, UsageError, suggestion

__all__ = ["LEARNING_CURVES", "PLAN_FILE", "SIZES", "Plan", "find_plan", "read_plan"]

PLAN_FILE = "study.toml"
LEARNING_CURVES = "learning-curves"  # what 'draw' may name besides analyses and Python files
SIZES = ("full", "smoke")
_TABLES = ("fixed", "for", "grid", "vary", "case")
_OWN = ("name", "seeds", "together", "analyses", "compare", "draw", *_TABLES)
_SECTIONS = ("model", "task", "train")

# What a unit calls a setting that is not stored as it was given.
_IN_UNITS = {
    "model.name": "architecture",
    "task.name": "task",
    "model.params": "model.width",
    "train.until": "train.until.threshold",
    "train.patience": "train.until.patience",
}

# Settings by dotted key, such as "model.name" or "train.steps".
Settings = dict[str, Any]


@dataclass(frozen=True)
class Plan:
    """What a study file says for one size.

    Attributes
    ----------
    name
        Of the study; its runs go to ``runs/<name>``.
    seeds
        Seeds of every configuration.
    together
        Whether seeds are trained together where the architecture allows it.
    analyses
        Analysis commands for every unit, such as ``"memory profile --max-lag 40"``.
    compare
        Commands that compare all units at the end, such as ``"degeneracy --level weights"``.
    draw
        What is drawn at the end: analysis commands, or Python files beside the study file.
    fixed
        Settings of all units.
    per_name
        Settings of units with that architecture or task, by its name.
    per_pair
        Settings of units with that architecture on that task, by both names.
    grid, vary
        Values by key: all combinations, and one at a time.
    cases
        Explicit settings.
    """

    name: str
    seeds: tuple[int, ...]
    together: bool
    analyses: tuple[str, ...]
    compare: tuple[str, ...]
    draw: tuple[str, ...]
    fixed: Settings
    per_name: dict[str, Settings]
    per_pair: dict[tuple[str, str], Settings]
    grid: dict[str, list[Any]]
    vary: dict[str, list[Any]]
    cases: tuple[Settings, ...]

    def points(self) -> Iterator[Settings]:
        """Yield the settings of every configuration: cases x grid x (base and variations)."""
        variations: list[Settings] = [{}]
        variations += [{key: value} for key, values in self.vary.items() for value in values]
        grid = [
            dict(zip(self.grid, values, strict=True))
            for values in itertools.product(*self.grid.values())
        ]
        for case, point, variation in itertools.product(self.cases or ({},), grid, variations):
            chosen = {**case, **point, **variation}
            base = self.fixed | chosen
            settings = dict(self.fixed)
            model, task = str(base.get("model.name")), str(base.get("task.name"))
            settings |= self.per_name.get(model, {}) | self.per_name.get(task, {})
            settings |= self.per_pair.get((model, task), {})
            yield settings | chosen

    def factors(self) -> tuple[str, ...]:
        """Return what the plan varies, under the names that units have for it."""
        keys = [*self.grid, *self.vary, *(key for case in self.cases for key in case)]
        named = [_IN_UNITS.get(key, key) for key in keys]
        return tuple(dict.fromkeys(["architecture", "task", *named]))

    def assigned(self) -> Iterator[tuple[str, Any]]:
        """Yield every key with every value that the file gives it."""
        owned = (*self.per_name.values(), *self.per_pair.values())
        for settings in (self.fixed, *owned, *self.cases):
            yield from settings.items()
        for key, values in (*self.grid.items(), *self.vary.items()):
            for value in values:
                yield key, value


def find_plan(path: str | os.PathLike[str]) -> Path:
    """Return the study file of a path, which may be the folder that holds it.

    Raises
    ------
    UnreadableFileError
        If there is none.
    """
    path = Path(path)
    if path.is_dir():
        if not (path / PLAN_FILE).is_file():
            raise UnreadableFileError(f"folder '{path}' holds no {PLAN_FILE}")
        return path / PLAN_FILE
    if not path.is_file():
        raise UnreadableFileError(f"'{path}' does not exist; check the name")
    return path


def read_plan(path: str | os.PathLike[str], size: str = "full") -> Plan:
    """Read a study file.

    Parameters
    ----------
    path
        ``study.toml``, or the folder that holds it.
    size
        ``"full"`` or ``"smoke"``: what stands under ``[full]`` or ``[smoke]`` replaces what stands
        outside of them, setting by setting.

    Raises
    ------
    UnreadableFileError
        If the file is missing or not TOML.
    UsageError
        For a key that means nothing here, with the nearest that does, or an impossible value.
    """
    if size not in SIZES:
        raise UsageError(f"unknown size '{size}' (allowed: {', '.join(SIZES)})")
    file = find_plan(path)
    try:
        content = tomllib.loads(file.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UnreadableFileError(f"'{file}' is not a TOML file: {error}") from None
    for where in ("", *SIZES):
        table = content.get(where, {}) if where else content
        _check_keys(file, where, table, _OWN if where else (*_OWN, *SIZES))
    if size == "smoke" and "smoke" not in content:
        raise UsageError(f"'{file}' has no [smoke] section; add one, or leave --size out")
    merged = _merge({k: v for k, v in content.items() if k not in SIZES}, content.get(size, {}))
    home = file.resolve().parent
    return _plan(file, merged, home.name if file.name == PLAN_FILE else file.stem)


def _check_keys(file: Path, where: str, table: Any, allowed: tuple[str, ...]) -> None:
    if not isinstance(table, dict):
        raise UsageError(f"'{file}': [{where}] must be a table")
    for key in table:
        if key not in allowed:
            inside = f"[{where}] of '{file}'" if where else f"'{file}'"
            raise UsageError(
                f"unknown key '{key}' in {inside}{suggestion(key, allowed)}"
                f" (allowed: {', '.join(allowed)})"
            )


def _merge(base: Any, over: Any) -> Any:
    """Replace values of `base` by those of `over`, table by table."""
    if not (isinstance(base, dict) and isinstance(over, dict)):
        return over
    return base | {k: _merge(base[k], value) if k in base else value for k, value in over.items()}


def _plan(file: Path, content: Mapping[str, Any], name: str) -> Plan:
    def text_list(key: str) -> tuple[str, ...]:
        found = content.get(key, [])
        if not isinstance(found, list) or not all(isinstance(item, str) for item in found):
            raise UsageError(f"'{file}': {key} must be a list of texts, is {found!r}")
        return tuple(found)

    together = content.get("together", True)
    if not isinstance(together, bool):
        raise UsageError(f"'{file}': together = {together!r} is not allowed (allowed: true, false)")
    # The name of a folder need not be fit for another.
    name = content.get("name", re.sub(r"[^\w-]+", "-", name).strip("-") or "study")
    if not isinstance(name, str) or not re.fullmatch(r"[\w-]+", name):
        raise UsageError(
            f"'{file}': name = {name!r} is not allowed (allowed: letters, digits, - _)"
        )
    per_name, per_pair = _owned(file, content.get("for", {}))
    cases = content.get("case", [])
    if not isinstance(cases, list):
        raise UsageError(f"'{file}': cases stand under [[case]]")
    return Plan(
        name=name,
        seeds=_seeds(file, content.get("seeds", 1)),
        together=together,
        analyses=text_list("analyses"),
        compare=text_list("compare"),
        draw=text_list("draw"),
        fixed=_settings(file, "fixed", content.get("fixed", {})),
        per_name=per_name,
        per_pair=per_pair,
        grid=_lists(file, "grid", content.get("grid", {})),
        vary=_lists(file, "vary", content.get("vary", {})),
        cases=tuple(_settings(file, "case", case) for case in cases),
    )


def _seeds(file: Path, value: Any) -> tuple[int, ...]:
    seeds = list(range(value)) if type(value) is int else value
    good = isinstance(seeds, list) and all(type(s) is int and 0 <= s < 2**63 for s in seeds)
    if not good or not seeds or len(set(seeds)) < len(seeds):
        raise UsageError(
            f"'{file}': seeds = {value!r} is not allowed"
            " (allowed: a number of seeds, or a list of different ones)"
        )
    return tuple(seeds)


def _owned(file: Path, tables: Any) -> tuple[dict[str, Settings], dict[tuple[str, str], Settings]]:
    """Read [for.NAME], where whatever is no section of settings is a task: [for.MODEL.TASK]."""
    if not isinstance(tables, dict) or not all(isinstance(own, dict) for own in tables.values()):
        raise UsageError(f"'{file}': settings stand under [for.NAME]")
    per_name: dict[str, Settings] = {}
    per_pair: dict[tuple[str, str], Settings] = {}
    for name, table in tables.items():
        own = {key: value for key, value in table.items() if _section(key) in _SECTIONS}
        per_name[name] = _settings(file, f"for.{name}", own)
        for task, inner in table.items():
            if task in own:
                continue
            if not isinstance(inner, dict) or (
                inner and not {*map(_section, inner)} & {*_SECTIONS}
            ):
                raise UsageError(
                    f"unknown key '{task}' in [for.{name}] of '{file}'"
                    f"{suggestion(task, _SECTIONS)} (allowed: {', '.join(_SECTIONS)}, or a task"
                    " with a table of these)"
                )
            per_pair[name, task] = _settings(file, f"for.{name}.{task}", inner)
    return per_name, per_pair


def _section(key: str) -> str:
    return key.partition(".")[0]


def _settings(file: Path, where: str, table: Any) -> Settings:
    """Flatten a table of settings to dotted keys with plain values."""
    flat = _once(file, where, _flat(file, where, table, ""))
    for key, value in flat.items():
        if not isinstance(value, (str, int, float, bool)):
            raise UsageError(f"'{file}': {key} in [{where}] must be one value, is {value!r}")
    return flat


def _lists(file: Path, where: str, table: Any) -> dict[str, list[Any]]:
    """Flatten a table of lists of values."""
    flat = _once(file, where, _flat(file, where, table, ""))
    for key, values in flat.items():
        plain = isinstance(values, list) and all(
            isinstance(value, (str, int, float, bool)) for value in values
        )
        if not plain or (where == "grid" and not values):
            raise UsageError(
                f"'{file}': {key} in [{where}] must be a list of values, such as [1, 2]: {values!r}"
            )
        if len({repr(value) for value in values}) < len(values):
            raise UsageError(f"'{file}': {key} in [{where}] names a value twice: {values!r}")
    return flat


def _once(file: Path, where: str, items: Iterator[tuple[str, Any]]) -> dict[str, Any]:
    """Return items by key, refusing a key that stands there twice."""
    flat: dict[str, Any] = {}
    for key, value in items:
        if key in flat:
            raise UsageError(f"'{file}': {key} stands twice in [{where}]; leave one of them out")
        flat[key] = value
    return flat


def _flat(file: Path, where: str, table: Any, prefix: str) -> Iterator[tuple[str, Any]]:
    if not isinstance(table, dict):
        raise UsageError(f"'{file}': [{where}] must be a table, is {table!r}")
    for key, value in table.items():
        name = f"{prefix}{key}"
        if not prefix and _section(key) not in _SECTIONS:
            raise UsageError(
                f"unknown section '{key}' in [{where}] of '{file}'{suggestion(key, _SECTIONS)}"
                f" (allowed: {', '.join(f'{section}.' for section in _SECTIONS)})"
            )
        if isinstance(value, dict):
            yield from _flat(file, where, value, f"{name}.")
        else:
            yield name, value
