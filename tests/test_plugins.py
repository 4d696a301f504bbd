"""Other packages add architectures, tasks, analyses and adapters, and break nothing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import xarray as xr

from plugged import SOURCES, WOBBLE, installed, write_package
from seqprobe import plugins, provenance
from seqprobe.cli import measures
from seqprobe.cli.app import run
from seqprobe.errors import SeqprobeError, UnreadableFileError, UsageError
from seqprobe.memory import gradient_profile
from seqprobe.models import MODELS, architecture, build_model
from seqprobe.plots.style import look
from seqprobe.tasks import TASKS, make_task
from seqprobe.training import TrainConfig, load, load_checkpoint, train

GRU = str(Path(__file__).parents[1] / "checkpoints" / "delay" / "gru-s0.pt")
Call = Callable[..., tuple[int, str, str]]


@pytest.fixture
def wobble(tmp_path: Path) -> Iterator[Path]:
    """Install a package with one of each."""
    folder = tmp_path / "site"
    write_package(folder, "wobble", WOBBLE, SOURCES)
    with installed(folder, "wobble"):
        yield folder


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Call:
    monkeypatch.setenv("COLUMNS", "200")

    def call(*words: str) -> tuple[int, str, str]:
        capsys.readouterr()
        code = run(list(words))
        return (code, *capsys.readouterr())

    return call


def _broken(tmp_path: Path, groups: dict[str, dict[str, str]], **sources: str) -> Path:
    folder = tmp_path / "broken"
    write_package(folder, "askew", groups, sources, "0.3")
    return folder


def test_an_architecture_is_trained_and_loaded(wobble: Path, tmp_path: Path) -> None:
    assert "wobble" in MODELS
    assert "bi-wobble" in MODELS
    assert [*MODELS][-2:] == ["wobble", "bi-wobble"]
    assert len(MODELS) == len([*MODELS])
    assert architecture("bi-wobble").directions == 2
    path = tmp_path / "x.pt"
    made = train("wobble", make_task("echo", {"length": 20, "delay": 3}), path, config=_steps(2))
    assert made.model == {"name": "wobble", "config": _config("wobble")}
    assert made.libraries["wobble"] == "1.2"
    model = load(path)
    assert model.name == "wobble"
    assert gradient_profile(model, make_task("echo").batch("test", 4))["G"].notnull().all()
    model = build_model("bi-wobble", make_task("delay").spec, {"width": 4})
    assert model(torch.zeros(2, 5, 1))[0].shape == (2, 5, 1)


def _steps(steps: int) -> TrainConfig:
    return TrainConfig(steps=steps)


def _config(name: str) -> dict[str, Any]:
    import dataclasses

    return dataclasses.asdict(MODELS[name].config())


def test_built_in_models_name_no_package(tmp_path: Path) -> None:
    made = train("gru", make_task("delay"), tmp_path / "x.pt", config=_steps(0))
    assert set(made.libraries) == {"seqprobe", "torch", "numpy"}


def test_a_checkpoint_says_which_package_is_missing(tmp_path: Path) -> None:
    folder, path = tmp_path / "site", tmp_path / "x.pt"
    write_package(folder, "wobble", WOBBLE, SOURCES)
    with installed(folder, "wobble"):
        train("wobble", make_task("delay"), path, config=_steps(0))
        train("gru", make_task("echo"), tmp_path / "y.pt", config=_steps(0))
        content = torch.load(path, weights_only=True)
    with pytest.raises(UnreadableFileError, match=r"unknown model 'wobble'; it was made with wobb"):
        load(path)
    with pytest.raises(
        UnreadableFileError, match=r"task 'echo'; it was made with wobble 1\.2, whi"
    ):
        load(tmp_path / "y.pt")
    del content["libraries"]["wobble"]  # as a file that does not say
    torch.save(content, path)
    with pytest.raises(UnreadableFileError, match=r"'wobble'.*if a plug-in had it, install that$"):
        load(path)


def test_a_task_is_like_any_other(wobble: Path) -> None:
    task = make_task("echo", {"delay": 2, "length": 8})
    assert type(task).__module__ == "wobble.tasks"
    assert task.batch("train", 3).inputs.shape == (3, 8, 1)
    with pytest.raises(UsageError, match=r"unknown task 'ecko'; did you mean 'echo'\?"):
        make_task("ecko")


def test_an_analysis_stands_alone_or_in_a_group(wobble: Path, call: Call, tmp_path: Path) -> None:
    weights = torch.cat([p.detach().flatten() for p in load(GRU).parameters()])
    rms = weights.square().mean().sqrt().item()
    for words in (["loudness"], ["memory", "loudness"]):
        code, out, _ = call(*words, "--help")
        assert code == 0
        assert "How loud are its weights?" in out
        assert "--gain" in out
        nc, png = str(tmp_path / "a.nc"), str(tmp_path / "a.png")
        code, out, err = call(*words, GRU, "--json", "--gain", "3", "-o", nc, "--figure", png)
        assert (code, err) == (0, "")
        assert json.loads(out)["results"][0]["loudness"] == pytest.approx(3 * rms, rel=1e-6)
        with xr.open_dataset(nc, engine="h5netcdf") as kept:
            assert kept["loudness"].item() == pytest.approx(3 * rms, rel=1e-6)
        assert Path(png).stat().st_size > 1000
    assert "loudness" in call("memory", "--help")[1]
    code, out, _ = call("memory", "profile", "--help")
    assert (code, "--max-lag" in out) == (0, True)


@pytest.mark.parametrize(
    ("line", "name"), [("loudness", "loudness"), ("memory loudness", "memory.loudness")]
)
def test_a_study_finds_an_analysis_by_name(wobble: Path, line: str, name: str) -> None:
    analysis = measures.parse(f"{line} --gain 2")
    assert (analysis.name, analysis.parameters) == (name, {"gain": 2, "seed": 0})
    made = measures.measure(Path(GRU), analysis, "cpu", lambda done, total: None)
    assert made["loudness"].item() > 0
    with pytest.raises(UsageError, match="No such option '--gian'"):
        measures.parse(f"{line} --gian 2")
    with pytest.raises(UsageError, match=r"unknown analysis 'loudnes'; did you mean 'loudness'"):
        measures.parse("loudnes")


def test_lists_say_where_things_come_from(wobble: Path, call: Call) -> None:
    for what, key, names in (
        ("models", "model", {"wobble", "bi-wobble"}),
        ("tasks", "task", {"echo"}),
        ("analyses", "analysis", {"loudness", "memory.loudness"}),
    ):
        code, out, err = call("ls", what, "--json")
        assert (code, err) == (0, "")
        rows = json.loads(out)[what]
        assert {row[key] for row in rows if row["plugin"] == "wobble 1.2"} == names
        assert {row["plugin"] for row in rows} == {None, "wobble 1.2"}
        assert "wobble 1.2" in call("ls", what)[1]
    code, out, _ = call("ls", "plugins", "--json")
    rows = json.loads(out)["plugins"]
    assert [(row["kind"], row["name"], row["usable"]) for row in rows] == [
        ("architectures", "wobble", True),
        ("tasks", "echo", True),
        ("analyses", "loudness", True),
        ("analyses", "memory.loudness", True),
        ("adapters", "everything", True),
    ]


def test_without_plugins_lists_have_no_column_for_them(call: Call) -> None:
    assert call("ls", "models")[1].splitlines()[0].split() == ["model", "summary", "settings", "lr"]
    assert call("ls", "plugins") == (0, "no plug-ins are installed\n", "")


def test_adapters_are_found(wobble: Path) -> None:
    (adapter,) = plugins.adapters()
    assert adapter.name == "everything"
    assert adapter.matches(torch.nn.Linear(1, 1))


def test_a_look_of_its_own_is_always_the_same() -> None:
    assert look("wobble") == look("wobble")
    assert look("wobble") not in [look(name) for name in ("rnn", "gru", "lstm")]


BROKEN: dict[str, tuple[dict[str, dict[str, str]], dict[str, str], str]] = {
    "import": (
        {"architectures": {"tilted": "models:ARCHITECTURE"}},
        {"models": "import no_such_module"},
        r"plug-in 'tilted' of askew 0\.3 cannot be loaded \(ModuleNotFoundError: .*no_such_module",
    ),
    "exit": (
        {"architectures": {"tilted": "models:ARCHITECTURE"}},
        {"models": "import sys; sys.exit('bye\\nbye')"},
        r"'tilted' of askew 0\.3 cannot be loaded \(SystemExit: bye bye\); repair or uninstall",
    ),
    "attribute": (
        {"architectures": {"tilted": "models:NOTHING"}},
        {"models": ""},
        r"'tilted' of askew 0\.3 cannot be loaded \(AttributeError",
    ),
    "kind": (
        {"architectures": {"tilted": "models:X"}},
        {"models": "X = 3"},
        r"of askew 0\.3 is of type int, not a seqprobe.models.Architecture of one direction$",
    ),
    "name": (
        {"architectures": {"tilted": "models:ARCHITECTURE"}},
        {"models": SOURCES["models"]},
        r"'tilted' of askew 0\.3 calls itself 'wobble'; its name and that of its entry point must",
    ),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_plugin_costs_its_own_name(case: str, tmp_path: Path, call: Call) -> None:
    groups, sources, message = BROKEN[case]
    with installed(_broken(tmp_path, groups, **sources), "askew"):
        assert "tilted" in MODELS
        assert "tilted" not in [*MODELS]
        with pytest.raises(SeqprobeError, match=message) as caught:
            architecture("tilted")
        assert "\n" not in str(caught.value)
        assert architecture("gru").name == "gru"
        with pytest.raises(UsageError, match=r"unknown model 'gruu'; did you mean 'gru'\?"):
            architecture("gruu")
        code, out, err = call("ls", "models")
        assert code == 1
        assert err.count("\n") == 1
        assert "gru" in out
        (row,) = json.loads(call("ls", "plugins", "--json")[1])["plugins"]
        assert row["usable"] is False
        code, out, err = call("train", "tilted", "delay", "-o", str(tmp_path / "x.pt"))
        assert (code, out, err.count("\n")) == (1, "", 1)


def test_a_name_of_seqprobe_stays_what_it_is(tmp_path: Path, call: Call) -> None:
    groups = {
        "architectures": {"gru": "models:A", "bi-rnn": "models:A"},
        "tasks": {"delay": "models:A"},
        "analyses": {"memory": "models:A", "memory.profile": "models:A"},
    }
    before = [*MODELS], [*TASKS]
    sources = {"models": "raise RuntimeError('must not be imported')"}
    with installed(_broken(tmp_path, groups, **sources), "askew"):
        assert ([*MODELS], [*TASKS]) == before
        assert architecture("gru").summary == MODELS["gru"].summary
        assert make_task("delay").batch("test", 2).inputs.shape == (2, 96, 1)
        code, out, err = call("memory", "profile", GRU, "--json", "--sequences", "2")
        assert (code, err) == (0, "")
        for what, names in (
            ("models", ["bi-rnn", "gru"]),
            ("tasks", ["delay"]),
            ("analyses", ["memory", "memory.profile"]),
        ):
            code, out, err = call("ls", what)
            assert code == 1
            assert err.splitlines() == [
                f"seqprobe: error: plug-in '{name}' of askew 0.3 has a name of seqprobe, which"
                " keeps it; the plug-in needs another"
                for name in names
            ]
            assert out
    assert "askew.models" not in sys.modules


def test_two_packages_cannot_share_a_name(tmp_path: Path, call: Call) -> None:
    folder = tmp_path / "site"
    groups = {"architectures": {"wobble": "models:ARCHITECTURE"}}
    for name in ("wobble", "babble"):
        write_package(folder, name, groups, {"models": SOURCES["models"]})
    with installed(folder, "wobble", "babble"):
        message = r"'wobble' is in seqprobe.architectures of babble 1\.2 and of wobble 1\.2; unins"
        with pytest.raises(SeqprobeError, match=message):
            architecture("wobble")
        assert "wobble" not in [*MODELS]
        assert call("ls", "models")[0] == 1


def test_a_broken_analysis_costs_its_own_name(tmp_path: Path, call: Call) -> None:
    groups = {"analyses": {"tilt": "a:A", "memory.tilt": "a:A", "music.tilt": "b:tilt"}}
    source = SOURCES["analyses"] + (
        '\n    tilt = analysis_command(None, "music.tilt", VIEW, OPTION, examples="")(loudness)\n'
    )
    with installed(_broken(tmp_path, groups, a="1 / 0", b=source), "askew"):
        for words in (["tilt", GRU], ["memory", "tilt", GRU], ["memory", "tilt", "--help"]):
            code, out, err = call(*words)
            assert (code, out, err.count("\n")) == (1, "", 1)
            assert "tilt' of askew 0.3 cannot be loaded (ZeroDivisionError: division by" in err
        for line in ("tilt", "memory tilt"):
            with pytest.raises(SeqprobeError, match=r"tilt' of askew 0\.3 cannot be loaded"):
                measures.parse(line)
        assert call("memory", "profile", GRU, "--json", "--sequences", "2")[0] == 0
        assert "(cannot be loaded" in call("memory", "--help")[1]
        code, _, err = call("ls", "analyses")
        assert (code, err.count("\n")) == (1, 3)
        assert "not a command made by seqprobe.cli.analysis.analysis_command that stands" in err
        code, _, err = call("tillt")
        assert (code, "did you mean 'tilt'?" in err) == (2, True)


def test_results_that_are_kept_depend_on_the_code_of_plugins(wobble: Path) -> None:
    provenance.code_sha256.cache_clear()
    before = provenance.code_sha256()
    (wobble / "wobble" / "analyses.py").write_text("# other code")
    provenance.code_sha256.cache_clear()
    assert provenance.code_sha256() != before
    assert "wobble" not in sys.modules
    provenance.code_sha256.cache_clear()


def test_help_lists_commands_of_plugins_and_imports_nothing(tmp_path: Path) -> None:
    write_package(tmp_path, "wobble", WOBBLE, SOURCES)
    code = (
        "import sys; from seqprobe.cli.app import run; run(['--help']);"
        "sys.exit(bool({'torch', 'numpy', 'xarray', 'wobble'} & set(sys.modules)))"
    )
    found = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.returncode == 0, found.stderr
    assert found.stderr == ""
    assert "Commands of plug-ins:\n  loudness  Analysis of plug-in wobble 1.2." in found.stdout
    assert "memory.loudness" not in found.stdout


def test_an_archive_on_the_path_is_looked_into(tmp_path: Path) -> None:
    import zipfile

    write_package(tmp_path / "site", "wobble", WOBBLE, SOURCES)
    archive = tmp_path / "wobble.zip"
    with zipfile.ZipFile(archive, "w") as packed:
        for file in (tmp_path / "site").rglob("*"):
            packed.write(file, file.relative_to(tmp_path / "site"))
    with installed(archive, "wobble"):
        assert architecture("wobble").summary == "a tanh network from elsewhere"


def test_a_checkpoint_of_a_plugin_says_so(wobble: Path, tmp_path: Path) -> None:
    train("bi-wobble", make_task("delay"), tmp_path / "x.pt", config=_steps(0))
    assert load_checkpoint(tmp_path / "x.pt").libraries["wobble"] == "1.2"
