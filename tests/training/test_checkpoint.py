"""A file that is not a good checkpoint gets one line, and nothing in it runs."""

from __future__ import annotations

import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from seqprobe.errors import UnreadableFileError
from seqprobe.tasks import make_task
from seqprobe.training import TrainConfig, load, load_checkpoint, train


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("good") / "good.pt"
    train("gru", make_task("delay"), path, config=TrainConfig(steps=0))
    return path


def test_loaded_model_computes_what_was_saved(good: Path) -> None:
    model = load(good)
    checkpoint = load_checkpoint(good)
    assert not model.training
    assert all(p.requires_grad for p in model.parameters())
    assert all(torch.equal(model.state_dict()[k], w) for k, w in checkpoint.weights.items())
    assert model.origin is not None
    assert model.origin.path == str(good)
    assert model.origin.train_length == 96
    test = make_task("delay").batch("test")
    score = make_task("delay").scores(model(test.inputs)[0], test).double().mean().item()
    assert score == checkpoint.metrics["test"]["score"]


class Evil:
    """Creates a file when unpickled."""

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, ("touch pwned",)


def _changed(good: Path, **changes: Any) -> dict[str, Any]:
    content: dict[str, Any] = torch.load(good, weights_only=True)
    return content | changes


def _truncated(path: Path, good: Path) -> None:
    path.write_bytes(good.read_bytes()[: good.stat().st_size // 2])


def _foreign_zip(path: Path, good: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", "not torch")


def _flipped(path: Path, good: Path) -> None:
    """One bit of the largest weight: torch alone would load it as a wrong number."""
    content = bytearray(good.read_bytes())
    with zipfile.ZipFile(good) as archive:
        largest = max(archive.filelist, key=lambda entry: entry.file_size)
    content[largest.header_offset + largest.file_size // 2] ^= 0x40
    path.write_bytes(content)


def _packed(path: Path, good: Path) -> None:
    with zipfile.ZipFile(good) as old, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            new.writestr(name, old.read(name))


def _without(key: str) -> Callable[[Path, Path], None]:
    def make(path: Path, good: Path) -> None:
        content = _changed(good)
        del content[key]
        torch.save(content, path)

    return make


def _with(**changes: Any) -> Callable[[Path, Path], None]:
    return lambda path, good: torch.save(_changed(good, **changes), path)


def _weights(change: Callable[[dict[str, Any]], Any]) -> Callable[[Path, Path], None]:
    def make(path: Path, good: Path) -> None:
        content = _changed(good)
        change(content["weights"])
        torch.save(content, path)

    return make


BAD: dict[str, tuple[Callable[[Path, Path], Any], str]] = {
    "empty": (lambda p, g: p.write_bytes(b""), "is empty"),
    "text": (lambda p, g: p.write_text("hello"), "is not a checkpoint: it is not a torch file"),
    "folder": (lambda p, g: p.mkdir(), "is a folder, not a checkpoint file"),
    "missing": (lambda p, g: None, "does not exist"),
    "truncated": (_truncated, "is damaged or cut short"),
    "zip": (_foreign_zip, "is damaged or cut short"),
    "flipped": (_flipped, "is damaged or cut short"),
    "packed": (_packed, "is damaged or cut short"),
    "fifo": (lambda p, g: os.mkfifo(p), "is not a regular file"),
    "pickle": (lambda p, g: p.write_bytes(pickle.dumps(Evil())), "is a pickle, which could run"),
    "half a pickle": (lambda p, g: p.write_bytes(b"\x80\x02garbage"), "is a pickle"),
    "code": (lambda p, g: torch.save({"x": Evil()}, p), r"holds the Python object \S*system"),
    "module": (lambda p, g: torch.save(nn.Linear(2, 2), p), "holds the Python object torch.nn"),
    "tensor": (lambda p, g: torch.save(torch.zeros(3), p), "holds a Tensor, not a checkpoint"),
    "foreign": (
        lambda p, g: torch.save({"state_dict": {}, "epoch": 3}, p),
        "checkpoint of another program .*'state_dict', 'epoch'",
    ),
    "newer": (_with(version=99), "has checkpoint version 99, this seqprobe reads 1"),
    "incomplete": (_without("seed"), "is a damaged checkpoint .*KeyError: 'seed'"),
    "strange": (_with(weights=3), "weights must be of type dict, is int"),
    "model": (_with(model={"name": "grx", "config": {}}), "unknown model 'grx'"),
    "huge": (
        _with(model={"name": "gru", "config": {"width": 10**9}}),
        "model.width = 1000000000 is out of range",
    ),
    "wide": (
        _with(model={"name": "gru", "config": {"width": 65000}}),
        r"weights do not fit model 'gru': 'core.layers.0.bias' should be \(195000,\)",
    ),
    "task": (
        _with(task={"name": "delay", "config": {"length": 96, "x": 1}}),
        "unknown key 'task.x",
    ),
    "no weight": (_weights(lambda w: w.pop("head.bias")), "'head.bias' should be .* is absent"),
    "extra": (_weights(lambda w: w.update(more=torch.zeros(1))), "'more' should be absent"),
    "sparse": (
        _weights(lambda w: w.update({"head.bias": torch.zeros(1).to_sparse()})),
        "weight 'head.bias' is not a tensor of reals",
    ),
    "meta": (
        _weights(lambda w: w.update({"head.bias": torch.zeros(1, device="meta")})),
        "weight 'head.bias' is not a tensor of reals",
    ),
    "stretched": (
        _weights(lambda w: w.update({"head.bias": torch.zeros(1).expand(10**6)})),
        "weight 'head.bias' is not a tensor of reals",
    ),
    "half": (
        _weights(lambda w: w.update({"head.bias": torch.zeros(1, dtype=torch.float16)})),
        "weight 'head.bias' is not a tensor of reals",
    ),
    "mixed": (
        _weights(lambda w: w.update({"head.bias": torch.zeros(1).double()})),
        "weights mix precisions: torch.float32, torch.float64",
    ),
    "metrics": (_with(metrics="hi"), "damaged checkpoint .*metrics must be of type dict"),
    "no score": (_with(metrics={}), "metrics must hold 'valid'"),
    "score": (
        _with(metrics={"valid": {"metric": "x", "score": "x", "standard_error": 0.0, "n": 1}}),
        "metrics.valid.score must be of type float, is str",
    ),
    "seed": (_with(seed=float("inf")), "seed must be of type int"),
    "negative": (_with(seed=-5), "status, seed or step is out of range"),
    "flag": (_with(solved=torch.ones(2)), "solved must be of type bool"),
    "version tensor": (_with(version=torch.ones(2)), "checkpoint version"),
    "history": (_with(history=b"abc"), "history must be a list"),
    "terminal": (_with(stopped="\x1b[31mred"), "stopped must be printable text"),
    "spec": (
        _with(spec={"input_kind": "continuous", "input_size": 1, "output_kind": "class",
                    "output_size": 1, "readout": "last"}),
        "its spec is not that of task 'delay'",
    ),
    "training": (_with(train={"until": None, "lr": "fast"}), "train.lr = 'fast' is not allowed"),
    "integers": (
        _weights(lambda w: w.update({"head.bias": torch.zeros(1, dtype=torch.int64)})),
        "weight 'head.bias' is not a tensor of reals",
    ),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore:.*to_sparse.*", "ignore:Sparse")
@pytest.mark.parametrize("kind", BAD)
def test_bad_file_gets_one_line_and_runs_nothing(
    kind: str, good: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    make, message = BAD[kind]
    path = tmp_path / "bad.pt"
    make(path, good)
    with pytest.raises(UnreadableFileError, match=message) as caught:
        load(path)
    assert "\n" not in str(caught.value)
    assert "bad.pt" in str(caught.value)
    assert caught.value.__cause__ is None
    assert not (tmp_path / "pwned").exists()


def test_random_damage_never_loads_and_never_shows_a_traceback(good: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    path = tmp_path / "bad.pt"
    for _ in range(150):
        content = bytearray(good.read_bytes())
        for _ in range(int(rng.integers(1, 4))):
            content[rng.integers(len(content))] ^= int(rng.integers(1, 256))
        path.write_bytes(content)
        try:
            loaded = load_checkpoint(path)
        except UnreadableFileError as error:
            assert "\n" not in str(error)
        else:  # bytes that carry nothing, such as alignment and time stamps of the archive
            intact = load_checkpoint(good)
            assert loaded.metrics == intact.metrics
            assert all(torch.equal(w, intact.weights[n]) for n, w in loaded.weights.items())


def test_file_name_that_is_not_text(good: Path, tmp_path: Path) -> None:
    path = os.fsencode(tmp_path) + b"/\xff.pt"
    Path(os.fsdecode(path)).write_bytes(good.read_bytes())
    origin = load(os.fsdecode(path)).origin
    assert origin is not None
    assert origin.path.endswith("\ufffd.pt")


def test_resume_file_is_told_from_a_checkpoint(tmp_path: Path) -> None:
    config = TrainConfig(steps=1, batch=2)
    train("rnn", make_task("delay"), tmp_path / "x.pt", config=config, keep_resume=True)
    with pytest.raises(UnreadableFileError, match=r"holds the optimiser .* use '.*x\.pt'"):
        load(tmp_path / "x.resume.pt")


def test_float64_weights_load_as_they_are(good: Path, tmp_path: Path) -> None:
    content = _changed(good)
    content["weights"] = {name: w.double() for name, w in content["weights"].items()}
    torch.save(content, tmp_path / "x.pt")
    assert load(tmp_path / "x.pt")(torch.zeros(1, 2, 1).double())[0].dtype == torch.float64
