"""Analysis: which states a model computes with, and what it does between them."""

from seqprobe.dynamics.drive import sample_states
from seqprobe.dynamics.fixed_points import fixed_points
from seqprobe.dynamics.maps import CallableMap, StateMap, state_map

__all__ = [
    "CallableMap",
    "StateMap",
    "fixed_points",
    "sample_states",
    "state_map",
]
