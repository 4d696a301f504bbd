"""Groups of commands: imported on first use, or with a main job that needs no subcommand."""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click

from seqprobe.errors import suggestion

__all__ = ["DefaultGroup", "LazyGroup"]


class LazyGroup(click.Group):
    """A group that knows its commands by name and imports each on first use.

    Parameters
    ----------
    lazy
        By name, the module whose ``command`` it is (or ``module:name``), and the line that help
        shows without importing it.
    """

    def __init__(self, *args: Any, lazy: Mapping[str, tuple[str, str]], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.lazy = lazy

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names in the order of the table."""
        return list(self.lazy)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the command of that name."""
        if cmd_name not in self.lazy:
            ctx.fail(
                f"unknown command '{cmd_name}'{suggestion(cmd_name, self.lazy)}"
                f" (allowed: {', '.join(self.lazy)})"
            )
        module, _, name = self.lazy[cmd_name][0].partition(":")
        command: click.Command = getattr(importlib.import_module(module), name or "command")
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the table of commands without importing any."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in self.lazy.items()])


class DefaultGroup(click.Group):
    """A group that runs its default command unless an argument names another one.

    The first argument that equals a subcommand selects it, wherever it stands; options before it
    are passed on. Help without a subcommand lists them. Values of options are not arguments, and a
    path with the name of a subcommand is written ``./name``.

    Parameters
    ----------
    default
        Name of the default command.
    """

    def __init__(self, *args: Any, default: str, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.default = default

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Move the subcommand's name to the front, adding the default one if there is none."""
        if args in (["--help"], ["-h"]):  # which lists the subcommands
            return super().parse_args(ctx, args)
        words = list(self._words(ctx, args))
        position = next((i for i, word in words if word in self.commands), None)
        if position is None:
            self._check_spelling(ctx, words[0][1] if words else "")
            return super().parse_args(ctx, [self.default, *args])
        return super().parse_args(ctx, [args[position], *args[:position], *args[position + 1 :]])

    def _check_spelling(self, ctx: click.Context, word: str) -> None:
        """Refuse a first word that is no file and nearly the name of a subcommand."""
        if Path(word).exists() or not word.replace("-", "").isalpha():
            return
        if close := difflib.get_close_matches(word.lower(), self.commands, n=1, cutoff=0.75):
            ctx.fail(f"no file and no subcommand is named '{word}'; did you mean '{close[0]}'?")

    def _words(self, ctx: click.Context, args: list[str]) -> Iterator[tuple[int, str]]:
        """Yield position and text of what is neither an option nor the value of one."""
        takes_value = self._options_with_value(ctx)
        skip = False
        for i, word in enumerate(args):
            if skip:
                skip = False
            elif word == "--":
                return
            elif word in takes_value:
                skip = True
            elif not word.startswith("-"):
                yield i, word

    def _options_with_value(self, ctx: click.Context) -> set[str]:
        return {
            spelling
            for command in self.commands.values()
            for parameter in command.get_params(ctx)
            if isinstance(parameter, click.Option) and not parameter.is_flag
            for spelling in parameter.opts
        }
