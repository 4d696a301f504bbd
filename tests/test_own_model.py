"""The README's section on models made elsewhere, executed, and what a user tries around it."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr

from data_sets import needs_data
from own_modules import TCN, EncoderDecoder
from seqprobe.cli.app import run
from spoken import spectrograms

ROOT = Path(__file__).resolve().parents[1]
SECTION = re.findall(
    r"^## Your own model\n.*?(?=^## )", (ROOT / "README.md").read_text(), re.DOTALL | re.MULTILINE
)[0]
PYTHON = re.findall(r"```python\n(.*?)```", SECTION, re.DOTALL)
COMMANDS = re.findall(r"```\n(seqprobe.*?)```", SECTION, re.DOTALL)[0].strip().splitlines()


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with what the section has: a module, its weights and a batch."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "mynet", raising=False)
    (tmp_path / "mynet.py").write_text(PYTHON[0])
    torch.manual_seed(0)
    space: dict[str, object] = {}
    exec(PYTHON[0], space)
    module = space["build"]()  # type: ignore[operator]
    torch.save(module.state_dict(), tmp_path / "weights.pt")
    return tmp_path


def _commands(line: str) -> dict[str, object]:
    """Return what a command prints as JSON; few sequences, because many are not the point."""
    words = shlex.split(line)[1:]
    more = [] if "record" in words else ["--sequences", "6"]
    if words[0] == "fixed-points":
        more = ["--starts", "4", "--sequences", "6"]
    code = run([*words, *more, "--json", "--device", "cpu"])
    assert code == 0
    return {}


@needs_data("fsdd")
def test_the_commands_of_the_readme_on_spoken_digits(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    inputs, digits = spectrograms()
    np.savez(home / "batch.npz", inputs=inputs, targets=digits)
    found = {}
    for line in COMMANDS:
        _commands(line)
        found[shlex.split(line)[1]] = json.loads(capsys.readouterr().out)
    assert set(found) == {"memory", "capacity", "fixed-points", "record"}
    for name in ("memory", "capacity", "fixed-points"):
        (row,) = found[name]["results"]
        assert row["model"] == "Encoder" and row["checkpoint"] == "weights.pt"
        assert row["solved"] is None and row["train_length"] is None
    with xr.open_dataset(home / "acts.h5", engine="h5netcdf") as acts:
        assert acts["layer2.c"].dims == ("trial", "time", "unit")
        assert acts["layer2.c"].shape == (40, 24, 64)
        assert acts["targets"].shape == (40,) and acts["outputs"].shape == (40, 24, 10)
        np.testing.assert_allclose(acts["inputs"], inputs)


@pytest.mark.parametrize(
    "which", [1, pytest.param(2, marks=pytest.mark.slow)], ids=["python", "hugging face"]
)
def test_the_python_of_the_readme(which: int, tmp_path: Path) -> None:
    if which == 2:
        pytest.importorskip("transformers")
    done = subprocess.run(
        [sys.executable, "-c", PYTHON[which]], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() and not done.stderr


def test_an_encoder_without_its_decoder_from_the_command_line(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.manual_seed(0)
    torch.save(EncoderDecoder().state_dict(), home / "both.pt")
    np.save(home / "x.npy", np.random.default_rng(0).standard_normal((6, 12, 4)))
    given = "both.pt --model own_modules:EncoderDecoder --data x.npy --device cpu"
    assert run(shlex.split(f"memory {given}")) == 4
    assert "not causal" in capsys.readouterr().err
    assert run(shlex.split(f"memory {given} --state encoder -o m.nc --figure m.png")) == 0
    said = capsys.readouterr()
    assert "stepping and reading at once agree to" in said.err
    with xr.open_dataset(home / "m.nc", engine="h5netcdf") as result:
        assert result.attrs["model"] == "EncoderDecoder" and result.attrs["task"] == "arrays"
        how = json.loads(result.attrs["model_config"])
        assert how["factory"] == "own_modules:EncoderDecoder" and how["state"] == "encoder"
        assert len(result.attrs["checkpoint_sha256"]) == 64
    assert (home / "m.png").stat().st_size > 10_000


def test_a_convolutional_network_where_it_applies(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.manual_seed(0)
    torch.save(TCN().state_dict(), home / "tcn.pt")
    np.save(home / "x.npy", np.random.default_rng(0).standard_normal((20, 16, 4)))
    given = "tcn.pt --model own_modules:TCN --data x.npy --device cpu --json"
    assert run(shlex.split(f"memory {given}")) == 0
    (row,) = json.loads(capsys.readouterr().out)["results"]
    assert row["structural_zero"] == 7
    assert run(shlex.split(f"capacity {given}")) == 0
    (row,) = json.loads(capsys.readouterr().out)["results"]
    assert row["state_size"] is None
    for command in ("fixed-points", "timescales"):
        assert run(shlex.split(f"{command} {given}")) == 4
        assert "TCN has no state that is known" in capsys.readouterr().out


def test_a_task_in_place_of_data_and_several_files_of_weights(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (home / "small.py").write_text(
        "import torch\nfrom torch import nn\n"
        "class Net(nn.Module):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        self.rnn, self.head = nn.GRU(1, 8, batch_first=True), nn.Linear(8, 1)\n"
        "    def forward(self, x):\n"
        "        return self.head(self.rnn(x)[0])\n"
    )
    sys.modules.pop("small", None)
    assert run(shlex.split("memory --model small:Net --task delay --set task.delay=3 --json")) == 0
    (row,) = json.loads(capsys.readouterr().out)["results"]
    assert row["checkpoint"] == "small:Net" and row["task"] == "delay"
    net = sys.modules["small"].Net
    (home / "seeds").mkdir()
    for seed in range(2):
        torch.manual_seed(seed)
        torch.save(net().state_dict(), home / "seeds" / f"s{seed}.pt")
    line = "memory seeds --model small:Net --task delay --sequences 4 --json --device cpu"
    assert run(shlex.split(line)) == 0
    rows = json.loads(capsys.readouterr().out)["results"]
    assert [row["checkpoint"] for row in rows] == ["seeds/s0.pt", "seeds/s1.pt"]
    assert not (home / "seeds" / "results").exists()
    assert run(shlex.split(f"{line} -o seeds.nc")) == 0
    with xr.open_dataset(home / "seeds.nc", engine="h5netcdf") as both:
        # What tells them apart is not a setting, so that figures draw them as one network's seeds.
        assert "model_config" in both.attrs and both["agreement"].dims == ("run",)


@pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated")
def test_a_folder_of_hugging_face_and_a_text(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    transformers = pytest.importorskip("transformers")
    from tokenizers import Tokenizer, models, pre_tokenizers

    from huggingface_cases import build

    build("mamba").save_pretrained(home / "net")
    words = ["?", "the", "cat", "sat", "on", "a", "mat"]
    made = Tokenizer(models.WordLevel({w: i for i, w in enumerate(words)}, unk_token="?"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    transformers.PreTrainedTokenizerFast(tokenizer_object=made).save_pretrained(home / "net")
    (home / "book.md").write_text("the cat sat on a mat " * 60)
    capsys.readouterr()
    line = "memory net --data book.md --sequences 2 --length 8 --device cpu"
    assert run(shlex.split(f"{line} --json -o net.nc")) == 0
    (row,) = json.loads(capsys.readouterr().out)["results"]
    assert row["model"] == "mamba" and row["checkpoint"] == "net"
    with xr.open_dataset(home / "net.nc", engine="h5netcdf") as result:
        assert json.loads(result.attrs["agreement"])["outputs"] < 1e-12
        assert json.loads(result.attrs["task_config"])["file"] == "book.md"
    for wrong, code, said in (
        ("memory net", 2, "needs sequences to look at"),
        ("memory net --task delay", 2, "task 'delay' has reals"),
        ("memory net --data x.txt", 3, "text 'x.txt' cannot be read"),
        ("memory net/model.safetensors --data book.md", 2, "says itself what it was trained on"),
    ):
        assert run(shlex.split(wrong)) == code
        assert said in capsys.readouterr().err
    (home / "net" / "model.safetensors").unlink()
    assert run(shlex.split(line)) == 3
    assert "'net' has no weights" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("line", "code", "said"),
    [
        ("memory weights.pt --model mynet:build", 2, "--model needs sequences to look at"),
        ("memory", 2, "no CKPT was given"),
        ("memory weights.pt", 3, "other weights with --model MODULE:FUNCTION"),
        ("memory weights.pt --data x.npz", 2, "--data, --task and --set are for models made"),
        ("memory w.pt --model a:b --data x.npz --task delay", 2, "two answers to one question"),
        ("memory weights.pt --set task.delay=3", 2, "--set is for the settings of --task"),
        ("memory weights.pt --state rnn", 2, "--state is about --model"),
        ("memory weights.pt --model mynet:build --data none.npz", 3, "'none.npz' does not exist"),
        ("memory weights.pt --model mynet:build --task delay", 1, "fails on inputs of shape"),
        ("record weights.pt --model mynet:biuld --data x.npz -o a.h5", 2, "did you mean 'build'"),
        ("memory copy-curve weights.pt --model mynet:build --data x.npz", 4, "copy curves are of"),
        ("capacity growth weights.pt --model mynet:build --data x.npz", 4, "no sequences of 192"),
        ("memory context weights.pt --model mynet:build --data x.npz", 2, "or there are none"),
    ],
)
def test_mistakes_are_one_line(
    home: Path, capsys: pytest.CaptureFixture[str], line: str, code: int, said: str
) -> None:
    x = np.random.default_rng(0).standard_normal((6, 12, 40))
    np.savez(home / "x.npz", inputs=x)
    assert run([*shlex.split(line), "--device", "cpu"]) == code
    error = capsys.readouterr().err.strip().splitlines()
    assert said in error[-1] and error[-1].startswith("seqprobe: error: ")
    assert not list(home.glob("*.part")) and not (home / "a.h5").exists()
