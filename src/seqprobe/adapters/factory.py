"""A user's function that builds a module, named as ``package.module:function``."""

from __future__ import annotations

import importlib
import inspect
import sys
import traceback
from contextlib import redirect_stdout, suppress
from pathlib import Path
from typing import Any

from torch import nn

from seqprobe.errors import SeqprobeError, UsageError, suggestion

__all__ = ["build"]


def build(named: str) -> nn.Module:
    """Call the factory of a name and return the module that it builds.

    Parameters
    ----------
    named
        ``"package.module:function"``; packages of the working folder are found, as by ``python
        -m``. The function, or class, takes no arguments.

    Raises
    ------
    UsageError
        If there is no such module or function, or it returns something else.
    SeqprobeError
        If it raises; the message names the line.
    """
    where, colon, name = named.partition(":")
    if not (colon and name.isidentifier() and all(p.isidentifier() for p in where.split("."))):
        hint = "; leave out .py" if where.endswith(".py") else ""
        raise UsageError(f"--model is '{named}' (allowed: package.module:function){hint}")
    function = _function(named, where, name)
    try:
        with suppress(ValueError):  # one in C says nothing of itself
            inspect.signature(function).bind()
    except TypeError as error:
        raise UsageError(
            f"factory '{named}' cannot be called without arguments ({error}); write a function that"
            " gives them"
        ) from None
    try:
        with redirect_stdout(sys.stderr):  # what it prints is not our data
            made = function()
    except SeqprobeError:
        raise
    except (Exception, SystemExit) as error:
        raise SeqprobeError(f"factory '{named}' fails: {_said(error)}") from error
    if not isinstance(made, nn.Module):
        raise UsageError(
            f"factory '{named}' returns a {type(made).__name__} (allowed: a torch.nn.Module)"
        )
    return made


def _function(named: str, where: str, name: str) -> Any:
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        with redirect_stdout(sys.stderr):
            module = importlib.import_module(where)
    except ModuleNotFoundError as error:
        if error.name is not None and (where + ".").startswith(error.name + "."):
            raise UsageError(
                f"--model '{named}': there is no module '{error.name}' in '{here}' or among the"
                " installed ones; run from the folder that holds it, or set PYTHONPATH"
            ) from None
        raise SeqprobeError(f"--model '{named}': importing it fails: {_said(error)}") from error
    except (Exception, SystemExit) as error:
        raise SeqprobeError(f"--model '{named}': importing it fails: {_said(error)}") from error
    found = getattr(module, name, None)
    if not callable(found):
        public = [n for n, value in vars(module).items() if callable(value) and n[0] != "_"]
        raise UsageError(f"module '{where}' has no function '{name}'{suggestion(name, public)}")
    return found


def _said(error: BaseException) -> str:
    """Return an error in one line, with the place where it was raised."""
    frames = traceback.extract_tb(error.__traceback__)
    place = f" ({Path(frames[-1].filename).name}, line {frames[-1].lineno})" if frames else ""
    message = " ".join(str(error).split())
    return f"{type(error).__name__}: {message}{place}"
