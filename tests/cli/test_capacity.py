"""``seqprobe capacity`` and ``seqprobe record``: numbers, files, refusals."""

from __future__ import annotations

import shlex
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr

from cli.conftest import Seqprobe, prints_only_a_row
from seqprobe import schema
from seqprobe.cli.app import run


@pytest.fixture(scope="session")
def nets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Untrained networks: of symbols, with matrix states, with a growing state, both ways."""
    folder = tmp_path_factory.mktemp("nets")
    small = "--set task.length=24 --set task.pairs=3 --set task.keys=8 --set task.values=4"
    for line in (
        f"train gru mqar -o DIR/gru.pt --set model.width=8 {small}",
        f"train transformer mqar -o DIR/tf.pt --set model.width=8 --set model.heads=2 {small}",
        "train mamba recall -o DIR/mamba.pt --set model.width=4 --set model.modes=2",
        "train lstm digits -o DIR/digits.pt --set model.width=4",
        "train bi-gru delay -o DIR/bi.pt --set model.width=4",
        "train gru sine -o DIR/sine.pt --set model.width=4",
    ):
        options = "--steps 0 --device cpu --quiet"
        assert run(shlex.split(f"{line.replace('DIR', str(folder))} {options}")) == 0
    return folder


# Each with a variable of its result, and the analysis that it names.
LINES = {
    "capacity D/gru.pt D/tf.pt D/mamba.pt zoo/tcn.pt --sequences 12": ("ess", "summary"),
    "capacity ess D/gru.pt D/mamba.pt --sequences 3": ("sigma", "effective_state_size"),
    "capacity ess zoo/gru.pt --positions 5:90:20 --method randomised --sequences 2": (
        "ess_entropy",
        "effective_state_size",
    ),
    "capacity dimension D/gru.pt D/mamba.pt --sequences 12": ("variance", "state_dimension"),
    "capacity dimension D/tf.pt --part readout --sequences 12": ("two_nn", "state_dimension"),
    "capacity recall D/gru.pt D/tf.pt --sequences 20": ("capacity", "recall"),
    "capacity recall D/gru.pt --over length --loads 12,24,48 --sequences 20": ("bits", "recall"),
    "capacity quantised D/gru.pt zoo/tcn.pt --sequences 32": ("bits", "quantised_bits"),
    "capacity quantised D/mamba.pt --kind noise --sequences 32": ("knee_level", "quantised_bits"),
    "capacity cover zoo/gru.pt --draws 3 --sequences 32": ("separable", "cover_capacity"),
    "capacity manifold D/digits.pt D/gru.pt --sequences 100": ("radius", "manifold_capacity"),
    "capacity growth D/mamba.pt zoo/gru.pt --times 4 --sequences 8": ("state_var", "state_growth"),
}


@pytest.mark.parametrize("line", LINES)
def test_every_command_prints_writes_and_draws(seqprobe: Seqprobe, nets: Path, line: str) -> None:
    name, analysis = LINES[line]
    line = line.replace("D/", f"{nets}/")
    table = seqprobe(line)
    assert table.code == 0, table.err
    assert len(table.out.splitlines()) == 1 + line.count(".pt")
    assert table.err.count("\n") >= 1
    made = seqprobe(f"{line} --json -q -o out.nc --figure out.png")
    assert made.code == 0, made.err
    assert made.err == ""
    assert made.json["schema"].startswith("seqprobe.capacity")
    assert made.json["schema"].endswith("/1")
    assert all(row["sha256"] for row in made.json["results"])
    result = schema.read("out.nc")
    schema.validate(result)
    assert name in result
    assert result.attrs["analysis"] == f"capacity.{analysis}"
    assert Path("out.png").stat().st_size > 10_000


def test_quiet_leaves_the_table_alone(seqprobe: Seqprobe, nets: Path) -> None:
    prints_only_a_row(
        seqprobe,
        "capacity zoo/gru.pt --sequences 12",
        f"capacity dimension {nets}/gru.pt --sequences 12",
        f"capacity recall {nets}/gru.pt --sequences 20",
    )


def test_the_table_in_json(seqprobe: Seqprobe) -> None:
    (row,) = seqprobe("capacity zoo/gru.pt --json --sequences 16").json["results"]
    assert row["state_size"] == 8
    assert set(row["ess"]) == {"entropy", "tolerance_0.1"}
    assert 0 < row["ess"]["tolerance_0.1"] <= 8
    assert 0 < row["participation_ratio"] <= row["dims_99"] <= 8


def test_the_state_of_attention_is_its_cache(seqprobe: Seqprobe, nets: Path) -> None:
    (row,) = seqprobe(f"capacity {nets}/tf.pt --json --sequences 8").json["results"]
    # Two layers of keys and values, 8 numbers each, 12 steps.
    assert row["state_size"] == 2 * 2 * 8 * 12
    assert row["part"] == "readout"


REFUSALS = {
    "capacity D/bi.pt": (4, "bidirectional"),
    "capacity growth D/tf.pt": (4, "holds every input by design"),
    "capacity growth D/bi.pt": (4, "bidirectional"),
    "capacity growth zoo/rnn.pt": (4, "have 64 pixels, not 1024"),
    "capacity growth zoo/gru.pt --times nan": (2, "nan is not in the range"),
    "capacity dimension zoo/gru.pt --every 1000": (2, "every = 1000 leaves no two states"),
    "capacity dimension zoo/gru.pt --sequences 1": (2, "1 sequences are too few"),
    "capacity dimension D/tf.pt": (4, "use part 'readout'"),
    "capacity dimension zoo/gru.pt --part layer0.g": (2, "no internal 'layer0.g'"),
    "capacity recall zoo/gru.pt": (4, "train one with 'seqprobe train gru mqar -o FILE'"),
    "capacity recall D/gru.pt --over symbols": (2, "task 'mqar' has no load 'symbols'"),
    "capacity recall D/gru.pt --loads 9": (2, "more than there are keys"),
    "capacity quantised D/digits.pt": (4, "answers of task 'digits' do not say"),
    "capacity manifold zoo/gru.pt": (4, "has no classes"),
    "capacity ess zoo/gru.pt --positions 96": (2, "position 96 does not cut sequences of 96"),
    "capacity dimensions zoo/gru.pt": (2, "did you mean 'dimension'?"),
    "record zoo/gru.pt -o a.h5 --what layer0.g": (2, "did you mean 'layer0.h'?"),
    "record zoo/gru.pt -o a.h5 --what ,": (2, "--what names nothing"),
    "record zoo/gru.pt -o no/a.h5": (2, "folder 'no' does not exist"),
    "record zoo/gru.pt -o zoo/gru.pt": (2, "unknown file type '.pt'"),
    "record D/bi.pt -o a.h5": (4, "it has no state between the past and the future"),
    "record zoo/none.pt -o a.h5": (3, "'zoo/none.pt' does not exist"),
    "record zoo/rnn.pt -o a.h5 --trials 1000": (2, "450 images, too few for 1000"),
    "record zoo/rnn.pt -o a.h5 --length 12": (2, "have 64 pixels, not 12"),
}


@pytest.mark.parametrize("line", REFUSALS)
def test_refusals_are_one_line(seqprobe: Seqprobe, nets: Path, line: str) -> None:
    code, words = REFUSALS[line]
    result = seqprobe(line.replace("D/", f"{nets}/"))
    assert result.code == code, result.err
    assert words in result.error
    assert not Path("a.h5").exists()
    assert not list(Path().glob("*.part"))


def test_weights_that_are_not_numbers(seqprobe: Seqprobe) -> None:
    content = torch.load("zoo/gru.pt", weights_only=True)
    content["weights"]["head.bias"][:] = float("nan")
    torch.save(content, "nan.pt")
    for line in (
        *("capacity nan.pt", "capacity ess nan.pt", "record nan.pt -o a.h5"),
        *("capacity growth nan.pt --times 2", "capacity quantised nan.pt"),
    ):
        result = seqprobe(line)
        assert result.code == 1
        assert "NaN" in result.error


def test_record_writes_what_it_says(seqprobe: Seqprobe) -> None:
    made = seqprobe("record zoo/gru.pt -o acts.h5 --trials 10 --what states,gates,outputs")
    assert made.code == 0, made.err
    assert "layer0.update" in made.out
    assert "acts.h5: " in made.err
    with xr.open_dataset("acts.h5", engine="h5netcdf") as found:
        assert found["layer0.h"].dims == ("trial", "time", "unit")
        assert found.sizes["trial"] == 10
        assert found.attrs["checkpoint"] == "zoo/gru.pt"
    again = seqprobe("record zoo/gru.pt -o acts.h5")
    assert again.code == 2
    assert again.error == "'acts.h5' is there already; use --overwrite to replace it"
    replaced = seqprobe("record zoo/gru.pt -o acts.h5 --overwrite --json --dtype float16")
    assert replaced.json["schema"] == "seqprobe.record/1"
    variables = {row["variable"]: row for row in replaced.json["variables"]}
    assert variables["layer0.h"]["dtype"] == "float16"
    assert variables["layer0.h"]["shape"] == [64, 96, 8]


def test_recordings_carry_conditions(seqprobe: Seqprobe, nets: Path) -> None:
    assert seqprobe(f"record {nets}/sine.pt -o acts.h5 --trials 5 -q").code == 0
    with xr.open_dataset("acts.h5", engine="h5netcdf") as found:
        assert np.all(found["frequency"] >= 1)
