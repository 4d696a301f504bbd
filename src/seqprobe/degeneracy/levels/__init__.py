"""The levels at which networks are compared, each on several ensembles at once."""

from collections.abc import Callable

import xarray as xr

from seqprobe.degeneracy.groups import Ensembles
from seqprobe.degeneracy.levels.behaviour import behaviour
from seqprobe.degeneracy.levels.dynamics import dynamics
from seqprobe.degeneracy.levels.options import Options, Remarks
from seqprobe.degeneracy.levels.representation import representation
from seqprobe.degeneracy.levels.topology import topology
from seqprobe.degeneracy.levels.weights import weights

__all__ = ["DEFAULT_LEVELS", "LEVELS", "Options", "Remarks"]

LEVELS: dict[str, Callable[[Ensembles, Options, Remarks], xr.Dataset]] = {
    "behaviour": behaviour,
    "dynamics": dynamics,
    "weights": weights,
    "representation": representation,
    "topology": topology,
}
# Fixed points of every network take longer than all the rest.
DEFAULT_LEVELS = tuple(name for name in LEVELS if name != "topology")
