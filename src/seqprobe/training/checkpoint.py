"""The checkpoint: one file that says everything needed to use a trained model, and runs no code.

It holds builtins and tensors only and is always read with ``weights_only=True``. Its layout is
`FORMAT` version `VERSION`; a file of a newer version is refused by name, not by accident.
"""

from __future__ import annotations

import dataclasses
import io
import itertools
import json
import os
import pickle
import sys
import warnings
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from seqprobe.config import from_mapping
from seqprobe.errors import SeqprobeError, UnreadableFileError, UsageError, unknown_name
from seqprobe.files import atomic, sha256
from seqprobe.models import MODELS, Model, architecture, skeleton
from seqprobe.plugins import not_installed
from seqprobe.provenance import Origin, libraries
from seqprobe.spec import Spec
from seqprobe.tasks import TASKS, Task, make_task
from seqprobe.training.recipe import with_defaults
from seqprobe.training.validation import check_fields, check_weights

__all__ = ["Checkpoint", "load", "load_checkpoint", "read_tensors", "write_tensors"]

FORMAT = "seqprobe.checkpoint"
VERSION = 1


@dataclass(frozen=True)
class Checkpoint:
    """What a checkpoint file says.

    Attributes
    ----------
    model, task
        ``{"name": ..., "config": {...}}`` with every setting.
    spec
        Kinds and sizes of input and output.
    train
        Settings of the training.
    seed
        Seed of weights and data order.
    step
        Update that the weights are from: the best validation score so far. 0 is untrained.
    status
        ``"training"`` while it runs or after a kill, then ``"complete"`` or ``"diverged"``.
    stopped
        Why training ended: the stopping rule and the last update.
    metrics
        ``{"valid": {...}, "test": {...}}``, each with ``metric, score, standard_error, n``.
    chance, baseline, solved
        What the score means; see `seqprobe.tasks.Task`.
    history
        One ``{"step", "loss", "score"}`` per validation; the loss is the task's, without penalties.
    libraries
        Versions that made it, plug-ins among them.
    weights
        Tensors by name.
    origin
        Path and sha256 of the file it was read from, or None.
    """

    model: dict[str, Any]
    task: dict[str, Any]
    spec: dict[str, Any]
    train: dict[str, Any]
    seed: int
    step: int
    status: str
    stopped: str
    metrics: dict[str, dict[str, Any]]
    chance: float
    baseline: dict[str, Any]
    solved: bool
    history: list[dict[str, float]]
    weights: dict[str, Tensor]
    libraries: dict[str, str] = dataclasses.field(default_factory=libraries)
    origin: Origin | None = None

    @property
    def score(self) -> dict[str, Any]:
        """The score on the test split, or on the validation split while training is not done."""
        return self.metrics.get("test") or self.metrics["valid"]

    @property
    def params(self) -> int:
        """Number of trained reals."""
        return sum(w.numel() * (2 if w.is_complex() else 1) for w in self.weights.values())

    def build_model(self) -> Model:
        """Return the model in evaluation mode on the CPU.

        Raises
        ------
        UsageError
            If this version of seqprobe does not know the architecture or one of its settings.
        UnreadableFileError
            If the weights are not those of the architecture.
        """
        name = self.model["name"]
        self._check_known("model", name, MODELS)
        config = from_mapping(architecture(name).config, self.model["config"], "model")
        # Without memory for weights first: a file cannot make us allocate what it does not hold.
        model = skeleton(name, from_mapping(Spec, self.spec, "spec"), config)
        wanted = {key: tuple(value.shape) for key, value in model.state_dict().items()}
        found = {key: tuple(value.shape) for key, value in self.weights.items()}
        if wanted != found:
            wrong = sorted(
                key for key in wanted.keys() | found.keys() if wanted.get(key) != found.get(key)
            )
            raise UnreadableFileError(
                f"weights do not fit model '{name}': '{wrong[0]}' should be"
                f" {wanted.get(wrong[0], 'absent')}, is {found.get(wrong[0], 'absent')}"
            )
        model.load_state_dict(self.weights, assign=True)
        model.requires_grad_(True)
        model.origin = self.origin
        return model.eval()

    def build_task(self) -> Task:
        """Return the task the model was trained on."""
        self._check_known("task", self.task["name"], TASKS)
        return make_task(self.task["name"], self.task["config"])

    def _check_known(self, kind: str, name: str, known: Mapping[str, Any]) -> None:
        """Refuse a name that is not registered, saying where it may come from."""
        if name in known:
            return
        missing = not_installed(self.libraries)
        if missing:
            raise UsageError(
                f"unknown {kind} '{name}'; it was made with {', '.join(missing)}, which is not"
                " installed here"
            )
        raise UsageError(f"{unknown_name(kind, name, known)}; if a plug-in had it, install that")

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the file; a reader sees the old one or the new one, never half of it."""
        fields = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        del fields["origin"]
        write_tensors({"format": FORMAT, "version": VERSION, **fields}, path)


def load(path: str | os.PathLike[str]) -> Model:
    """Load a trained model.

    Parameters
    ----------
    path
        A checkpoint written by ``seqprobe train``.

    Returns
    -------
    Model
        In evaluation mode, on the CPU; ``model.origin`` says where it comes from.

    Raises
    ------
    UnreadableFileError
        If the file is missing, damaged, foreign or unsafe; nothing in it is ever executed.
    """
    return load_checkpoint(path).build_model()


def load_checkpoint(path: str | os.PathLike[str]) -> Checkpoint:
    """Read a checkpoint file; see `load` for the errors."""
    content = read_tensors(path)
    if content.get("format") == "seqprobe.resume":
        raise UnreadableFileError(
            f"'{path}' holds the optimiser of a training run, not a model;"
            f" use '{str(path).replace('.resume.pt', '.pt')}'"
        )
    if content.get("format") == "seqprobe.resume.together":
        raise UnreadableFileError(
            f"'{path}' holds a group of seeds in training, not a model; finish it with the command"
            " that began it"
        )
    if content.get("format") != FORMAT:
        keys = ", ".join([repr(key) for key in content if type(key) is str][:3])
        raise UnreadableFileError(
            f"'{path}' is a checkpoint of another program (it holds {keys or 'nothing'});"
            " seqprobe reads what 'seqprobe train' writes, and other weights with --model"
            " MODULE:FUNCTION"
        )
    version = content.get("version")
    if type(version) is not int or version != VERSION:
        version = version if type(version) is int else "unknown"
        raise UnreadableFileError(
            f"'{path}' has checkpoint version {version}, this seqprobe reads {VERSION};"
            " install a newer seqprobe"
        )
    try:
        return _parse(path, content)
    except UnreadableFileError:
        raise
    except Exception as error:  # whatever a damaged or hostile file provokes, it is one line
        raise UnreadableFileError(
            f"'{path}' is a damaged checkpoint ({type(error).__name__}: {error});"
            " train it again or get another copy"
        ) from None


def _parse(path: str | os.PathLike[str], content: Mapping[str, Any]) -> Checkpoint:
    names = [f.name for f in dataclasses.fields(Checkpoint) if f.name != "origin"]
    checkpoint = Checkpoint(**{name: content[name] for name in names})
    check_fields({name: content[name] for name in names if name != "weights"})
    check_weights(checkpoint.weights)
    try:
        task = checkpoint.build_task()
        if not _same_spec(task, checkpoint.spec):
            raise UsageError(f"its spec is not that of task '{task.name}'")
        checkpoint.build_model()
    except SeqprobeError as error:
        raise UnreadableFileError(f"'{path}': {error}") from None
    # A setting that is newer than the file has its default: results of both belong together.
    settings = with_defaults({part: content[part] for part in ("model", "task", "train")})
    origin = Origin(
        # A file name need not be text; what is written into results must be.
        path=os.fsencode(path).decode("utf-8", "replace"),
        sha256=sha256(path),
        task=checkpoint.task["name"],
        model_config=json.dumps(settings["model"]["config"], sort_keys=True),
        task_config=json.dumps(settings["task"]["config"], sort_keys=True),
        seed=checkpoint.seed,
        step=checkpoint.step,
        train_length=task.length,
        solved=checkpoint.solved,
        train_config=json.dumps(settings["train"], sort_keys=True),
    )
    return dataclasses.replace(checkpoint, origin=origin)


def _same_spec(task: Task, spec: Mapping[str, Any]) -> bool:
    try:
        return dataclasses.asdict(task.spec) == spec
    except UnreadableFileError:  # the task's data decide it and are not here; the model needs none
        return True


def write_tensors(content: Mapping[str, Any], path: str | os.PathLike[str]) -> None:
    """Write builtins and tensors atomically; the same content makes the same bytes."""
    buffer = io.BytesIO()
    # Into memory, because torch puts a file's name into the file.
    torch.save(_canonical(dict(content)), buffer)
    with atomic(path) as part:
        part.write_bytes(buffer.getbuffer())


def _canonical(value: Any) -> Any:
    """Rebuild nested values so that equal content pickles to equal bytes.

    A pickle refers back to objects it has met, so that its bytes depend on which equal strings are
    the same object, which differs between a fresh run and a resumed one.
    """
    if isinstance(value, str):
        return sys.intern(value)
    if isinstance(value, dict):
        return {_canonical(key): _canonical(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_canonical(item) for item in value]
    if isinstance(value, Tensor):
        return value.detach().cpu().clone(memory_format=torch.contiguous_format)
    return value


def read_tensors(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read a file written by `write_tensors`, running no code from it.

    Raises
    ------
    UnreadableFileError
        One line that says what the file is instead.
    """
    path = Path(path)
    _check_archive(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch warns about foreign files; we refuse them below
            content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch's reader meets damaged bytes with errors of every kind
        raise UnreadableFileError(_refusal(path, error)) from None
    if not isinstance(content, dict):
        raise UnreadableFileError(
            f"'{path}' holds a {type(content).__name__}, not a checkpoint of 'seqprobe train'"
        )
    return content


def _check_archive(path: Path) -> None:
    """Refuse what is not an intact, uncompressed zip archive, before torch looks at it."""
    if path.is_dir():
        raise UnreadableFileError(f"'{path}' is a folder, not a checkpoint file")
    if not path.exists():
        raise UnreadableFileError(f"'{path}' does not exist; check the name")
    if not path.is_file():
        raise UnreadableFileError(f"'{path}' is not a regular file")
    try:
        with path.open("rb") as file:
            head = file.read(2)
        if not head:
            raise UnreadableFileError(f"'{path}' is empty; train it again or get another copy")
        if head[:1] == b"\x80":
            raise UnreadableFileError(
                f"'{path}' is a pickle, which could run code, and was not opened;"
                " save it again with a current torch, weights and settings only"
            )
        if head != b"PK":
            raise UnreadableFileError(f"'{path}' is not a checkpoint: it is not a torch file")
        with zipfile.ZipFile(path) as archive:
            # torch.load does not compare checksums: a flipped bit would become a wrong weight.
            packed = any(entry.compress_type != zipfile.ZIP_STORED for entry in archive.filelist)
            intact = not packed and archive.testzip() is None
    except OSError as error:
        raise UnreadableFileError(f"'{path}' cannot be read: {error.strerror}") from None
    except (zipfile.BadZipFile, ValueError, NotImplementedError, RuntimeError, EOFError):
        intact = False
    if not intact:
        raise UnreadableFileError(_damaged(path))


def _damaged(path: Path) -> str:
    return f"'{path}' is damaged or cut short; train it again or get another copy"


def _refusal(path: Path, error: Exception) -> str:
    # torch names the object it refused as "GLOBAL module.name"; the rest is advice to run it.
    named = [b for a, b in itertools.pairwise(str(error).split()) if a == "GLOBAL"]
    if not isinstance(error, pickle.UnpicklingError) or not named:
        return _damaged(path)
    return (
        f"'{path}' holds the Python object {named[0]}, which could run code, and was not opened;"
        " save weights and settings only (a state_dict), not a whole module"
    )
