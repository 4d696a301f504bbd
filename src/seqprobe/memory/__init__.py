"""Analysis: how far back a model remembers."""

from seqprobe.memory.gradient_profile import gradient_profile

__all__ = ["gradient_profile"]
