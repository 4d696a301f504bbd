"""Settings are frozen dataclasses; this module checks what goes into them.

A field's annotation says its type (int, float, bool, str, a Literal, or one of these with None);
``bounded(default, low, high)`` adds a range. Unknown keys and impossible values are errors that
name the key.
"""

from __future__ import annotations

import dataclasses
import math
import tomllib
import types
import typing
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

from seqprobe.errors import UsageError, suggestion

__all__ = ["bounded", "fields_of", "flatten", "from_mapping", "parse_assignments"]

T = TypeVar("T")


def bounded(default: Any, low: float, high: float = math.inf) -> Any:
    """Return a dataclass field whose value must lie in [low, high]."""
    return dataclasses.field(default=default, metadata={"low": low, "high": high})


def fields_of(config: type) -> dict[str, Any]:
    """Return the field names of a settings class with their resolved annotations."""
    hints = typing.get_type_hints(config)
    return {field.name: hints[field.name] for field in dataclasses.fields(config)}


def from_mapping(config: type[T], values: Mapping[str, Any], section: str) -> T:
    """Build a settings object from plain values.

    Parameters
    ----------
    config
        A dataclass.
    values
        Plain values by field name; fields that are absent keep their default.
    section
        The name of the section in messages, such as ``"model"``.

    Raises
    ------
    UsageError
        For a key the class does not have, a value of another type, or one out of range.
    """
    hints = fields_of(config)
    ranges = {field.name: field.metadata for field in dataclasses.fields(config)}  # type: ignore[arg-type]
    checked = {}
    for key, value in values.items():
        if key not in hints:
            raise UsageError(
                f"unknown key '{section}.{key}'{suggestion(key, hints)}"
                f" (allowed: {', '.join(f'{section}.{name}' for name in hints) or 'none'})"
            )
        checked[key] = _check(f"{section}.{key}", value, hints[key], ranges[key])
    return config(**checked)


def _check(key: str, value: Any, hint: Any, limits: Mapping[str, float]) -> Any:
    options = typing.get_args(hint) if _is_union(hint) else (hint,)
    for option in options:
        if option is type(None):
            if value is None:
                return None
        elif typing.get_origin(option) is typing.Literal:
            if value in typing.get_args(option):
                return value
        elif option is float and isinstance(value, int) and not isinstance(value, bool):
            return _in_range(key, float(value), limits)
        elif isinstance(value, option) and not (isinstance(value, bool) and option is not bool):
            return _in_range(key, value, limits)
    raise UsageError(f"{key} = {value!r} is not allowed (allowed: {_describe(options)})")


def _in_range(key: str, value: Any, limits: Mapping[str, float]) -> Any:
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        low, high = limits.get("low", -math.inf), limits.get("high", math.inf)
        if not (math.isfinite(value) and low <= value <= high):
            allowed = f">= {low}" if high == math.inf else f"{low} to {high}"
            if low == -math.inf:
                allowed = "a finite number"
            raise UsageError(f"{key} = {value!r} is out of range (allowed: {allowed})")
    return value


def _is_union(hint: Any) -> bool:
    return typing.get_origin(hint) in (typing.Union, types.UnionType)


def _describe(options: Iterable[Any]) -> str:
    words = {int: "an integer", float: "a number", bool: "true or false", str: "text"}
    parts = []
    for option in options:
        if typing.get_origin(option) is typing.Literal:
            parts += [repr(value) for value in typing.get_args(option)]
        elif option is not type(None):
            parts.append(words[option])
    return ", ".join(parts)


def flatten(table: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return the values of nested tables by dotted key, such as ``task.delay``."""
    flat: dict[str, Any] = {}
    for key, value in table.items():
        name = f"{prefix}{key}"
        flat |= flatten(value, name + ".") if isinstance(value, dict) else {name: value}
    return flat


def parse_assignments(
    assignments: Iterable[str], sections: tuple[str, ...]
) -> dict[str, dict[str, Any]]:
    """Parse ``section.key=value`` words into one mapping of values per section.

    A value is read as TOML (``3e-3``, ``true``, ``"text"``); what is not TOML is taken as text.

    Raises
    ------
    UsageError
        If a word has no ``=`` or its key does not begin with one of the sections.
    """
    result: dict[str, dict[str, Any]] = {section: {} for section in sections}
    prefixes = ", ".join(f"{section}." for section in sections)
    for word in assignments:
        key, equals, text = word.partition("=")
        section, dot, name = key.strip().partition(".")
        if not equals:
            raise UsageError(f"setting '{word}' has no '='; write {sections[0]}.KEY=VALUE")
        if not dot or not name:
            raise UsageError(
                f"setting '{key}' needs a prefix (allowed: {prefixes}), as in {sections[0]}.{key}"
            )
        if section not in result:
            raise UsageError(
                f"unknown prefix in '{key}'{suggestion(section, sections)} (allowed: {prefixes})"
            )
        result[section][name] = _parse_value(text.strip())
    return result


def _parse_value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text
