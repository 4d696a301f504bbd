"""Analysis: how much a state can hold.

What must cross from the past to the future (`effective_state_size`, `linear_state_size`), how many
directions the visited states occupy (`state_dimension`, `cloud_dimension`), what can be recalled
from them (`recall_capacity`, beside a Hebbian store), how finely they have to be kept
(`quantised_bits`), what linear readers can do with them (`cover_capacity`, `manifold_capacity`),
and whether they go on growing (`state_growth`). `capacity_summary` has the cheap ones in one table.
"""

from seqprobe.capacity.effective_state_size import effective_state_size
from seqprobe.capacity.hebbian import hebbian_accuracy, hebbian_capacity
from seqprobe.capacity.linear_state_size import (
    LinearSystem,
    hankel_singular_values,
    linear_state_size,
)
from seqprobe.capacity.manifold import manifold_capacity
from seqprobe.capacity.quantised_bits import quantised_bits
from seqprobe.capacity.recall import recall_capacity
from seqprobe.capacity.separability import cover_capacity, cover_probability
from seqprobe.capacity.state_dimension import cloud_dimension, state_dimension
from seqprobe.capacity.state_growth import state_growth
from seqprobe.capacity.summary import capacity_summary

__all__ = [
    "LinearSystem",
    "capacity_summary",
    "cloud_dimension",
    "cover_capacity",
    "cover_probability",
    "effective_state_size",
    "hankel_singular_values",
    "hebbian_accuracy",
    "hebbian_capacity",
    "linear_state_size",
    "manifold_capacity",
    "quantised_bits",
    "recall_capacity",
    "state_dimension",
    "state_growth",
]
