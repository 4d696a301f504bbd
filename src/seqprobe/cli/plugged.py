"""Analyses of plug-ins as commands: ``seqprobe NAME``, or ``seqprobe memory NAME``.

The name of an entry point in ``seqprobe.analyses`` says where its command stands. Help lists the
names of the first kind without importing them; those of the second are imported with their group.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from seqprobe.cli.groups import LazyGroup
from seqprobe.errors import SeqprobeError, unknown_name
from seqprobe.plugins import Registry, found

if TYPE_CHECKING:
    from seqprobe.cli.analysis import AnalysisCommand

__all__ = ["GROUPS", "PluggedGroup", "adopt", "built_in", "of_group", "registry", "standing_alone"]

GROUPS = ("memory", "fixed-points", "capacity", "timescales")

_adopted: set[str] = set()  # full names of the plug-ins that were added to a group


def standing_alone() -> list[str]:
    """Return the names of plug-ins that stand beside the built-in commands."""
    return [name for name in found("analyses") if "." not in name]


def of_group(group: str) -> list[str]:
    """Return the full names of plug-ins that are in a group, such as ``"memory.spectrum"``."""
    return [name for name in found("analyses") if name.partition(".")[0] == group and "." in name]


def registry(builtin: Mapping[str, Any]) -> Registry[AnalysisCommand]:
    """Return the analyses of plug-ins, beside names of seqprobe that they cannot have."""
    from seqprobe.cli.analysis import AnalysisCommand

    return Registry(
        "analyses",
        builtin,
        lambda thing: isinstance(thing, AnalysisCommand) and _has_place(thing.full_name),
        "a command made by seqprobe.cli.analysis.analysis_command that stands alone or in one of"
        f" {', '.join(GROUPS)}",
    )


def _has_place(full_name: str) -> bool:
    return "." not in full_name or full_name.partition(".")[0] in GROUPS


def built_in(group: click.Group, name: str) -> dict[str, click.Command]:
    """Return by full name the commands of a group that no plug-in brought."""
    named = {f"{name}.{command}": made for command, made in group.commands.items()}
    return {full_name: made for full_name, made in named.items() if full_name not in _adopted}


def adopt(group: click.Group, name: str) -> None:
    """Add the plug-ins of a group to it; one that cannot be imported says so when it is called."""
    own = built_in(group, name)
    known = registry(own)
    for full_name in sorted(set(of_group(name)) - own.keys() - _adopted):
        _adopted.add(full_name)
        short = full_name.partition(".")[2]
        try:
            group.add_command(known[full_name], short)
        except SeqprobeError as error:
            group.add_command(_Broken(short, error), short)


class _Broken(click.Command):
    """Stands where a command would, and says why it is not there."""

    def __init__(self, name: str, why: SeqprobeError) -> None:
        super().__init__(name, short_help="(cannot be loaded, see 'seqprobe ls plugins')")
        self.why = why

    def make_context(self, *args: Any, **kwargs: Any) -> click.Context:
        """Raise the error; nothing about its arguments is known."""
        raise self.why


class PluggedGroup(LazyGroup):
    """The top level: commands of seqprobe by name, then those of plug-ins.

    A name of seqprobe is looked up without asking what is installed.
    """

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of seqprobe, then those of plug-ins."""
        return [*self.lazy, *(name for name in standing_alone() if name not in self.lazy)]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the command of that name."""
        if cmd_name in self.lazy:
            command = super().get_command(ctx, cmd_name)
            if cmd_name in GROUPS and isinstance(command, click.Group):
                adopt(command, cmd_name)
            return command
        names = self.list_commands(ctx)
        if cmd_name not in names:
            ctx.fail(str(unknown_name("command", cmd_name, names)))
        return registry(self.lazy)[cmd_name]

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the tables of commands without importing any."""
        super().format_commands(ctx, formatter)
        plugins = found("analyses")
        rows = [
            (name, f"Analysis of plug-in {plugins[name].source}.")
            for name in self.list_commands(ctx)
            if name not in self.lazy
        ]
        if rows:
            with formatter.section("Commands of plug-ins"):
                formatter.write_dl(rows)
