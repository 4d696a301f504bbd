"""Analysis: which states a model computes with, and what it does between them.

Fixed points are roots with a certificate (`fixed_points`), slow points are something else
(`slow_points`). Around them: `linearise`, `linear_prediction`, `basins`, `connections`, and
`input_sweep` along a line of inputs. Beyond them: `limit_cycles`, `lyapunov_spectrum`, and
`timescales`; of arrays without a model `recorded_timescales`.
"""

from seqprobe.dynamics.basins import basins
from seqprobe.dynamics.connections import connections
from seqprobe.dynamics.continuation import input_sweep
from seqprobe.dynamics.drive import input_vectors, sample_states
from seqprobe.dynamics.fixed_points import fixed_points
from seqprobe.dynamics.limit_cycles import limit_cycles
from seqprobe.dynamics.linear_prediction import linear_prediction
from seqprobe.dynamics.linearise import linearise, unstable_directions
from seqprobe.dynamics.lyapunov import lyapunov_spectrum
from seqprobe.dynamics.maps import CallableMap, StateMap, state_map
from seqprobe.dynamics.recorded_timescales import recorded_timescales
from seqprobe.dynamics.slow_points import slow_points
from seqprobe.dynamics.speed_map import speed_map
from seqprobe.dynamics.timescales import timescales
from seqprobe.dynamics.trajectories import trajectories

__all__ = [
    "CallableMap",
    "StateMap",
    "basins",
    "connections",
    "fixed_points",
    "input_sweep",
    "input_vectors",
    "limit_cycles",
    "linear_prediction",
    "linearise",
    "lyapunov_spectrum",
    "recorded_timescales",
    "sample_states",
    "slow_points",
    "speed_map",
    "state_map",
    "timescales",
    "trajectories",
    "unstable_directions",
]
