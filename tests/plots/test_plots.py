"""Figures show the numbers of the result, and nothing outside their axes changes."""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest
import torch
import xarray as xr
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from reference import systems
from seqprobe import plots, schema
from seqprobe.errors import UsageError
from seqprobe.memory import gradient_profile
from seqprobe.plots.style import look


def result(model: str, decay: float, seed: int = 0, task: str = "t", lags: int = 20) -> xr.Dataset:
    x = torch.randn(4, 40, 1, dtype=torch.float64)
    made = gradient_profile(systems.scalar(decay), x, max_lag=lags)
    return made.assign_attrs(
        model=model, task=task, checkpoint=f"{task}/{model}-{seed}.pt", train_seed=seed
    )


def heights(line: Line2D) -> np.ndarray:
    return np.asarray(line.get_ydata(), dtype=np.float64)


def test_line_is_the_relative_profile() -> None:
    ax = Figure().subplots()
    assert plots.gradient_profile(result("gru", 0.5), ax=ax) is ax
    line = next(line for line in ax.lines if line.get_label() == "gru")
    np.testing.assert_allclose(heights(line), 0.5 ** np.arange(21))
    assert line.get_color() == look("gru").color
    assert ax.get_xlabel() == "lag k (steps)"
    assert "relative sensitivity" in ax.get_ylabel()
    assert ax.get_yscale() == "log"


def test_cumulative_share_reaches_one() -> None:
    ax = plots.cumulative_share(result("gru", 0.5))
    line = next(line for line in ax.lines if line.get_label() == "gru")
    assert heights(line)[-1] == pytest.approx(1)


def test_seeds_of_one_architecture_become_a_median_with_thin_lines() -> None:
    runs = schema.combine_runs([result("gru", 0.5 + 0.05 * s, s) for s in range(5)])
    ax = plots.gradient_profile(runs)
    labelled = [line for line in ax.lines if str(line.get_label()).startswith("gru")]
    assert [line.get_label() for line in labelled] == ["gru (5 seeds)"]
    np.testing.assert_allclose(heights(labelled[0]), 0.6 ** np.arange(21))
    assert sum(line.get_linewidth() == 0.5 and line.get_alpha() == 0.35 for line in ax.lines) == 5


def test_other_settings_are_other_lines_not_other_seeds() -> None:
    wide = result("gru", 0.5).assign_attrs(model_config='{"width": 64, "layers": 1}')
    narrow = result("gru", 0.8).assign_attrs(model_config='{"width": 8, "layers": 1}')
    ax = plots.gradient_profile(schema.combine_runs([wide, narrow]))
    labels = [str(line.get_label()) for line in ax.lines if "gru" in str(line.get_label())]
    assert labels == ["gru width=64", "gru width=8"]
    short = result("gru", 0.5).assign_attrs(task_config='{"delay": 5}')
    long = result("gru", 0.8).assign_attrs(task_config='{"delay": 9}')
    figure = plots.gradient_profile_figure(schema.combine_runs([short, long]))
    titles = [ax.get_title(loc="left") for ax in figure.axes[::2]]
    assert titles[0].startswith("t, delay=5: ")
    assert titles[1].startswith("t, delay=9: ")


def test_a_file_and_its_copy_are_not_two_seeds() -> None:
    twice = schema.combine_runs([result("gru", 0.5), result("gru", 0.5)])
    labels = [str(line.get_label()) for line in plots.gradient_profile(twice).lines]
    assert "gru (2 runs)" in labels


def test_sensitivity_per_standard_deviation_can_be_drawn() -> None:
    ax = plots.gradient_profile(result("gru", 0.5), quantity="G_sd")
    assert "sd" in ax.get_ylabel()


def test_exact_zero_is_marked_and_not_drawn() -> None:
    x = torch.randn(3, 60, 1, dtype=torch.float64)
    made = gradient_profile(systems.FIR([1.0, 0.5, 0.25]), x).assign_attrs(model="tcn")
    ax = plots.gradient_profile(made)
    assert "0 from lag 3" in [text.get_text() for text in ax.texts]
    line = next(line for line in ax.lines if line.get_label() == "tcn")
    assert np.isnan(heights(line)[3:]).all()


def test_a_silent_model_can_be_drawn() -> None:
    x = torch.randn(3, 30, 1, dtype=torch.float64)
    plots.gradient_profile_figure(gradient_profile(systems.Parity(), x))


def test_figure_has_a_row_per_task_and_lags_of_its_own() -> None:
    runs = schema.combine_runs(
        [result("gru", 0.5, task="a", lags=20), result("tcn", 0.6, task="b", lags=10)]
    )
    figure = plots.gradient_profile_figure(runs)
    assert len(figure.axes) == 4
    assert figure.axes[0].get_xlim()[1] > 20
    assert figure.axes[2].get_xlim()[1] < 12


def test_drawing_touches_no_global_state(tmp_path: Path) -> None:
    before = dict(mpl.rcParams)
    figure = plots.gradient_profile_figure(result("gru", 0.5))
    plots.save(figure, tmp_path / "x.pdf")
    assert dict(mpl.rcParams) == before


def test_same_numbers_same_bytes(tmp_path: Path) -> None:
    made = result("gru", 0.5)
    for kind in ("pdf", "png", "svg"):
        for name in "ab":
            plots.save(plots.gradient_profile_figure(made), tmp_path / f"{name}.{kind}")
        assert (tmp_path / f"a.{kind}").read_bytes() == (tmp_path / f"b.{kind}").read_bytes()
    with pytest.raises(UsageError, match=r"unknown file type '\.jpg'"):
        plots.save(plots.gradient_profile_figure(made), tmp_path / "x.jpg")


def test_unknown_architectures_keep_one_look() -> None:
    assert look("my-model") == look("my-model")
    assert len({look(name) for name in ("rnn", "gru", "lstm", "tcn", "transformer")}) == 5
