"""The questions of ``seqprobe memory`` beside the gradient profile: numbers, files, refusals."""

from __future__ import annotations

import shlex
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from cli.conftest import Seqprobe
from seqprobe import schema
from seqprobe.cli.app import run
from seqprobe.cli.memory.report import QUESTIONS
from seqprobe.training import load_checkpoint


@pytest.fixture(scope="session")
def symbols(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Small models of symbols: recall, copy on one delay and on a range, and a reader ahead."""
    folder = tmp_path_factory.mktemp("symbols")
    for line in (
        "train gru recall -o DIR/recall.pt --steps 60 --set model.width=16 --set task.delay=1"
        " --set task.length=12 --set task.symbols=3",
        "train tcn copy -o DIR/copy.pt --steps 5 --set model.layers=2 --set model.kernel=3"
        " --set task.delay=4 --set task.symbols=2",
        "train gru copy -o DIR/mixed.pt --steps 5 --set model.width=8 --set task.delay=6"
        " --set task.min_delay=2 --set task.symbols=2",
        "train bi-rnn delay -o DIR/bi.pt --steps 0 --set model.width=6",
        "train rnn delay -o DIR/untrained.pt --steps 0 --set model.width=6",
    ):
        options = "--device cpu --quiet"
        assert run(shlex.split(f"{line.replace('DIR', str(folder))} {options}")) == 0
    return folder


# Each with the variable that its result is about, and whether it has a figure.
COMMANDS = {
    "total-effect D/recall.pt --sequences 16": ("S_T", True),
    "substitution D/recall.pt --sequences 16": ("subst_kl", True),
    "perturbation D/recall.pt --sequences 8 --size 0.1 --lags 0:4": ("D", True),
    "context D/recall.pt --sequences 16 --contexts 1,2,4": ("cost_truncate", True),
    "linear D/recall.pt --sequences 64 --part state --max-lag 2": ("r2", True),
    "information D/recall.pt --sequences 64 --max-lag 4 --lags 0,1,4": ("information", True),
    "ipc zoo/gru.pt --samples 400 --max-lag 3 --max-degree 2": ("ipc", True),
    "fisher D/recall.pt --sequences 2": ("fmc", True),
    "receptive-field zoo/tcn.pt": ("rf_analytic", False),
    "copy-curve D/copy.pt --lengths 2,4:8:2 --sequences 40": ("accuracy", True),
}


@pytest.mark.parametrize("line", COMMANDS)
def test_every_question_prints_writes_and_draws(
    seqprobe: Seqprobe, symbols: Path, line: str
) -> None:
    name, drawn = COMMANDS[line]
    line = "memory " + line.replace("D/", f"{symbols}/")
    table = seqprobe(line)
    assert table.code == 0, table.err
    assert len(table.out.splitlines()) == 2
    assert table.err.count("\n") >= 1
    assert seqprobe(f"{line} -q").err == ""
    files = "-o out.nc --figure out.pdf" if drawn else "-o out.nc"
    made = seqprobe(f"{line} --json {files}")
    (row,) = made.json["results"]
    assert row["sha256"]
    result = schema.read("out.nc").isel(run=0)
    schema.validate(result)
    assert name in result
    if name in row and not np.isscalar(row[name]):
        np.testing.assert_allclose(row[name], result[name], rtol=1e-12)
    assert str(result.attrs["analysis"]).startswith("memory.")
    assert result.attrs["checkpoint_sha256"] == row["sha256"]
    assert Path("out.pdf").exists() == drawn
    assert seqprobe(f"{line} --json").json["results"] == made.json["results"]


def test_lags_around_the_answer_are_measured(seqprobe: Seqprobe) -> None:
    """The task's delay is 20, which is on no grid of ten per decade with its neighbours."""
    (row,) = seqprobe("memory total-effect zoo/gru.pt --sequences 8 --json").json["results"]
    assert {19, 20, 21} <= set(row["lags"])
    assert row["functional"] == "squared"


def test_tasks_of_different_units_share_a_file(seqprobe: Seqprobe, symbols: Path) -> None:
    line = f"memory total-effect zoo/gru.pt {symbols}/recall.pt --sequences 16 --lags 0,2 -o te.nc"
    assert seqprobe(f"{line} --figure te.pdf -q").code == 0
    assert schema.read("te.nc")["change"].attrs["units"] == "output^2 or nats"


def test_context_by_default_reaches_the_answers(seqprobe: Seqprobe, symbols: Path) -> None:
    """Copy has them beyond two thirds of the length."""
    (row,) = seqprobe(f"memory context {symbols}/copy.pt --sequences 8 --json").json["results"]
    assert max(row["contexts"]) >= 6


def test_linear_by_default_takes_what_can_be_fitted(seqprobe: Seqprobe, symbols: Path) -> None:
    (row,) = seqprobe(f"memory linear {symbols}/mixed.pt --sequences 16 --json").json["results"]
    assert row["lags"] == [0]
    assert row["dimension"] == 8


def test_a_folder_does_not_take_in_what_was_retrained_in_it(
    seqprobe: Seqprobe, symbols: Path
) -> None:
    Path("k").mkdir()
    Path("k/copy.pt").write_bytes((symbols / "copy.pt").read_bytes())
    line = "memory copy-curve k --protocol retrain --lengths 2 --sequences 10 --json"
    first = seqprobe(line).json
    assert Path("k/copy-retrained/copy-T2.pt").exists()
    assert first["results"][0]["trained"][0]["checkpoint"] == "k/copy-retrained/copy-T2.pt"
    assert seqprobe(line).json == first
    other = seqprobe("memory copy-curve zoo/../k/copy.pt --lengths 2 --sequences 10 --json").json
    assert other["results"][0]["T50_is"] == "below all delays"


def test_equal_sizes_are_one(seqprobe: Seqprobe) -> None:
    line = "memory perturbation zoo/gru.pt --size 0.1 --size 0.1 --lags 0,2 --sequences 4 --json"
    assert seqprobe(f"{line} --figure p.pdf").json["results"][0]["sizes"] == [0.1]


def test_figure_of_two_tasks_has_a_row_for_each(seqprobe: Seqprobe, symbols: Path) -> None:
    line = f"memory copy-curve {symbols}/copy.pt {symbols}/recall.pt {symbols}/mixed.pt"
    assert seqprobe(f"{line} --lengths 2,3 --sequences 10 --figure c.png -q").code == 0
    assert Path("c.png").stat().st_size > 10_000


def test_as_many_sequences_as_there_are(seqprobe: Seqprobe) -> None:
    """Digits have 450 test images, fewer than the 512 sequences that are taken by default."""
    (row,) = seqprobe("memory total-effect zoo/rnn.pt --lags 0,40 --json").json["results"]
    assert row["n_pairs"] == 225


def test_window_reaches_the_answers_of_copy(seqprobe: Seqprobe, symbols: Path) -> None:
    (row,) = seqprobe(f"memory {symbols}/copy.pt --sequences 4 --json").json["results"]
    assert row["lags"][-1] == 6  # T + M of 4 + 2, where two thirds of the length are 5


# Copy curves.


def test_protocol_is_that_of_the_training(seqprobe: Seqprobe, symbols: Path) -> None:
    rows = seqprobe(
        f"memory copy-curve {symbols}/copy.pt {symbols}/mixed.pt --lengths 3 --sequences 20 --json"
        " --figure curve.png -o curve.nc"
    ).json["results"]
    assert [row["protocol"] for row in rows] == ["fixed", "mixed"]
    written = schema.read("curve.nc")
    assert written["protocol"].values.tolist() == ["fixed", "mixed"]
    default = seqprobe(f"memory copy-curve {symbols}/copy.pt --sequences 10 --json").json
    assert {3, 4, 5, 16} <= set(default["results"][0]["delays"])


def test_retrained_models_are_kept_and_taken_again(seqprobe: Seqprobe, symbols: Path) -> None:
    line = f"memory copy-curve {symbols}/copy.pt --protocol retrain --lengths 2,4 --sequences 20"
    first = seqprobe(f"{line} --folder there --json").json["results"][0]
    assert first["protocol"] == "retrain"
    # T = 4 is the checkpoint itself.
    assert [path.name for path in Path("there").iterdir()] == ["copy-T2.pt"]
    made = load_checkpoint("there/copy-T2.pt")
    assert made.task["config"]["delay"] == 2
    assert made.train["steps"] == 5
    before = Path("there/copy-T2.pt").stat().st_mtime_ns
    assert seqprobe(f"{line} --folder there --json").json["results"][0] == first
    assert Path("there/copy-T2.pt").stat().st_mtime_ns == before


def test_stream_trains_recall(seqprobe: Seqprobe, symbols: Path) -> None:
    line = f"memory copy-curve {symbols}/recall.pt --protocol stream --lengths 1,2 --json"
    row = seqprobe(f"{line} --folder there --sequences 20").json["results"][0]
    assert row["answer_lag"] == [1, 2]
    made = load_checkpoint("there/recall-T2.pt")
    assert (made.task["config"]["delay"], made.task["config"]["length"]) == (2, 13)


def test_a_killed_retraining_goes_on(
    seqprobe: Seqprobe, symbols: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is left of a run that was stopped after its first validation is used."""
    line = f"memory copy-curve {symbols}/copy.pt --protocol retrain --lengths 2 --sequences 20"
    whole = seqprobe(f"{line} --folder whole --json").json["results"][0]
    from seqprobe.training.loop import Trainer

    original, calls = Trainer.save, []

    def stop(self: Trainer) -> None:
        original(self)
        calls.append(self.step)
        if len(calls) == 1:
            raise KeyboardInterrupt

    monkeypatch.setattr(Trainer, "save", stop)
    stopped = seqprobe(f"{line} --folder cut")
    assert stopped.code == 130
    assert "the same command goes on from there" in stopped.error
    monkeypatch.setattr(Trainer, "save", original)
    assert Path("cut/copy-T2.resume.pt").exists()
    again = seqprobe(f"{line} --folder cut --json").json["results"][0]
    made = [row.pop("trained")[0]["sha256"] for row in (again, whole)]
    assert made[0] == made[1]
    assert again == whole
    assert Path("cut/copy-T2.pt").read_bytes() == Path("whole/copy-T2.pt").read_bytes()


# The report.


def test_report_answers_four_questions(seqprobe: Seqprobe, symbols: Path) -> None:
    result = seqprobe(f"memory report {symbols}/recall.pt --folder out --json")
    assert result.code == 0
    (row,) = result.json["results"]
    assert set(row["measures"]) | set(row["missing"]) == set(QUESTIONS)
    assert "one channel of numbers" in row["missing"]["ipc"]
    assert Path(row["figure"]).read_bytes().startswith(b"%PDF")
    groups = schema.read_groups(row["results"])
    assert set(groups) == set(row["measures"])
    tree = xr.open_datatree(row["results"], engine="h5netcdf")
    np.testing.assert_array_equal(tree["total-effect"]["S_T"], groups["total-effect"]["S_T"])
    for group in groups.values():
        schema.validate(group)
        assert group.attrs["checkpoint_sha256"] == row["sha256"]


@pytest.mark.slow
def test_reports_of_one_name_in_two_folders_do_not_meet(seqprobe: Seqprobe, symbols: Path) -> None:
    for folder in ("a/same", "b/same"):
        Path(folder).mkdir(parents=True)
        (Path(folder) / "x.pt").write_bytes((symbols / "untrained.pt").read_bytes())
    rows = seqprobe("memory report a/same/x.pt b/same/x.pt --folder out --json").json["results"]
    assert [row["results"] for row in rows] == [
        "out/same-x-memory.nc",
        "out/b-same-x-memory.nc",
    ]


@pytest.mark.slow
def test_report_prints_questions_by_name_and_says_untrained(
    seqprobe: Seqprobe, symbols: Path
) -> None:
    result = seqprobe(f"memory report {symbols}/untrained.pt --folder out")
    assert result.code == 0
    for question in ("sensitivity", "use", "availability", "dimension"):
        assert f" {question} " in result.out
    assert "not measured: inputs are numbers, and only tokens" in result.out
    untrained = seqprobe(f"memory total-effect {symbols}/untrained.pt --sequences 8")
    assert "no, untrained" in untrained.out


def test_every_measure_has_its_question() -> None:
    from seqprobe.cli.analysis import AnalysisCommand
    from seqprobe.cli.memory import command

    measures = {n for n, c in command.commands.items() if isinstance(c, AnalysisCommand)}
    assert measures == set(QUESTIONS)


def test_help_names_every_question(seqprobe: Seqprobe) -> None:
    listed = seqprobe("memory --help").out
    for name, question in QUESTIONS.items():
        assert question in listed
        assert name in listed


# Bad input.


@pytest.mark.parametrize(
    ("line", "code", "message"),
    [
        ("memory report D/bi.pt --folder out", 4, "bidirectional"),
        ("memory report zoo/gru.pt --folder zoo/gru.pt", 2, "cannot make folder 'zoo/gru.pt'"),
        ("memory total-effect D/bi.pt", 4, "bidirectional"),
        ("memory fisher D/bi.pt", 4, "needs a causal model with a step"),
        ("memory linear D/bi.pt --part state", 4, "bidirectional"),
        ("memory total-effect zoo/gru.pt --lags 5,95 --max-lag 60", 2, "lag 95 does not fit"),
        ("memory substitution zoo/gru.pt", 4, "only tokens can be substituted"),
        ("memory information zoo/gru.pt", 4, "values (allowed: up to 32)"),
        ("memory context zoo/rnn.pt", 4, "needs a loss at every step"),
        ("memory context zoo/gru.pt --text a.txt", 4, "--text is for models of 'chartext'"),
        ("memory linear zoo/gru.pt --part layer0.cell", 2, "no internal 'layer0.cell'"),
        ("memory ipc D/recall.pt", 4, "for one channel of numbers"),
        ("memory receptive-field zoo/tcn.pt --length 5", 2, "does not show a field of 13"),
        ("memory receptive-field zoo/tcn.pt --figure a.pdf", 2, "there is nothing to draw here"),
        ("memory copy-curve zoo/gru.pt", 4, "are of models trained on 'copy' or 'recall'"),
        ("memory copy-curve D/copy.pt --protocol mixed", 2, "trained on one delay (allowed: fixed"),
        ("memory copy-curve D/copy.pt --protocol stream", 2, "is for task 'recall'"),
        ("memory copy-curve D/recall.pt --protocol retrain", 2, "is for task 'copy'"),
        ("memory copy-curve D/copy.pt --lengths 1,x", 2, "'x' is not a delay"),
        ("memory copy-curve D/copy.pt --lengths 0", 2, "'0' is not a delay"),
        ("memory perturbation zoo/gru.pt --size 0", 2, "0.0 is not in the range"),
        ("memory perturbation zoo/gru.pt --size inf", 2, "sizes are [inf] (allowed: above 0"),
        ("memory perturbation zoo/gru.pt --size nan", 2, "sizes are [nan] (allowed: above 0"),
        ("memory total-effect zoo/gru.pt --lags 9:3", 2, "'9:3' ends before it starts"),
        ("memory total-effect zoo/gru.pt --lags 1:99999999999", 2, "is too much (allowed: up to"),
        ("memory total-effect zoo/gru.pt --length 99999999999", 2, "is not in the range"),
        ("memory totaleffect zoo/gru.pt", 2, "did you mean 'total-effect'?"),
        ("memory copy-curve D/copy.pt --folder there", 2, "--folder is for models trained anew"),
    ],
)
def test_bad_input_gets_one_line(
    seqprobe: Seqprobe, symbols: Path, line: str, code: int, message: str
) -> None:
    result = seqprobe(line.replace("D/", f"{symbols}/"))
    assert result.code == code
    assert message in result.error
    assert result.out == ""


def test_text_with_strange_characters_is_refused(seqprobe: Seqprobe) -> None:
    Path("own.txt").write_text("abcabcabc\n" * 200)
    Path("other.txt").write_text("xyz\n" * 200)
    train = "train gru chartext -o text.pt --steps 0 --set model.width=6 --set task.text=own.txt"
    assert seqprobe(f"{train} --set task.length=20 -q").code == 0
    assert seqprobe("memory context text.pt --sequences 4 -q").code == 0
    refused = seqprobe("memory context text.pt --text other.txt")
    assert refused.code == 2
    assert "has the character 'x', which is not in the vocabulary of 4" in refused.error
    assert seqprobe("memory context text.pt --text none.txt").code == 3
