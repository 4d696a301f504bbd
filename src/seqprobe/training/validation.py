"""What the fields of a checkpoint must be, so that nothing after loading meets a surprise.

A checkpoint comes from anywhere. Its types are checked exactly (a subclass of str cannot be in it),
its text must be printable (it goes to a terminal), and its weights must own the memory they claim.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from seqprobe.config import from_mapping
from seqprobe.training.config import TrainConfig, Until

__all__ = ["check_fields", "check_weights"]

_SCORE = {"metric": str, "score": float, "standard_error": float, "n": int}
_NAMED = {"name": str, "config": dict}
_SHAPE: dict[str, Any] = {
    "model": _NAMED,
    "task": _NAMED,
    "spec": dict,
    "train": dict,
    "seed": int,
    "step": int,
    "status": str,
    "stopped": str,
    "metrics": dict,
    "chance": float,
    "baseline": {"name": str, "score": float},
    "solved": bool,
    "history": [{"step": int, "loss": float, "score": float}],
    "libraries": dict,
}
_STATUS = ("training", "complete", "diverged")


def check_fields(content: Mapping[str, Any]) -> None:
    """Check everything but the weights.

    Raises
    ------
    TypeError, ValueError, UsageError
        Naming the first field that is not what it must be.
    """
    _check("checkpoint", dict(content), _SHAPE)
    for split, score in content["metrics"].items():
        _check(f"metrics.{split}", score, _SCORE)
    if "valid" not in content["metrics"] or not set(content["metrics"]) <= {"valid", "test"}:
        raise ValueError("metrics must hold 'valid' and may hold 'test'")
    for name, version in content["libraries"].items():
        _check("libraries", [name, version], [str])
    if content["status"] not in _STATUS or min(content["seed"], content["step"]) < 0:
        raise ValueError("status, seed or step is out of range")
    settings = dict(content["train"])
    until = settings.pop("until")
    from_mapping(TrainConfig, settings, "train")
    if until is not None:
        from_mapping(Until, until, "train.until")


def _check(where: str, value: Any, shape: Any) -> None:
    if isinstance(shape, dict):
        if type(value) is not dict or value.keys() != shape.keys():
            raise TypeError(f"{where} must have the keys {', '.join(shape)}")
        for key, inner in shape.items():
            _check(f"{where}.{key}", value[key], inner)
    elif isinstance(shape, list):
        if type(value) is not list:
            raise TypeError(f"{where} must be a list")
        for item in value:
            _check(where, item, shape[0])
    elif type(value) is not shape:
        raise TypeError(f"{where} must be of type {shape.__name__}, is {type(value).__name__}")
    elif shape is str and not value.isprintable():
        raise ValueError(f"{where} must be printable text")


def check_weights(weights: Any) -> None:
    """Check that weights are named dense tensors of one precision that hold their own numbers.

    Raises
    ------
    TypeError
        Naming the first that is not.
    """
    if type(weights) is not dict:
        raise TypeError(f"weights must be of type dict, is {type(weights).__name__}")
    precisions = set()
    for name, weight in weights.items():
        if type(name) is not str or not name.isprintable():
            raise TypeError("names of weights must be printable text")
        if not _is_dense_reals(weight):
            raise TypeError(f"weight '{name}' is not a tensor of reals")
        precisions.add(weight.dtype.to_real())
    if len(precisions) > 1:
        raise TypeError(f"weights mix precisions: {', '.join(sorted(map(str, precisions)))}")


def _is_dense_reals(weight: Any) -> bool:
    """Say whether a value is a tensor that holds what it claims; a stride of 0 claims more."""
    return (
        isinstance(weight, Tensor)
        and weight.layout == torch.strided
        and weight.device.type == "cpu"
        and weight.dtype.to_real() in (torch.float32, torch.float64)
        and weight.is_contiguous()
        and weight.untyped_storage().nbytes() >= weight.numel() * weight.element_size()
    )
