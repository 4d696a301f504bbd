"""Figures of dynamics show the numbers of the result."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr
from matplotlib.figure import Figure

from reference.dynamical import float64, oscillator, product_elman
from seqprobe import plots, schema
from seqprobe.dynamics import (
    connections,
    fixed_points,
    input_sweep,
    limit_cycles,
    linear_prediction,
    linearise,
    lyapunov_spectrum,
    slow_points,
    speed_map,
    timescales,
    trajectories,
    unstable_directions,
)
from seqprobe.plots.runs import singles

LABELS = {"model": "rnn", "task": "flipflop", "task_config": "", "model_config": ""}


@pytest.fixture(scope="module")
def results() -> dict[str, xr.Dataset]:
    of = product_elman(2, 3)
    starts = 0.7 * float64((128, 3))
    inputs = float64((16, 60, 1))
    points = fixed_points(of, starts)
    points = xr.merge(
        [points, unstable_directions(of, points), trajectories(of, inputs)],
        combine_attrs="override",
        compat="override",
    )
    modes = xr.merge(
        [
            linearise(of, points),
            points[["n_unstable", "stability"]],
            linear_prediction(of, points, starts),
        ],
        combine_attrs="override",
        compat="override",
    )
    made = {
        "fixed_points": points,
        "linearise": modes,
        "connections": connections(of, points),
        "input_sweep": input_sweep(of, starts, torch.zeros(1), torch.ones(1), n_steps=20),
        "slow_points": slow_points(of, starts, tau=50, points=points),
        "speed_map": speed_map(of, starts, grid=9),
        "limit_cycles": limit_cycles(oscillator(0.3), float64((2, 2)), transient=300, window=512),
        "timescales": timescales(of, inputs, n_exponents=2),
        "lyapunov": lyapunov_spectrum(of, inputs, n_exponents=2),
    }
    return {name: result.assign_attrs(LABELS) for name, result in made.items()}


FIGURES = (
    *("fixed_points", "linearise", "connections", "input_sweep", "slow_points"),
    *("speed_map", "limit_cycles", "timescales", "lyapunov"),
)


@pytest.mark.parametrize("name", FIGURES)
def test_figures_of_one_and_of_several_runs(
    results: dict[str, xr.Dataset], name: str, tmp_path: Path
) -> None:
    draw = getattr(plots, f"{name}_figure")
    one = results[name]
    two = schema.combine_runs(
        [one.assign_attrs(checkpoint="a/x.pt"), one.assign_attrs(checkpoint="b/y.pt", model="gru")]
    )
    for i, result in enumerate((one, two)):
        figure = draw(result)
        assert isinstance(figure, Figure)
        plots.save(figure, tmp_path / f"{i}.png")
        labels = [ax.get_xlabel() for ax in figure.axes if ax.get_xlabel()]
        assert all(labels)
    assert (tmp_path / "1.png").stat().st_size > (tmp_path / "0.png").stat().st_size / 2


@pytest.mark.parametrize("name", ["fixed_points", "connections"])
def test_axes_decide_how_many_components(results: dict[str, xr.Dataset], name: str) -> None:
    figure = Figure()
    flat, deep = figure.add_subplot(1, 2, 1), figure.add_subplot(1, 2, 2, projection="3d")
    draw = getattr(plots, name)
    assert draw(results[name], ax=flat) is flat
    assert draw(results[name], ax=deep) is deep
    assert draw(results[name]).get_xlabel().startswith("PC1")


def test_points_are_where_they_should_be(results: dict[str, xr.Dataset]) -> None:
    points = results["fixed_points"]
    ax = plots.fixed_points(points)
    drawn = [line for line in ax.lines if line.get_marker() == "o"]
    assert len(drawn) == points.sizes["fixed_point"] == 9
    filled = [line for line in drawn if line.get_markerfacecolor() != "white"]
    assert len(filled) == int((points["n_unstable"] == 0).sum()) == 4
    states = points["trajectory"].values.reshape(-1, 3)
    axes = np.linalg.svd(states - states.mean(axis=0), full_matrices=False)[2][:2]
    placed = np.abs((points["x"].values - states.mean(axis=0)) @ axes.T)
    shown = np.abs(np.concatenate([line.get_xydata() for line in drawn]))
    np.testing.assert_allclose(np.sort(shown, axis=0), np.sort(placed, axis=0), atol=1e-9)


def test_eigenvalues_are_drawn_as_they_are(results: dict[str, xr.Dataset]) -> None:
    points = results["fixed_points"]
    ax = plots.eigenvalues(points)
    dots = [line for line in ax.lines if line.get_marker() == "."]
    shown = np.concatenate([line.get_xydata() for line in dots])
    values = points["eigenvalue"].values.ravel()
    np.testing.assert_allclose(shown, np.stack([values.real, values.imag], axis=1))


def test_edges_join_the_points_they_should(results: dict[str, xr.Dataset]) -> None:
    graph = results["connections"]
    ax = plots.connections(graph)
    edges = [line for line in ax.lines if line.get_marker() != "o"]
    assert len(edges) == int((graph["source_unstable"] == 1).sum()) == 8
    assert len(plots.connections(graph, largest=2).lines) > len(ax.lines)


def test_branches_and_counts(results: dict[str, xr.Dataset]) -> None:
    figure = plots.input_sweep_figure(results["input_sweep"])
    counts = figure.axes[1].lines[0]
    at, count = np.asarray(counts.get_xydata()).T
    steps = results["input_sweep"]["s"].values
    shown = count[np.searchsorted(at, steps, side="right") - 1]
    np.testing.assert_array_equal(shown, results["input_sweep"]["n_branches"])
    assert {text.get_text() for text in figure.legends[0].get_texts()} >= {"stable", "fold"}


def test_single_runs_lose_their_padding(results: dict[str, xr.Dataset]) -> None:
    of = product_elman(1, 2)
    small = fixed_points(of, float64((16, 2))).assign_attrs(LABELS)
    both = schema.combine_runs(
        [
            results["fixed_points"].assign_attrs(checkpoint="a/x.pt"),
            small.assign_attrs(checkpoint="b/x.pt"),
        ]
    )
    (first, large), (second, run) = singles(both)
    assert (first, second) == ("flipflop rnn, a/x.pt", "flipflop rnn, b/x.pt")
    assert (large.sizes["fixed_point"], large.sizes["state"]) == (9, 3)
    assert (run.sizes["fixed_point"], run.sizes["state"]) == (3, 2)
    np.testing.assert_array_equal(run["x"], small["x"])


def test_nothing_to_draw(tmp_path: Path) -> None:
    """No fixed points and no cycles make figures that say so."""
    from seqprobe.dynamics import CallableMap

    of = CallableMap(lambda x, u: x + 1.0, 2)
    none = fixed_points(of, float64((8, 2))).assign_attrs(LABELS)
    plots.save(plots.fixed_points_figure(none), tmp_path / "a.png")
    still = limit_cycles(CallableMap(lambda x, u: 0.5 * x, 2), float64((2, 2)), window=64)
    figure = plots.limit_cycles_figure(still.assign_attrs(LABELS))
    both = schema.combine_runs(
        [
            still.assign_attrs(LABELS, checkpoint="a/x.pt"),
            limit_cycles(oscillator(0.3), float64((1, 2)), transient=300, window=512).assign_attrs(
                LABELS, checkpoint="b/x.pt"
            ),
        ]
    )
    plots.save(plots.limit_cycles_figure(both), tmp_path / "c.png")
    assert figure.axes[0].texts[0].get_text() == "no cycle found"
    plots.save(figure, tmp_path / "b.png")
