"""Plug-ins: what other installed packages add, found by their entry points.

A package declares a name and an object under one of four groups, ``seqprobe.architectures``,
``seqprobe.tasks``, ``seqprobe.analyses`` and ``seqprobe.adapters``. Finding names imports nothing;
an object is imported when its name is asked for. One that cannot be imported, or has the name of
something else, costs its own name and nothing more.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import redirect_stdout
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeVar

from seqprobe.errors import SeqprobeError

if TYPE_CHECKING:
    from importlib.metadata import Distribution, EntryPoint

__all__ = [
    "ADAPTERS",
    "KINDS",
    "Adapter",
    "Kind",
    "Plugin",
    "Registry",
    "adapters",
    "found",
    "not_installed",
    "source_files",
]

T = TypeVar("T")
Kind = Literal["architectures", "tasks", "analyses", "adapters"]
KINDS: tuple[Kind, ...] = ("architectures", "tasks", "analyses", "adapters")


@dataclass(frozen=True)
class Plugin:
    """A name that an installed package declares.

    Attributes
    ----------
    kind, name
        The group, and what the user types.
    distribution, version
        Of the package.
    entry
        Where the object is.
    rivals
        Other packages that declare the same name.
    """

    kind: Kind
    name: str
    distribution: str
    version: str
    entry: EntryPoint
    rivals: tuple[str, ...] = ()

    @property
    def source(self) -> str:
        """Name and version of the package."""
        return f"{self.distribution} {self.version}"

    def load(self) -> Any:
        """Import the object.

        Raises
        ------
        SeqprobeError
            If it cannot be imported, or another package declares the same name.
        """
        if self.rivals:
            raise SeqprobeError(
                f"'{self.name}' is in seqprobe.{self.kind} of {self.source} and of"
                f" {' and of '.join(self.rivals)}; uninstall all but one"
            )
        try:
            with redirect_stdout(sys.stderr):  # what it prints is not our data
                return self.entry.load()
        except (Exception, SystemExit) as error:  # whatever code of others does, it is one line
            said = " ".join(str(error).split())
            raise SeqprobeError(
                f"plug-in '{self.name}' of {self.source} cannot be loaded"
                f" ({type(error).__name__}: {said}); repair or uninstall it"
            ) from error


def found(kind: Kind) -> dict[str, Plugin]:
    """Return the plug-ins of one kind by name, importing none."""
    return _found(tuple(sys.path))[kind]


@lru_cache(maxsize=8)  # reading what is installed takes milliseconds, and sys.path decides it
def _found(path: tuple[str, ...]) -> dict[Kind, dict[str, Plugin]]:
    if not any(map(_declares, path)):  # importlib.metadata takes longer to import than all of help
        return {kind: {} for kind in KINDS}
    from importlib.metadata import entry_points

    entries = entry_points()
    return {kind: _by_name(kind, entries.select(group=f"seqprobe.{kind}")) for kind in KINDS}


def _declares(place: str) -> bool:
    """Say whether a place on sys.path may hold packages that declare plug-ins."""
    groups = [f"seqprobe.{kind}".encode() for kind in KINDS]
    try:
        infos = [p for p in Path(place).iterdir() if p.suffix in (".dist-info", ".egg-info")]
        files = [info / "entry_points.txt" for info in infos]
        declared = b"".join(file.read_bytes() for file in files if file.is_file())
    except NotADirectoryError:  # an archive, which only importlib.metadata can read
        return True
    except OSError:
        return False
    return any(group in declared for group in groups)


def _by_name(kind: Kind, entries: Any) -> dict[str, Plugin]:
    named: dict[str, list[Plugin]] = {}
    for entry in entries:
        named.setdefault(entry.name, []).append(
            Plugin(kind, entry.name, *_distribution(entry.dist), entry)
        )
    plugins = {}
    for name in sorted(named):
        first, *others = sorted(named[name], key=lambda plugin: plugin.source)
        rivals = tuple(other.source for other in others)
        plugins[name] = Plugin(kind, name, first.distribution, first.version, first.entry, rivals)
    return plugins


def _distribution(dist: Distribution | None) -> tuple[str, str]:
    if dist is None or "Name" not in dist.metadata:
        return "an unnamed package", "?"
    return dist.name, dist.version


class Registry(Mapping[str, T]):
    """Names with their objects: those of seqprobe, then those of plug-ins.

    A name of seqprobe is never replaced. ``name in registry`` and ``registry[name]`` import at most
    the plug-in of that name; iterating imports all and leaves out those that cannot be used, which
    `problems` names.

    Parameters
    ----------
    kind
        The group of entry points.
    builtin
        What seqprobe has.
    accepts
        Says whether an object is what this registry holds.
    wanted
        What that is, in words.
    forms
        By prefix, what makes a further entry ``<prefix><name>`` of every plug-in.
    """

    def __init__(
        self,
        kind: Kind,
        builtin: Mapping[str, T],
        accepts: Callable[[Any], bool],
        wanted: str,
        forms: Mapping[str, Callable[[T], T]] | None = None,
    ) -> None:
        self.kind: Kind = kind
        self.builtin = builtin
        self._accepts = accepts
        self._wanted = wanted
        self._forms = forms or {}

    def __contains__(self, name: object) -> bool:
        return name in self.builtin or (isinstance(name, str) and self._declared(name) is not None)

    def __getitem__(self, name: str) -> T:
        """Return an object; see `Plugin.load` for the errors."""
        if name in self.builtin:
            return self.builtin[name]
        declared = self._declared(name)
        if declared is None:
            raise KeyError(name)
        plugin, prefix = declared
        loaded = self._load(plugin)
        return self._forms[prefix](loaded) if prefix else loaded

    def __iter__(self) -> Iterator[str]:
        yield from self.builtin
        for plugin in found(self.kind).values():
            if self._problem(plugin) is None:
                yield plugin.name
                for prefix in self._forms:
                    if prefix + plugin.name not in self.builtin:
                        yield prefix + plugin.name

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def plugin(self, name: str) -> Plugin | None:
        """Return the plug-in that an entry comes from, or None for one of seqprobe."""
        declared = None if name in self.builtin else self._declared(name)
        return None if declared is None else declared[0]

    def problems(self) -> dict[str, str]:
        """Return a line for every plug-in that cannot be used, by name; this imports all."""
        said = {name: self._problem(plugin) for name, plugin in found(self.kind).items()}
        return {name: line for name, line in said.items() if line is not None}

    def _declared(self, name: str) -> tuple[Plugin, str] | None:
        """Return the plug-in of a name and the prefix of its form."""
        plugins = found(self.kind)
        for prefix in ("", *self._forms):
            base = name.removeprefix(prefix)
            if name.startswith(prefix) and base in plugins and base not in self.builtin:
                return plugins[base], prefix
        return None

    def _problem(self, plugin: Plugin) -> str | None:
        if plugin.name in self.builtin:
            return (
                f"plug-in '{plugin.name}' of {plugin.source} has a name of seqprobe, which keeps"
                " it; the plug-in needs another"
            )
        try:
            self._load(plugin)
        except SeqprobeError as error:
            return str(error)
        return None

    def _load(self, plugin: Plugin) -> T:
        loaded: T = plugin.load()
        what = f"plug-in '{plugin.name}' of {plugin.source}"
        if not self._accepts(loaded):
            raise SeqprobeError(f"{what} is {_described(loaded)}, not {self._wanted}")
        own = getattr(loaded, "full_name", None) or getattr(loaded, "name", None)
        if own != plugin.name:
            raise SeqprobeError(
                f"{what} calls itself '{own}'; its name and that of its entry point must be one"
            )
        return loaded


def _described(thing: Any) -> str:
    is_class = isinstance(thing, type)
    return f"the class {thing.__name__}" if is_class else f"of type {type(thing).__name__}"


class Adapter(Protocol):
    """What an entry of ``seqprobe.adapters`` offers: a way to read modules of one kind."""

    name: str

    def matches(self, module: Any) -> bool:
        """Say whether a torch module is of that kind."""

    def wrap(self, module: Any) -> Any:
        """Return the module as a `seqprobe.models.WholeModel`."""


def _is_adapter(thing: Any) -> bool:
    return all(callable(getattr(thing, name, None)) for name in ("matches", "wrap"))


ADAPTERS: Registry[Adapter] = Registry(
    "adapters", {}, _is_adapter, "an object with name, matches and wrap"
)


def adapters() -> list[Adapter]:
    """Return the adapters of all plug-ins that can be loaded, by name."""
    return [ADAPTERS[name] for name in ADAPTERS]


def not_installed(distributions: Mapping[str, str]) -> list[str]:
    """Return those packages, with their versions, that are not installed."""
    from importlib.metadata import PackageNotFoundError, version

    missing = []
    for name, wanted in distributions.items():
        try:
            version(name)
        except (PackageNotFoundError, ValueError):  # no package can have an empty name
            missing.append(f"{name} {wanted}")
    return missing


def source_files() -> list[Path]:
    """Return the Python files of all packages that declare plug-ins, importing none."""
    entries = [plugin.entry for kind in KINDS for plugin in found(kind).values()]
    files: set[Path] = set()
    for package in {entry.module.partition(".")[0] for entry in entries} - {"seqprobe"}:
        try:
            spec = importlib.util.find_spec(package)
        except (ImportError, ValueError):
            continue
        if spec is not None and spec.submodule_search_locations is not None:
            for folder in spec.submodule_search_locations:
                files |= set(Path(folder).rglob("*.py"))
        elif spec is not None and spec.origin is not None:
            files.add(Path(spec.origin))
    return sorted(file for file in files if file.is_file())
