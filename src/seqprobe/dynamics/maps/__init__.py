"""One step of a model as a map of flat states, one cell per file."""

from seqprobe.dynamics.maps.base import StateMap
from seqprobe.dynamics.maps.build import state_map
from seqprobe.dynamics.maps.elman import ElmanMap
from seqprobe.dynamics.maps.generic import CallableMap
from seqprobe.dynamics.maps.gru import GRUBeforeMap, GRUMap
from seqprobe.dynamics.maps.lstm import LSTMMap
from seqprobe.dynamics.maps.stack import StackMap

__all__ = [
    "CallableMap",
    "ElmanMap",
    "GRUBeforeMap",
    "GRUMap",
    "LSTMMap",
    "StackMap",
    "StateMap",
    "state_map",
]
