"""All levels of ensembles in one result: who is compared with whom, and what is kept."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

import seqprobe as sp
from degeneracy.networks import CHECKPOINTS, flipflop, untrained
from seqprobe import schema
from seqprobe.degeneracy import Kept, Options, compare
from seqprobe.degeneracy.levels.merge import merge
from seqprobe.degeneracy.pairs import all_pairs
from seqprobe.errors import NotApplicableError, UsageError
from seqprobe.models import Model, build_model
from seqprobe.spec import Spec
from seqprobe.training import TrainConfig, load_checkpoint, train

SMALL = Options(sequences=8, delays=(1,), ranks=(3,))


def _load(files: list[Path]) -> list[Model]:
    return [sp.load(file) for file in files]


def test_all_levels_of_two_ensembles(tmp_path: Path) -> None:
    models = _load(untrained(tmp_path / "a", 3) + untrained(tmp_path / "b", 4, length=16))
    found = compare(models, options=SMALL)
    schema.validate(found)
    schema.write(found, tmp_path / "found.nc")
    assert schema.read(tmp_path / "found.nc").equals(found)
    assert found["n_networks"].values.tolist() == [3, 4]
    assert found["ensemble"].values.tolist() == ["task.length=12", "task.length=16"]
    assert found["task.length"].values.tolist() == [12, 16]
    for name in ("disagreement", "dsa", "dpif", "barrier", "procrustes", "cka_debiased"):
        matrix = found[name].values.reshape(7, 7, -1)[..., 0]
        same = np.subtract.outer(found["net_ensemble"].values, found["net_ensemble"].values) == 0
        assert np.isfinite(matrix[same]).all(), name
        assert np.isnan(matrix[~same]).all(), name
        np.testing.assert_array_equal(matrix, matrix.T)
        upper = matrix[:3, :3][np.triu_indices(3, 1)]
        mean = found[f"{name}_mean"].values.reshape(2, -1)[0, 0]
        assert mean == pytest.approx(upper.mean())
        low, high = found[f"{name}_mean_ci"].values.reshape(2, 2, -1)[:, 0, 0]
        assert low <= mean <= high
    # Untrained networks are their own null, and nothing moved.
    np.testing.assert_allclose(found["dpif"], found["dpif_null"], atol=1e-9)
    np.testing.assert_allclose(found["cka"], found["cka_null"], atol=1e-9)
    assert (found["delta_w"].values == 0).all()
    np.testing.assert_allclose(found["ntk_alignment"].values, 1, atol=1e-12)


def test_across_compares_settings_of_one_task(tmp_path: Path) -> None:
    files = untrained(tmp_path / "a", 2) + untrained(tmp_path / "b", 2, width=8)
    models = _load(files)
    within = compare(models, ["dynamics"], options=SMALL)
    across = compare(models, ["dynamics", "weights"], across=True, options=SMALL)
    assert np.isnan(within["dsa"].values[0, 2]).all()
    assert np.isfinite(across["dsa"].values).all()  # states of any size can be compared
    assert np.isnan(across["dpif"].values[0, 2])  # weights of any size cannot
    assert np.isfinite(across["dpif"].values[2, 3])


def test_networks_of_one_task_are_an_ensemble_where_there_are_no_others(tmp_path: Path) -> None:
    files = [untrained(tmp_path / name, 1, model=name)[0] for name in ("rnn", "gru", "tcn")]
    found = compare(_load(files), ["behaviour", "weights", "representation"], options=SMALL)
    remarks = json.loads(found.attrs["remarks"])
    assert found.sizes["ensemble"] == 1
    assert any("differ in their seed alone" in line for line in remarks)
    assert any("'tcn' has no recurrent matrix" in line for line in remarks)
    assert any("different forms or sizes" in line for line in remarks)
    assert "dpif" not in found
    assert np.isfinite(found["procrustes"].values).all()


def test_what_does_not_apply_is_said(tmp_path: Path) -> None:
    files = untrained(tmp_path / "t", 2, model="transformer", width=8)
    found = compare(_load(files), ["behaviour", "dynamics"], options=SMALL)
    assert any("grows with time" in line for line in json.loads(found.attrs["remarks"]))
    with pytest.raises(NotApplicableError, match="dynamics: fewer than two networks"):
        compare(_load(files), ["dynamics"], options=SMALL)


def test_what_cannot_be_compared_is_refused(tmp_path: Path) -> None:
    files = untrained(tmp_path / "a", 1) + untrained(tmp_path / "b", 1, length=20)
    with pytest.raises(NotApplicableError, match="no two networks have the same task"):
        compare(_load(files), options=SMALL)
    with pytest.raises(UsageError, match="1 networks cannot differ"):
        compare(_load(files[:1]), options=SMALL)
    with pytest.raises(UsageError, match="unknown level 'weight'; did you mean 'weights'"):
        compare(_load(files), ["weight"])
    stranger = build_model("rnn", Spec("continuous", 3, "regression", 3))
    with pytest.raises(NotApplicableError, match="network 1 was not loaded from a checkpoint"):
        compare([flipflop(), stranger])


def test_a_network_without_others_is_left_alone(tmp_path: Path) -> None:
    files = untrained(tmp_path / "a", 2) + untrained(tmp_path / "b", 1, width=8)
    found = compare(_load(files), ["behaviour"], options=SMALL)
    assert any("no other network" in line for line in json.loads(found.attrs["remarks"]))
    assert np.isnan(found["disagreement"].values[2, :2]).all()


def test_topology_of_shipped_networks() -> None:
    """Both hold eight memories on the corners of a cube, joined by its edges."""
    models = [flipflop("rnn"), flipflop("gru")]
    found = compare(models, ["topology"], options=Options(sequences=16))
    assert found["n_stable"].values.tolist() == [8, 8]
    assert found["topology_distance"].values[0, 1] == 0
    assert found["same_graph"].values[0, 1] == 1


def test_results_of_other_sizes_are_put_side_by_side() -> None:
    """Whole numbers become missing where a part is shorter, units stay whole numbers."""

    def part(n: int, modes: int) -> xr.Dataset:
        said = {"long_name": "x", "units": "1"}
        return xr.Dataset(
            {
                "count": (("net_a", "mode"), np.ones((n, modes), dtype=int), said),
                "perm": (("net_a", "net_b", "unit"), np.zeros((n, n, modes), dtype=int), said),
                "sign": (("net_a", "net_b", "unit"), np.ones((n, n, modes), dtype=int), said),
            },
            {"mode": ("mode", np.arange(modes), said)},
        )

    found = merge([([0, 3], part(2, 2)), ([1, 2], part(2, 3))], 5)
    assert found["mode"].values.tolist() == [0, 1, 2]
    assert np.isnan(found["count"].values).tolist() == [
        [False, False, True],
        [False] * 3,
        [False] * 3,
        [False, False, True],
        [True] * 3,
    ]
    assert found["perm"].values[0, 3].tolist() == [0, 0, -1]
    assert found["perm"].values[0, 1].tolist() == [-1, -1, -1]
    assert found["sign"].values[0, 3].tolist() == [1, 1, 0]


def test_other_trials_are_other_pairs(tmp_path: Path) -> None:
    models = _load(untrained(tmp_path / "a", 2))
    kept = Kept(tmp_path, [str(m.origin and m.origin.sha256) for m in models])
    few, more = (
        compare(models, ["dynamics"], options=replace(SMALL, sequences=n, kept=kept))
        for n in (8, 16)
    )
    assert float(few["dsa"][0, 1, 0, 0]) != float(more["dsa"][0, 1, 0, 0])


def test_widths_of_a_sweep_are_kept_side_by_side(tmp_path: Path) -> None:
    models = _load(untrained(tmp_path / "a", 2) + untrained(tmp_path / "b", 2, width=8))
    kept = Kept(tmp_path, [str(m.origin and m.origin.sha256) for m in models])
    options = replace(SMALL, kept=kept)
    first = compare(models, ["weights"], options=options)
    times = {path: path.stat().st_mtime_ns for path in tmp_path.glob("*.npz")}
    again = compare(models, ["weights"], options=options)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.glob("*.npz")} == times
    assert {path.name.partition("-")[0] for path in times} == {"dpif", "barrier"}
    assert again.equals(first)
    assert np.isfinite(first["barrier"].values[[0, 2], [1, 3]]).all()
    assert first["perm"].values[2, 3, 8:].tolist() == [-1] * 4


def test_topology_of_two_tasks_and_of_a_network_without_fixed_points(tmp_path: Path) -> None:
    models = _load(
        untrained(tmp_path / "a", 2)
        + untrained(tmp_path / "b", 2, length=20)
        + untrained(tmp_path / "c", 2, model="bi-gru", width=4)
    )
    found = compare(models, ["topology"], options=SMALL)
    assert np.isfinite(found["n_fixed_points"].values[:4]).all()
    assert np.isnan(found["n_fixed_points"].values[4:]).all()
    assert any("bidirectional" in line for line in json.loads(found.attrs["remarks"]))


def test_chance_is_known_of_every_ensemble_of_a_task(tmp_path: Path) -> None:
    models = _load(untrained(tmp_path / "a", 2) + untrained(tmp_path / "b", 2, width=8))
    found = compare(models, ["representation"], options=SMALL)
    assert np.isfinite(found["procrustes_shuffled_mean"].values).all()


def test_recorded_data_have_no_trials_out_of_distribution(tmp_path: Path) -> None:
    files = untrained(tmp_path / "d", 2, task="digits", length=None)
    found = compare(_load(files), ["behaviour", "dynamics"], options=replace(SMALL, sequences=300))
    assert found["condition"].values.tolist() == ["as trained"]
    assert np.isfinite(found["dsa"].values).all()


def test_an_ensemble_of_one_has_no_spread(tmp_path: Path) -> None:
    files = untrained(tmp_path / "a", 2) + untrained(tmp_path / "b", 1, width=8)
    found = compare(_load(files), ["behaviour"], options=SMALL)
    assert np.isfinite(found["sigma_ood"].values[0]).all()
    assert np.isnan(found["sigma_ood"].values[1]).all()


def test_files_from_before_a_setting_existed_belong_to_the_others(tmp_path: Path) -> None:
    """A shipped network, whose file knows no delay of the task, and one that is made now."""
    old = load_checkpoint(CHECKPOINTS / "flipflop" / "rnn-s0.pt")
    assert "delay" not in old.task["config"]
    settings = old.build_model().config
    train(
        "rnn",
        old.build_task(),
        tmp_path / "new.pt",
        model_config=settings,
        config=TrainConfig(steps=0),
        seed=1,
    )
    found = compare([flipflop(), sp.load(tmp_path / "new.pt")], ["behaviour"], options=SMALL)
    assert np.isfinite(found["disagreement"].values).all()


class Counter:
    """A measure that counts, and may break down."""

    def __init__(self, fails_at: int = 10**9) -> None:
        self.calls, self.fails_at = 0, fails_at

    def __call__(self, a: float, b: float) -> dict[str, Any]:
        self.calls += 1
        if self.calls > self.fails_at:
            raise KeyboardInterrupt
        return {"value": np.array(b - a), "many": np.arange(3) * a}


def test_pairs_that_are_kept_are_not_computed_again(tmp_path: Path) -> None:
    numbers = [float(i) for i in range(12)]
    kept = Kept(tmp_path, [f"{i:064d}"[::-1] for i in range(12)])
    broken = Counter(fails_at=30)
    with pytest.raises(KeyboardInterrupt):
        all_pairs("m", broken, numbers, {}, kept=kept)
    rest = Counter()
    found = all_pairs("m", rest, numbers, {}, kept=kept)
    assert rest.calls == 66 - 30
    assert {pair: float(row["value"]) for pair, row in found.items()} == {
        (i, j): float(j - i) for i in range(12) for j in range(i + 1, 12)
    }
    again = Counter()
    all_pairs("m", again, numbers, {}, kept=kept)
    assert again.calls == 0
    all_pairs("m", again, numbers, {"other": 1}, kept=kept)
    assert again.calls == 66
    # One more network: its pairs alone are new.
    more = Counter()
    longer = Kept(tmp_path, [*kept.networks, "f" * 64])
    all_pairs("m", more, [*numbers, 12.0], {}, kept=longer)
    assert more.calls == 12


def test_a_damaged_file_of_pairs_is_made_again(tmp_path: Path) -> None:
    kept = Kept(tmp_path, [f"{i:064d}"[::-1] for i in range(3)])
    all_pairs("m", Counter(), [0.0, 1.0, 2.0], {}, kept=kept)
    (file,) = tmp_path.glob("*.npz")
    file.write_bytes(file.read_bytes()[:50])
    again = Counter()
    all_pairs("m", again, [0.0, 1.0, 2.0], {}, kept=kept)
    assert again.calls == 3


def test_progress_is_told_and_ends(tmp_path: Path) -> None:
    told: list[tuple[str, float, float]] = []
    compare(
        _load(untrained(tmp_path, 2)),
        options=SMALL,
        on_level=lambda level, done, total: told.append((level, done, total)),
    )
    assert {level for level, _, _ in told} == {"behaviour", "dynamics", "weights", "representation"}
    assert all(0 <= done <= total for _, done, total in told)
