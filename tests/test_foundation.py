"""Settings, files, seeds, states, devices and the result schema."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch
import xarray as xr

from seqprobe import device, schema, seeding
from seqprobe.config import bounded, from_mapping, parse_assignments
from seqprobe.errors import UnreadableFileError, UsageError
from seqprobe.files import atomic, check_output, sha256
from seqprobe.state import flatten, layout, size, unflatten


@dataclass(frozen=True)
class Settings:
    rate: float = bounded(0.1, 0.0, 1.0)
    width: int = bounded(4, 1)
    name: str = "x"
    flag: bool = False
    kind: Literal["a", "b"] = "a"
    maybe: int | None = bounded(None, 1)


def test_settings_take_plain_values() -> None:
    values = {"rate": 1, "width": 7, "name": "y", "flag": True, "kind": "b", "maybe": 3}
    made = from_mapping(Settings, values, "s")
    assert made == Settings(1.0, 7, "y", True, "b", 3)
    assert isinstance(made.rate, float)
    assert from_mapping(Settings, {"maybe": None}, "s").maybe is None


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"widht": 3}, r"unknown key 's\.widht'; did you mean 'width'\? \(allowed: s\.rate"),
        ({"width": 0}, r"s\.width = 0 is out of range \(allowed: >= 1\)"),
        ({"width": 2.5}, r"s\.width = 2\.5 is not allowed \(allowed: an integer\)"),
        ({"width": True}, r"s\.width = True is not allowed"),
        ({"rate": 2}, r"s\.rate = 2\.0 is out of range \(allowed: 0.0 to 1.0\)"),
        ({"rate": float("nan")}, r"s\.rate = nan is out of range"),
        ({"rate": "fast"}, r"s\.rate = 'fast' is not allowed \(allowed: a number\)"),
        ({"kind": "c"}, r"s\.kind = 'c' is not allowed \(allowed: 'a', 'b'\)"),
        ({"flag": 1}, r"s\.flag = 1 is not allowed \(allowed: true or false\)"),
        ({"maybe": 0}, r"s\.maybe = 0 is out of range"),
    ],
)
def test_wrong_settings_are_named(values: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        from_mapping(Settings, values, "s")


def test_assignments_are_toml_else_text() -> None:
    words = ["a.x=3e-3", "a.n=20", "a.t=true", "b.s=rope", 'b.q="1"']
    assert parse_assignments(words, ("a", "b")) == {
        "a": {"x": 3e-3, "n": 20, "t": True},
        "b": {"s": "rope", "q": "1"},
    }


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("a.x", "has no '='"),
        ("x=1", "needs a prefix .* as in model.x"),
        ("modle.x=1", "unknown prefix in 'modle.x'; did you mean 'model'"),
    ],
)
def test_wrong_assignments_are_named(word: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        parse_assignments([word], ("model", "task"))


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    target = tmp_path / "x.txt"
    target.write_text("old")
    with pytest.raises(RuntimeError), atomic(target) as part:
        part.write_text("half")
        raise RuntimeError
    assert target.read_text() == "old"
    with atomic(target) as part:
        part.write_text("new")
    assert target.read_text() == "new"
    assert [p.name for p in tmp_path.iterdir()] == ["x.txt"]


def test_outputs_are_checked_before_the_work(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is a folder"):
        check_output(tmp_path)
    with pytest.raises(UsageError, match="does not exist; create it first"):
        check_output(tmp_path / "no" / "x.nc")
    with pytest.raises(UsageError, match=r"unknown file type '.txt' \(allowed: .pdf\)"):
        check_output(tmp_path / "x.txt", (".pdf",))


def test_sha256_is_of_the_bytes(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"abc")
    assert sha256(tmp_path / "x").startswith("ba7816bf8f01cfea414140de5dae2223")


def test_streams_of_different_purposes_differ() -> None:
    purposes: list[tuple[str | int, ...]] = [
        ("train", 0), ("train", 1), ("valid", 0), ("test", 0), ("order",)
    ]  # fmt: skip
    draws = [seeding.generator(s, *p).random() for s in (0, 1) for p in purposes]
    assert len(set(draws)) == len(draws)
    assert seeding.generator(1, "a").random() != seeding.generator(1, "a", 0).random()
    assert seeding.generator(1, "train", 1).random() == seeding.generator(1, "train", 1).random()
    with pytest.raises(UsageError, match="non-negative"):
        seeding.generator(-1, "train")


def test_seeding_torch_leaves_the_global_generator_alone() -> None:
    before = torch.get_rng_state()
    with seeding.torch_seeded(3, "weights"):
        first = torch.rand(2)
    with seeding.torch_seeded(3, "weights"):
        second = torch.rand(2)
    assert torch.equal(first, second)
    assert torch.equal(torch.get_rng_state(), before)


def test_state_vector_round_trip_with_complex_parts() -> None:
    state = {
        "layer0.h": torch.randn(3, 4).double(),
        "layer1.z": torch.randn(3, 2, 2, dtype=torch.complex128),
        "layer2.k": torch.zeros(3, 2, 0, 5).double(),
    }
    vector = flatten(state)
    assert vector.shape == (3, size(state)) == (3, 4 + 8)
    parts = layout(state)
    back = unflatten(vector, parts)
    assert all(torch.equal(back[name], state[name]) for name in state)
    assert vector[:, parts["layer1.z"].where].shape == (3, 8)


def test_device_that_is_not_there() -> None:
    assert device.resolve("cpu") == torch.device("cpu")
    for name in ("cuda:99", "meta", "gpu", "xpu"):
        with pytest.raises(UsageError, match=f"device '{name}' is not available here"):
            device.resolve(name)


def test_malloc_tuning_reports_what_it_did() -> None:
    glibc = os.path.exists("/lib/x86_64-linux-gnu/libc.so.6")  # noqa: PTH110
    assert device.tune_malloc() or not glibc


def _result() -> xr.Dataset:
    values = np.array([[1.0, np.nan, np.inf], [1e-300, -0.0, 2.0]])
    return xr.Dataset(
        {
            "G": schema.variable(("trial", "lag"), values, "gain", "1"),
            "eigenvalue": schema.variable(("mode",), np.array([1 + 2j, 3 - 1j]), "eig", "1"),
            "half": schema.variable(("lag",), np.ones(3, np.float16), "half precision", "1"),
        },
        {"lag": schema.variable(("lag",), np.arange(3), "lag", "steps")},
        {"analysis": "test", "seed": 3, "parameters": '{"a": 1}'},
    )


def test_a_result_read_back_equals_the_one_written(tmp_path: Path) -> None:
    schema.write(_result(), tmp_path / "x.nc")
    back = schema.read(tmp_path / "x.nc")
    xr.testing.assert_identical(back, _result())
    assert {n: v.dtype for n, v in back.items()} == {n: v.dtype for n, v in _result().items()}


@pytest.mark.parametrize("names", [("/", "own"), ("own", "other")])
def test_groups_read_back_equal_those_written(tmp_path: Path, names: tuple[str, ...]) -> None:
    groups = {name: _result().assign_attrs(seed=i) for i, name in enumerate(names)}
    schema.write_groups(groups, tmp_path / "x.nc")
    back = schema.read_groups(tmp_path / "x.nc")
    assert tuple(back) == names
    for name in names:
        xr.testing.assert_identical(back[name], groups[name])


def test_the_schema_is_enforced(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="dimension 'lagg' is not in the schema"):
        schema.write(_result().rename(lag="lagg"), tmp_path / "x.nc")
    bad = _result()
    del bad["G"].attrs["units"]
    with pytest.raises(UsageError, match="variable 'G' has no 'units'"):
        schema.write(bad, tmp_path / "x.nc")
    assert list(tmp_path.iterdir()) == []


def test_reading_what_is_not_a_result(tmp_path: Path) -> None:
    (tmp_path / "x.nc").write_text("no")
    with pytest.raises(UnreadableFileError, match="is not a result file"):
        schema.read(tmp_path / "x.nc")
    with pytest.raises(UnreadableFileError, match="does not exist"):
        schema.read(tmp_path / "y.nc")


def test_runs_side_by_side_keep_what_differs(tmp_path: Path) -> None:
    a = _result().assign_attrs(checkpoint="a.pt", model="gru")
    b = _result().isel(lag=slice(2)).assign_attrs(checkpoint="b.pt", model="tcn")
    both = schema.combine_runs([a, b])
    assert both["run"].values.tolist() == ["a.pt", "b.pt"]
    assert both["model"].values.tolist() == ["gru", "tcn"]
    assert both.attrs["seed"] == 3
    assert np.isnan(both["half"][1, 2])
    schema.write(both, tmp_path / "x.nc")
    xr.testing.assert_identical(schema.read(tmp_path / "x.nc"), both)
