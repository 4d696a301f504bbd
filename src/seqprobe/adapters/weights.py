"""Weights of a model made elsewhere, from a file that cannot run code."""

from __future__ import annotations

import difflib
import os
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from seqprobe.errors import UnreadableFileError, UsageError
from seqprobe.training import read_tensors

__all__ = ["WEIGHT_SUFFIXES", "fill", "read_weights"]

WEIGHT_SUFFIXES = (".pt", ".pth", ".bin", ".ckpt", ".safetensors", ".npz")

# What wrappers of modules put before every name: DataParallel, compile, Lightning.
_PREFIXES = ("module.", "_orig_mod.", "model.")


def read_weights(path: str | os.PathLike[str]) -> dict[str, Tensor]:
    """Return tensors by name.

    Parameters
    ----------
    path
        A file of torch (``.pt``, ``.pth``, ``.bin``, ``.ckpt``, read with ``weights_only=True``),
        ``.safetensors`` or ``.npz``. In a file of torch the weights may lie inside a dict, beside
        the state of an optimiser and other things, which are left.

    Raises
    ------
    UnreadableFileError
        If it is missing, damaged, holds objects, no weights, or several sets of them.
    """
    path = Path(path)
    if path.suffix not in WEIGHT_SUFFIXES:
        raise UnreadableFileError(
            f"'{path}' is no file of weights by its name (allowed: {', '.join(WEIGHT_SUFFIXES)})"
        )
    if not path.is_file():
        what = "is a folder, not a file of weights" if path.is_dir() else "does not exist"
        raise UnreadableFileError(f"'{path}' {what}; check the name")
    if path.suffix == ".safetensors":
        return _safetensors(path)
    if path.suffix == ".npz":
        return _npz(path)
    content = read_tensors(path)
    if str(content.get("format", "")).startswith("seqprobe."):
        raise UsageError(
            f"'{path}' is a checkpoint of seqprobe, which says itself how its model is built; leave"
            " out --model"
        )
    return _inside(path, content)


def _safetensors(path: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise UnreadableFileError(
            f"'{path}' is damaged or no safetensors file ({error}); get another copy"
        ) from None


def _npz(path: Path) -> dict[str, Tensor]:
    try:
        # A file of ours, because numpy leaves one open that is no archive.
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
        return {name: torch.from_numpy(np.asarray(array)) for name, array in arrays.items()}
    except (OSError, ValueError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise UnreadableFileError(
            f"'{path}' is damaged, no .npz file, or holds objects ({error}); save plain arrays with"
            " numpy.savez"
        ) from None


def _inside(path: Path, content: Mapping[str, Any]) -> dict[str, Tensor]:
    """Return the one dict of tensors in what a file of torch holds."""
    if _all_tensors(content):
        return dict(content)
    inner = {key: value for key, value in content.items() if _all_tensors(value)}
    if len(inner) == 1:
        return dict(next(iter(inner.values())))
    held = ", ".join(repr(key) for key in list(content)[:5])
    what = "no weights" if not inner else f"several sets of weights ({', '.join(map(repr, inner))})"
    raise UnreadableFileError(
        f"'{path}' holds {what} (it has {held or 'nothing'}); save model.state_dict() by itself"
    )


def _all_tensors(value: Any) -> bool:
    return (
        isinstance(value, Mapping)
        and bool(value)
        and all(isinstance(key, str) and isinstance(t, Tensor) for key, t in value.items())
    )


def fill(module: nn.Module, weights: Mapping[str, Tensor], path: str | os.PathLike[str]) -> None:
    """Put weights into a module that was built for them, in its own precision.

    Names may have a prefix that wrappers add (``module.``, ``_orig_mod.``, ``model.``).

    Raises
    ------
    UnreadableFileError
        If names or shapes do not match, with the nearest names.
    """
    wanted = module.state_dict()
    given = dict(weights)
    while not wanted.keys() & given.keys():
        prefix = next((p for p in _PREFIXES if all(name.startswith(p) for name in given)), None)
        if prefix is None or not given:
            break
        given = {name.removeprefix(prefix): tensor for name, tensor in given.items()}
    missing = [name for name in wanted if name not in given]
    unknown = [name for name in given if name not in wanted]
    if missing or unknown:
        raise UnreadableFileError(f"'{path}' {_mismatch(module, missing, unknown)}")
    for name, tensor in wanted.items():
        if tensor.shape != given[name].shape:
            raise UnreadableFileError(
                f"'{path}' does not fit {type(module).__name__}: '{name}' has shape"
                f" {tuple(given[name].shape)} in the file and {tuple(tensor.shape)} in the module;"
                " build it with the sizes that it was trained with"
            )
        if given[name].is_complex() and not tensor.is_complex():
            raise UnreadableFileError(
                f"'{path}' does not fit {type(module).__name__}: '{name}' is complex in the file"
                " and real in the module; build the module that the weights were saved from"
            )
    module.load_state_dict(given)


def _mismatch(module: nn.Module, missing: list[str], unknown: list[str]) -> str:
    name, others = (missing[0], unknown) if missing else (unknown[0], missing)
    near = difflib.get_close_matches(name, others, n=1, cutoff=0.4)
    where = "is not in the file" if missing else "is not in the module"
    nearest = f"; the nearest name there is '{near[0]}'" if near else ""
    return (
        f"does not fit {type(module).__name__}: '{name}' {where}{nearest} ({len(missing)} names"
        f" missing, {len(unknown)} unknown); build the module that the weights were saved from"
    )
