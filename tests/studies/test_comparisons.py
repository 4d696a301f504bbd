"""A study whose units are compared with each other at its end."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest

from seqprobe.cli.app import run
from seqprobe.errors import UsageError
from seqprobe.studies import check, collect, compare_units, open_study
from seqprobe.studies.comparisons import stored_comparison
from studies.plans import TINY, finish, make

LINE = 'compare = ["degeneracy --sequences 8 --delays 1 --ranks 2,3"]\n'


def test_units_are_compared_once_and_collected(tmp_path: Path) -> None:
    study = make(tmp_path, LINE + TINY + "grid.task.delay = [1, 2]\n")
    (analysis,) = study.compare
    assert analysis.parameters["ranks"] == [2, 3]
    finish(study)
    found = compare_units(study, analysis)
    assert found["n_networks"].values.tolist() == [2, 2]
    assert found["task.delay"].values.tolist() == [1, 2]
    told: list[str] = []
    again = compare_units(study, analysis, lambda done, total, text: told.append(text))
    assert again.equals(found)
    assert not told  # nothing was computed
    tree = collect(study)
    assert tree.children["degeneracy"].to_dataset(inherit=False)["dsa"].equals(found["dsa"])
    reopened = open_study(study.folder)
    assert reopened.compare == study.compare
    distance = float(found["dpif_mean"].values[1])
    expectation = (
        '[[expect]]\nclaim = "c"\nvariable = "degeneracy/dpif_mean"\nwhere.task.delay = 2\n'
        f"value = {distance + 0.2}\ntolerance = 0.1\nseeds = 2\n"
    )
    (study.source.parent / "expected.toml").write_text(expectation)
    (verdict,) = check(study)
    assert verdict.found == distance and (verdict.n_runs, verdict.n_seeds) == (2, 2)
    assert not verdict.agrees and verdict.reason == "off by 0.2"


@pytest.mark.slow
def test_a_changed_unit_is_compared_again(tmp_path: Path) -> None:
    study = make(tmp_path, LINE + TINY)
    finish(study)
    compare_units(study, study.compare[0])
    bigger = make(tmp_path, LINE + TINY.replace("seeds = 2", "seeds = 3"))
    finish(bigger)
    assert stored_comparison(bigger, bigger.compare[0]) is None
    assert compare_units(bigger, bigger.compare[0]).sizes["net_a"] == 3


@pytest.mark.slow
def test_the_command_compares_and_draws(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    text = LINE + 'draw = ["degeneracy"]\n' + TINY
    Path("study.toml").write_text(text)
    assert run(shlex.split("study run study.toml --jobs 1 --json")) == 0
    written = json.loads(capsys.readouterr().out)["files"]
    assert [Path(path).name for path in written] == ["study.nc", "degeneracy.pdf", "degeneracy.png"]
    # The kept pairs of the study serve the command of the same options.
    line = "degeneracy runs/tiny --sequences 8 --delays 1 --ranks 2,3 --json"
    assert run(shlex.split(line)) == 0
    assert json.loads(capsys.readouterr().out)["results"][0]["networks"] == 2


def test_one_unit_cannot_be_compared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("study.toml").write_text(LINE + TINY.replace("seeds = 2", "seeds = 1"))
    assert run(shlex.split("study run study.toml --jobs 1 --quiet")) == 1
    assert "1 network cannot differ" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("memory profile", "unknown comparison 'memory'"),
        ("degeneracy --level wieghts", "unknown level 'wieghts'; did you mean 'weights'"),
        ("degeneracy -o out.nc", "must not say where its result goes"),
        ("degeneracy other.pt", "must not name a device or a checkpoint"),
        ("degeneracy --rank 3", "No such option"),
    ],
)
def test_mistakes_are_one_line(tmp_path: Path, line: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        make(tmp_path, f'compare = ["{line}"]\n' + TINY)
