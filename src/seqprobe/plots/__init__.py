"""Dataset and axes in, axes out: figures are drawn from results alone, without torch."""

from seqprobe.plots.capacity_by_degree import capacity_by_degree, capacity_by_degree_figure
from seqprobe.plots.context import context_use, context_use_figure
from seqprobe.plots.copy_curve import copy_bits, copy_curve, copy_curve_figure
from seqprobe.plots.gradient_profile import (
    cumulative_share,
    gradient_profile,
    gradient_profile_figure,
    time_bins,
)
from seqprobe.plots.lag_curves import (
    canonical_spectrum,
    fisher_memory_curve,
    fisher_memory_curve_figure,
    lag_curve,
    linear_memory,
    linear_memory_figure,
    perturbation_profile,
    perturbation_profile_figure,
    substitution_profile,
    substitution_profile_figure,
    symbol_information,
    symbol_information_figure,
    total_effect,
    total_effect_figure,
)
from seqprobe.plots.memory_report import memory_report
from seqprobe.plots.style import save

__all__ = [
    "canonical_spectrum",
    "capacity_by_degree",
    "capacity_by_degree_figure",
    "context_use",
    "context_use_figure",
    "copy_bits",
    "copy_curve",
    "copy_curve_figure",
    "cumulative_share",
    "fisher_memory_curve",
    "fisher_memory_curve_figure",
    "gradient_profile",
    "gradient_profile_figure",
    "lag_curve",
    "linear_memory",
    "linear_memory_figure",
    "memory_report",
    "perturbation_profile",
    "perturbation_profile_figure",
    "save",
    "substitution_profile",
    "substitution_profile_figure",
    "symbol_information",
    "symbol_information_figure",
    "time_bins",
    "total_effect",
    "total_effect_figure",
]
