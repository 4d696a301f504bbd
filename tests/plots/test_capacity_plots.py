"""Figures of capacity show the numbers of the result, of one run and of several."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr
from matplotlib.figure import Figure

from seqprobe import plots, schema
from seqprobe.capacity import (
    capacity_summary,
    cover_capacity,
    effective_state_size,
    manifold_capacity,
    quantised_bits,
    recall_capacity,
    state_dimension,
    state_growth,
)
from seqprobe.models import build_model
from seqprobe.tasks import make_task

TASK = make_task("mqar", {"length": 24, "pairs": 3, "keys": 8, "values": 4})
RECALL = make_task("recall", {"length": 16, "delay": 3, "symbols": 4})


def _results(model: str, width: int, seed: int) -> dict[str, xr.Dataset]:
    net = build_model(model, TASK.spec, {"width": width}, seed=seed).eval()
    stream = build_model(model, RECALL.spec, {"width": width}, seed=seed).eval()
    batch = TASK.batch("test", 32)
    x = batch.inputs
    z = torch.randn(60, 5).double().numpy()
    made = {
        "capacity_summary": capacity_summary(net, x, part="readout"),
        "effective_state_size": effective_state_size(net, x[:3]),
        "state_dimension": state_dimension(net, x, part="readout"),
        "recall_capacity": recall_capacity(net, TASK, [1, 2, 4, 8], n_sequences=30),  # type: ignore[arg-type]
        "quantised_bits": quantised_bits(net, TASK, batch),
        "cover_capacity": cover_capacity(z, draws=5),
        "manifold_capacity": manifold_capacity(z, np.arange(60) % 3, draws=10),
    }
    if model != "transformer":
        made["state_growth"] = state_growth(
            stream, RECALL.batch("test", 8, length=64), train_length=16
        )
    labels = {"model": model, "task": "mqar", "model_config": f'{{"width": {width}}}'}
    labels |= {"train_seed": str(seed), "train_length": "16"}
    return {
        name: result.assign_attrs(labels | {"checkpoint": f"{model}-{width}-{seed}.pt"})
        for name, result in made.items()
    }


RUNS = [("gru", 6, 0), ("gru", 6, 1), ("gru", 12, 0), ("transformer", 8, 0)]
FIGURES = (
    *("capacity_summary", "effective_state_size", "state_dimension", "recall_capacity"),
    *("quantised_bits", "cover_capacity", "manifold_capacity", "state_growth"),
)


@pytest.fixture(scope="module")
def results() -> list[dict[str, xr.Dataset]]:
    return [_results(*run) for run in RUNS]


@pytest.mark.parametrize("name", FIGURES)
def test_every_figure_of_one_and_of_several(
    name: str, results: list[dict[str, xr.Dataset]], tmp_path: Path
) -> None:
    draw = getattr(plots, f"{name}_figure")
    there = [found[name] for found in results if name in found]
    for result in (there[0], schema.combine_runs(there)):
        figure = draw(result)
        assert isinstance(figure, Figure)
        plots.save(figure, tmp_path / "f.png")
        for ax in figure.axes:
            assert ax.get_xlabel()
            assert ax.has_data()
    # What was written draws the same figure.
    schema.write(schema.combine_runs(there), tmp_path / "r.nc")
    plots.save(draw(schema.read(tmp_path / "r.nc")), tmp_path / "g.png")
    assert (tmp_path / "g.png").read_bytes() == (tmp_path / "f.png").read_bytes()


def test_lines_are_the_numbers(results: list[dict[str, xr.Dataset]]) -> None:
    size = results[0]["effective_state_size"]
    ax = plots.effective_state_size(size)
    counts = size["ess"].isel(time=1).sortby("tolerance").values
    np.testing.assert_allclose(np.asarray(ax.lines[0].get_ydata()), counts)

    recall = schema.combine_runs([found["recall_capacity"] for found in results])
    ax = plots.recall_accuracy(recall)
    lines = [np.asarray(line.get_ydata()) for line in ax.lines]
    median = np.median(recall["accuracy"].values[:2], axis=0)  # the two seeds of one size
    assert any(len(line) == 4 and np.allclose(line, median) for line in lines)

    growth = results[0]["state_growth"]
    ax = plots.loss_by_position(growth)
    there = growth["loss"].values[np.isfinite(growth["loss"].values)]
    assert any(np.allclose(np.asarray(line.get_ydata()), there) for line in ax.lines[:1])


def test_an_arrow_where_the_largest_load_is_still_recalled(
    results: list[dict[str, xr.Dataset]],
) -> None:
    recall = results[0]["recall_capacity"].copy()
    recall["capacity"] = recall["capacity"].copy(data=[np.inf, np.inf])
    assert len(plots.recall_capacity(recall).texts) == 1
    low = recall.assign(capacity=recall["capacity"].copy(data=[0.0, 0.0]))
    assert len(plots.recall_capacity(low).texts) == 1
    inside = recall.assign(capacity=recall["capacity"].copy(data=[2.0, 2.0]))
    assert not plots.recall_capacity(inside).texts
