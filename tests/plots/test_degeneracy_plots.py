"""Figures of degeneracy show the numbers of the result."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import xarray as xr

import seqprobe as sp
from degeneracy.networks import untrained
from seqprobe import plots
from seqprobe.degeneracy import Options, compare
from seqprobe.errors import UsageError


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> xr.Dataset:
    """Two ensembles of three networks, which differ in the length of the task."""
    folder = tmp_path_factory.mktemp("nets")
    files = untrained(folder / "a", 3) + untrained(folder / "b", 3, length=16)
    models = [sp.load(file) for file in files]
    return compare(models, options=Options(sequences=8, delays=(1, 2), ranks=(3,)))


def test_a_matrix_has_every_distance_once_on_each_side(found: xr.Dataset) -> None:
    image = plots.distance_matrix(found, "dpif").images[0].get_array()
    assert image is not None
    shown = np.ma.filled(image, np.nan)
    np.testing.assert_array_equal(shown, shown.T)
    np.testing.assert_allclose(
        np.sort(shown[np.isfinite(shown)]),
        np.sort(
            found["dpif"].values[np.isfinite(found["dpif"].values) & (found["dpif"].values > 0)]
        ),
    )


def test_a_map_keeps_distances_that_fit_into_a_plane() -> None:
    """Four points of a rectangle: all of their squares lie in two dimensions."""
    points = np.array([[0, 0], [3, 0], [0, 1], [3, 1.0]])
    distances = np.linalg.norm(points[:, None] - points, axis=2)
    result = xr.Dataset(
        {"d": (("net_a", "net_b"), distances, {"long_name": "d", "units": "1"})},
        {
            "net_ensemble": ("net_a", np.zeros(4, int)),
            "ensemble": ["one"],
            "n_networks": ("ensemble", [4]),
        },
    )
    ax = plots.distance_map(result, "d")
    drawn = np.concatenate([line.get_xydata() for line in ax.lines])
    again = np.linalg.norm(drawn[:, None] - drawn, axis=2)
    np.testing.assert_allclose(again, distances, atol=1e-9)
    assert "100 %" in ax.get_xlabel()


def test_means_stand_at_their_factor_with_their_null(found: xr.Dataset) -> None:
    ax = plots.degeneracy_by_factor(found, "dpif_rel")
    drawn = [(np.asarray(line.get_xdata()), np.asarray(line.get_ydata())) for line in ax.lines]
    styles = [line.get_linestyle() for line in ax.lines]
    at, trained = drawn[styles.index("-")]
    assert at.tolist() == [12, 16]
    np.testing.assert_allclose(trained, found["dpif_rel_mean"].values)
    np.testing.assert_allclose(drawn[styles.index("--")][1], found["dpif_rel_null_mean"].values)
    assert ax.get_xlabel() == "task.length"


def test_every_setting_of_dsa_has_a_line(found: xr.Dataset) -> None:
    ax = plots.degeneracy_by_setting(found)
    drawn = [np.asarray(line.get_ydata()) for line in ax.lines[::2]]
    np.testing.assert_allclose(np.stack(drawn, 1), found["dsa_mean"].values.reshape(2, -1))


def test_the_figure_can_be_saved_and_redrawn_from_its_file(
    found: xr.Dataset, tmp_path: Path
) -> None:
    sp.plots.save(plots.degeneracy_figure(found), tmp_path / "one.png")
    from seqprobe import schema

    schema.write(found, tmp_path / "found.nc")
    again = schema.read(tmp_path / "found.nc")
    sp.plots.save(plots.degeneracy_figure(again), tmp_path / "two.png")
    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "two.png").read_bytes()


def test_what_is_not_there_is_named(found: xr.Dataset) -> None:
    with pytest.raises(UsageError, match="unknown distance of pairs 'dsb'"):
        plots.distance_matrix(found, "dsb")
    with pytest.raises(UsageError, match=r"unknown factor 'task.bits'.*allowed: task.length"):
        plots.degeneracy_by_factor(found, "dsa", "task.bits")
    with pytest.raises(UsageError, match="no distance of pairs"):
        plots.degeneracy_figure(found[["loss"]])
