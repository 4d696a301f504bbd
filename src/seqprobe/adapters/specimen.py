"""A model made elsewhere together with the sequences it is looked at with."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from seqprobe.adapters.factory import build
from seqprobe.adapters.foreign import ForeignModel
from seqprobe.adapters.huggingface import HuggingFaceModel, from_huggingface, text_batch
from seqprobe.adapters.weights import fill, read_weights
from seqprobe.adapters.wrapping import wrap
from seqprobe.errors import SeqprobeError, UsageError
from seqprobe.files import sha256
from seqprobe.models import WholeModel, count_parameters
from seqprobe.provenance import Origin
from seqprobe.tasks import Task
from seqprobe.tasks.arrays import ArraysConfig, ArraysTask, from_arrays

__all__ = ["Specimen", "of_factory", "of_folder"]

_EXAMPLE = 8  # sequences that a module is tried on
_TOKENS = 128  # of a window of text


@dataclass
class Specimen:
    """What stands in the place of a checkpoint: who made the model, and when, is not known.

    Attributes
    ----------
    whole
        The model.
    given
        The sequences, as a task.
    origin
        Where the weights come from.
    remark
        A line on what was found: the state, and how well stepping agrees.
    """

    whole: WholeModel
    given: Task
    origin: Origin
    remark: str

    @property
    def model(self) -> Mapping[str, str]:
        """Name of the model, as a checkpoint has it."""
        return {"name": self.whole.name}

    @property
    def task(self) -> Mapping[str, str]:
        """Name of the task, as a checkpoint has it."""
        return {"name": self.given.name}

    @property
    def params(self) -> int:
        """Number of reals in all parameters."""
        return count_parameters(self.whole)

    def build_model(self) -> WholeModel:
        """Return the model."""
        return self.whole

    def build_task(self) -> Task:
        """Return the sequences."""
        return self.given


def of_factory(path: Path | None, factory: str, task: Task, state: str | None = None) -> Specimen:
    """Build a module, put the weights of a file into it, and wrap it.

    Parameters
    ----------
    path
        The weights, see `read_weights`; None where the factory returns a module that has them.
    factory
        ``"package.module:function"``.
    task
        What it is looked at with.
    state
        See `wrap`.

    Raises
    ------
    SeqprobeError
        As `read_weights`, `build`, `fill` and `wrap`.
    """
    weights = None if path is None else read_weights(path)
    module = build(factory)
    if path is not None and weights is not None:
        fill(module, weights, path)
    module.eval()
    batch = task.batch("test", _few(task))
    own = isinstance(task, ArraysTask)
    try:
        model = wrap(module, batch, state=state, spec=None if own else task.spec)
    except SeqprobeError as error:
        kind = "tokens" if task.spec.input_kind == "token" else "inputs per step"
        what = "" if own else f" (task '{task.name}' has {task.spec.input_size} {kind})"
        raise type(error)(f"{error}{what}") from error
    if isinstance(task, ArraysTask):
        _meet(model, task, is_part=state is not None)
    how = {"factory": factory, "state": state}
    model.origin = Origin(
        path=factory if path is None else str(path),
        sha256=_hash_of(module) if path is None else sha256(path),
        task=task.name,
        model_config=json.dumps(how, sort_keys=True),
        task_config=json.dumps(dataclasses.asdict(task.config), sort_keys=True),
        agreement=_agreement(model),
    )
    return Specimen(model, task, model.origin, _remark(model))


def of_folder(path: Path, source: Task | Path) -> Specimen:
    """Read a model of Hugging Face.

    Parameters
    ----------
    path
        Its folder, see `from_huggingface`.
    source
        A task of tokens, or a text file, which is cut into windows of 128 tokens.

    Raises
    ------
    SeqprobeError
        As `from_huggingface` and `text_batch`.
    UsageError
        If the task has no tokens, or some that the model does not know.
    """
    model = from_huggingface(path)
    if isinstance(source, Path):
        windows = text_batch(model, source, min(_TOKENS, model.longest or _TOKENS))
        config = ArraysConfig(file=str(source), sha256=sha256(source))
        source = from_arrays(windows.inputs, windows.targets, config=config)
    if source.spec.input_kind != "token" or source.spec.input_size > model.spec.input_size:
        what = "reals" if source.spec.input_kind != "token" else f"{source.spec.input_size} tokens"
        raise UsageError(
            f"'{path}' reads {model.spec.input_size} tokens, task '{source.name}' has {what}; give"
            " text (--data FILE.txt), or integers (N, T)"
        )
    if isinstance(source, ArraysTask):
        _meet(model, source, is_part=False)
    facts = model.attrs()
    model.origin = Origin(
        path=str(path),
        sha256=str(facts["sha256"]),
        task=source.name,
        model_config=json.dumps({"folder": path.name}),
        task_config=json.dumps(dataclasses.asdict(source.config), sort_keys=True),
        agreement=_agreement(model),
    )
    return Specimen(model, source, model.origin, _remark(model))


def _agreement(model: WholeModel) -> str | None:
    """Return what the comparison of stepping and reading at once found, as JSON."""
    if isinstance(model, HuggingFaceModel):
        return None if model.verified is None else json.dumps(dataclasses.asdict(model.verified))
    if isinstance(model, ForeignModel) and model.agreement is not None:
        return json.dumps(dataclasses.asdict(model.agreement))
    return None


def _few(task: Task) -> int:
    there = task.count("test")
    return _EXAMPLE if there is None else min(_EXAMPLE, there)


def _meet(model: WholeModel, task: ArraysTask, is_part: bool) -> None:
    """Let a model and given sequences agree on what the outputs are."""
    if is_part or not task.has_targets:
        task.spec = model.spec
        return
    asked, there = task.spec, model.spec
    if asked.output_size > there.output_size:
        raise UsageError(
            f"targets need {asked.output_size} outputs, {model.name} has {there.output_size};"
            " give the targets that it was trained on, or none"
        )
    if asked.output_kind != "class" and asked.output_size != there.output_size:
        raise UsageError(
            f"targets have {asked.output_size} numbers per step, {model.name} has"
            f" {there.output_size} outputs; give as many, or none"
        )
    if asked.readout == "each" and there.readout == "last":
        raise UsageError(
            f"targets are for every step, {model.name} gives one answer per sequence; give (N,)"
            " classes, or none"
        )
    model.spec = dataclasses.replace(
        asked, input_size=there.input_size, output_size=there.output_size
    )
    task.spec = model.spec


def _hash_of(module: nn.Module) -> str:
    digest = hashlib.sha256()
    for name, tensor in [*module.named_parameters(), *module.named_buffers()]:
        raw = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
        digest.update(name.encode() + b"\0" + raw.numpy().tobytes())
    return digest.hexdigest()


def _remark(model: WholeModel) -> str:
    """Return a line on what is known of the state."""
    try:
        reals = model.state_size(1)
    except SeqprobeError as error:
        return str(error)
    if not model.stepwise:
        return f"{model.name}: the output of the named part, {reals} reals per step, is the state"
    said = f"{model.name}: a state of {reals} reals ({', '.join(model.init_state(1))})"
    if isinstance(model, ForeignModel) and model.agreement is not None:
        apart, steps = max(model.agreement.output, model.agreement.state), model.agreement.steps
    elif isinstance(model, HuggingFaceModel) and model.verified is not None:
        said = f"{model.name}: a state of {reals} reals after a token"
        apart, steps = max(model.verified.outputs, model.verified.state), model.verified.tokens
    else:  # a plug-in's adapter answers for itself
        return said
    if model.spec.readout == "last":
        said += ", one answer per sequence, which stands at its last step"
    return f"{said}; stepping and reading at once agree to {apart:.0e} over {steps} steps"
