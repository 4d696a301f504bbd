"""Weights in files, and factories by name: what is read, and one line for what is not."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from own_modules import Encoder
from seqprobe.adapters import build, fill, read_weights
from seqprobe.errors import SeqprobeError, UnreadableFileError, UsageError

CHECKPOINT = Path(__file__).resolve().parents[2] / "checkpoints" / "delay" / "gru-s0.pt"


@pytest.fixture
def module() -> Encoder:
    torch.manual_seed(0)
    return Encoder()


def _same(path: Path, module: Encoder) -> bool:
    other = Encoder()
    fill(other, read_weights(path), path)
    return all(
        torch.equal(a, b) for a, b in zip(module.parameters(), other.parameters(), strict=True)
    )


@pytest.mark.parametrize("inside", [None, "state_dict", "model_state_dict"])
def test_files_of_torch(tmp_path: Path, module: Encoder, inside: str | None) -> None:
    path = tmp_path / "w.pth"
    weights = module.state_dict()
    torch.save(weights if inside is None else {inside: weights, "epoch": 3, "loss": 0.1}, path)
    assert _same(path, module)


def test_safetensors_and_npz(tmp_path: Path, module: Encoder) -> None:
    save_file(module.state_dict(), tmp_path / "w.safetensors")
    assert _same(tmp_path / "w.safetensors", module)
    np.savez(tmp_path / "w.npz", **{k: v.numpy() for k, v in module.state_dict().items()})
    assert _same(tmp_path / "w.npz", module)


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "model.", "module._orig_mod."])
def test_prefixes_of_wrappers_are_left_out(tmp_path: Path, module: Encoder, prefix: str) -> None:
    path = tmp_path / "w.pt"
    torch.save({prefix + key: value for key, value in module.state_dict().items()}, path)
    assert _same(path, module)


def test_weights_that_do_not_fit(tmp_path: Path, module: Encoder) -> None:
    path = tmp_path / "w.pt"
    weights = module.state_dict()
    renamed = {key.replace("rnn.", "lstm."): value for key, value in weights.items()}
    with pytest.raises(UnreadableFileError, match=r"nearest name there is 'lstm.weight_ih_l0'"):
        fill(module, renamed, path)
    with pytest.raises(UnreadableFileError, match=r"'extra' is not in the module .*1 unknown"):
        fill(module, weights | {"extra": torch.zeros(1)}, path)
    with pytest.raises(UnreadableFileError, match=r"'head.bias' has shape \(3,\) .* \(5,\)"):
        fill(module, weights | {"head.bias": torch.zeros(3)}, path)


def test_files_that_hold_something_else(tmp_path: Path, module: Encoder) -> None:
    def refused(name: str, said: str, error: type[SeqprobeError] = UnreadableFileError) -> None:
        with pytest.raises(error, match=said) as raised:
            read_weights(tmp_path / name)
        assert "\n" not in str(raised.value)

    torch.save(module, tmp_path / "whole.pt")
    refused("whole.pt", "which could run code, and was not opened")
    torch.save({"a": module.state_dict(), "b": module.state_dict()}, tmp_path / "two.pt")
    refused("two.pt", r"several sets of weights \('a', 'b'\)")
    torch.save({"epoch": 3}, tmp_path / "none.pt")
    refused("none.pt", "holds no weights")
    (tmp_path / "cut.safetensors").write_bytes(b"\x10\0\0\0\0\0\0\0{}")
    refused("cut.safetensors", "damaged or no safetensors file")
    (tmp_path / "cut.npz").write_bytes(b"PK\x03\x04")
    refused("cut.npz", "damaged, no .npz file")
    np.savez(tmp_path / "objects.npz", a=np.array([{}], dtype=object))
    refused("objects.npz", "holds objects")
    refused("nothing.pt", "does not exist")
    refused("w.h5", "allowed: .pt, .pth")
    (tmp_path / "folder.pt").mkdir()
    refused("folder.pt", "is a folder")
    refused(str(CHECKPOINT), "is a checkpoint of seqprobe", UsageError)


@pytest.fixture
def nets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    (tmp_path / "my_nets_of_test.py").write_text(
        "from torch import nn\n"
        "def build():\n    return nn.GRU(3, 4)\n"
        "def number():\n    return 3\n"
        "def fails():\n    raise ValueError('no\\nsize')\n"
    )
    (tmp_path / "my_broken_net.py").write_text("import a_package_that_is_not_there\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield
    for name in ("my_nets_of_test", "my_broken_net"):
        sys.modules.pop(name, None)


@pytest.mark.usefixtures("nets")
@pytest.mark.parametrize(
    ("named", "error", "said"),
    [
        ("my_nets_of_test", UsageError, "allowed: package.module:function"),
        ("my_nets_of_test:biuld", UsageError, r"no function 'biuld'; did you mean 'build'\?"),
        ("no_such_module_at_all:build", UsageError, "there is no module 'no_such_module_at_all'"),
        ("my_nets_of_test:number", UsageError, "returns a int"),
        (
            "my_nets_of_test:fails",
            SeqprobeError,
            r"ValueError: no size \(my_nets_of_test.py, line 7\)",
        ),
        ("my_broken_net:build", SeqprobeError, "a_package_that_is_not_there"),
    ],
)
def test_factories_that_do_not_build(named: str, error: type[SeqprobeError], said: str) -> None:
    with pytest.raises(error, match=said) as raised:
        build(named)
    assert "\n" not in str(raised.value)


@pytest.mark.usefixtures("nets")
def test_a_factory_in_the_working_folder() -> None:
    assert isinstance(build("my_nets_of_test:build"), torch.nn.GRU)
