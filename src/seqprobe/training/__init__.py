"""Task x model x seed -> checkpoint."""

from seqprobe.training.checkpoint import Checkpoint, load, load_checkpoint, read_tensors
from seqprobe.training.config import TrainConfig, Until
from seqprobe.training.evaluate import evaluate
from seqprobe.training.loop import Progress, train
from seqprobe.training.recipe import Recipe
from seqprobe.training.resume import RESUME_SUFFIX
from seqprobe.training.timing import seconds_per_update
from seqprobe.training.together import train_together

__all__ = [
    "RESUME_SUFFIX",
    "Checkpoint",
    "Progress",
    "Recipe",
    "TrainConfig",
    "Until",
    "evaluate",
    "load",
    "load_checkpoint",
    "read_tensors",
    "seconds_per_update",
    "train",
    "train_together",
]
