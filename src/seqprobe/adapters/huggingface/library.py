"""transformers itself: imported when it is needed, and kept quiet."""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from seqprobe.errors import UsageError

__all__ = ["one_line", "quiet", "transformers"]

_LONGEST = 200  # characters of another library's message


def transformers() -> Any:
    """Return the library.

    Raises
    ------
    UsageError
        If it is not installed.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return importlib.import_module("transformers")
    except ImportError:
        raise UsageError(
            "models of Hugging Face need transformers, which is not installed;"
            " pip install 'seqprobe[hf]'"
        ) from None


@contextmanager
def quiet() -> Iterator[None]:
    """Keep transformers' notes, warnings and progress bars from the user for a block."""
    logging = transformers().utils.logging
    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity(logging.CRITICAL)
    logging.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()


def one_line(error: BaseException) -> str:
    """Return what an error of another library says, as part of one line."""
    said = " ".join(str(error).split()) or type(error).__name__
    return said if len(said) <= _LONGEST else f"{said[:_LONGEST]}..."
