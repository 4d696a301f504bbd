"""``seqprobe train``: what it writes, what it says, what it refuses."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cli.conftest import Seqprobe
from seqprobe.training import load_checkpoint

QUICK = "--steps 3 --set model.width=4 --set train.batch=4 --device cpu"


def test_settings_reach_the_checkpoint(seqprobe: Seqprobe) -> None:
    line = "train gru delay -o x.pt --set model.reset=before --set task.delay=5 --set train.lr=1e-4"
    result = seqprobe(f"{line} {QUICK} --seed 9")
    assert result.code == 0
    made = load_checkpoint("x.pt")
    assert made.model["config"]["reset"] == "before"
    assert made.task["config"]["delay"] == 5
    assert made.train["lr"] == 1e-4
    assert made.train["steps"] == 3
    assert made.seed == 9
    assert "x.pt: gru on delay" in result.out
    assert "(chance 1, best memoryless answer, the mean 1.0000); not solved" in result.out


def test_json_says_what_was_trained(seqprobe: Seqprobe) -> None:
    content = seqprobe(f"train tcn digits -o x.pt {QUICK} --json").json
    assert content["schema"] == "seqprobe.train/1"
    assert content["metric"] == "accuracy"
    assert content["chance"] == 0.1
    assert content["baseline"]["score"] > 0.9
    assert content["solved"] is False
    assert content["n"] == 450


def test_budget_chooses_the_width(seqprobe: Seqprobe) -> None:
    for model in ("rnn", "gru", "lstm", "tcn", "transformer"):
        line = f"train {model} delay -o {model}.pt --params 20k --steps 0 --json"
        assert abs(seqprobe(line).json["params"] - 20_000) <= 1000


def test_patience_asks_for_several_validations_in_a_row(seqprobe: Seqprobe) -> None:
    line = "train gru delay -o x.pt --until nmse=100 --patience 3 --steps 500 --json"
    found = seqprobe(f"{line} --set train.eval_every=2").json
    # The validation of the untrained network is the first of the three.
    assert found["stopped"] == "nmse reached 100 in 3 validations in a row at update 4"
    refused = seqprobe("train gru delay -o y.pt --patience 3")
    assert refused.code == 2 and "--until" in refused.error


def test_until_stops_early(seqprobe: Seqprobe) -> None:
    line = "train gru delay -o x.pt --until nmse=0.9 --steps 500 --set task.delay=1 --json"
    content = seqprobe(f"{line} --set train.eval_every=10 --set model.width=16").json
    assert content["stopped"].startswith("nmse reached 0.9 at update")
    assert content["step"] < 500


@pytest.mark.parametrize(
    ("line", "code", "message"),
    [
        ("train gruu delay -o x.pt", 2, "unknown model 'gruu'; did you mean 'gru'?"),
        ("train gru dellay -o x.pt", 2, "unknown task 'dellay'; did you mean 'delay'?"),
        ("train gru delay", 2, "Missing option '-o'"),
        ("train gru delay -o x.pt --set width=3", 2, "needs a prefix"),
        ("train gru delay -o x.pt --set model.widht=3", 2, "did you mean 'width'?"),
        ("train gru delay -o x.pt --set modle.width=3", 2, "did you mean 'model'?"),
        ("train gru delay -o x.pt --set model.width", 2, "has no '='"),
        ("train gru delay -o x.pt --set model.width=big", 2, "model.width = 'big' is not allowed"),
        ("train gru delay -o x.pt --set model.width=-3", 2, "out of range (allowed: 1 to 65536)"),
        ("train gru delay -o x.pt --set train.lr=-1", 2, "train.lr = -1.0 is out of range"),
        ("train gru delay -o x.pt --set task.delay=96", 2, "leaves no step to recall"),
        ("train gru digits -o x.pt --set task.length=32", 2, "allowed: 64 to 64"),
        ("train gru delay -o x.pt --params lots", 2, "'lots' is not a number of parameters"),
        ("train gru delay -o x.pt --params 60", 2, "no width of 'gru' has 60 parameters"),
        ("train gru delay -o x.pt --params 1k --set model.width=3", 2, "--params chooses"),
        ("train gru delay -o x.pt --steps 3 --set train.steps=4", 2, "disagree"),
        ("train gru delay -o x.pt --until accuracy=0.9", 2, "scored by 'nmse'"),
        ("train gru delay -o x.pt --device cuda:9", 2, "device 'cuda:9' is not available"),
        ("train gru delay -o no/x.pt", 2, "folder 'no' does not exist; create it first"),
        ("train gru delay -o x.txt", 2, "unknown file type '.txt' (allowed: .pt)"),
        ("train gru delay -o zoo/gru.pt", 2, "exists; go on with --resume"),
        ("train gru delay -o zoo/gru.pt --resume", 2, "was made with"),
        ("trian gru delay", 2, "unknown command 'trian'; did you mean 'train'?"),
    ],
)
def test_bad_input_gets_one_line(seqprobe: Seqprobe, line: str, code: int, message: str) -> None:
    before = Path("zoo/gru.pt").read_bytes()
    result = seqprobe(line)
    assert result.code == code
    assert message in result.error
    assert result.out == ""
    assert not list(Path.cwd().glob("x.*"))
    assert Path("zoo/gru.pt").read_bytes() == before


def test_divergence_is_one_line_and_exit_code_one(seqprobe: Seqprobe) -> None:
    options = "--set train.lr=1e30 --set train.clip=1e30 --set train.warmup=0 --steps 50"
    result = seqprobe(f"train tcn delay -o x.pt {options}")
    assert result.code == 1
    assert "try a smaller train.lr (it was 1e+30)" in result.error
    assert list(Path.cwd().glob("x.*")) == []


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_ctrl_c_says_how_to_go_on(tmp_path: Path) -> None:
    arguments = [sys.executable, "-m", "seqprobe", "train", "gru", "delay", "-o", "x.pt"]
    arguments += ["--steps", "100000", "--set", "train.eval_every=5", "--set", "model.width=4"]
    process = subprocess.Popen(
        arguments,
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # Tests run in the background have SIGINT ignored, and their children inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    deadline = time.monotonic() + 60
    while not (tmp_path / "x.resume.pt").exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    try:
        out, err = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 130
    assert out == ""
    assert err.count("\n") == 1
    assert "with --resume goes on from update" in err
    assert load_checkpoint(tmp_path / "x.pt").status == "training"
    assert not list(tmp_path.glob("*.part"))
