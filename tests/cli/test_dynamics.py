"""``seqprobe fixed-points`` and ``seqprobe timescales``: numbers, files, refusals."""

from __future__ import annotations

import shlex
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr

from cli.conftest import Seqprobe, prints_only_a_row
from data_sets import needs_data
from seqprobe import schema
from seqprobe.cli.app import run

ROOT = Path(__file__).resolve().parents[2]


def shipped(name: str) -> str:
    """Return the path of a shipped checkpoint as a word of a command line."""
    return shlex.quote(str(ROOT / "checkpoints" / name))


@pytest.fixture(scope="session")
def nets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Untrained networks: of reals, of tokens, with closed forms, with a growing state."""
    folder = tmp_path_factory.mktemp("nets")
    for line in (
        "train gru flipflop -o DIR/gru.pt --set model.width=8",
        "train lstm recall -o DIR/tokens.pt --set model.width=6",
        "train s4d delay -o DIR/s4d.pt --set model.width=4",
        "train mamba delay -o DIR/mamba.pt --set model.width=4",
        "train transformer delay -o DIR/transformer.pt --set model.width=8",
        "train bi-gru delay -o DIR/bi.pt --set model.width=4",
        "train irnn integrator -o DIR/irnn.pt --set model.width=4 --set model.scale=1",
    ):
        options = "--steps 0 --device cpu --quiet"
        assert run(shlex.split(f"{line.replace('DIR', str(folder))} {options}")) == 0
    return folder


SMALL = "--starts 64 --sequences 16"
# Each with a variable of its result, and the analysis that it names.
LINES = {
    f"fixed-points D/gru.pt {SMALL}": ("x", "fixed_points"),
    f"fixed-points search D/tokens.pt {SMALL}": ("eigenvalue", "fixed_points"),
    f"fixed-points D/s4d.pt D/mamba.pt zoo/tcn.pt {SMALL}": ("x", "fixed_points"),
    f"fixed-points linear D/gru.pt {SMALL}": ("time_constant", "linearise"),
    f"fixed-points connections F {SMALL}": ("source", "connections"),
    f"fixed-points sweep D/gru.pt --to 1,0,0 --steps 10 {SMALL}": ("n_branches", "input_sweep"),
    f"fixed-points slow D/gru.pt --tau 20 {SMALL}": ("speed", "slow_points"),
    f"fixed-points speed-map D/gru.pt --grid 5 {SMALL}": ("speed", "speed_map"),
    "fixed-points cycles D/gru.pt --starts 4 --transient 50": ("status", "limit_cycles"),
    "timescales D/gru.pt --sequences 16 --max-lag 20": ("tau_ac", "timescales"),
    "timescales lyapunov D/gru.pt --sequences 16 --exponents 3": ("exponent", "lyapunov_spectrum"),
    "timescales lyapunov D/gru.pt --undriven --steps 50 --sequences 8": (
        "exponent",
        "lyapunov_spectrum",
    ),
}


@pytest.mark.parametrize("line", LINES)
def test_every_command_prints_writes_and_draws(seqprobe: Seqprobe, nets: Path, line: str) -> None:
    name, analysis = LINES[line]
    line = line.replace("D/", f"{nets}/").replace(" F ", f" {shipped('flipflop/rnn-s0.pt')} ")
    table = seqprobe(line)
    assert table.code == 0, table.err
    assert len(table.out.splitlines()) == 1 + line.count(".pt")
    assert table.err.count("\n") >= 1
    made = seqprobe(f"{line} --json -q -o out.nc --figure out.png")
    assert made.code == 0, made.err
    assert made.err == ""
    assert made.json["schema"].endswith("/1")
    assert all(row["sha256"] for row in made.json["results"])
    result = schema.read("out.nc")
    schema.validate(result)
    assert name in result
    assert result.attrs["analysis"] == f"dynamics.{analysis}"
    assert Path("out.png").stat().st_size > 5_000


def test_quiet_leaves_the_table_alone(seqprobe: Seqprobe, nets: Path) -> None:
    prints_only_a_row(
        seqprobe,
        f"fixed-points {nets}/gru.pt {SMALL}",
        f"fixed-points linear {nets}/gru.pt {SMALL}",
        f"timescales {nets}/gru.pt --sequences 16 --max-lag 20",
    )


def test_a_flipflop_has_27(seqprobe: Seqprobe) -> None:
    made = seqprobe(f"fixed-points {shipped('flipflop')} --starts 512 --json")
    assert made.json["schema"] == "seqprobe.fixed-points/1"
    assert len(made.json["results"]) == 5
    for row in made.json["results"]:
        assert row["n_fixed_points"] == 27
        assert row["n_stable"] == 8
        assert row["unstable_dims"] == {"0": 8, "1": 12, "2": 6, "3": 1}
        assert row["max_residual"] < 1e-9
        assert row["max_certificate"] < 1e-9
        assert row["index_sum"] == [1]
        assert row["complete"] == [True]
        assert row["starts"] == 512
        assert row["n_slow"] + row["n_stalled"] + row["n_left"] + row["n_converged"] == 512
        assert sum(row["basin"]) == 512
        assert row["seconds"] > 0


def test_the_cube(seqprobe: Seqprobe) -> None:
    paths = f"{shipped('flipflop/rnn-s0.pt')} {shipped('flipflop/gru-s0.pt')}"
    for row in seqprobe(f"fixed-points connections {paths} --json").json["results"]:
        assert row["saddles_by_hamming_distance"] == {"1": 12}
        assert row["unresolved"] == 0


def test_the_cycle_of_a_sine_network(seqprobe: Seqprobe) -> None:
    line = f"fixed-points cycles {shipped('sine/gru-s0.pt')} --input 0.5 --starts 4 --json"
    (row,) = seqprobe(line).json["results"]
    (cycle,) = row["cycles"]
    assert cycle["kind"] == "circle"
    assert cycle["period"] == pytest.approx(20, rel=0.01)
    assert row["starts"] == {"circle": 4}


class TestInput:
    def test_numbers_and_files_are_the_same(self, seqprobe: Seqprobe, nets: Path) -> None:
        np.save("u.npy", np.array([0.5, 0.0, -0.5]))
        Path("u.csv").write_text("0.5,0,-0.5\n")
        line = f"fixed-points {nets}/gru.pt {SMALL} -o x.nc --input"
        states = []
        for word in ("0.5,0,-0.5", "u.npy", "u.csv"):
            assert seqprobe(f"{line} {word}").code == 0
            states.append(schema.read("x.nc")["x"].values)
            np.testing.assert_array_equal(schema.read("x.nc")["u"].values[0, 0], [0.5, 0, -0.5])
        np.testing.assert_array_equal(states[0], states[1])
        np.testing.assert_array_equal(states[0], states[2])

    def test_negative_numbers_need_no_quotes(self, seqprobe: Seqprobe, nets: Path) -> None:
        assert seqprobe(f"fixed-points {nets}/gru.pt {SMALL} --input=-1,0,0").code == 0

    def test_rows_of_a_file_are_searched_one_by_one(self, seqprobe: Seqprobe, nets: Path) -> None:
        np.save("u.npy", np.array([[0.0, 0, 0], [1, 0, 0]]))
        (row,) = seqprobe(f"fixed-points {nets}/gru.pt {SMALL} --input u.npy --json").json[
            "results"
        ]
        assert row["index_sum"] == [1, 1]
        assert [part["input"] for part in row["by_input"]] == [[0, 0, 0], [1, 0, 0]]
        assert sum(part["n_fixed_points"] for part in row["by_input"]) == row["n_fixed_points"]
        assert row["starts"] == 128
        result = seqprobe(f"fixed-points slow {nets}/gru.pt {SMALL} --input u.npy")
        assert result.code == 2
        assert "input 'u.npy' holds 2 rows (allowed here: one)" in result.error

    def test_mean_of_reals_and_of_tokens(self, seqprobe: Seqprobe, nets: Path) -> None:
        for name in ("gru", "tokens"):
            line = f"fixed-points {nets}/{name}.pt {SMALL} --input mean -o x.nc"
            assert seqprobe(line).code == 0
            assert schema.read("x.nc").attrs["held_input"] == "mean"
        assert seqprobe(f"fixed-points {nets}/tokens.pt {SMALL} -o y.nc").code == 0
        assert (
            schema.read("y.nc").attrs["held_input"] == "mean"
        )  # what zero means is not clear there
        xr.testing.assert_equal(schema.read("x.nc")["x"], schema.read("y.nc")["x"])

    @pytest.mark.parametrize(
        ("text", "code", "message"),
        [
            ("1,0", 2, "input '1,0' has 2 numbers per row, the model reads 3"),
            ("none.npy", 2, "input 'none.npy' is no file"),
            ("nan,0,0", 2, "not finite"),
            ("''", 2, "input '' is no file"),
            ("text.csv", 3, "'text.csv' does not hold rows of real numbers"),
            ("none.csv", 3, "'none.csv' does not hold rows of real numbers"),
            ("empty.npy", 3, "'empty.npy' does not hold rows of real numbers"),
            ("pickled.npy", 3, "'pickled.npy' does not hold rows of real numbers"),
            ("complex.npy", 3, "'complex.npy' does not hold rows of real numbers"),
            ("cube.npy", 2, "input 'cube.npy' has shape (2, 2, 3)"),
        ],
    )
    def test_bad_input(
        self, seqprobe: Seqprobe, nets: Path, text: str, code: int, message: str
    ) -> None:
        Path("text.csv").write_text("a,b,c\n")
        Path("none.csv").write_text("")
        np.save("complex.npy", np.ones(3) * 1j)
        np.save("cube.npy", np.ones((2, 2, 3)))
        Path("empty.npy").write_bytes(b"")
        np.save("pickled.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
        result = seqprobe(f"fixed-points {nets}/gru.pt {SMALL} --input {text}")
        assert result.code == code
        assert message in result.error


@pytest.mark.parametrize(
    ("line", "code", "message"),
    [
        ("fixed-points D/transformer.pt", 4, "grows with time"),
        ("fixed-points connections D/transformer.pt", 4, "grows with time"),
        ("timescales D/transformer.pt", 4, "grows with time"),
        ("fixed-points D/bi.pt", 4, "bidirectional"),
        ("timescales lyapunov D/bi.pt", 4, "bidirectional"),
        ("fixed-points D/gru.pt --starts 0", 2, "0 is not in the range"),
        ("fixed-points D/gru.pt --noise -1", 2, "is not in the range"),
        ("fixed-points slow D/gru.pt --tau 0", 2, "is not in the range"),
        ("fixed-points sweep D/gru.pt", 2, "Missing option '--to'"),
        ("fixed-points sweep D/gru.pt --to 0,0,0", 2, "are the same input; give two"),
        ("fixed-points sweep D/gru.pt --to mean --from mean", 2, "are the same input"),
        ("fixed-points sweep D/gru.pt --to 1", 2, "has 1 numbers per row"),
        ("fixed-points conections D/gru.pt", 2, "did you mean 'connections'"),
        ("fixed-points none.pt", 3, "does not exist"),
        ("timescales D/gru.pt --length 3", 2, "3 steps are too short for autocorrelations"),
        ("timescales lyapunov D/gru.pt --input zero", 2, "--input is for --undriven"),
    ],
)
def test_bad_lines(seqprobe: Seqprobe, nets: Path, line: str, code: int, message: str) -> None:
    result = seqprobe(line.replace("D/", f"{nets}/"))
    assert result.code == code, result.err
    assert message in result.error
    assert result.out == ""


def test_weights_that_are_not_numbers(seqprobe: Seqprobe, nets: Path) -> None:
    content = torch.load(nets / "gru.pt", weights_only=True)
    content["weights"]["core.layers.0.bias"][0] = torch.nan
    torch.save(content, "nan.pt")
    result = seqprobe("fixed-points nan.pt")
    assert result.code == 1
    assert "weight 'core.layers.0.bias' has 1 values that are NaN or infinite" in result.error


def test_a_state_that_never_settles(seqprobe: Seqprobe, nets: Path) -> None:
    """The identity start adds up its input for ever: Newton's matrix is singular everywhere."""
    line = f"fixed-points {nets}/irnn.pt {SMALL} --input 1"
    result = seqprobe(line)
    assert result.code == 0
    assert "no fixed point was found" in result.err
    (row,) = seqprobe(f"{line} --json --figure x.png -o x.nc").json["results"]
    assert row["n_fixed_points"] == 0
    assert row["max_certificate"] is None
    assert row["complete"] == [None]
    linear = seqprobe(f"fixed-points linear {nets}/irnn.pt {SMALL} --input 1")
    assert linear.code == 1
    assert "no fixed point was found to linearise at" in linear.error


def test_without_an_attractor(seqprobe: Seqprobe) -> None:
    """The one fixed point of this network repels; there is nothing to predict from but it."""
    line = f"fixed-points linear {shipped('recall/gru-s0.pt')} {SMALL} --figure x.png --json"
    (row,) = seqprobe(line).json["results"]
    assert row["R2"][1] == [None] * 5


def test_one_start_is_drawn(seqprobe: Seqprobe, nets: Path) -> None:
    line = f"fixed-points slow {nets}/gru.pt --starts 1 --figure x.png"
    assert seqprobe(line).code == 0


def test_cycles_beside_none(seqprobe: Seqprobe, nets: Path) -> None:
    line = f"fixed-points cycles {shipped('sine/gru-s0.pt')} {nets}/tokens.pt --starts 2"
    assert seqprobe(f"{line} --transient 300 --input mean --figure x.png -o x.nc").code == 0
    assert schema.read("x.nc").sizes["run"] == 2


@pytest.mark.slow
def test_mixed_architectures_share_a_file(seqprobe: Seqprobe, nets: Path) -> None:
    line = f"fixed-points {nets} {SMALL} -o all.nc --figure all.png --json"
    made = seqprobe(line)
    assert made.code == 0
    assert {row["code"] for row in made.json["skipped"]} == {4}
    assert len(made.json["skipped"]) == 2
    result = schema.read("all.nc")
    assert result.sizes["run"] == 5
    for i, row in enumerate(made.json["results"]):
        assert int(result["x"].isel(run=i, state=0).notnull().sum()) == row["n_fixed_points"]


@needs_data("jsb")
def test_padded_music(seqprobe: Seqprobe) -> None:
    line = f"fixed-points {shipped('jsb/gru-s0.pt')} --sequences 20 --starts 64 --json"
    (row,) = seqprobe(line).json["results"]
    assert row["n_fixed_points"] >= 1
    assert row["index_sum"] == [1]
