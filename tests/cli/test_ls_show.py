"""``seqprobe ls`` and ``seqprobe show``, the help pages, and the examples at their end."""

from __future__ import annotations

import importlib
import shutil
from pathlib import Path

import pytest

from cli.conftest import Seqprobe
from seqprobe.cli.app import COMMANDS
from seqprobe.cli.app import EXAMPLES as TOP
from seqprobe.cli.capacity import command as capacity
from seqprobe.cli.fixed_points import command as fixed_points
from seqprobe.cli.memory import command as memory
from seqprobe.cli.timescales import command as timescales
from seqprobe.models import MODELS
from seqprobe.tasks import TASKS

ROOT = Path(__file__).resolve().parents[2]
GROUPS = {
    "memory": memory,
    "capacity": capacity,
    "fixed-points": fixed_points,
    "timescales": timescales,
}


def test_lists_hold_the_registries(seqprobe: Seqprobe) -> None:
    models = seqprobe("ls models --json").json["models"]
    assert [row["model"] for row in models] == list(MODELS)
    tasks = seqprobe("ls tasks --json").json["tasks"]
    assert [row["task"] for row in tasks] == list(TASKS)
    analyses = seqprobe("ls analyses --json").json["analyses"]
    names = [row["analysis"] for row in analyses]
    assert {"memory.gradient_profile", "dynamics.fixed_points"} <= set(names)
    assert "dynamics.state_map" not in names  # which makes no result
    assert "Return the gradient-by-lag profile" in seqprobe("ls analyses").out
    assert "width=64" in seqprobe("ls models").out


def test_tasks_are_listed_with_what_does_not_learn_also_without_data(
    seqprobe: Seqprobe, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from seqprobe.tasks import chartext, music

    for cached in (music._pieces, music._markov_score, chartext._text):
        cached.cache_clear()
    chartext._markov_bits.cache_clear()
    chartext._splits.cache_clear()
    monkeypatch.setenv("SEQPROBE_DATA", str(tmp_path / "nowhere"))
    rows = {r["task"]: r for r in seqprobe("ls tasks --baselines --json").json["tasks"]}
    assert rows["adding"]["baseline"] == 1 / 12
    assert rows["flipflop"]["chance"] == 1
    assert rows["jsb"]["baseline"] is None
    assert "data not here" in rows["chartext"]["which"]


def test_list_of_checkpoints(seqprobe: Seqprobe) -> None:
    rows = seqprobe("ls checkpoints zoo --json").json["checkpoints"]
    assert [(row["model"], row["task"]) for row in rows] == [
        ("gru", "delay"),
        ("rnn", "digits"),
        ("tcn", "delay"),
    ]
    Path("zoo/bad.pt").write_text("x")
    result = seqprobe("ls checkpoints zoo")
    assert result.code == 3
    assert result.out.count("\n") == 4
    assert "not a torch file" in result.error


def test_show_prints_all_and_as_json(seqprobe: Seqprobe) -> None:
    text = seqprobe("show zoo/tcn.pt").out
    for word in ("tcn", "delay", "receptive_field", "13", "state_size", "core.layers.0.conv0.gain"):
        assert word in text
    content = seqprobe("show zoo/tcn.pt --json").json
    assert content["schema"] == "seqprobe.show/1"
    assert content["model"]["config"]["kernel"] == 3
    assert content["weights"]["head.weight"] == [1, 32]
    assert content["test"]["metric"] == "nmse"
    assert content["state"]["layer1.conv0"] == {"shape": [32, 4], "kind": "buffer", "reals": 128}


@pytest.mark.parametrize(
    ("line", "code", "message"),
    [
        ("show", 2, "Missing argument 'CHECKPOINT'"),
        ("show zoo", 3, "is a folder, not a checkpoint file"),
        ("show none.pt", 3, "does not exist"),
        ("ls", 2, "Missing argument"),
        ("ls modles", 2, "'modles' is not one of"),
        ("ls checkpoints none", 3, "'none' does not exist"),
        ("--jsn", 2, "No such option '--jsn'"),
    ],
)
def test_bad_input_gets_one_line(seqprobe: Seqprobe, line: str, code: int, message: str) -> None:
    result = seqprobe(line)
    assert result.code == code
    assert message in result.error
    assert result.out == ""


def _examples() -> list[str]:
    modules = [module for module, _ in COMMANDS.values()]
    modules += [f"seqprobe.cli.study.{name}" for name in ("plan", "run", "status", "collect")]
    texts = [TOP] + [importlib.import_module(module).EXAMPLES for module in modules]
    lines = (line.strip() for text in texts for line in text.splitlines())
    return [line for line in lines if line.startswith("seqprobe ")]


@pytest.mark.parametrize(
    "command",
    [
        *("", *COMMANDS, "study plan", "study run", "study status", "study collect"),
        *(f"{name} {sub}" for name, group in GROUPS.items() for sub in group.commands),
    ],
)
def test_help_ends_with_its_examples(seqprobe: Seqprobe, command: str) -> None:
    result = seqprobe(f"{command} --help")
    assert result.code == 0
    assert result.out.rstrip().splitlines()[-1].strip() in _examples()


@pytest.mark.parametrize("group", GROUPS)
def test_help_of_a_group_lists_its_commands(seqprobe: Seqprobe, group: str) -> None:
    text = seqprobe(f"{group} --help").out
    for name in GROUPS[group].commands:
        assert f"\n  {name} " in text


ANALYSES = [line for line in dict.fromkeys(_examples()) if line.split()[1] in (*GROUPS, "record")]


# Whole folders take half a minute each ('make demo' runs the first of them too), others seconds.
SLOW = {
    "seqprobe memory checkpoints/digits",
    "seqprobe memory checkpoints/delay/*.pt --json",
    "seqprobe memory checkpoints/delay -o memory.nc --figure memory.pdf",
    "seqprobe memory report checkpoints/delay/gru-s0.pt --folder reports",
    "seqprobe capacity checkpoints/recall",
    "seqprobe capacity checkpoints/recall -o capacity.nc --figure capacity.pdf",
    "seqprobe timescales checkpoints/flipflop/rnn-s0.pt --length 256 --figure timescales.pdf",
    "seqprobe fixed-points checkpoints/flipflop",
    "seqprobe fixed-points checkpoints/flipflop/rnn-s0.pt -o points.nc --figure points.pdf",
    "seqprobe fixed-points sweep checkpoints/flipflop/rnn-s0.pt --to 1,0,0 --steps 50",
    "seqprobe fixed-points connections checkpoints/flipflop/gru-s0.pt --figure graph.pdf",
    "seqprobe capacity table checkpoints/recall/gru-s0.pt --part layer0.update",
    "seqprobe capacity dimension checkpoints/recall --part readout --figure dimension.pdf",
    "seqprobe memory total-effect checkpoints/recall/*.pt --sequences 64 --figure effect.pdf",
    "seqprobe memory copy-curve checkpoints/copy --sequences 200",
    "seqprobe memory context checkpoints/recall/gru-s0.pt --sequences 32 --figure context.pdf",
}


@pytest.mark.parametrize(
    "line",
    [pytest.param(line, marks=pytest.mark.slow if line in SLOW else ()) for line in ANALYSES],
)
def test_an_example_of_an_analysis_works(seqprobe: Seqprobe, line: str) -> None:
    shutil.copytree(ROOT / "checkpoints", "checkpoints")  # results are kept beside checkpoints
    result = seqprobe(line.removeprefix("seqprobe "))
    assert result.code == 0, result.err
    assert result.out


@pytest.mark.slow
def test_the_other_examples_of_the_help_pages_work_in_their_order(seqprobe: Seqprobe) -> None:
    shutil.copytree(ROOT / "checkpoints", "checkpoints")
    shutil.copytree(ROOT / "analyses", "analyses")
    for line in [line for line in dict.fromkeys(_examples()) if line not in ANALYSES]:
        result = seqprobe(line.removeprefix("seqprobe "))
        assert result.code == 0, f"{line}: {result.err}"
        assert result.out


def test_no_arguments_shows_the_help(seqprobe: Seqprobe) -> None:
    result = seqprobe("")
    assert result.code == 2
    assert "Commands:" in result.out
