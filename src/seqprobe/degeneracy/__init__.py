"""Analysis: how differently networks solve the same task.

`compare` puts all levels side by side for ensembles of seeds: behaviour (`sigma_ood`), dynamics
(`dsa`), weights (`dpif`, `mode_connectivity`, `feature_learning`), representation
(`representation`), fixed points (`fixed_point_topology`). Every distance has a null beside it, and
every mean an interval over networks.
"""

from seqprobe.degeneracy import representation
from seqprobe.degeneracy.compare import compare
from seqprobe.degeneracy.conjugacy import Conjugacy, conjugacy, lower_bound
from seqprobe.degeneracy.dpif import dpif
from seqprobe.degeneracy.dsa import dsa
from seqprobe.degeneracy.ensemble import mean_over_networks, mean_over_pairs, spread
from seqprobe.degeneracy.feature_learning import feature_learning, initial_model
from seqprobe.degeneracy.levels import DEFAULT_LEVELS, LEVELS, Options
from seqprobe.degeneracy.mode_connectivity import mode_connectivity
from seqprobe.degeneracy.operators import Operator, embed
from seqprobe.degeneracy.pairs import Kept
from seqprobe.degeneracy.relabelling import Relabelling, relabel
from seqprobe.degeneracy.sigma_ood import sigma_ood
from seqprobe.degeneracy.topology import fixed_point_topology
from seqprobe.degeneracy.units import layer_weights, relabel_model, symmetry
from seqprobe.degeneracy.wasserstein import eigenvalue_wasserstein

__all__ = [
    "DEFAULT_LEVELS",
    "LEVELS",
    "Conjugacy",
    "Kept",
    "Operator",
    "Options",
    "Relabelling",
    "compare",
    "conjugacy",
    "dpif",
    "dsa",
    "eigenvalue_wasserstein",
    "embed",
    "feature_learning",
    "fixed_point_topology",
    "initial_model",
    "layer_weights",
    "lower_bound",
    "mean_over_networks",
    "mean_over_pairs",
    "mode_connectivity",
    "relabel",
    "relabel_model",
    "representation",
    "sigma_ood",
    "spread",
    "symmetry",
]
