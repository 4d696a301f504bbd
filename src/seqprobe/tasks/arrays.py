"""Sequences of the user's own, from arrays or a file, in the place of a task."""

from __future__ import annotations

import os
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from seqprobe.errors import NotApplicableError, UnreadableFileError, UsageError, suggestion
from seqprobe.files import sha256
from seqprobe.seeding import generator
from seqprobe.spec import Spec
from seqprobe.tasks.base import (
    Baseline,
    Batch,
    Metric,
    Split,
    Task,
    TaskConfig,
    check_request,
    last_step_cross_entropy,
    masked_mean,
    mean_square,
)

__all__ = ["ArraysConfig", "ArraysTask", "from_arrays", "read_arrays"]

_NAMES = ("inputs", "targets", "mask")


@dataclass(frozen=True)
class ArraysConfig(TaskConfig):
    """Where arrays come from.

    Attributes
    ----------
    length
        Length T of the sequences.
    file, sha256
        The file, as the user wrote it, and the hash of its bytes; None if there is none.
    """

    length: int = 1
    file: str | None = None
    sha256: str | None = None


class ArraysTask(Task):
    """Given sequences, the same in every split: they were not made for training here.

    With targets there are a loss and a score: integers (N, T) or (N,), after the last step, are
    classes, reals (N, T, K) are regressed on. Chance and baseline are the best constant answer.
    Without targets, analyses that need a loss refuse.
    """

    name = "arrays"
    summary = "sequences of your own (--data FILE.npz)"
    Config = ArraysConfig

    def __init__(self, batch: Batch, has_targets: bool, config: ArraysConfig) -> None:
        super().__init__(config)
        self._batch, self._has_targets = batch, has_targets
        x, y = batch.inputs, batch.targets
        classes = has_targets and not y.is_floating_point()
        tokens = not x.is_floating_point()
        self.spec = Spec(
            "token" if tokens else "continuous",
            int(x.max()) + 1 if tokens else x.shape[2],
            "class" if classes else "regression",
            int(y.max()) + 1 if classes else y.shape[2],
            "last" if classes and y.dim() == 1 else "each",
        )
        self.metric = (  # type: ignore[misc]  # a class attribute of tasks with one metric
            Metric("accuracy", "fraction", "higher") if classes else Metric("mse", "1", "lower")
        )

    @property
    def has_targets(self) -> bool:
        """True if there is something to score against."""
        return self._has_targets

    @property
    def chance(self) -> float:  # type: ignore[override]  # of these data, a number elsewhere
        """Score of the best constant answer."""
        return self.baseline().score

    @property
    def solved_at(self) -> float:  # type: ignore[override]
        """Nothing says when these are solved."""
        return float("nan")

    def baseline(self) -> Baseline:
        """Return the score of the best constant answer."""
        self._check_targets()
        y, mask = self._batch.targets, self._batch.mask
        scored = y[mask] if mask is not None and y.dim() > 1 else y.flatten(0, max(0, y.dim() - 2))
        if self.spec.output_kind == "class":
            counts = scored.flatten().bincount()
            return Baseline("the most frequent class", float(counts.max() / counts.sum()))
        rest = scored - scored.mean(dim=0)
        return Baseline("the mean", float(rest.square().mean()))

    def batch(
        self,
        split: Split,
        size: int | None = None,
        *,
        seed: int = 0,
        index: int = 0,
        length: int | None = None,
    ) -> Batch:
        """Return some of the sequences, drawn without repetition; all of them in their order."""
        check_request(split, size, length)
        total, longest = self._batch.inputs.shape[:2]
        if length is not None and length > longest:
            raise UsageError(
                f"length {length} is more than the {longest} steps of the sequences (allowed: 1 to"
                f" {longest})"
            )
        if size is not None and size > total:
            raise UsageError(f"{size} sequences were asked for, there are {total}")
        if index:
            raise UsageError(f"batch {index} was asked for; given sequences are one batch")
        rows = torch.arange(total)
        if size is not None and size < total:
            picked = generator(seed, self.name).choice(total, size, replace=False)
            rows = torch.from_numpy(np.sort(picked))
        return self._cut(rows, longest if length is None else length)

    def _cut(self, rows: Tensor, length: int) -> Batch:
        x, y, mask = self._batch.inputs, self._batch.targets, self._batch.mask
        if length < x.shape[1] and self.spec.readout == "last" and self._has_targets:
            # The answer is asked for at the end of the whole sequence.
            raise UsageError(
                f"length {length} cuts off the step that the targets are for (allowed:"
                f" {x.shape[1]})"
            )
        targets = y[rows] if y.dim() == 1 else y[rows, :length]
        return Batch(x[rows, :length], targets, None if mask is None else mask[rows, :length])

    def count(self, split: Split, length: int | None = None) -> int:
        """Return the number of sequences."""
        return len(self._batch.inputs)

    def errors(self, outputs: Tensor, batch: Batch) -> Tensor:
        """Return the cross-entropy in nats, or the mean squared error, of every sequence."""
        self._check_targets()
        if self.spec.output_kind != "class":
            return mean_square(outputs, batch)
        if self.spec.readout == "last":
            return last_step_cross_entropy(outputs, batch.targets)
        losses = F.cross_entropy(outputs.mT, batch.targets, reduction="none")
        return masked_mean(losses, batch.mask)

    def scores(self, outputs: Tensor, batch: Batch) -> Tensor:
        """Return the accuracy, or the mean squared error, of every sequence."""
        if self.spec.output_kind != "class":
            return self.errors(outputs, batch)
        self._check_targets()
        answers = outputs.argmax(dim=2)
        if self.spec.readout == "last":
            return (answers[:, -1] == batch.targets).to(outputs.dtype)
        return masked_mean((answers == batch.targets).to(outputs.dtype), batch.mask)

    def _check_targets(self) -> None:
        if not self._has_targets:
            raise NotApplicableError(
                "there are no targets to score against; put 'targets' into the file: classes (N, T)"
                " or (N,), or reals (N, T, K)"
            )


def from_arrays(
    inputs: Any, targets: Any = None, mask: Any = None, *, config: ArraysConfig | None = None
) -> ArraysTask:
    """Return given sequences as a task.

    Parameters
    ----------
    inputs
        (N, T, D) reals or (N, T) integer tokens; arrays or tensors. (N, T) reals are one input.
    targets
        (N, T) or (N,) integer classes, or (N, T, K) reals; None if there are none.
    mask
        (N, T), true where a step is there and scored; None for all.
    config
        Where they come from.

    Raises
    ------
    UsageError
        If shapes do not fit each other, or numbers are not finite.
    """
    x = _tensor("inputs", inputs)
    x = x[..., None] if x.dim() == 2 and x.is_floating_point() else x
    if x.dim() != (3 if x.is_floating_point() else 2) or 0 in x.shape:
        raise UsageError(
            f"inputs have shape {tuple(x.shape)} (allowed: (N, T, D) reals or (N, T) integers)"
        )
    if not x.is_floating_point() and int(x.min()) < 0:
        raise UsageError(f"inputs hold the token {int(x.min())} (allowed: 0 or more)")
    lead = tuple(x.shape[:2])
    kept = None
    if mask is not None:
        kept = torch.as_tensor(np.asarray(mask)).bool()
        if tuple(kept.shape) != lead or not bool(kept.any(dim=1).all()):
            raise UsageError(
                f"mask has shape {tuple(kept.shape)} (allowed: {lead}, true at one step of every"
                " sequence at least)"
            )
    y = torch.full((*lead, 1), torch.nan) if targets is None else _targets(targets, x, kept)
    config = config or ArraysConfig()
    config = ArraysConfig(lead[1], config.file, config.sha256)
    return ArraysTask(Batch(x, y, kept), targets is not None, config)


def _targets(targets: Any, x: Tensor, mask: Tensor | None) -> Tensor:
    """Return targets that fit the inputs; where nothing is scored they may be anything."""
    y = _tensor("targets", targets, finite=False)
    y = y[..., None] if y.dim() == 2 and y.is_floating_point() else y
    lead = x.shape[:2]
    dims = (3,) if y.is_floating_point() else (1, 2)
    if y.dim() not in dims or y.shape[:2] != lead[: y.dim()]:
        raise UsageError(
            f"targets have shape {tuple(y.shape)} for inputs {tuple(x.shape)} (allowed: (N, T) or"
            " (N,) integer classes, or (N, T, K) reals)"
        )
    if mask is not None and y.dim() > 1:
        y = y.masked_fill(~mask if y.dim() == 2 else ~mask[..., None], 0)
    if y.is_floating_point() and not bool(torch.isfinite(y).all()):
        raise UsageError("targets hold values that are not finite (allowed: numbers, or a mask)")
    if not y.is_floating_point() and int(y.min()) < 0:
        raise UsageError(
            f"targets hold the class {int(y.min())} (allowed: 0 or more); leave steps out by a mask"
        )
    return y


def _tensor(name: str, given: Any, finite: bool = True) -> Tensor:
    """Return a tensor of reals or of integers."""
    try:
        array = np.asarray(given.detach().cpu() if isinstance(given, Tensor) else given)
    except (TypeError, ValueError) as error:
        raise UsageError(f"{name} are no array ({error}); pad sequences to one length") from None
    if array.dtype.kind not in "fiub":
        raise UsageError(f"{name} are {array.dtype} (allowed: reals or integers)")
    if array.dtype.kind != "f" and array.dtype != bool:
        return torch.from_numpy(array.astype(np.int64))
    values = torch.from_numpy(array.astype(np.float64)).to(torch.get_default_dtype())
    bad = int((~torch.isfinite(values)).sum())
    if bad and finite:
        raise UsageError(f"{name} hold {bad} values that are not finite (allowed: numbers)")
    return values


def read_arrays(path: str | os.PathLike[str]) -> ArraysTask:
    """Read sequences from a file.

    Parameters
    ----------
    path
        ``.npz`` with ``inputs`` and, if there are, ``targets`` and ``mask``, as `from_arrays` takes
        them; or ``.npy`` with inputs alone. Nothing in it is executed.

    Raises
    ------
    UnreadableFileError
        If it is missing, damaged, holds objects, or has no ``inputs``.
    UsageError
        If shapes do not fit.
    """
    path = Path(path)
    if path.suffix not in (".npz", ".npy"):
        raise UsageError(f"'{path}' is no file of arrays by its name (allowed: .npz, .npy)")
    if not path.is_file():
        raise UnreadableFileError(f"'{path}' does not exist; check the name")
    try:
        # A file of ours, because numpy leaves one open that is no archive.
        with path.open("rb") as file:
            loaded = np.load(file, allow_pickle=False)
            found = {"inputs": loaded} if isinstance(loaded, np.ndarray) else dict(loaded)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise UnreadableFileError(
            f"'{path}' is damaged, no file of arrays, or holds objects ({error})"
        ) from None
    if "inputs" not in found:
        held = ", ".join(map(repr, found)) or "nothing"
        near = suggestion("inputs", found)
        raise UnreadableFileError(
            f"'{path}' has no array 'inputs'{near} (it has {held}); save with numpy.savez(FILE,"
            " inputs=..., targets=...)"
        )
    unknown = [name for name in found if name not in _NAMES]
    if unknown:
        raise UsageError(
            f"'{path}' has an array '{unknown[0]}'{suggestion(unknown[0], _NAMES)} (allowed:"
            f" {', '.join(_NAMES)})"
        )
    config = ArraysConfig(file=str(path), sha256=sha256(path))
    try:
        return from_arrays(found["inputs"], found.get("targets"), found.get("mask"), config=config)
    except UsageError as error:
        raise UsageError(f"'{path}': {error}") from None
