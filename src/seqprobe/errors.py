"""Errors that reach a user: one line that says what is wrong, what is allowed and what to do.

Each class carries the exit code that the command line returns for it. Anything that is not a
`SeqprobeError` is a defect of seqprobe and keeps its traceback.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

__all__ = [
    "DivergedError",
    "InterruptedRunError",
    "NotApplicableError",
    "SeqprobeError",
    "UnreadableFileError",
    "UsageError",
    "suggestion",
    "unknown_name",
]


class SeqprobeError(Exception):
    """Something the user can act on. The message is one line."""

    exit_code = 1


class UsageError(SeqprobeError, ValueError):
    """An argument, option or configuration value that is not allowed."""

    exit_code = 2


class UnreadableFileError(SeqprobeError):
    """A file that is missing, damaged, foreign or unsafe to open."""

    exit_code = 3


class NotApplicableError(SeqprobeError):
    """The analysis has no meaning for this model."""

    exit_code = 4


class DivergedError(SeqprobeError):
    """Training met a loss that is not finite."""

    exit_code = 1


class InterruptedRunError(SeqprobeError):
    """The user stopped work that can go on later; the message says how."""

    exit_code = 130


def suggestion(value: str, allowed: Iterable[str]) -> str:
    """Return ``"; did you mean 'x'?"`` for the nearest allowed name, or an empty string."""
    close = difflib.get_close_matches(value, list(allowed), n=1, cutoff=0.6)
    return f"; did you mean '{close[0]}'?" if close else ""


def unknown_name(kind: str, value: str, allowed: Iterable[str]) -> UsageError:
    """Return the error for a name that is not registered, with the names that are."""
    names = sorted(allowed)
    return UsageError(
        f"unknown {kind} '{value}'{suggestion(value, names)} (allowed: {', '.join(names)})"
    )
