"""What answers: one architecture per file, one contract for all."""

from seqprobe.models.architecture import Architecture, ModelConfig
from seqprobe.models.assembly import Model, build_model, count_parameters, skeleton
from seqprobe.models.base import SequenceModule, StateKind, StatePart, state_parts
from seqprobe.models.registry import MODELS, architecture
from seqprobe.models.sizing import match_params, parse_budget
from seqprobe.models.together import Together, can_train_together, group_size
from seqprobe.models.trace import Trace
from seqprobe.models.whole import WholeModel

__all__ = [
    "MODELS",
    "Architecture",
    "Model",
    "ModelConfig",
    "SequenceModule",
    "StateKind",
    "StatePart",
    "Together",
    "Trace",
    "WholeModel",
    "architecture",
    "build_model",
    "can_train_together",
    "count_parameters",
    "group_size",
    "match_params",
    "parse_budget",
    "skeleton",
    "state_parts",
]
