"""Where a number comes from: written into every result."""

from __future__ import annotations

import datetime
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import seqprobe
from seqprobe.plugins import source_files

__all__ = ["Origin", "attrs", "code_sha256", "libraries", "model_attrs", "of_model"]


@dataclass(frozen=True)
class Origin:
    """The file that a model was loaded from; of a model made elsewhere, less is known.

    Attributes
    ----------
    path
        As the user wrote it.
    sha256
        Of the file's bytes.
    task
        Name of the task it was trained on, or of what it is looked at with.
    model_config, task_config
        All settings of both, as JSON; of a model made elsewhere, how it was built and read.
    seed
        Seed of the training, or None.
    step
        Training step of the weights; 0 is untrained. None if nobody said.
    train_length
        Length of the training sequences, or None.
    solved
        Whether the test score meets the task's criterion, or None.
    train_config
        All settings of the training, as JSON.
    agreement
        Of a model made elsewhere, how far stepping and reading at once are apart, as JSON; or None.
    """

    path: str
    sha256: str
    task: str
    model_config: str
    task_config: str
    seed: int | None = None
    step: int | None = None
    train_length: int | None = None
    solved: bool | None = None
    train_config: str = "{}"
    agreement: str | None = None


def attrs(
    analysis: str, parameters: Mapping[str, Any], *, seed: int, device: str, dtype: str
) -> dict[str, str | int]:
    """Return the attributes of a result.

    Parameters
    ----------
    analysis
        Name of the analysis, such as ``"memory.gradient_profile"``.
    parameters
        What it was called with, plain values.
    seed
        Seed of its randomness.
    device, dtype
        Where and in which precision it was computed.
    """
    return {
        "analysis": analysis,
        "parameters": json.dumps(dict(parameters), sort_keys=True),
        "seed": seed,
        "device": device,
        "dtype": dtype,
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "library": "seqprobe",
        "library_version": seqprobe.__version__,
        "libraries": json.dumps(libraries(), sort_keys=True),
    }


def of_model(
    analysis: str,
    model: Any,
    parameters: Mapping[str, Any],
    seed: int = 0,
    *,
    device: str = "cpu",
    dtype: str = "float64",
) -> dict[str, str | int]:
    """Return the attributes of a result about a model; see `attrs` and `model_attrs`."""
    found = attrs(analysis, parameters, seed=seed, device=device, dtype=dtype)
    return found | model_attrs(model)


def libraries() -> dict[str, str]:
    """Return the versions of the libraries that decide the numbers."""
    import numpy
    import torch

    return {
        "seqprobe": seqprobe.__version__,
        "torch": str(torch.__version__),
        "numpy": numpy.__version__,
    }


@cache
def code_sha256() -> str:
    """Return a hash of the source of seqprobe and of all plug-ins.

    Between two releases the version says too little.
    """
    home = Path(seqprobe.__file__).parent
    digest = hashlib.sha256()
    for file in sorted(home.rglob("*.py")):
        digest.update(str(file.relative_to(home)).encode() + b"\0" + file.read_bytes() + b"\0")
    for file in source_files():
        digest.update(file.read_bytes() + b"\0")
    return digest.hexdigest()


def model_attrs(model: Any) -> dict[str, str | int]:
    """Return what a result says of its model: name, and checkpoint if it was loaded from one."""
    found: dict[str, str | int] = {"model": getattr(model, "name", type(model).__name__)}
    origin: Origin | None = getattr(model, "origin", None)
    if origin is not None:
        found |= {
            "checkpoint": origin.path,
            "checkpoint_sha256": origin.sha256,
            "task": origin.task,
            "model_config": origin.model_config,
            "task_config": origin.task_config,
        }
        known: dict[str, str | int | None] = {
            "train_seed": origin.seed,
            "train_step": origin.step,
            "train_length": origin.train_length,
            "agreement": origin.agreement,
            "solved": None if origin.solved is None else str(origin.solved).lower(),
        }
        found |= {name: value for name, value in known.items() if value is not None}
    return found
