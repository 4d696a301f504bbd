"""The tasks a user can name. One line each; the files say the rest.

Those of plug-ins follow; see `seqprobe.plugins`.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from seqprobe.config import from_mapping
from seqprobe.errors import unknown_name
from seqprobe.plugins import Registry
from seqprobe.tasks.adding import Adding
from seqprobe.tasks.base import Task, TaskConfig
from seqprobe.tasks.chartext import CharText
from seqprobe.tasks.copy import Copy
from seqprobe.tasks.delay import Delay
from seqprobe.tasks.digits import Digits
from seqprobe.tasks.discrimination import Discrimination
from seqprobe.tasks.flipflop import FlipFlop
from seqprobe.tasks.induction import Induction
from seqprobe.tasks.integrator import Integrator
from seqprobe.tasks.lorenz96 import Lorenz96
from seqprobe.tasks.mnist import PMNIST, SMNIST
from seqprobe.tasks.mqar import MQAR
from seqprobe.tasks.music import JSB, Muse, Nottingham, Piano
from seqprobe.tasks.neurogym import Neurogym
from seqprobe.tasks.passkey import Passkey
from seqprobe.tasks.path_integration import PathIntegration
from seqprobe.tasks.recall import Recall
from seqprobe.tasks.selective_copy import SelectiveCopy
from seqprobe.tasks.sine import Sine
from seqprobe.tasks.speech import Speech

__all__ = ["TASKS", "make_task"]

_TASKS: tuple[type[Task], ...] = (
    Delay,
    Recall,
    Digits,
    Adding,
    Copy,
    MQAR,
    Induction,
    SelectiveCopy,
    Passkey,
    FlipFlop,
    Integrator,
    Sine,
    Discrimination,
    PathIntegration,
    Lorenz96,
    SMNIST,
    PMNIST,
    JSB,
    Nottingham,
    Muse,
    Piano,
    CharText,
    Speech,
    Neurogym,
)


def _accepts(thing: Any) -> bool:
    return (
        isinstance(thing, type)
        and issubclass(thing, Task)
        and not inspect.isabstract(thing)
        and isinstance(thing.Config, type)
        and issubclass(thing.Config, TaskConfig)
    )


TASKS: Registry[type[Task]] = Registry(
    "tasks",
    {task.name: task for task in _TASKS},
    _accepts,
    "a subclass of seqprobe.tasks.Task with all its methods and a Config that is a TaskConfig",
)


def make_task(name: str, config: Mapping[str, Any] | None = None) -> Task:
    """Return a task by name.

    Parameters
    ----------
    name
        See ``seqprobe ls tasks``.
    config
        Settings by name, plain values; defaults where absent.

    Raises
    ------
    UsageError
        For an unknown name, an unknown key or an impossible value.
    SeqprobeError
        If it is of a plug-in that cannot be loaded.
    """
    if name not in TASKS:
        raise unknown_name("task", name, TASKS)
    return TASKS[name](from_mapping(TASKS[name].Config, config or {}, "task"))
