"""Every state, gate and output of a model as labelled data on disk."""

from seqprobe.activations.reading import open_recording
from seqprobe.activations.record import record

__all__ = ["open_recording", "record"]
