"""Stream a model over sequences and write down every step."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import shutil
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Literal, NamedTuple, get_args

import h5py
import numpy as np
import torch
from torch import Tensor

from seqprobe import provenance
from seqprobe.activations.plan import Column, plan, steps
from seqprobe.activations.store import Store, create
from seqprobe.activations.trials import DRAWN, Trials
from seqprobe.errors import SeqprobeError, UsageError
from seqprobe.files import atomic, check_output
from seqprobe.models import WholeModel
from seqprobe.models.access import borrowed, kept_reals, like_parameters, refuse_lookahead
from seqprobe.tasks import Batch, Task

__all__ = ["Compression", "Precision", "record"]

Precision = Literal["float16", "float32", "float64"]
Compression = Literal["none", "gzip", "lzf"]
_MEMORY = 2**26  # bytes of both sets of buffers
_WIDE = 2**20  # bytes per step from which a pass is wide enough
_MOST = 1024  # trials of a pass


def record(
    model: WholeModel,
    source: Task | Batch,
    path: str | os.PathLike[str],
    *,
    trials: int | None = None,
    length: int | None = None,
    what: Sequence[str] = ("states", "outputs"),
    every: int = 1,
    dtype: Precision = "float32",
    compression: Compression = "none",
    overwrite: bool = False,
    seed: int = 0,
    on_progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Record states, gates and outputs of a model, in a file that may be larger than memory.

    Parameters
    ----------
    model
        A causal model. It is left as it was.
    source
        The task whose test sequences are recorded, or the sequences themselves.
    path
        Where the recording goes (.h5). It is written beside it as ``.part`` and renamed at the end.
    trials
        Number of sequences of a task; None for 64, or all if there are fewer. A task that generates
        them is asked for 64 at a time, batch 0, 1, ... of its test stream.
    length
        Their length; None for that of training.
    what
        ``"states"``, ``"gates"`` (all internals: gates, pre-activations, attention weights),
        ``"outputs"``, or names and shell patterns of single tensors, ``"layer0.h"``. Inputs,
        targets and conditions are always there.
    every
        Keep every so manieth step, from the first on.
    dtype
        Of states, gates and outputs.
    compression
        ``"gzip"`` (slow, a tenth to a half smaller), ``"lzf"`` or ``"none"``.
    overwrite
        Replace a file that is there.
    seed
        Of the sequences.
    on_progress
        Called with the number of steps done, over all trials, and their total.

    Returns
    -------
    Path
        The file. ``xarray.open_dataset(path, engine="h5netcdf")`` opens it lazily, or
        `open_recording`.

    Raises
    ------
    UsageError
        If the file is there already, the folder is not, or a name is not one of the model's.
    NotApplicableError
        If the model is not causal.
    SeqprobeError
        If the disk is full, or a number is not finite or does not fit half precision.

    Notes
    -----
    States and gates have the name of their layer and part and dims ``(trial, time, unit)``, one row
    per step, flattened to reals: a matrix state row by row, complex numbers as (re, im) in turn;
    the attributes ``shape`` and ``complex`` say how to undo that. The dimension of tensors of
    another size than the first is ``unit_<size>``. A state at ``time`` t is that after input t. A
    cache that grows (attention) has the entry that each step adds; a buffer of past inputs (TCN,
    the convolution of Mamba) has its newest column; the attribute ``form`` says so. With ``every``
    above 1, inputs, targets and mask keep all steps, along ``step``. Where there are classes,
    outputs (trial, time, output) come with ``predictions``, the most probable one.

    Memory: 64 MiB of buffers, one pass of the model over up to 1024 trials, and their inputs.
    Chunks hold 8 trials, 64 steps and some units, so that one unit's trace is read without the
    rest of the file.
    """
    path = check_recording(path, overwrite)
    what = [what] if isinstance(what, str) else list(what)
    _check(what, every, dtype, compression)
    refuse_lookahead(model, "it has no state between the past and the future to record")
    if "states" in what and not model.stepwise and math.isnan(kept_reals(model, 1)):
        model.init_state(1)  # says why there are none
    every_trial = Trials.of(source, trials, length, seed)
    task = every_trial.task
    with borrowed(model), torch.no_grad():
        sample = every_trial.take(0, 1)
        x = like_parameters(model, sample.inputs)
        unit = "1" if task is None else task.metric.unit
        columns = plan(model, x, what, np.dtype(dtype), "1" if "fraction" in unit else unit, every)
        recording = _Recording(model, every_trial, columns, every)
        if compression == "none":
            _check_space(path, recording.bytes(x.shape[1]))
        with atomic(path) as part, create(part, compression) as store:
            recording.lay_out(store, sample)
            parameters = {"what": list(what), "every": every, "trials": every_trial.total}
            attrs = provenance.of_model(
                "activations.record", model, parameters, seed, device=str(x.device), dtype=dtype
            )
            store.describe(attrs | {"format": "seqprobe.activations/1"} | _of_task(task))
            recording.run(on_progress)
    return path


def check_recording(path: str | os.PathLike[str], overwrite: bool) -> Path:
    """Refuse a place where no recording can go, before any work is done."""
    path = check_output(path, (".h5", ".hdf5", ".nc"))
    if path.exists() and not overwrite:
        raise UsageError(f"'{path}' is there already; use --overwrite to replace it")
    return path


def _check(what: Sequence[str], every: int, dtype: str, compression: str) -> None:
    if not what:
        raise UsageError("nothing is to be recorded (allowed: states, gates, outputs, names)")
    if every != int(every) or every < 1:
        raise UsageError(f"every = {every} keeps no step (allowed: whole numbers, 1 or more)")
    for name, value, allowed in (
        ("dtype", dtype, get_args(Precision)),
        ("compression", compression, get_args(Compression)),
    ):
        if value not in allowed:
            raise UsageError(f"{name} is '{value}' (allowed: {', '.join(allowed)})")


def _of_task(task: Task | None) -> dict[str, str]:
    """Return the task that was recorded; it may differ from the one of training."""
    if task is None:
        return {}
    config = json.dumps(dataclasses.asdict(task.config), sort_keys=True)
    return {"recorded_task": task.name, "recorded_task_config": config}


def _check_space(path: Path, needed: int) -> None:
    free = shutil.disk_usage(path.parent).free
    if needed > free:
        raise SeqprobeError(
            f"disk is too full for '{path}': the recording takes {needed / 1e6:.1f} MB,"
            f" {free / 1e6:.1f} MB are free; record less"
            " (--trials, --every, --what, --dtype float16, --compression gzip)"
        )


class _Constant(NamedTuple):
    """What is written once per block of sequences."""

    dims: tuple[str, ...]
    values: np.ndarray
    attrs: dict[str, str]


class _Writer:
    """Writes one set of buffers in a thread of its own while the other is filled.

    HDF5 works without Python's lock, so that computing and writing overlap.
    """

    def __init__(self, buffers: list[dict[str, np.ndarray]]) -> None:
        self._buffers = buffers
        self._pool = ThreadPoolExecutor(1)
        self._pending: deque[Future[None]] = deque()

    def __enter__(self) -> _Writer:
        return self

    def __exit__(self, *error: object) -> None:
        try:
            while self._pending and error[0] is None:
                self._pending.popleft().result()
        finally:
            self._pool.shutdown(cancel_futures=True)

    def next_buffers(self) -> dict[str, np.ndarray]:
        """Return buffers that nobody reads any more; they take turns."""
        while len(self._pending) > 1:
            self._pending.popleft().result()
        self._buffers.reverse()
        return self._buffers[0]

    def submit(self, write: Callable[[], None]) -> None:
        """Write when what was submitted before is done."""
        self._pending.append(self._pool.submit(write))


class _Recording:
    """Sequences, what is kept of them, and the file that it goes into.

    Parameters
    ----------
    model, trials, columns, every
        What is recorded, see `record`.
    """

    def __init__(
        self, model: WholeModel, trials: Trials, columns: list[Column], every: int
    ) -> None:
        self.model, self.trials, self.columns, self.every = model, trials, columns, every
        row = max(1, sum(column.bytes for column in columns))
        wide = -(-_WIDE // row // DRAWN) * DRAWN
        self.block = min(trials.total, max(DRAWN, min(_MOST, wide)))
        steps = max(1, _MEMORY // (2 * self.block * row))
        self.steps = steps // 64 * 64 if steps >= 64 else 2 ** (steps.bit_length() - 1)
        self._files: dict[str, h5py.Dataset] = {}
        self._check_disk: Callable[[], None] = lambda: None

    def bytes(self, length: int) -> int:
        """Return the size of what is recorded at every step."""
        row = sum(column.bytes for column in self.columns)
        return self.trials.total * -(-length // self.every) * row

    def lay_out(self, store: Store, sample: Batch) -> None:
        """Create all variables."""
        self._check_disk = store.check
        length = sample.inputs.shape[1]
        long_names = {"trial": "trial", "time": "step of the sequence", "step": "step"}
        sizes = {"trial": np.arange(self.trials.total), "time": np.arange(0, length, self.every)}
        whole = "time" if self.every == 1 else "step"
        sizes[whole] = np.arange(length)
        for column in self.columns:
            if column.dim is not None:
                sizes[column.dim] = np.arange(column.size)
        fixed = self._of_batch(sample, whole)
        for constant in fixed.values():
            for dim, size in zip(constant.dims[1:], constant.values.shape[1:], strict=True):
                sizes.setdefault(dim, np.arange(size))
        for name, values in sizes.items():
            units = "steps" if name in ("time", "step") else "1"
            long_name = long_names.get(name, name.replace("_", " of "))
            store.dimension(name, values, {"long_name": long_name, "units": units})
        for name, (dims, values, attrs) in fixed.items():
            self._files[name] = store.variable(name, dims, values.dtype, attrs, block=length)
        for column in self.columns:
            dims = ("trial", "time") + (() if column.dim is None else (column.dim,))
            self._files[column.name] = store.variable(
                column.name, dims, column.dtype, column.attrs, self.steps
            )

    def _of_batch(self, batch: Batch, whole: str) -> dict[str, _Constant]:
        """Return what is written once per block, by name."""
        found: dict[str, _Constant] = {}

        def put(name: str, values: Tensor, last: str, long_name: str, units: str = "1") -> None:
            dims = ("trial", whole, last)[: values.dim()]
            array = values.cpu().numpy()
            array = array.astype(np.int8) if array.dtype == bool else array
            found[name] = _Constant(dims, array, {"long_name": long_name, "units": units})

        put("inputs", batch.inputs, "input", "input")
        if not bool(batch.targets.isnan().all()):  # given sequences may come without
            same = batch.targets.shape[-1] == self.model.spec.output_size
            put("targets", batch.targets, "output" if same else "target", "target")
        if batch.mask is not None:
            put("mask", batch.mask, "", "1 where an output is scored")
        for name, condition in self.trials.conditions(batch).items():
            put(name, condition.values, "", condition.long_name, condition.unit)
        return found

    def run(self, on_progress: Callable[[int, int], None] | None) -> None:
        """Stream the model over all sequences."""
        total = self.trials.total
        with _Writer([self._buffers(), self._buffers()]) as writer:
            for start in range(0, total, self.block):
                stop = min(total, start + self.block)
                batch = self.trials.take(start, stop)
                constants = self._of_batch(batch, "time")
                writer.submit(partial(self._write_constants, constants, slice(start, stop)))
                length = batch.inputs.shape[1]

                def advance(
                    steps: int, before: int = start, rows: int = stop - start, length: int = length
                ) -> None:
                    if on_progress is not None:
                        on_progress(before * length + rows * steps, total * length)

                self._stream(batch.inputs, slice(start, stop), writer, advance)

    def _buffers(self) -> dict[str, np.ndarray]:
        return {
            column.name: np.empty((self.block, self.steps, column.size), column.dtype)
            for column in self.columns
        }

    def _write_constants(self, constants: dict[str, _Constant], rows: slice) -> None:
        for name, constant in constants.items():
            self._files[name][rows] = constant.values

    def _stream(
        self, inputs: Tensor, rows: slice, writer: _Writer, advance: Callable[[int], None]
    ) -> None:
        """Run one block of sequences and write it piece by piece."""
        x = like_parameters(self.model, inputs)
        names = [column.name for column in self.columns if column.group == "gates"]
        buffers = writer.next_buffers()
        filled, first = 0, 0
        for t, step in enumerate(steps(self.model, x, names)):
            if t % self.every:
                continue
            for column in self.columns:
                row = torch.from_numpy(buffers[column.name])[: len(x), filled]
                row.copy_(column.read(step).reshape(len(x), column.size))
            filled += 1
            if filled == self.steps or t + self.every >= x.shape[1]:
                writer.submit(partial(self._write, buffers, rows, first, filled))
                buffers = writer.next_buffers()
                first, filled = first + filled, 0
                advance(t + 1)
        advance(x.shape[1])

    def _write(self, buffers: dict[str, np.ndarray], rows: slice, first: int, count: int) -> None:
        for column in self.columns:
            values = buffers[column.name][: rows.stop - rows.start, :count]
            if column.dtype.kind == "f":
                self._check_finite(column, values, first)
            if column.dim is None:
                values = values[..., 0]
            self._files[column.name][rows, first : first + count] = values
        self._check_disk()

    def _check_finite(self, column: Column, values: np.ndarray, first: int) -> None:
        # The sum is fast, and finite only if all of them are.
        if np.isfinite(values.sum(dtype=np.promote_types(values.dtype, np.float32))):
            return
        if np.isfinite(values).all():
            return
        step = int((~np.isfinite(values)).any(axis=(0, 2)).argmax())
        narrow = column.dtype.itemsize == 2 and np.isinf(values).any()
        raise SeqprobeError(
            f"'{column.name}' is not finite at step {(first + step) * self.every};"
            + (
                " it does not fit half precision, use --dtype float32"
                if narrow
                else " check the model's weights for NaN or inf"
            )
        )
