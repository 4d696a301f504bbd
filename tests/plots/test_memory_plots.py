"""Figures of the measures of memory show the numbers of the result."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from matplotlib.figure import Figure

from memory.conftest import uniform, white
from reference import systems
from seqprobe import Spec, build_model, plots, schema
from seqprobe.memory import (
    context_use,
    copy_curve,
    fisher_memory_curve,
    gradient_profile,
    information_processing_capacity,
    linear_memory,
    perturbation_profile,
    substitution_profile,
    symbol_information,
    total_effect,
)
from seqprobe.tasks.recall import Recall, RecallConfig

LABELS = {"model": "gru", "task": "recall", "train_seed": 0, "task_config": "", "model_config": ""}


@pytest.fixture(scope="module")
def results() -> dict[str, xr.Dataset]:
    task = Recall(RecallConfig(length=20, delay=2, symbols=3))
    model = build_model("gru", task.spec, {"width": 8})
    batch = task.batch("test", 24)
    one = build_model("gru", Spec("continuous", 1, "regression", 1), {"width": 6})
    made = {
        "profile": gradient_profile(model, batch),
        "perturbation": perturbation_profile(model, batch, sizes=[0.5, 0.1]),
        "total-effect": total_effect(model, batch),
        "substitution": substitution_profile(model, batch),
        "context": context_use(model, batch),
        "copy-curve": copy_curve(model, task, [1, 2, 4], protocol="fixed", n_sequences=50),
        "linear": linear_memory(model, batch),
        "information": symbol_information(model, batch, lags=[0, 2, 4]),
        "fisher": fisher_memory_curve(model, batch),
        "ipc": information_processing_capacity(one, uniform(4, 100).float(), max_lag=3),
    }
    return {name: result.assign_attrs(LABELS) for name, result in made.items()}


CURVES = {
    "total-effect": (plots.total_effect, "S_T", "lag"),
    "substitution": (plots.substitution_profile, "subst_kl", "lag"),
    "context": (plots.context_use, "cost_truncate", "length"),
    "copy-curve": (plots.copy_curve, "accuracy", "length"),
    "linear": (plots.linear_memory, "r2", "lag"),
    "information": (plots.symbol_information, "information", "lag"),
    "fisher": (plots.fisher_memory_curve, "fmc", "lag"),
}


@pytest.mark.parametrize("name", CURVES)
def test_line_is_the_measure(results: dict[str, xr.Dataset], name: str) -> None:
    draw, variable, x = CURVES[name]
    ax = Figure().subplots()
    assert draw(results[name], ax) is ax
    line = next(line for line in ax.lines if line.get_label() == "gru")
    np.testing.assert_array_equal(line.get_xdata(), results[name][x])
    expected = results[name][variable].values
    if ax.get_yscale() == "log":
        expected = np.where(expected > 0, expected, np.nan)
    np.testing.assert_array_equal(line.get_ydata(), expected)
    assert ax.get_xlabel()
    assert ax.get_ylabel()


FIGURES = {
    "profile": plots.gradient_profile_figure,
    "perturbation": plots.perturbation_profile_figure,
    "total-effect": plots.total_effect_figure,
    "substitution": plots.substitution_profile_figure,
    "context": plots.context_use_figure,
    "copy-curve": plots.copy_curve_figure,
    "linear": plots.linear_memory_figure,
    "information": plots.symbol_information_figure,
    "fisher": plots.fisher_memory_curve_figure,
    "ipc": plots.capacity_by_degree_figure,
}


@pytest.mark.parametrize("name", FIGURES)
def test_figure_of_three_seeds(results: dict[str, xr.Dataset], name: str, tmp_path: Path) -> None:
    runs = schema.combine_runs(
        [results[name].assign_attrs(train_seed=s, checkpoint=f"gru-s{s}.pt") for s in range(3)]
    )
    figure = FIGURES[name](runs)
    texts = {text.get_text() for legend in figure.legends for text in legend.get_texts()}
    assert "gru (3 seeds)" in texts or name == "ipc"
    plots.save(figure, tmp_path / "a.png")


def test_bars_add_up(results: dict[str, xr.Dataset]) -> None:
    ax = plots.capacity_by_degree(results["ipc"])
    heights = sum(patch.get_height() for patch in ax.patches)  # type: ignore[attr-defined]
    assert heights == pytest.approx(float(results["ipc"]["ipc_total"]))


def test_time_bins_are_lines(results: dict[str, xr.Dataset]) -> None:
    ax = plots.time_bins(results["profile"])
    lines = [line for line in ax.lines if str(line.get_label()).startswith("t = ")]
    assert len(lines) == results["profile"].sizes["bin"]
    np.testing.assert_array_equal(lines[-1].get_ydata(), results["profile"]["G_bin"][-1])


def test_protocol_stands_in_the_figure(results: dict[str, xr.Dataset]) -> None:
    figure = plots.copy_curve_figure(results["copy-curve"])
    assert "protocol: fixed" in figure.axes[0].get_title(loc="left")
    assert "chance" in {text.get_text() for text in figure.axes[0].texts}


def test_report_has_a_panel_per_measure_and_all_numbers(
    results: dict[str, xr.Dataset], tmp_path: Path
) -> None:
    lines = [("use: total-effect", "largest 1.0 at 2; " * 20), ("dimension: ipc", "none")]
    figure = plots.memory_report(results, "Memory of gru on recall", lines)
    titles = [ax.get_title(loc="left") for ax in figure.axes]
    assert len(titles) == 13
    for question in ("Sensitivity", "Use", "Availability", "Dimension"):
        assert any(title.startswith(question) for title in titles)
    written = " ".join(text.get_text() for text in figure.texts)
    assert "Memory of gru on recall" in written
    assert written.count("largest 1.0 at 2;") >= 18
    plots.save(figure, tmp_path / "report.pdf")
    few = plots.memory_report({"profile": results["profile"]}, "few", [])
    assert len(few.axes) == 2


def test_gaps_in_the_grid_are_bridged() -> None:
    """Two models measured at other lags share an axis; each keeps its own line."""
    x = white(8, 30)
    runs = [
        total_effect(systems.scalar(0.5), x, lags=lags).assign_attrs(
            LABELS | {"model": name, "checkpoint": name}
        )
        for name, lags in (("gru", [0, 2, 9]), ("tcn", [0, 1, 5]))
    ]
    ax = plots.total_effect(schema.combine_runs(runs))
    found = {str(line.get_label()): np.asarray(line.get_xdata()).tolist() for line in ax.lines}
    assert found["gru"] == [0, 2, 9]
    assert found["tcn"] == [0, 1, 5]
