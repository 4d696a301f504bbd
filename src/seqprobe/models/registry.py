"""The architectures a user can name. One line each; the files say the rest."""

from __future__ import annotations

from seqprobe.errors import unknown_name
from seqprobe.models import gru, irnn, leaky, lstm, mamba, mup, rnn, s4d, tcn, transformer
from seqprobe.models.architecture import Architecture
from seqprobe.models.bidirectional import bidirectional

__all__ = ["MODELS", "architecture"]

_FILES = (rnn, irnn, leaky, mup, gru, lstm, tcn, transformer, s4d, mamba)

# Every architecture, and every one again in both directions as bi-<name>.
MODELS: dict[str, Architecture] = {
    entry.name: entry
    for file in _FILES
    for entry in (file.ARCHITECTURE, bidirectional(file.ARCHITECTURE))
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
