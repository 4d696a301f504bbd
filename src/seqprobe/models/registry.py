"""The architectures a user can name. One line each; the files say the rest."""

from __future__ import annotations

from seqprobe.errors import unknown_name
from seqprobe.models import gru, lstm, rnn, tcn, transformer
from seqprobe.models.architecture import Architecture

__all__ = ["MODELS", "architecture"]

MODELS: dict[str, Architecture] = {
    module.ARCHITECTURE.name: module.ARCHITECTURE for module in (rnn, gru, lstm, tcn, transformer)
}


def architecture(name: str) -> Architecture:
    """Return the registry entry of that name.

    Raises
    ------
    UsageError
        If there is none, with the nearest name.
    """
    if name not in MODELS:
        raise unknown_name("model", name, MODELS)
    return MODELS[name]
