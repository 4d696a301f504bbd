"""``seqprobe degeneracy``: numbers, files, refusals."""

from __future__ import annotations

import shlex
from pathlib import Path

import numpy as np
import pytest

from cli.conftest import Seqprobe
from seqprobe import schema
from seqprobe.cli.app import run

SMALL = "--sequences 8 --delays 1 --ranks 3,4"


@pytest.fixture(scope="session")
def seeds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Untrained networks: three seeds of a GRU, one of another size, one of another task."""
    folder = tmp_path_factory.mktemp("seeds")
    task = "flipflop --set task.length=12"
    for line in (
        *(f"train gru {task} -o DIR/gru-s{s}.pt --set model.width=8 --seed {s}" for s in range(3)),
        f"train gru {task} -o DIR/wide.pt --set model.width=10",
        "train gru delay -o DIR/delay.pt --set model.width=8",
        "train tcn flipflop --set task.length=12 -o DIR/tcn.pt --set model.width=8",
    ):
        words = f"{line.replace('DIR', str(folder))} --steps 0 --device cpu --quiet"
        assert run(shlex.split(words)) == 0
    line = f"train rnn {task} -o {folder}/short.pt --steps 2 --until mse=0.001 --quiet"
    assert run(shlex.split(line)) == 0
    return folder


def test_table_files_and_figure(seqprobe: Seqprobe, seeds: Path) -> None:
    line = f"degeneracy {seeds}/gru-s*.pt {SMALL} -o d.nc --figure d.pdf --figure d.png"
    found = seqprobe(line)
    assert found.code == 0, found.err
    header, row = found.out.splitlines()
    assert header.split()[:2] == ["ensemble", "networks"]
    assert "DSA" in header
    assert row.startswith("flipflop gru  3")
    assert row.count("(null ") == 3
    assert "same networks before training" in found.err
    result = schema.read("d.nc")
    assert result["dsa"].dims == ("net_a", "net_b", "delays", "rank")
    assert result.sizes["net_a"] == 3
    assert Path("d.pdf").stat().st_size > 5000
    assert Path("d.png").stat().st_size > 5000


def test_json_says_all_means(seqprobe: Seqprobe, seeds: Path) -> None:
    found = seqprobe(f"degeneracy {seeds}/gru-s*.pt {SMALL} --json").json
    assert found["schema"] == "seqprobe.degeneracy/1"
    assert [one["seed"] for one in found["networks"]] == [0, 1, 2]
    assert all(len(one["sha256"]) == 64 for one in found["networks"])
    (row,) = found["results"]
    assert np.shape(row["dsa_mean"]) == (1, 2)
    assert np.shape(row["dsa_mean_ci"]) == (2, 1, 2)
    assert row["dpif_mean"] == pytest.approx(row["dpif_null_mean"])
    assert found["rank"] == [3, 4]


def test_levels_can_be_chosen(seqprobe: Seqprobe, seeds: Path) -> None:
    line = f"degeneracy {seeds}/gru-s*.pt --level weights,behaviour {SMALL} -o d.nc --quiet"
    found = seqprobe(line)
    assert found.code == 0
    assert found.err == ""
    result = schema.read("d.nc")
    assert "dpif" in result
    assert "loss" in result
    assert "dsa" not in result
    wrong = seqprobe(f"degeneracy {seeds}/gru-s*.pt --level weights,behavior")
    assert wrong.code == 2
    assert "unknown level 'behavior'; did you mean 'behaviour'" in wrong.error


def test_what_is_comparable_is_compared(seqprobe: Seqprobe, seeds: Path) -> None:
    """Another size, another task and a network without a recurrent matrix beside three seeds."""
    found = seqprobe(f"degeneracy {seeds} {SMALL}")
    assert found.code == 0, found.err
    assert "'short.pt'" in found.err or "short.pt" in found.err
    assert "did not reach its threshold, mse = 0.001" in found.err
    assert "no other network of the same settings" in found.err
    (row,) = [
        line for line in found.out.splitlines()[1:] if line.split()[-1] != "-" and " 3 " in line
    ]
    assert "[" in row
    across = seqprobe(f"degeneracy {seeds} {SMALL} --across --level dynamics,weights -o d.nc")
    assert across.code == 0, across.err
    result = schema.read("d.nc")
    names = [Path(str(name)).stem for name in result["net_a"].values]
    wide, seed, delay = (names.index(name) for name in ("wide", "gru-s0", "delay"))
    assert np.isfinite(result["dsa"].values[wide, seed]).all()
    assert np.isnan(result["dpif"].values[wide, seed])
    assert np.isnan(result["dsa"].values[delay, seed]).all()
    assert "'tcn' has no recurrent matrix" in across.err


@pytest.mark.parametrize(
    ("files", "code", "said"),
    [
        ("D/gru-s0.pt", 2, "1 network cannot differ from another"),
        ("D/gru-s0.pt D/delay.pt", 4, "no two networks have the same task"),
        ("D/gru-s0.pt none.pt", 3, "1 network left to compare; give 2 or more"),
        ("none.pt neither.pt", 3, "no networks left to compare"),
        ("D/short.pt D/gru-s0.pt", 4, "1 network left to compare"),
        ("D/gru-s0.pt D/../D/gru-s0.pt", 4, "1 network left to compare"),
        ("D/gru-s0.pt D/gru-s1.pt --ranks 0", 2, "'0' is not a rank"),
        ("D/gru-s0.pt D/gru-s1.pt --delays 99", 2, "99 delays need trials of at least 100 steps"),
        ("D/gru-s0.pt D/gru-s1.pt --group signed_perm --level weights", 4, "may not change"),
        ("D/gru-s0.pt D/gru-s1.pt --figure d.gif", 2, "unknown file type"),
        ("D/gru-s0.pt D/gru-s1.pt -o no/d.nc", 2, "does not exist; create it first"),
    ],
)
def test_mistakes_are_one_line(
    seqprobe: Seqprobe, seeds: Path, files: str, code: int, said: str
) -> None:
    files = files.replace("D/../D/", f"{seeds}/../{seeds.name}/").replace("D/", f"{seeds}/")
    found = seqprobe(f"degeneracy {files}")
    assert found.code == code, found.err
    assert said in found.err.splitlines()[-1]
    assert "Traceback" not in found.err
    assert found.out == ""


def test_pairs_of_a_folder_are_kept_beside_it(seqprobe: Seqprobe, seeds: Path) -> None:
    folder = Path("own")
    folder.mkdir()
    for s in range(2):
        (folder / f"s{s}.pt").write_bytes((seeds / f"gru-s{s}.pt").read_bytes())
    first = seqprobe(f"degeneracy own {SMALL}")
    kept = sorted((folder / "results" / "degeneracy").iterdir())
    assert {path.name.partition("-")[0] for path in kept} == {"barrier", "dpif", "dsa"}
    times = [path.stat().st_mtime_ns for path in kept]
    again = seqprobe(f"degeneracy own {SMALL}")
    assert again.out == first.out
    assert [path.stat().st_mtime_ns for path in kept] == times
