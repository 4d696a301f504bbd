"""Train sequence models of any architecture, keep them as checkpoints, and take them apart.

Every name below is imported on first use, so that ``import seqprobe`` and ``seqprobe --help`` do
not wait for torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

__all__ = [
    "Batch",
    "Spec",
    "Trace",
    "__version__",
    "activations",
    "build_model",
    "capacity",
    "degeneracy",
    "dynamics",
    "load",
    "load_checkpoint",
    "make_task",
    "memory",
    "plots",
    "studies",
    "train",
]

_HOME = {
    "Batch": "seqprobe.tasks",
    "Spec": "seqprobe.spec",
    "Trace": "seqprobe.models",
    "build_model": "seqprobe.models",
    "load": "seqprobe.training",
    "load_checkpoint": "seqprobe.training",
    "make_task": "seqprobe.tasks",
    "train": "seqprobe.training",
}
_ROOMS = ("activations", "capacity", "degeneracy", "dynamics", "memory", "plots", "studies")

if TYPE_CHECKING:
    from seqprobe import activations, capacity, degeneracy, dynamics, memory, plots, studies
    from seqprobe.models import Trace, build_model
    from seqprobe.spec import Spec
    from seqprobe.tasks import Batch, make_task
    from seqprobe.training import load, load_checkpoint, train


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(importlib.import_module(_HOME[name]), name)
    if name in _ROOMS:
        return importlib.import_module(f"seqprobe.{name}")
    raise AttributeError(f"module 'seqprobe' has no attribute '{name}'")


def __dir__() -> list[str]:
    return __all__
