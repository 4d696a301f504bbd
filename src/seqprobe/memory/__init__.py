"""Analysis: how far back a model remembers.

Four questions that have different answers: how sensitive the output is to the past
(`gradient_profile`, `perturbation_profile`), what of it is used (`total_effect`,
`substitution_profile`, `context_use`, `copy_curve`), what can still be read from a tensor
(`linear_memory`, `symbol_information`, `information_processing_capacity`, `fisher_memory_curve`),
and what could reach the output at all (`receptive_field`). Of recorded arrays without a model,
`decode` says what else can be read from them.
"""

from seqprobe.memory.context import context_use
from seqprobe.memory.copy_curve import copy_curve
from seqprobe.memory.decode import decode
from seqprobe.memory.fisher import fisher_memory, fisher_memory_curve
from seqprobe.memory.gradient_profile import gradient_profile
from seqprobe.memory.information_processing import information_processing_capacity
from seqprobe.memory.linear_memory import linear_memory
from seqprobe.memory.perturbation import perturbation_profile
from seqprobe.memory.receptive_field import receptive_field
from seqprobe.memory.substitution import substitution_profile
from seqprobe.memory.symbol_information import symbol_information
from seqprobe.memory.total_effect import total_effect

__all__ = [
    "context_use",
    "copy_curve",
    "decode",
    "fisher_memory",
    "fisher_memory_curve",
    "gradient_profile",
    "information_processing_capacity",
    "linear_memory",
    "perturbation_profile",
    "receptive_field",
    "substitution_profile",
    "symbol_information",
    "total_effect",
]
