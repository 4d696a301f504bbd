"""Task x model x seed -> checkpoint."""

from seqprobe.training.checkpoint import Checkpoint, load, load_checkpoint
from seqprobe.training.config import TrainConfig, Until
from seqprobe.training.evaluate import evaluate
from seqprobe.training.loop import RESUME_SUFFIX, Progress, train

__all__ = [
    "RESUME_SUFFIX",
    "Checkpoint",
    "Progress",
    "TrainConfig",
    "Until",
    "evaluate",
    "load",
    "load_checkpoint",
    "train",
]
