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
    "adapters",
    "build_model",
    "capacity",
    "data",
    "degeneracy",
    "dynamics",
    "from_arrays",
    "from_huggingface",
    "load",
    "load_checkpoint",
    "make_task",
    "memory",
    "plots",
    "studies",
    "train",
    "wrap",
]

_HOME = {
    "Batch": "seqprobe.tasks",
    "Spec": "seqprobe.spec",
    "Trace": "seqprobe.models",
    "build_model": "seqprobe.models",
    "from_arrays": "seqprobe.tasks",
    "from_huggingface": "seqprobe.adapters",
    "load": "seqprobe.training",
    "load_checkpoint": "seqprobe.training",
    "make_task": "seqprobe.tasks",
    "train": "seqprobe.training",
    "wrap": "seqprobe.adapters",
}
_ROOMS = (
    *("activations", "adapters", "capacity", "data", "degeneracy", "dynamics", "memory"),
    *("plots", "studies"),
)

if TYPE_CHECKING:
    from seqprobe import (
        activations,
        adapters,
        capacity,
        data,
        degeneracy,
        dynamics,
        memory,
        plots,
        studies,
    )
    from seqprobe.adapters import from_huggingface, wrap
    from seqprobe.models import Trace, build_model
    from seqprobe.spec import Spec
    from seqprobe.tasks import Batch, from_arrays, make_task
    from seqprobe.training import load, load_checkpoint, train


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(importlib.import_module(_HOME[name]), name)
    if name in _ROOMS:
        return importlib.import_module(f"seqprobe.{name}")
    raise AttributeError(f"module 'seqprobe' has no attribute '{name}'")


def __dir__() -> list[str]:
    return __all__
