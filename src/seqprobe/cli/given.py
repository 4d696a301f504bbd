"""Models made elsewhere on the command line: how they are built, and what they read."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

import click

from seqprobe.errors import UsageError

if TYPE_CHECKING:
    from seqprobe.adapters import Specimen
    from seqprobe.tasks import Task
    from seqprobe.training import Checkpoint

__all__ = ["Given", "given_options", "is_huggingface"]

Command = TypeVar("Command", bound=Callable[..., Any])


def given_options(command: Command) -> Command:
    """Add the options for models made elsewhere; `Given.of` takes them out again."""
    for option in reversed(
        [
            click.option(
                "--model",
                "factory",
                metavar="MODULE:FUNCTION",
                help="Function that builds your own module; CKPT is then a file of its weights"
                " (.pt, .safetensors, .npz), or left out.",
            ),
            click.option(
                "--data",
                metavar="FILE.npz",
                help="Your own sequences: arrays inputs (N, T, D), targets, mask; a text for models"
                " of Hugging Face.",
            ),
            click.option("--task", "task_name", metavar="TASK", help="Or a task of 'ls tasks'."),
            click.option(
                "--set",
                "assignments",
                multiple=True,
                metavar="task.KEY=VALUE",
                help="A setting of --task; may be repeated.",
            ),
            click.option(
                "--state",
                metavar="NAME",
                help="Part of --model whose output is the state.  [default: torch's RNN, GRU, LSTM"
                " in it]",
            ),
        ]
    ):
        command = option(command)
    return command


@dataclass(frozen=True)
class Given:
    """What the user said of models made elsewhere.

    Attributes
    ----------
    factory, state
        How the module is built, and where its state is; None for Hugging Face and checkpoints.
    data, task_name, assignments
        What it is looked at with: a file, or a task with its settings.
    """

    factory: str | None = None
    state: str | None = None
    data: str | None = None
    task_name: str | None = None
    assignments: tuple[str, ...] = ()

    NAMES: ClassVar = ("factory", "state", "data", "task_name", "assignments")

    @classmethod
    def of(cls, options: dict[str, Any], paths: tuple[str, ...]) -> Given:
        """Take the options of `given_options` out of those of a command, if they fit the paths.

        Raises
        ------
        UsageError
            If options do not belong together, before anything is read.
        """
        given = cls(**{name: options.pop(name) for name in cls.NAMES})
        given._check(paths)
        return given

    @property
    def anything(self) -> bool:
        """True if something was said."""
        return self != Given()

    def _check(self, paths: tuple[str, ...]) -> None:
        if not paths and self.factory is None:
            raise UsageError("no CKPT was given (allowed: checkpoints, folders, or --model)")
        if self.data is not None and self.task_name is not None:
            raise UsageError("--data and --task are two answers to one question; give one of them")
        if self.assignments and self.task_name is None:
            raise UsageError("--set is for the settings of --task; name one")
        if self.state is not None and self.factory is None:
            raise UsageError("--state is about --model; checkpoints say themselves what they keep")
        if self.factory is not None and self.data is None and self.task_name is None:
            raise UsageError(
                "--model needs sequences to look at: --data FILE.npz with an array inputs (N, T,"
                " D), or --task NAME"
            )

    def open(self, path: Path) -> Checkpoint | Specimen:
        """Read a checkpoint, or a model made elsewhere.

        Raises
        ------
        SeqprobeError
            If it cannot be read or does not fit what it is looked at with.
        """
        from seqprobe.adapters import of_factory, of_folder
        from seqprobe.training import load_checkpoint

        if self.factory is not None:
            weights = None if str(path) == self.factory else path
            return of_factory(weights, self.factory, self._task(), self.state)
        if is_huggingface(path):
            text = self.data is not None and not self.data.endswith((".npz", ".npy"))
            if self.data is None and self.task_name is None:
                raise UsageError(
                    f"'{path}' is a model of Hugging Face, which needs sequences to look at: --data"
                    " FILE.txt, --data FILE.npz with tokens (N, T), or --task NAME"
                )
            return of_folder(path, Path(str(self.data)) if text else self._task())
        if self.anything and path.exists():
            raise UsageError(
                f"'{path}' is to be a checkpoint of seqprobe, which says itself what it was trained"
                " on; --data, --task and --set are for models made elsewhere, with --model"
            )
        return load_checkpoint(path)

    def _task(self) -> Task:
        from seqprobe.config import parse_assignments
        from seqprobe.tasks import make_task
        from seqprobe.tasks.arrays import read_arrays

        if self.data is not None:
            return read_arrays(self.data)
        assert self.task_name is not None  # `check` and `open` asked for one of the two
        values: Mapping[str, Any] = parse_assignments(list(self.assignments), ("task",))["task"]
        return make_task(self.task_name, values)


def is_huggingface(path: Path) -> bool:
    """Say whether a folder is a model of Hugging Face, by its config.json."""
    config = path / "config.json"
    if not config.is_file():
        return False
    try:
        content = json.loads(config.read_text())
    except (OSError, ValueError):
        return not any(path.glob("*.pt"))
    return isinstance(content, dict) and ("model_type" in content or "architectures" in content)
