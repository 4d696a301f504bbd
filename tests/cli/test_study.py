"""``seqprobe study``: from a TOML file to a collected file, with every way to be wrong."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
import xarray as xr

from cli.conftest import Seqprobe
from seqprobe.cli import batch
from seqprobe.studies import cluster, open_study, status

STUDY = """
name = "tiny"
seeds = 2
analyses = ["capacity ess --sequences 2"]
draw = ["learning-curves", "capacity ess --sequences 2", "more.py"]
fixed.task = { name = "delay", length = 8, delay = 2 }
fixed.model = { width = 4 }
fixed.train = { steps = 4, batch = 4, eval_every = 2, until = "nmse=100" }
grid.model.name = ["rnn", "tcn"]
for.tcn.model.layers = 1
"""
SCRIPT = """
import sys
from pathlib import Path
Path(sys.argv[2], "more.txt").write_text(Path(sys.argv[1]).name)
"""


@pytest.fixture
def study(seqprobe: Seqprobe) -> Seqprobe:
    """The command line, in a folder with a study file."""
    Path("study.toml").write_text(STUDY)
    Path("more.py").write_text(SCRIPT)
    return seqprobe


def _run(study: Seqprobe, more: str = "") -> None:
    result = study(f"study run study.toml --jobs 1 {more}")
    assert result.code == 0, result.err


def test_plan_lists_units_cost_and_what_cannot_be(study: Seqprobe) -> None:
    Path("study.toml").write_text(STUDY + "grid.task.delay = [2, 9]\n")
    found = study("study plan study.toml --json").json
    assert found["schema"] == "seqprobe.study.plan/1"
    rows = found["configurations"]
    assert [(row["architecture"], row["units"], row["together"]) for row in rows] == [
        ("rnn", 2, 2),
        ("tcn", 2, 1),
    ]
    assert all(row["updates"] == 4 and row["ms_per_update"] > 0 for row in rows)
    cost = sum(row["seconds_left"] for row in rows)
    assert found["seconds_left"] == pytest.approx(cost / found["processes"])
    assert len(found["skipped"]) == 2
    text = study("study plan study.toml").out
    assert "skipped: task.delay=9 model.name=rnn: length 8 leaves" in text
    assert "4 units in 'runs/tiny', 0 done, 0 failed; at most 0 s left" in text
    assert not Path("runs").exists()  # a plan leaves nothing behind


def test_run_collect_check_and_everything_between(study: Seqprobe) -> None:
    result = study("study run . --jobs 2 --json")
    assert result.code == 0, result.err
    assert len(result.json["done"]) == 4 and result.json["failed"] == {}
    figures = Path("runs/tiny/figures")
    assert (figures / "more.txt").read_text() == "study.nc"
    assert {p.name for p in figures.glob("*.png")} == {"learning-curves.png", "capacity.ess.png"}

    states = study("study status study.toml --json").json
    assert states["states"]["done"] == 4
    text = study("study status runs/tiny").out  # the folder of the units will do
    assert "4 units in 'runs/tiny': 4 done" in text
    assert "2 of 2" in text and "nmse" in text

    content = study("study collect . -o all.nc -o all.csv --figure all.png --json").json
    assert content["runs"] == 4 and content["excluded"] == []
    assert set(content["groups"]) == {"training", "capacity.ess"}
    with xr.open_datatree("all.nc", engine="h5netcdf") as tree:
        assert tree["capacity.ess"].to_dataset()["architecture"].values[0] == "rnn"
    assert "wrote all.csv" in study("study collect . -o all.csv").err

    expected = 'claim = "c"\nvariable = "updates"\nvalue = {}\ntolerance = 0\n'
    Path("expected.toml").write_text("[[expect]]\n" + expected.format(0))
    assert study("study check .").code == 0
    Path("expected.toml").write_text("[[expect]]\n" + expected.format(2))
    result = study("study check .")
    assert result.code == 1 and "NO: off by 2" in result.out
    assert study("study check . --json").json["claims"][0]["agrees"] is False

    assert "is whole" in study("study validate .").out
    next(Path("runs/tiny").glob("tcn*/model.pt")).write_bytes(b"")
    result = study("study validate .")
    assert result.code == 3 and "is empty" in result.err
    assert study("study validate . --repair").code == 0
    assert study("study status . --json").json["states"]["todo"] == 1
    _run(study)
    assert study("study validate .").code == 0


def test_only_some_units(study: Seqprobe) -> None:
    _run(study, "--only seed=1 --only architecture=rnn --quiet")
    states = {one["unit"]: one["state"] for one in study("study status . --json").json["units"]}
    done = [name for name, state in states.items() if state == "done"]
    # A group runs as a whole.
    assert [name.rpartition("-")[0] for name in done] == ["rnn-delay-s0", "rnn-delay-s1"]
    assert sorted(states.values()).count("todo") == 2
    assert not Path("runs/tiny/figures").exists()  # the study is not done
    for words, said in (
        ("seed=9", "--only seed=9 leaves no unit"),
        ("widht=4", "--only widht=...: no setting has that name"),
        ("model.widht=4", "did you mean 'model.width'"),
        ("gru-*", "leaves no unit"),
    ):
        result = study(f"study run . --only {words}")
        assert result.code == 2 and said in result.error


def test_a_study_with_failed_units_ends_with_code_5(study: Seqprobe) -> None:
    text = STUDY.replace('"nmse=100"', '"nmse=1e-9"')
    text += "for.rnn.train = { lr = 1e30, clip = 1e30 }\n"
    Path("study.toml").write_text(text.replace("steps = 4,", "steps = 40,"))
    result = study("study run . --jobs 1")
    assert result.code == 5
    assert result.err.count("seqprobe: error: 'rnn-") == 2 and "Traceback" not in result.err
    assert "diverged: rnn-delay-s0" in result.out
    assert "threshold not reached: tcn-delay-s0" in result.out
    assert len(study("study retry . --json").json["units"]) == 2
    assert "0 units will be run again" in study("study retry .").out
    result = study("study collect . -o x.nc")
    assert result.code == 2 and "nothing to collect yet: 2 not done, 2 threshold" in result.error


@pytest.mark.slow
def test_a_drawing_that_fails_says_why(study: Seqprobe) -> None:
    Path("more.py").write_text("raise SystemExit('no paper in the plotter')")
    result = study("study run . --jobs 1 --quiet")
    assert result.code == 1
    assert "more.py' failed with exit code 1: no paper in the plotter" in result.error


@pytest.mark.parametrize(
    ("line", "code", "said"),
    [
        ("study run nothing.toml", 3, "'nothing.toml' does not exist"),
        ("study run . --size huge", 2, "'huge'"),
        ("study run . --size smoke", 2, "has no [smoke] section"),
        ("study run . --scheduler tcp://127.0.0.1:9 --slurm", 2, "give one of them"),
        ("study run . --scheduler tcp://127.0.0.1:9", 1, "no Dask scheduler answers"),
        ("study rnu .", 2, "unknown command 'rnu'; did you mean 'run'"),
        ("study collect . -o x.txt", 2, "unknown file type '.txt' (allowed: .nc, .csv, .parquet)"),
        ("study collect . -o x.nc", 2, "nothing to collect yet: 4 not done"),
        ("study collect .", 2, "Missing option '-o'"),
        ("study check .", 3, "expected.toml' does not exist"),
        ("study status zoo", 3, "folder 'zoo' holds no study.toml"),
    ],
)
def test_mistakes_are_one_line(
    study: Seqprobe, line: str, code: int, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster, "_SECONDS_TO_CONNECT", 1)
    result = study(line)
    assert result.code == code
    assert said in result.error


def test_status_of_a_planned_study_needs_no_torch(study: Seqprobe) -> None:
    _run(study, "--only architecture=tcn --quiet")
    code = (
        "import sys; from seqprobe.cli.app import run; run(['study', 'status', 'study.toml']);"
        "sys.exit(bool({'torch', 'numpy', 'xarray'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_interrupting_is_one_line_and_the_same_command_goes_on(study: Seqprobe) -> None:
    text = STUDY.replace("steps = 4,", "steps = 1000000,").replace("nmse=100", "nmse=0")
    Path("study.toml").write_text(text)
    command = [sys.executable, "-m", "seqprobe", "study", "run", ".", "--jobs", "1"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        while not list(Path("runs").glob("tiny/*/metrics.jsonl")):
            time.sleep(0.05)
        process.terminate()  # as Ctrl-C, which a background shell would ignore
        _, err = process.communicate(timeout=20)
    finally:
        process.kill()
    assert process.returncode == 130
    assert err == (
        "seqprobe: error: interrupted with 0 of 4 units done; the same command goes on\n"
    )
    assert {found.state for found in status(open_study("."))} == {"started", "todo"}


def test_an_analysis_takes_a_study_and_keeps_its_results(study: Seqprobe) -> None:
    _run(study, "--quiet")
    first = study("capacity ess runs/tiny --sequences 2 --json")
    assert first.code == 0 and len(first.json["results"]) == 4
    kept = sorted(Path("runs/tiny").glob("*/results/*.nc"))
    assert len(kept) == 4  # what the study has asked is not asked again
    times = [path.stat().st_mtime_ns for path in kept]
    assert study("capacity ess study.toml --sequences 2 --json").json["results"]
    assert [path.stat().st_mtime_ns for path in kept] == times
    assert study("capacity ess runs/tiny --sequences 3").code == 0
    assert len(list(Path("runs/tiny").glob("*/results/*.nc"))) == 8


@pytest.mark.slow
def test_units_that_do_not_count_are_left_out_of_an_analysis(study: Seqprobe) -> None:
    Path("study.toml").write_text(STUDY + 'for.rnn.train.until = "nmse=1e-9"\n')
    _run(study, "--quiet")
    result = study("capacity ess runs/tiny --sequences 2 --json")
    assert result.code == 0 and len(result.json["results"]) == 2
    assert "2 of 4 units are left out: 2 threshold not reached" in result.err
    assert "error" not in result.err  # it is the rule


def test_results_of_a_folder_are_kept_until_a_checkpoint_changes(seqprobe: Seqprobe) -> None:
    line = "memory zoo --sequences 2 --max-lag 3 --json"
    first = seqprobe(line).json
    kept = {p: p.stat().st_mtime_ns for p in Path("zoo/results").glob("[!.]*")}
    assert len(kept) == 3
    assert seqprobe(line).json == first
    assert {p: p.stat().st_mtime_ns for p in Path("zoo/results").glob("[!.]*")} == kept
    Path("zoo/tcn.pt").write_bytes(Path("zoo/gru.pt").read_bytes())
    again = seqprobe(line).json
    assert again["results"][2]["lags"] == first["results"][2]["lags"]
    assert again["results"][2]["G"] == first["results"][0]["G"]
    changed = [p.name for p, t in kept.items() if p.stat().st_mtime_ns != t]
    assert len(changed) == 1 and changed[0].startswith("tcn.memory.profile")
    (path,) = Path("zoo/results").glob("rnn*")
    path.write_bytes(b"not a result")
    assert seqprobe(line).code == 0  # a damaged one is made again


def test_files_by_name_leave_nothing_behind(seqprobe: Seqprobe) -> None:
    assert seqprobe("memory zoo/gru.pt zoo/tcn.pt --sequences 2 --max-lag 3").code == 0
    assert not Path("zoo/results").exists()


def test_a_folder_that_cannot_be_written_is_analysed_all_the_same(
    seqprobe: Seqprobe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.access", lambda path, mode: False)
    assert seqprobe("memory zoo --sequences 2 --max-lag 3").code == 0
    assert not Path("zoo/results").exists()


@pytest.mark.slow
def test_a_folder_is_analysed_by_several_processes(seqprobe: Seqprobe) -> None:
    for name in ("a", "b"):
        Path(f"zoo/{name}.pt").write_bytes(Path("zoo/gru.pt").read_bytes())
    Path("zoo/c.pt").write_bytes(b"PK")
    parallel = seqprobe("fixed-points zoo --starts 8 --json --jobs 2")
    assert parallel.code == 3 and "'zoo/c.pt'" in parallel.err
    kept = {p.name.split(".")[0]: p for p in Path("zoo/results").glob("[!.]*")}
    assert set(kept) == {"a", "b", "gru", "rnn", "tcn"}
    assert len(parallel.json["results"]) == 5
    alone = seqprobe("fixed-points zoo/gru.pt --starts 8 --json").json["results"][0]
    found = next(r for r in parallel.json["results"] if r["checkpoint"] == "zoo/gru.pt")
    assert found.keys() == alone.keys()


def test_slow_analyses_of_a_folder_go_to_other_processes(
    seqprobe: Seqprobe, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def together(paths: list[Path], *rest: object) -> dict[Path, tuple[int, str]]:
        asked.append([path.name for path in paths])
        return {paths[0]: (4, "for a test")}

    monkeypatch.setattr(batch, "_WORTH_SECONDS", 0.0)
    monkeypatch.setattr(batch, "cores", lambda: 2)
    monkeypatch.setattr(batch, "analyse_together", together)
    result = seqprobe("memory zoo --sequences 2 --max-lag 3 --json")
    assert asked == [["rnn.pt", "tcn.pt"]]  # the first one was timed here
    assert result.code == 0 and "for a test" in result.err
    assert json.loads(result.out)["skipped"][0]["code"] == 4


def test_the_content_of_a_file_that_an_option_names_counts(seqprobe: Seqprobe) -> None:
    line = "fixed-points zoo --starts 4 --sequences 4 --input in.csv --json"
    Path("zoo/rnn.pt").unlink()
    Path("in.csv").write_text("0\n")
    first = seqprobe(line)
    assert first.code == 0, first.err
    kept = set(Path("zoo/results").glob("*.nc"))
    Path("in.csv").write_text("0.5\n")
    seqprobe(line)
    assert len(set(Path("zoo/results").glob("*.nc")) - kept) == len(kept)
    Path("elsewhere.csv").write_text("0\n")
    seqprobe(line.replace("in.csv", "elsewhere.csv"))  # the name does not
    assert len(set(Path("zoo/results").glob("*.nc"))) == 2 * len(kept)


@pytest.mark.slow
def test_drawings_leave_out_models_that_an_analysis_has_no_meaning_for(study: Seqprobe) -> None:
    text = STUDY.replace('"tcn"]', '"transformer"]').replace("for.tcn", "for.transformer")
    text = text.replace("capacity ess --sequences 2", "fixed-points --starts 4")
    Path("study.toml").write_text(text + "for.transformer.model.heads = 1\n")
    result = study("study run . --jobs 1")
    assert result.code == 0, result.err
    assert Path("runs/tiny/figures/fixed-points.search.png").exists()


@pytest.mark.slow
def test_a_drawing_that_fails_costs_itself_alone(study: Seqprobe) -> None:
    Path("more.py").write_text("raise SystemExit('no paper')")
    result = study("study run . --jobs 1 --json --quiet")
    assert result.code == 1 and "no paper" in result.error
    assert len(result.json["done"]) == 4 and len(result.json["files"]) == 5


def test_a_mistake_in_an_option_costs_no_unit(study: Seqprobe) -> None:
    for words, said in (
        ("--device potato", "device 'potato' is not available"),
        ("--queue short", "--queue is for --slurm"),
        ("--memory 2GB --scheduler tcp://127.0.0.1:9", "--memory is for --slurm"),
    ):
        result = study(f"study run . {words}")
        assert result.code == 2 and said in result.error
    assert "is not there: nothing has been run, or elsewhere" in study("study status .").out
    assert "no unit that counts yet; run it first" in study("memory study.toml").error
