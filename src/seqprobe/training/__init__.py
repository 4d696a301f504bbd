"""Task x model x seed -> checkpoint."""

from seqprobe.training.checkpoint import Checkpoint, load, load_checkpoint
from seqprobe.training.config import TrainConfig, Until
from seqprobe.training.evaluate import evaluate
from seqprobe.training.loop import Progress, train

__all__ = [
    "Checkpoint",
    "Progress",
    "TrainConfig",
    "Until",
    "evaluate",
    "load",
    "load_checkpoint",
    "train",
]
