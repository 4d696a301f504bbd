"""Dataset and axes in, axes out: figures are drawn from results alone, without torch."""

from seqprobe.plots.against import against
from seqprobe.plots.bifurcation import input_sweep, input_sweep_figure
from seqprobe.plots.capacity_by_degree import capacity_by_degree, capacity_by_degree_figure
from seqprobe.plots.connections import connections, connections_figure
from seqprobe.plots.context import context_use, context_use_figure
from seqprobe.plots.copy_curve import copy_bits, copy_curve, copy_curve_figure
from seqprobe.plots.degeneracy import (
    degeneracy_by_factor,
    degeneracy_by_setting,
    degeneracy_figure,
    distance_map,
    distance_matrix,
)
from seqprobe.plots.deposit import deposit
from seqprobe.plots.effective_state_size import (
    effective_state_size,
    effective_state_size_by_position,
    effective_state_size_figure,
    past_to_future_spectrum,
)
from seqprobe.plots.eigenvalues import (
    eigenvalues,
    linearise_figure,
    lyapunov_figure,
    lyapunov_spectrum,
)
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
from seqprobe.plots.learning_curves import learning_curves, learning_curves_figure
from seqprobe.plots.limit_cycles import limit_cycles, limit_cycles_figure
from seqprobe.plots.memory_report import memory_report
from seqprobe.plots.readers import (
    cover_capacity,
    cover_capacity_figure,
    manifold_capacity_figure,
    quantised_bits,
    quantised_bits_figure,
)
from seqprobe.plots.recall_capacity import recall_accuracy, recall_capacity, recall_capacity_figure
from seqprobe.plots.recordings import decode, decode_error, decode_figure, recorded_timescales
from seqprobe.plots.scores import final_scores, scores
from seqprobe.plots.speed_map import slow_points, slow_points_figure, speed_map, speed_map_figure
from seqprobe.plots.state_dimension import (
    capacity_summary,
    capacity_summary_figure,
    cumulated_variance,
    state_dimension,
    state_dimension_figure,
)
from seqprobe.plots.state_growth import loss_by_position, state_growth, state_growth_figure
from seqprobe.plots.state_space import fixed_points, fixed_points_figure
from seqprobe.plots.style import save
from seqprobe.plots.timescales import autocorrelations, timescales, timescales_figure

__all__ = [
    "against",
    "autocorrelations",
    "canonical_spectrum",
    "capacity_by_degree",
    "capacity_by_degree_figure",
    "capacity_summary",
    "capacity_summary_figure",
    "connections",
    "connections_figure",
    "context_use",
    "context_use_figure",
    "copy_bits",
    "copy_curve",
    "copy_curve_figure",
    "cover_capacity",
    "cover_capacity_figure",
    "cumulated_variance",
    "cumulative_share",
    "decode",
    "decode_error",
    "decode_figure",
    "degeneracy_by_factor",
    "degeneracy_by_setting",
    "degeneracy_figure",
    "deposit",
    "distance_map",
    "distance_matrix",
    "effective_state_size",
    "effective_state_size_by_position",
    "effective_state_size_figure",
    "eigenvalues",
    "final_scores",
    "fisher_memory_curve",
    "fisher_memory_curve_figure",
    "fixed_points",
    "fixed_points_figure",
    "gradient_profile",
    "gradient_profile_figure",
    "input_sweep",
    "input_sweep_figure",
    "lag_curve",
    "learning_curves",
    "learning_curves_figure",
    "limit_cycles",
    "limit_cycles_figure",
    "linear_memory",
    "linear_memory_figure",
    "linearise_figure",
    "loss_by_position",
    "lyapunov_figure",
    "lyapunov_spectrum",
    "manifold_capacity_figure",
    "memory_report",
    "past_to_future_spectrum",
    "perturbation_profile",
    "perturbation_profile_figure",
    "quantised_bits",
    "quantised_bits_figure",
    "recall_accuracy",
    "recall_capacity",
    "recall_capacity_figure",
    "recorded_timescales",
    "save",
    "scores",
    "slow_points",
    "slow_points_figure",
    "speed_map",
    "speed_map_figure",
    "state_dimension",
    "state_dimension_figure",
    "state_growth",
    "state_growth_figure",
    "substitution_profile",
    "substitution_profile_figure",
    "symbol_information",
    "symbol_information_figure",
    "time_bins",
    "timescales",
    "timescales_figure",
    "total_effect",
    "total_effect_figure",
]
