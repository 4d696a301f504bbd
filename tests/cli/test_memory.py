"""``seqprobe memory``: table, JSON, files, and what happens when something is wrong."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
import xarray as xr
from torch import nn

from cli.conftest import Seqprobe
from seqprobe import schema
from seqprobe.files import sha256

KEYS = """checkpoint sha256 model task solved train_length n_sequences peak_lag threshold_length
 mass_quantile half_life receptive_field structural_zero lags G G_ci share float64_deviation"""


def test_json_is_one_object_of_the_schema(seqprobe: Seqprobe) -> None:
    result = seqprobe("memory zoo/tcn.pt zoo/gru.pt --json --sequences 6")
    assert result.code == 0
    assert result.err == ""
    content = result.json
    assert set(content) == {"schema", "results", "skipped"}
    assert content["schema"] == "seqprobe.memory/1"
    assert content["skipped"] == []
    tcn, gru = content["results"]
    assert set(KEYS.split()) <= set(tcn)
    assert tcn["checkpoint"] == "zoo/tcn.pt"
    assert tcn["sha256"] == sha256("zoo/tcn.pt")
    assert (tcn["model"], tcn["task"], tcn["train_length"]) == ("tcn", "delay", 96)
    assert tcn["n_sequences"] == 6
    assert tcn["receptive_field"] == 13
    assert 1 <= tcn["structural_zero"] <= 13
    assert set(tcn["threshold_length"]) == {"0.1", "0.01", "0.001"}
    assert set(tcn["mass_quantile"]) == {"0.5", "0.9", "0.99"}
    assert tcn["lags"] == list(range(65))
    assert len(tcn["G"]) == len(tcn["share"]) == 65
    assert len(tcn["G_ci"]) == 2
    low, high = tcn["G_ci"]
    assert all(a <= g <= b for a, g, b in zip(low, tcn["G"], high, strict=True))
    assert math.isclose(sum(tcn["share"]), 1)
    assert tcn["solved"] is False
    assert gru["receptive_field"] is None
    assert gru["structural_zero"] is None
    assert 0 <= gru["float64_deviation"] < 0.01


def test_table_names_every_checkpoint_and_says_untrained(seqprobe: Seqprobe) -> None:
    result = seqprobe("memory zoo --sequences 6")
    assert result.code == 0
    lines = result.out.splitlines()
    assert lines[0].startswith("checkpoint")
    assert [line.split()[0] for line in lines[1:]] == ["gru.pt", "rnn.pt", "tcn.pt"]
    assert "no, untrained" in lines[2]
    assert "13, 0 at" in lines[3]
    assert "95 % bootstrap intervals over 6 test sequences" in result.err


def test_quiet_leaves_stderr_empty(seqprobe: Seqprobe) -> None:
    assert seqprobe("memory zoo/gru.pt --sequences 4 -q").err == ""


def test_files_hold_the_same_numbers(seqprobe: Seqprobe, tmp_path: Path) -> None:
    command = "memory zoo --sequences 6 --json -o out.nc --figure a.pdf --figure b.png"
    content = seqprobe(command).json
    result = schema.read("out.nc")
    assert result["run"].values.tolist() == ["zoo/gru.pt", "zoo/rnn.pt", "zoo/tcn.pt"]
    for row, run in zip(content["results"], result["run"].values, strict=True):
        one = result.sel(run=run)
        length = len(row["lags"])
        assert one["G"].values[:length].tolist() == row["G"]
        assert str(one["checkpoint_sha256"].values) == row["sha256"]
    assert (tmp_path / "a.pdf").read_bytes().startswith(b"%PDF")
    assert (tmp_path / "b.png").read_bytes().startswith(b"\x89PNG")
    assert b"/Type3" not in (tmp_path / "a.pdf").read_bytes()
    assert b"/FontFile2" in (tmp_path / "a.pdf").read_bytes()
    assert xr.open_dataset("out.nc", engine="h5netcdf").attrs["analysis"] == (
        "memory.gradient_profile"
    )


def test_options_stand_before_and_after_paths(seqprobe: Seqprobe) -> None:
    before = seqprobe("memory --json --sequences 4 zoo/gru.pt").json
    after = seqprobe("memory zoo/gru.pt --json --sequences 4").json
    named = seqprobe("memory profile zoo/gru.pt --json --sequences 4").json
    between = seqprobe("memory --json profile zoo/gru.pt --sequences 4").json
    assert before == after == named == between


def test_a_path_named_like_a_subcommand_is_written_with_its_folder(seqprobe: Seqprobe) -> None:
    Path("profile").write_bytes(Path("zoo/gru.pt").read_bytes())
    assert seqprobe("memory ./profile --json --sequences 4").json["results"]
    result = seqprobe("memory profile --json")
    assert result.code == 2
    assert "no CKPT was given" in result.error


def test_length_and_lag(seqprobe: Seqprobe) -> None:
    content = seqprobe("memory zoo/gru.pt --length 40 --max-lag 7 --sequences 4 --json").json
    assert content["results"][0]["lags"] == list(range(8))
    assert content["results"][0]["train_length"] == 96
    double = seqprobe("memory zoo/gru.pt --dtype float64 --sequences 4 --json").json
    assert double["results"][0]["float64_deviation"] is None


def test_same_command_same_numbers(seqprobe: Seqprobe) -> None:
    line = "memory zoo/gru.pt --json --sequences 5 --seed 7"
    assert seqprobe(line).out == seqprobe(line).out
    assert seqprobe(line).out != seqprobe(line.replace("7", "8")).out


def test_unreadable_file_costs_itself_only(seqprobe: Seqprobe) -> None:
    Path("bad.pt").write_text("hello")
    result = seqprobe("memory bad.pt zoo/gru.pt missing.pt --sequences 4 --json")
    assert result.code == 3
    content = result.json
    assert [row["checkpoint"] for row in content["results"]] == ["zoo/gru.pt"]
    assert [(s["checkpoint"], s["code"]) for s in content["skipped"]] == [
        ("bad.pt", 3),
        ("missing.pt", 3),
    ]
    assert result.err.count("\n") == 2


def test_a_folder_without_checkpoints_costs_itself_only(seqprobe: Seqprobe) -> None:
    Path("empty").mkdir()
    result = seqprobe("memory zoo/gru.pt empty --sequences 4 --json")
    assert result.code == 3
    assert len(result.json["results"]) == 1
    assert result.json["skipped"] == [
        {"checkpoint": "empty", "code": 3, "reason": "folder 'empty' holds no checkpoint (*.pt)"}
    ]


def test_relative_and_absolute_paths_may_be_mixed(seqprobe: Seqprobe, zoo: Path) -> None:
    result = seqprobe(f"memory zoo/gru.pt {zoo}/tcn.pt --sequences 4")
    assert result.code == 0
    assert [line.split()[0].rsplit("/")[-1] for line in result.out.splitlines()[1:]] == [
        "gru.pt",
        "tcn.pt",
    ]


def test_one_sequence_has_no_interval(seqprobe: Seqprobe) -> None:
    result = seqprobe("memory zoo/gru.pt --sequences 1")
    assert "[" not in result.out
    assert seqprobe("memory zoo/gru.pt --sequences 1 --json").json["results"][0]["G_ci"] == [
        [None] * 65,
        [None] * 65,
    ]


def test_help_of_the_group_is_that_of_its_main_job(seqprobe: Seqprobe) -> None:
    for line in ("memory --help", "memory a.pt --help", "memory --json -h"):
        result = seqprobe(line)
        assert result.code == 0
        assert "--figure" in result.out


def test_a_name_with_a_line_break_makes_one_line(seqprobe: Seqprobe) -> None:
    result = seqprobe("memory 'a\nb.pt'")
    assert result.code == 3
    assert r"'a\nb.pt' does not exist" in result.error


def test_not_applicable_is_four_only_if_nothing_applies(
    seqprobe: Seqprobe, monkeypatch: pytest.MonkeyPatch
) -> None:
    from seqprobe.models.tcn import TCNBlock

    monkeypatch.setattr(TCNBlock, "causal", False)
    both = seqprobe("memory zoo/tcn.pt zoo/gru.pt --sequences 4 --json")
    assert both.code == 0
    assert both.json["skipped"][0]["code"] == 4
    assert "bidirectional" in both.json["skipped"][0]["reason"]
    alone = seqprobe("memory zoo/tcn.pt --sequences 4")
    assert alone.code == 4
    assert alone.out == ""
    assert alone.error.startswith("'zoo/tcn.pt': model is bidirectional")


def test_nan_weights_fail_with_the_step(seqprobe: Seqprobe) -> None:
    content = torch.load("zoo/gru.pt", weights_only=True)
    content["weights"]["head.bias"].fill_(float("nan"))
    torch.save(content, "nan.pt")
    result = seqprobe("memory nan.pt -o out.nc --figure a.pdf")
    assert result.code == 1
    assert "model output is not finite from step 0 on" in result.error
    assert not Path("out.nc").exists()
    assert not Path("a.pdf").exists()


@pytest.mark.parametrize(
    ("line", "code", "message"),
    [
        ("memory missing.pt", 3, "'missing.pt' does not exist"),
        ("memory empty", 3, "folder 'empty' holds no checkpoint"),
        ("memory zoo/gru.pt -o no/out.nc", 2, "folder 'no' does not exist; create it first"),
        ("memory zoo/gru.pt -o out.csv", 2, "unknown file type '.csv' (allowed: .nc)"),
        ("memory zoo/gru.pt --figure a.txt", 2, "unknown file type '.txt'"),
        ("memory zoo/gru.pt --device cuda:7", 2, "device 'cuda:7' is not available here"),
        ("memory zoo/gru.pt --jsn", 2, "No such option '--jsn'"),
        ("memory zoo/gru.pt --seed -1", 2, "-1 is not in the range"),
        ("memory zoo/gru.pt --length 20", 2, "length 20 leaves no step to recall"),
        ("memory zoo/rnn.pt --length 32", 2, "64 pixels, not 32"),
        ("memory zoo/gru.pt --max-lag 96", 2, "lag 96 does not fit sequences of 96 steps"),
        ("memory zoo/rnn.pt --sequences 451", 2, "test set of 'digits' has 450 images"),
        ("memory --json", 2, "no CKPT was given"),
    ],
)
def test_bad_input_gets_one_line(seqprobe: Seqprobe, line: str, code: int, message: str) -> None:
    Path("empty").mkdir()
    result = seqprobe(line)
    assert result.code == code
    assert message in result.error
    assert result.out == ""
    assert not list(Path.cwd().glob("*.part"))


def test_code_in_a_file_is_refused_and_not_run(seqprobe: Seqprobe) -> None:
    torch.save(nn.Linear(1, 1), "module.pt")
    result = seqprobe("memory module.pt")
    assert result.code == 3
    assert "could run code, and was not opened" in result.error
