"""The analyses by name, for studies: ``parse`` a command, ``measure`` a checkpoint."""

from __future__ import annotations

import importlib
import shlex
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from seqprobe import device as devices
from seqprobe.cli.analysis import AnalysisCommand, Subject
from seqprobe.cli.app import COMMANDS
from seqprobe.cli.common import HELP_NAMES, plain
from seqprobe.cli.given import Given
from seqprobe.cli.plugged import GROUPS, adopt, built_in, of_group, registry, standing_alone
from seqprobe.errors import UsageError, unknown_name
from seqprobe.files import sha256
from seqprobe.plugins import Registry
from seqprobe.studies import Analysis
from seqprobe.training import load_checkpoint

if TYPE_CHECKING:
    import xarray as xr

__all__ = [
    "command_of",
    "compare",
    "measure",
    "parse",
    "parse_comparison",
    "plugged",
    "with_parameters",
]


def parse(line: str) -> Analysis:
    """Read a command without checkpoints, such as ``"memory profile --max-lag 40"``.

    Raises
    ------
    UsageError
        For an unknown command or option, or an option that is not about what is measured.
    """
    words = _words(line)
    if words and words[0] in standing_alone() and words[0] not in COMMANDS:
        command, name, rest = command_of(words[0]), words[0], words[1:]
    else:
        if not words or words[0] not in GROUPS:
            raise unknown_name("analysis", words[0] if words else "", _names())
        named = len(words) > 1 and not words[1].startswith("-")
        name = words[1] if named else _group(words[0]).default
        command, rest = command_of(f"{words[0]}.{name}"), words[2 if named else 1 :]
    given = _given(command, name, rest, line)
    own = {str(option.name): given[str(option.name)] for option in command.own}
    return with_parameters(command, own, given["seed"])


def _words(line: str) -> list[str]:
    try:
        return shlex.split(line)
    except ValueError as error:
        raise UsageError(f"analysis '{line}' cannot be read: {error}") from None


def _given(command: click.Command, name: str, words: list[str], line: str) -> dict[str, Any]:
    """Return the options of a command, refusing those that are not about what is measured."""
    try:
        with command.make_context(name, [*words, "CKPT"], help_option_names=HELP_NAMES) as context:
            given = dict(context.params)
    except click.UsageError as error:
        text = " ".join(error.format_message().split()).removesuffix(".")
        group = line.split()[0]
        raise UsageError(f"analysis '{line}': {text} (see 'seqprobe {group} --help')") from None
    for option in ("output", "figures", "as_json", "quiet"):
        if given[option]:
            raise UsageError(f"analysis '{line}' must not say where its result goes; leave it out")
    if given["device"] != "auto" or given["checkpoints"] != ("CKPT",):
        raise UsageError(f"analysis '{line}' must not name a device or a checkpoint")
    if any(given.get(name) for name in Given.NAMES):
        raise UsageError(f"analysis '{line}' is of the study's own models; leave out --model etc.")
    return given


def parse_comparison(line: str) -> Analysis:
    """Read a comparison without checkpoints, such as ``"degeneracy --level weights"``.

    Raises
    ------
    UsageError
        As `parse`.
    """
    from seqprobe.cli.degeneracy import OPTION_NAMES, command

    words = _words(line)
    if words[:1] != ["degeneracy"]:
        raise unknown_name("comparison", words[0] if words else "", ["degeneracy"])
    given = _given(command, "degeneracy", words[1:], line)
    parameters = {name: plain(given[name]) for name in OPTION_NAMES} | {"seed": given["seed"]}
    return Analysis("degeneracy", parameters)


def compare(
    checkpoints: Sequence[Path],
    analysis: Analysis,
    folder: Path,
    jobs: int | None,
    update: Callable[[float, float, str], None],
) -> xr.Dataset:
    """Compare checkpoint files; see `seqprobe.studies.analyses.Measures`."""
    from seqprobe.cli.degeneracy import comparison

    own = {key: value for key, value in analysis.parameters.items() if key != "seed"}
    return comparison(
        list(map(load_checkpoint, checkpoints)),
        own,
        seed=analysis.parameters["seed"],
        device="cpu",
        jobs=jobs,
        home=folder,
        update=update,
    )


def with_parameters(command: AnalysisCommand, own: Mapping[str, Any], seed: int) -> Analysis:
    """Return what decides the result of a command with these options."""
    parameters = {key: plain(value) for key, value in own.items()} | {"seed": seed}
    files = {}
    for key, value in own.items():
        if isinstance(value, str) and Path(value).is_file():  # it may change under its name
            parameters[key] = str(Path(value).resolve())  # for processes that run elsewhere
            files[key] = sha256(value)
    return Analysis(command.full_name, parameters, files)


def measure(
    checkpoint: Path, analysis: Analysis, device: str, update: Callable[[float, float], None]
) -> xr.Dataset:
    """Apply an analysis to a checkpoint file; see `seqprobe.studies.analyses.Measures`."""
    command = command_of(analysis.name)
    own = {key: value for key, value in analysis.parameters.items() if key != "seed"}
    subject = Subject(
        load_checkpoint(checkpoint), devices.resolve(device), analysis.parameters["seed"], update
    )
    return command.measure(subject, **own)


def command_of(name: str) -> AnalysisCommand:
    """Return the command of a name such as ``"memory.profile"``.

    Raises
    ------
    UsageError
        If there is none, with the nearest.
    """
    room, dot, rest = name.partition(".")
    if not dot and room in standing_alone() and room not in COMMANDS:
        return registry(COMMANDS)[room]
    if room not in GROUPS:
        raise unknown_name("analysis", room, _names())
    group = _group(room)
    found = {n: c for n, c in group.commands.items() if isinstance(c, AnalysisCommand)}
    if rest not in found:
        if name in of_group(room) and rest in group.commands:  # a plug-in that cannot be loaded
            return registry({})[name]
        raise unknown_name(f"{room} analysis", rest, found)
    return found[rest]


def plugged() -> Registry[Any]:
    """Return the analyses of plug-ins, beside all names of commands that seqprobe has."""
    builtin: dict[str, Any] = dict(COMMANDS)
    for name in GROUPS:
        builtin |= built_in(_group(name), name)
    return registry(builtin)


def _names() -> list[str]:
    return [*GROUPS, *(name for name in standing_alone() if name not in COMMANDS)]


def _group(name: str) -> Any:
    group = importlib.import_module(COMMANDS[name][0]).command
    adopt(group, name)
    return group
