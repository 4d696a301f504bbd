"""One file for a study: the right coordinates, nothing padded that need not be, nothing lost."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from seqprobe import plots, schema
from seqprobe.errors import SeqprobeError, UnreadableFileError, UsageError
from seqprobe.plots.runs import groups
from seqprobe.studies import Study, check, collect, open_study, to_grid, write_study
from seqprobe.studies.stack import read_results, stack_results
from studies.plans import TINY, finish, make

SWEEP = """
seeds = 3
analyses = ["memory profile --sequences 4 --max-lag 5", "fixed-points --starts 8"]
fixed.task = { name = "delay", length = 8 }
fixed.model.width = 4
fixed.train = { steps = 4, batch = 4, eval_every = 2 }
for.tcn.model.layers = 1
for.transformer.model.heads = 1
grid.model.name = ["rnn", "transformer"]
case = [{ task.delay = 1 }, { task.delay = 2, train.lr = 1e-2 }]
"""


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    study = make(tmp_path_factory.mktemp("study"), SWEEP)
    finish(study)
    return study


@pytest.fixture(scope="module")
def tree(study: Study) -> xr.DataTree:
    return collect(study)


def test_runs_are_rows_with_settings_as_coordinates(study: Study, tree: xr.DataTree) -> None:
    assert tree.sizes["run"] == 12
    root = tree.to_dataset()
    assert list(root["run"].values) == [unit.name for unit in study.units]
    assert set(root["architecture"].values) == {"rnn", "transformer"}
    assert sorted(set(root["seed"].values)) == [0, 1, 2]
    assert set(root["task.delay"].values) == {1, 2} and root["task.delay"].dtype.kind == "i"
    # Set in one case only: the others have the default of their architecture.
    assert set(root["train.lr"].values) == {1e-3, 1e-2}
    assert "train.batch" not in root.coords  # it is the same for all
    for unit, digest in zip(study.units, root["checkpoint_sha256"].values, strict=True):
        assert (study.unit_folder(unit).done or {})["sha256"] == digest


def test_groups_inherit_the_coordinates(tree: xr.DataTree) -> None:
    profile = tree["memory.profile"].to_dataset()
    assert profile["G"].dims == ("run", "lag")
    chosen = profile.isel(run=(profile["architecture"] == "rnn").values)
    assert chosen.sizes["run"] == 6 and np.isfinite(chosen["G"]).all()


def test_what_has_no_meaning_for_a_model_is_nan(tree: xr.DataTree) -> None:
    points = tree["fixed-points.search"].to_dataset()
    attention = (points["architecture"] == "transformer").values
    assert points.attrs["n_runs"] == 6
    values = points["index_sum"]
    assert values.isel(run=attention).isnull().all()
    assert values.isel(run=~attention).notnull().any()


def test_a_stack_equals_the_files_read_one_by_one(study: Study, tree: xr.DataTree) -> None:
    stacked = tree["memory.profile"].to_dataset()
    for i, unit in enumerate(study.units):
        (path,) = study.unit_folder(unit).results.glob("*memory.profile*.nc")
        alone = schema.read(path)
        for name, values in alone.data_vars.items():
            assert np.array_equal(
                stacked[name].isel(run=i).values, values.values, equal_nan=values.dtype.kind in "fc"
            ), name
            assert stacked[name].attrs == values.attrs
            assert stacked[name].dtype == values.dtype


def test_axes_that_differ_are_united(tmp_path: Path) -> None:
    def result(lags: list[int], parts: list[str], extra: bool) -> Path:
        dataset = xr.Dataset(
            {
                "G": schema.variable(("lag",), np.array(lags) * 1.5, "G", "1"),
                "n": schema.variable(("part",), np.arange(len(parts)), "n", "1"),
                "z": schema.variable(("mode",), np.arange(len(lags)) * 1j, "z", "1"),
                "solved": schema.variable((), np.array(extra), "solved", "1"),
            },
            {
                "lag": schema.variable(("lag",), np.array(lags), "lag", "step"),
                "part": schema.variable(("part",), np.array(parts, dtype=object), "part", "1"),
            },
            {"kind": "plain", "chance": 0.5 if extra else 0.25, "level": [1, 2]},
        )
        if extra:
            dataset["more"] = schema.variable((), 7.0, "more", "1")
        path = tmp_path / f"{len(lags)}.nc"
        schema.write(dataset, path)
        return path

    files = [result([0, 2], ["a"], False), None, result([0, 1, 4], ["b", "a"], True)]
    run = xr.DataArray(["x", "y", "z"], dims="run", attrs={"long_name": "unit", "units": "1"})
    stacked = stack_results(read_results(files, ["x", "x", "y"]), run)
    assert list(stacked["lag"].values) == [0, 1, 2, 4]
    assert list(stacked["part"].values) == ["a", "b"]
    nan = np.nan
    expected = np.array([[0.0, nan, 3.0, nan], [nan] * 4, [0, 1.5, nan, 6]])
    assert np.array_equal(stacked["G"].values, expected, equal_nan=True)
    expected = np.array([[0.0, nan], [nan, nan], [1.0, 0.0]])
    assert np.array_equal(stacked["n"].values, expected, equal_nan=True)
    assert np.isnan(stacked["z"].values[1]).all() and stacked["z"].values[2, 2] == 2j
    assert np.array_equal(stacked["more"].values, [nan, nan, 7], equal_nan=True)
    assert stacked.attrs["kind"] == "plain" and list(stacked.attrs["level"]) == [1, 2]
    assert list(stacked["chance"].values) == ["0.25", "", "0.5"]
    schema.write(stacked, tmp_path / "stacked.nc")


def _result(path: Path, dims: tuple[str, ...], code: str, units: str = "1") -> Path:
    values = np.arange(4.0).reshape(2, 2)
    dataset = xr.Dataset(
        {"x": schema.variable(dims, values, "x", units)}, attrs={"code_sha256": code}
    )
    schema.write(dataset, path)
    return path


def test_results_of_other_code_are_compared_before_they_are_stacked(tmp_path: Path) -> None:
    run = xr.DataArray(["a", "b"], dims="run", attrs={"long_name": "unit", "units": "1"})
    one = _result(tmp_path / "1.nc", ("unit", "head"), "old")
    other = _result(tmp_path / "2.nc", ("head", "unit"), "new")
    with pytest.raises(
        UnreadableFileError, match=r"'x' has the dimensions \(head, unit\), in other"
    ):
        stack_results(read_results([one, other], ["", ""]), run)
    bits = _result(tmp_path / "3.nc", ("unit", "head"), "new", "bit")
    stacked = stack_results(read_results([one, bits], ["", ""]), run)
    assert stacked["x"].attrs["units"] == "1 or bit"
    assert list(stacked["code_sha256"].values) == ["old", "new"]


def test_a_result_of_another_checkpoint_is_not_collected(tmp_path: Path) -> None:
    study = make(tmp_path, 'analyses = ["capacity ess --sequences 2"]\n' + TINY)
    finish(study)
    a, b = (next(study.unit_folder(unit).results.glob("*.nc")) for unit in study.units)
    a.write_bytes(b.read_bytes())
    with pytest.raises(UnreadableFileError, match="is of another checkpoint"):
        collect(study)


def test_histories_end_where_training_did(study: Study, tree: xr.DataTree) -> None:
    training = tree["training"].to_dataset()
    assert list(training["step"].values) == [0, 2, 4]
    first = study.unit_folder(study.units[0]).read_metrics()
    assert list(training["score"].values[0]) == [line["score"] for line in first]
    assert np.isnan(training["loss"].values[:, 0]).all()


def test_the_file_holds_the_tree(tmp_path: Path, tree: xr.DataTree) -> None:
    write_study(tree, tmp_path / "study.nc")
    with xr.open_datatree(tmp_path / "study.nc", engine="h5netcdf") as found:
        assert set(found.children) == set(tree.children)
        for name in ("/", *tree.children):
            xr.testing.assert_equal(found[name].to_dataset(), tree[name].to_dataset())
        assert found["memory.profile"].to_dataset()["architecture"].values[0] == "rnn"


def test_a_table_has_a_row_per_run(tmp_path: Path, tree: xr.DataTree) -> None:
    import pandas as pd

    write_study(tree, tmp_path / "study.csv")
    table = pd.read_csv(tmp_path / "study.csv")
    assert len(table) == 12
    assert {"architecture", "seed", "task.delay", "score", "memory.profile/peak_lag"} <= {*table}
    assert np.allclose(table["score"], tree.to_dataset()["score"].values)
    with pytest.raises(UsageError, match="unknown file type"):
        write_study(tree, tmp_path / "study.xlsx")


def test_parquet_without_its_engine_is_one_line(
    tmp_path: Path, tree: xr.DataTree, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(SeqprobeError, match="no engine for Parquet here; 'pip install pyarrow'"):
        write_study(tree, tmp_path / "study.parquet")
    assert not list(tmp_path.iterdir())


def test_to_grid_gives_every_setting_an_axis(tree: xr.DataTree) -> None:
    grid = to_grid(tree.to_dataset())
    assert dict(grid.sizes) == {"architecture": 2, "task.delay": 2, "train.lr": 2, "seed": 3}
    plain = tree.to_dataset()
    row = plain.isel(run=7)
    at = {name: row[name].item() for name in grid.dims}
    assert grid["score"].sel(at).item() == row["score"].item()
    # Each delay was run with one learning rate: the other one is empty.
    assert int(grid["score"].notnull().sum()) == 12
    assert grid["task.delay"].attrs["long_name"] == "setting task.delay"
    profile = to_grid(tree["memory.profile"].to_dataset())
    assert profile["G"].dims == ("lag", "architecture", "task.delay", "train.lr", "seed")
    only = to_grid(plain.isel(run=[0, 1, 2]), ["seed"])
    assert dict(only.sizes) == {"seed": 3}


def test_to_grid_refuses_what_is_ambiguous(tree: xr.DataTree) -> None:
    with pytest.raises(UsageError, match="several runs have architecture = rnn; they differ in"):
        to_grid(tree.to_dataset(), ["architecture"])
    with pytest.raises(UsageError, match="they differ in seed: name it in 'by'"):
        to_grid(tree.to_dataset(), ["architecture", "task.delay"])
    with pytest.raises(UsageError, match=r"'model\.heads' has no value in 6 of 12 runs"):
        to_grid(tree.to_dataset(), ["architecture", "model.heads", "task.delay", "seed"])
    with pytest.raises(UsageError, match="unknown coordinate 'architectur'; did you mean"):
        to_grid(tree.to_dataset(), ["architectur"])


def test_units_below_the_threshold_are_listed_and_left_out(tmp_path: Path) -> None:
    text = TINY + 'fixed.model.layers = 1\ncase = [{ train.until = "nmse=100" }, {train.lr = 1e-9,'
    text = text.replace("fixed.model.layers = 1\n", "") + ' train.until = "nmse=1e-9" }]\n'
    study = make(tmp_path, text)
    with pytest.raises(UsageError, match="nothing to collect yet: 4 not done"):
        collect(study)
    finish(study)
    tree = collect(study)
    assert tree.sizes["run"] == 2 and list(tree.to_dataset()["updates"].values) == [0, 0]
    excluded = tree["excluded"].to_dataset()
    assert excluded.sizes["excluded"] == 2
    assert all("threshold not reached: nmse" in why for why in excluded["reason"].values)
    assert "reached its threshold" in tree.attrs["rule"] and tree.attrs["n_units"] == 4


def test_a_damaged_result_is_named(tmp_path: Path) -> None:
    study = make(tmp_path, 'analyses = ["capacity ess --sequences 2"]\n' + TINY)
    finish(study)
    (path,) = study.unit_folder(study.units[1]).results.glob("*.nc")
    path.write_bytes(b"no")
    with pytest.raises(UnreadableFileError, match=r"capacity\.ess.* is damaged"):
        collect(study)


EXPECTED = """
[[expect]]
claim = "{claim}"
variable = "{variable}"
value = {value}
tolerance = 0.5
{more}
"""


def _verdict(study: Study, variable: str, value: float, more: str = "") -> tuple[bool, str, float]:
    text = EXPECTED.format(claim="c", variable=variable, value=value, more=more)
    (study.source.parent / "expected.toml").write_text(text)
    (verdict,) = check(study)
    return verdict.agrees, verdict.reason, verdict.found


def test_check_compares_with_what_was_expected(study: Study, tree: xr.DataTree) -> None:
    assert _verdict(study, "updates", 4)[:2] == (True, "")
    assert _verdict(study, "updates", 3.2)[:2] == (False, "off by 0.8")
    assert _verdict(study, "updates", 4, "seeds = 4")[:2] == (False, "3 seeds, 4 are needed")
    rnn = tree.to_dataset().isel(run=slice(0, 3))["score"].values
    where = 'where = { architecture = "rnn", task.delay = 1 }'
    assert _verdict(study, "score", 1, where)[2] == np.median(rnn)
    assert _verdict(study, "score", 1, where + '\nstatistic = "max"')[2] == rnn.max()
    where = 'where = { architecture = "rnn", task.delay = 1, seed = [2, 0] }'
    assert _verdict(study, "score", 1, where)[2] == np.median(rnn[[0, 2]])
    where = 'where.architecture = "rnn"\nat.lag = 3'
    found = _verdict(study, "memory.profile/G", 1, where)[2]
    profile = tree["memory.profile"].to_dataset().sel(lag=3)
    assert found == np.median(profile["G"].values[(profile["architecture"] == "rnn").values])
    where = 'where.architecture = "transformer"\nat.input = 0'
    reason = _verdict(study, "fixed-points.search/index_sum", 1, where)[1]
    assert reason == "no run has it"
    starts = tree["fixed-points.search"].to_dataset()["status"]
    converged = (starts == 1).sum("start").values[(starts["architecture"] == "rnn").values]
    assert converged.max() > 0
    where = 'where.architecture = "rnn"\ncount = 1'
    found = _verdict(study, "fixed-points.search/status", 8, where)[2]
    assert found == np.median(converged)
    where = 'where.architecture = "transformer"\ncount = 1'
    reason = _verdict(study, "fixed-points.search/hits", 1, where)[1]
    assert reason == "no run has it"


@pytest.mark.parametrize(
    ("variable", "more", "said"),
    [
        ("scor", "", "unknown variable 'scor'; did you mean 'score'"),
        ("memory.profil/G", "", "unknown analysis in this study 'memory.profil'"),
        ("memory.profile/G", "", "is a number per lag; choose one with 'at'"),
        ("memory.profile/G", "at.lagg = 1", "has no lagg = 1"),
        ("score", "where.delay = 1", "unknown coordinate 'delay'"),
        ("score", "where = 3", "'where' and 'at' are tables"),
        ("score", "tolerance = -1", "is not a TOML file"),  # it is there already
        ("memory.profile/G", "at.lag = 500", "has no lag = 500"),
        ("training/loss", "at.step = 3", "has no step = 3"),
        ("score", 'size = "smoke"', "expects nothing of size 'full'"),
        ("score", "statistc = 'max'", "unknown key 'expect.statistc'; did you mean 'statistic'"),
        ("score", "tolerance = 1", "is not a TOML file"),
    ],
)
def test_expectations_that_mean_nothing(study: Study, variable: str, more: str, said: str) -> None:
    with pytest.raises(SeqprobeError, match=said):
        _verdict(study, variable, 1, more)


def test_the_expectations_are_those_beside_the_file(tmp_path: Path) -> None:
    for name, value in (("a", 999), ("b", 6)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "study.toml").write_text(TINY)
        text = EXPECTED.format(claim="c", variable="updates", value=value, more="")
        (tmp_path / name / "expected.toml").write_text(text)
    finish(open_study(tmp_path / "a", folder=tmp_path / "runs"))
    assert not check(open_study(tmp_path / "a", folder=tmp_path / "runs"))[0].agrees
    assert check(open_study(tmp_path / "b", folder=tmp_path / "runs"))[0].agrees


def test_check_needs_a_file(tmp_path: Path) -> None:
    study = make(tmp_path)
    with pytest.raises(UnreadableFileError, match="write what you expect"):
        check(study)
    (tmp_path / "expected.toml").write_text("[[expct]]\n")
    with pytest.raises(UsageError, match=r"unknown key 'expct'.*did you mean 'expect'"):
        check(study)
    (tmp_path / "expected.toml").write_text("[[expect]]\nclaim = 'x'\n")
    with pytest.raises(UsageError, match="has no 'tolerance'"):
        check(study)


def test_collected_studies_are_drawn_without_the_model(tree: xr.DataTree) -> None:
    figure = plots.learning_curves_figure(tree["training"].to_dataset())
    assert len(figure.axes) == 4  # two delays, two panels
    (line,) = [
        line for line in figure.axes[0].lines if str(line.get_label()).startswith("rnn (3 seeds)")
    ]
    score = tree["training"].to_dataset()["score"].values[:3]
    assert np.allclose(line.get_ydata(), np.median(score, axis=0))
    assert len(plots.gradient_profile_figure(tree["memory.profile"].to_dataset()).axes) == 4
    ax = plots.against(tree.to_dataset(), "score", "task.delay")
    assert ax.get_xlabel() == "task.delay"
    with pytest.raises(UsageError, match="cannot draw 'score' against 'architecture'"):
        plots.against(tree.to_dataset(), "score", "architecture")
    with pytest.raises(UsageError, match="unknown variable 'scores'"):
        plots.against(tree.to_dataset(), "scores", "task.delay")


def test_stopped_runs_keep_their_last_score() -> None:
    training = xr.Dataset(
        {
            "score": (("run", "step"), [[4.0, 2.0, np.nan], [4.0, 3.0, 1.0], [4.0, 3.5, 3.0]]),
            "kept_score": ("run", [2.0, 1.0, 3.0]),
            "stopped_at": ("run", [10, 20, 20]),
            "threshold": ("run", [3.0, 3.0, 3.0]),
            "seconds": (("run", "step"), [[0.0, 1.0, np.nan], [0.0, 2.0, 4.0], [0.0, 3.0, 6.0]]),
            "epoch": (("run", "step"), np.full((3, 3), np.nan)),
        },
        {
            "step": [0, 10, 20],
            "run": ["a", "b", "c"],
            "architecture": ("run", ["gru"] * 3),
            "metric": ("run", ["nmse"] * 3),
            "seed": ("run", [0, 1, 2]),
        },
    )
    ax = plots.learning_curves(training)
    line = next(line for line in ax.lines if "3 seeds" in str(line.get_label()))
    dots = next(line for line in ax.lines if line.get_linestyle() == "None")
    assert np.array_equal(np.asarray(dots.get_xydata()), [[10, 2], [20, 1], [20, 3]])
    # The median is over the same three seeds at every update.
    assert np.array_equal(np.asarray(line.get_ydata()), [4, 3, 2])
    ax = plots.learning_curves(training, against="seconds")
    line = next(line for line in ax.lines if "3 seeds" in str(line.get_label()))
    dots = next(line for line in ax.lines if line.get_linestyle() == "None")
    assert np.array_equal(np.asarray(line.get_xydata()), [[0, 4], [2, 3], [4, 2]])  # of all three
    assert np.array_equal(np.asarray(dots.get_xydata()), [[2, 2], [4, 1], [4, 3]])
    with pytest.raises(UsageError, match="epochs of 'gru' are not known"):
        plots.learning_curves(training, against="epoch")
    with pytest.raises(UsageError, match=r"against = 'hours' .* step, epoch, seconds"):
        plots.learning_curves(training, against="hours")


def test_scores_stand_beside_the_baseline_and_what_others_report(tree: xr.DataTree) -> None:
    root = tree.to_dataset()
    root = root.isel(run=(root["task.delay"] == 1).values)
    ax = plots.scores(root, published={"rnn": 0.5})
    at = {tuple(map(tuple, np.asarray(line.get_xydata()))) for line in ax.lines}
    baseline = float(root["baseline"][0])
    assert ((0.5, 0.3),) in at and ((baseline, 0.0), (baseline, 1.0)) in at
    medians = [np.median(root["score"].values[i : i + 3]) for i in (0, 3)]
    assert {((median, row),) for row, median in enumerate(medians)} <= at
    seeds = sorted(line for line in at if len(line) == 3)  # each at a height of its own
    assert [[x for x, _ in line] for line in seeds] == sorted(
        root["score"].values.reshape(2, 3).tolist()
    )
    assert all(len({y for _, y in line}) == 3 for line in seeds)
    root["score"][0] = np.nan  # a run without a score is left out of its row
    at = {tuple(map(tuple, np.asarray(line.get_xydata()))) for line in plots.scores(root).lines}
    assert ((np.median(root["score"].values[1:3]), 0),) in at


def test_a_figure_is_kept_with_its_numbers(tree: xr.DataTree, tmp_path: Path) -> None:
    root, training = tree.to_dataset(), tree["training"].to_dataset()
    figure = plots.learning_curves_figure(training)
    plots.deposit(figure, {"/": root, "training": training}, tmp_path / "v1.5")
    assert {path.name for path in tmp_path.iterdir()} == {"v1.5.nc", "v1.5.pdf", "v1.5.png"}
    with xr.open_datatree(tmp_path / "v1.5.nc", engine="h5netcdf") as kept:
        xr.testing.assert_identical(kept.to_dataset(), root)
        assert np.array_equal(kept["training"]["score"], training["score"], equal_nan=True)
    with pytest.raises(UsageError, match="missing"):
        plots.deposit(figure, {"/": root}, tmp_path / "missing" / "x")


def test_no_runs_are_not_drawn(tree: xr.DataTree) -> None:
    with pytest.raises(UsageError, match="no runs to draw"):
        plots.scores(tree.to_dataset().isel(run=[]), published={"rnn": 1.0})


def test_runs_that_were_trained_in_other_ways_are_no_seeds_of_one(tree: xr.DataTree) -> None:
    training = tree["training"].to_dataset()
    alike = training.isel(run=(training["architecture"] == "rnn").values)
    labels = {group.label for group in groups(alike, "model")}
    assert labels == {"rnn delay=1 lr=0.001", "rnn delay=2 lr=0.01"}
    assert len(groups(alike, "model", without="task.delay")) == 2  # the rate tells them apart
    same = groups(alike.drop_vars("train.lr"), "model", without="task.delay")
    assert [group.runs.sizes["run"] for group in same] == [6]
    several = tree.to_dataset().assign_coords(metric=("run", ["nmse", "accuracy"] * 6))
    with pytest.raises(UsageError, match="scored by nmse, accuracy: choose the runs of one"):
        plots.against(several, "score", "task.delay")


def test_attributes_say_where_it_comes_from(tree: xr.DataTree) -> None:
    assert tree.attrs["analysis"] == "study" and tree.attrs["study"]
    parameters = json.loads(tree["memory.profile"].attrs["parameters"])
    assert parameters["max_lag"] == 5
    assert len(tree["memory.profile"].attrs["code_sha256"]) == 64
