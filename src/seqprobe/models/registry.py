"""The architectures a user can name. One line each; the files say the rest.

Those of plug-ins follow; see `seqprobe.plugins`.
"""

from __future__ import annotations

from typing import Any

from seqprobe.errors import unknown_name
from seqprobe.models import gru, irnn, leaky, lstm, mamba, mup, rnn, s4d, tcn, transformer
from seqprobe.models.architecture import Architecture
from seqprobe.models.bidirectional import bidirectional
from seqprobe.plugins import Registry

__all__ = ["MODELS", "architecture"]

_FILES = (rnn, irnn, leaky, mup, gru, lstm, tcn, transformer, s4d, mamba)


def _accepts(thing: Any) -> bool:
    return isinstance(thing, Architecture) and thing.directions == 1


# Every architecture, and every one again in both directions as bi-<name>.
MODELS: Registry[Architecture] = Registry(
    "architectures",
    {
        entry.name: entry
        for file in _FILES
        for entry in (file.ARCHITECTURE, bidirectional(file.ARCHITECTURE))
    },
    _accepts,
    "a seqprobe.models.Architecture of one direction",
    {"bi-": bidirectional},
)


def architecture(name: str) -> Architecture:
    """Return the registry entry of that name.

    Raises
    ------
    UsageError
        If there is none, with the nearest name.
    SeqprobeError
        If it is of a plug-in that cannot be loaded.
    """
    if name not in MODELS:
        raise unknown_name("model", name, MODELS)
    return MODELS[name]
