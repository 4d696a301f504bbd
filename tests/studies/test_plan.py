"""What a study file may say, and what it means."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from seqprobe.errors import UnreadableFileError, UsageError
from seqprobe.studies import open_study
from seqprobe.studies.analyses import measures
from seqprobe.studies.plan import read_plan
from studies.plans import TINY, make

ROOT = Path(__file__).resolve().parents[2]


def _text(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "study.toml"
    path.write_text(text)
    return path


def test_units_are_cases_times_grid_times_variations_times_seeds(tmp_path: Path) -> None:
    text = """
    seeds = [3, 7]
    fixed.task = { name = "delay", length = 8 }
    fixed.model.width = 4
    [grid]
    model.name = ["rnn", "gru"]
    task.delay = [1, 2]
    [vary]
    train.batch = [2, 4]
    [[case]]
    train.lr = 1e-3
    [[case]]
    train.lr = 3e-3
    """
    study = make(tmp_path, text)
    assert len(study.units) == 2 * 4 * 3 * 2
    assert {unit.seed for unit in study.units} == {3, 7}
    assert {unit.settings["train.batch"] for unit in study.units} == {64, 2, 4}
    assert study.factors == ("architecture", "task", "task.delay", "train.batch", "train.lr")
    assert len(study.configurations()) == 24


def test_settings_of_one_name_hold_for_it_alone_and_give_way_to_the_grid(tmp_path: Path) -> None:
    text = """
    fixed.task = { name = "delay", length = 8, delay = 1 }
    fixed.model.width = 4
    for.tcn.model = { kernel = 2, width = 6 }
    for.delay.train.steps = 5
    grid.model.name = ["rnn", "tcn"]
    """
    found = {unit.settings["architecture"]: unit.settings for unit in make(tmp_path, text).units}
    assert found["tcn"]["model.kernel"] == 2 and found["tcn"]["model.width"] == 6
    assert found["rnn"]["model.width"] == 4
    assert {own["train.steps"] for own in found.values()} == {5}


def test_settings_of_a_model_on_one_task_come_after_those_of_either(tmp_path: Path) -> None:
    text = """
    fixed.task.length = 8
    fixed.model.width = 4
    for.tcn.model.kernel = 2
    for.delay = { train.steps = 5, task.delay = 1 }
    for.tcn.delay = { model.kernel = 3, task.delay = 2, train.steps = 6 }
    grid.model.name = ["rnn", "tcn"]
    grid.task.name = ["delay", "adding"]
    """
    units = make(tmp_path, text).units
    found = {(u.settings["architecture"], u.settings["task"]): u.settings for u in units}
    assert [found["tcn", task]["model.kernel"] for task in ("delay", "adding")] == [3, 2]
    assert [found[name, "delay"]["train.steps"] for name in ("tcn", "rnn")] == [6, 5]
    assert found["tcn", "delay"]["task.delay"] == 2
    unused = "for.gru.copy = { model.reset = 'before', task.symbols = 3 }\n"
    assert len(make(tmp_path, unused + text).units) == len(units)  # another size may use it


def test_a_size_replaces_setting_by_setting(tmp_path: Path) -> None:
    path = _text(tmp_path, TINY + "[smoke]\nseeds = 1\nfixed.train.steps = 1\n[full]\nseeds = 4\n")
    smoke, full = read_plan(path, "smoke"), read_plan(path)
    assert smoke.seeds == (0,) and full.seeds == (0, 1, 2, 3)
    assert smoke.fixed == full.fixed | {"train.steps": 1}
    assert open_study(path, "smoke").folder == Path("runs/tiny-smoke")
    assert open_study(tmp_path).folder == Path("runs/tiny")  # the folder of the file will do


def test_ids_are_the_content(tmp_path: Path) -> None:
    base = make(tmp_path).units
    assert [unit.name for unit in make(tmp_path, TINY + "# said otherwise\n").units] == [
        unit.name for unit in base
    ]
    explicit = TINY.replace("width = 4", "width = 4, layers = 1")  # the default, said
    assert [unit.name for unit in make(tmp_path, explicit).units] == [unit.name for unit in base]
    other = make(tmp_path, TINY.replace("steps = 6", "steps = 7")).units
    assert not {unit.name for unit in other} & {unit.name for unit in base}
    alone = make(tmp_path, "together = false\n" + TINY).units
    assert not {unit.name for unit in alone} & {unit.name for unit in base}
    assert base[0].group == (0, 1) and alone[0].group == (0,)


def test_the_width_can_follow_from_the_number_of_parameters(tmp_path: Path) -> None:
    text = TINY.replace("width = 4", 'params = "500"')
    assert make(tmp_path, text).units[0].settings["model.width"] == 21


def test_impossible_combinations_are_skipped_with_the_reason(tmp_path: Path) -> None:
    text = """
    fixed.task = { name = "delay", length = 8 }
    fixed.model.width = 6
    grid.model.name = ["rnn", "transformer"]
    grid.task.delay = [1, 9]
    for.transformer.model = { positions = "learned", max_length = 7 }
    """
    study = make(tmp_path, text)
    assert len(study.units) == 1
    reasons = [skipped.reason for skipped in study.skipped]
    assert len(reasons) == 3
    assert any("max_length" in reason for reason in reasons)
    assert any("length 8 leaves no step" in reason for reason in reasons)
    assert study.skipped[0].settings == {"model.name": "rnn", "task.delay": 9}


def test_a_setting_that_only_some_have_is_skipped_for_the_others(tmp_path: Path) -> None:
    text = TINY.replace('name = "rnn", width = 4', "width = 4, kernel = 3")
    text += 'grid.model.name = ["rnn", "tcn"]\n'
    study = make(tmp_path, text)
    assert {unit.settings["architecture"] for unit in study.units} == {"tcn"}
    assert "'rnn' has no model.kernel" in study.skipped[0].reason


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("seed = 3\n", r"unknown key 'seed' in .*did you mean 'seeds'"),
        ("grid.modle.width = [1]\n", r"unknown section 'modle' in \[grid\].*did you mean 'model'"),
        ("grid.model.widht = [1]\n", r"unknown key 'model.widht'.*did you mean 'model.width'"),
        ("grid.train.step = [1]\n", r"unknown key 'train.step'.*did you mean 'train.steps'"),
        ('grid.model.name = ["rnnn"]\n', r"unknown model 'rnnn'; did you mean 'rnn'"),
        ('grid.task.name = ["dealy"]\n', r"unknown task 'dealy'; did you mean 'delay'"),
        ("grid.train.steps = [-1]\n", r"train.steps = -1 is out of range"),
        ('grid.train.steps = ["many"]\n', r"train.steps = 'many' is not allowed"),
        ("grid.train.steps = 5\n", r"must be a list of values"),
        ("grid.train.steps = []\n", r"must be a list of values"),
        ("grid.train.steps = [5, 5]\n", r"names a value twice"),
        ("grid.train.until = [5]\n", r"train.until = 5 is not allowed \(allowed: text\)"),
        ("grid.train.patience = [0]\n", r"train.patience = 0 is not allowed"),
        ("grid.train.patience = [2]\n", r"train.patience needs train.until"),
        ('grid.train.until = ["accuracy=1"]\n', r"scored by 'nmse'"),
        ("for.gruu.model.width = 3\n", r"\[for.gruu\] .* is for no model or task; .* 'gru'"),
        ("seeds = 0\n", r"seeds = 0 is not allowed"),
        ("seeds = [1, 1]\n", r"seeds = \[1, 1\] is not allowed"),
        ("seeds = -3\n", r"seeds = -3 is not allowed"),
        ("together = 4\n", r"together = 4 is not allowed"),
        ('name = "a/b"\n', r"name = 'a/b' is not allowed"),
        ('analyses = ["memori profile"]\n', r"unknown analysis 'memori'; did you mean 'memory'"),
        ('analyses = ["memory profil"]\n', r"unknown memory analysis 'profil'"),
        ('analyses = ["memory profile --lag 3"]\n', r"No such option '--lag'"),
        ('analyses = ["memory profile -o x.nc"]\n', r"must not say where its result goes"),
        ('analyses = ["memory profile --device cuda"]\n', r"must not name a device"),
        ("analyses = [3]\n", r"analyses must be a list of texts"),
        ("analyses = ['memory profile \"']\n", r"cannot be read: No closing quotation"),
        ('draw = ["none.py"]\n', r"none.py' does not exist"),
        ('draw = ["memory profile"]\n', r"'memory.profile' is not among the analyses .* \(none\)"),
        ('draw = ["learning-curve"]\n', r"did you mean 'learning-curves'"),
        ('analyses = ["capacity ess", "capacity ess"]\n', r"names an analysis twice"),
        ('draw = ["memory profil"]\n', r"unknown memory analysis 'profil'"),
        ("grid.train.lr = [1.0]\ngrid.'train.lr' = [2.0]\n", r"train.lr stands twice in \[grid\]"),
        ("for.gru.model.heads = 3\n", r"'gru' has no model.heads, which \[for.gru\]"),
        ("for.gru.modle.width = 3\n", r"unknown key 'modle' in \[for.gru\].*did you mean 'model'"),
        ("for.gru.lr = 3\n", r"unknown key 'lr' in \[for.gru\].*allowed: model, task, train, or"),
        ("for.gru.'delay.x' = 3\n", r"unknown key 'delay.x' in \[for.gru\]"),
        ('for.gru.delay.model.name = "rnn"\n', r"\[for.gru.delay\] .* gives model.name, which"),
        ("for.gru.dealy.task.delay = 3\n", r"\[for.gru\] .* 'dealy', which is no setting.*'delay'"),
        ("for.delay.adding.train.lr = 1\n", r"\[for.delay\] .* has 'adding', which is no setting"),
        ("for.gru.delay.task.lenth = 3\n", r"'delay' has no task.lenth, which \[for.gru.delay\]"),
        ("for.gru.delay.model.heads = 3\n", r"'gru' has no model.heads, which \[for.gru.delay\]"),
        ("for.gru.delay = 3\n", r"unknown key 'delay' in \[for.gru\]"),
        ("for.gru = 3\n", r"settings stand under \[for.NAME\]"),
        ("smoke.seeds = 0\nsmoke.sedes = 1\n", r"unknown key 'sedes' in \[smoke\]"),
        ("case = 3\n", r"cases stand under \[\[case\]\]"),
        ("fixed = 3\n", r"\[fixed\] must be a table"),
    ],
)
def test_mistakes_are_one_line(tmp_path: Path, change: str, said: str) -> None:
    key = change.split(" ", maxsplit=1)[0]
    lines = [line for line in TINY.splitlines() if not line.startswith((f"{key} ", "seeds ="))]
    if key == "fixed":
        lines = []
    with pytest.raises(UsageError, match=said) as caught:
        make(tmp_path, change + "\n".join(lines))
    assert "\n" not in str(caught.value)


def test_a_drawing_means_the_only_analysis_of_its_name(tmp_path: Path) -> None:
    text = 'analyses = ["capacity ess --sequences 3"]\ndraw = ["capacity ess"]\n' + TINY
    study = make(tmp_path, text)
    assert study.drawn(measures().parse("capacity ess")) == study.analyses[0]
    several = text.replace('3"]', '3", "capacity ess --sequences 4"]')
    with pytest.raises(UsageError, match="is several of the analyses"):
        make(tmp_path, several)


def test_the_name_of_a_folder_need_not_be_fit_for_another(tmp_path: Path) -> None:
    (tmp_path / "my study, no. 2").mkdir()
    study = make(tmp_path / "my study, no. 2", TINY.replace('name = "tiny"', ""))
    assert study.name == "my-study-no-2"


def test_a_study_without_a_model_says_so(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"does not say model.name; give it under \[fixed\]"):
        make(tmp_path, 'fixed.task.name = "delay"\n')


def test_files_that_are_no_studies(tmp_path: Path) -> None:
    with pytest.raises(UnreadableFileError, match="does not exist"):
        open_study(tmp_path / "none.toml")
    with pytest.raises(UnreadableFileError, match=r"holds no study\.toml"):
        open_study(tmp_path)
    with pytest.raises(UnreadableFileError, match="is not a TOML file"):
        make(tmp_path, "seeds = = 3")
    with pytest.raises(UsageError, match=r"has no \[smoke\] section"):
        make(tmp_path, TINY, size="smoke")


def test_a_run_folder_is_enough_and_says_if_it_is_damaged(tmp_path: Path) -> None:
    study = make(tmp_path)
    study.write()
    found = open_study(study.folder)
    assert found.units == study.units
    assert dataclasses.replace(found, source=study.source) == study
    with pytest.raises(UsageError, match="holds the units of size 'full'"):
        open_study(study.folder, "smoke")
    with pytest.raises(UsageError, match="name the study file to have another"):
        open_study(study.folder, folder=tmp_path)
    (study.folder / "plan.json").write_text("{}")
    with pytest.raises(UnreadableFileError, match="is not the plan of a study"):
        open_study(study.folder)
    (study.folder / "plan.json").write_text('{"format": "seqprobe.study/1"}')
    with pytest.raises(UnreadableFileError, match="damaged"):
        open_study(study.folder)


def test_a_changed_file_is_planned_again(tmp_path: Path) -> None:
    study = make(tmp_path)
    study.write()
    again = make(tmp_path, TINY.replace("seeds = 2", "seeds = 3"))
    assert len(again.units) == 3 and again.key != study.key


def test_the_shipped_example_has_both_sizes() -> None:
    example = ROOT / "analyses" / "example"
    full, smoke = open_study(example), open_study(example, "smoke")
    assert len(full.units) == 60 and len(smoke.units) == 8
    assert [analysis.name for analysis in full.analyses] == ["memory.profile", "capacity.ess"]
