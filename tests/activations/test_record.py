"""What is on disk is what the model did, for every architecture; nothing half-written stays."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
import xarray as xr

from cases import CAUSAL, Case
from seqprobe.activations import open_recording, record
from seqprobe.activations.plan import GROUPS
from seqprobe.errors import (
    NotApplicableError,
    SeqprobeError,
    UnreadableFileError,
    UsageError,
)
from seqprobe.models import Model, Trace, build_model
from seqprobe.spec import Spec
from seqprobe.tasks import Batch, make_task


def gru(width: int = 8, task: str = "delay") -> Model:
    return build_model("gru", make_task(task).spec, {"width": width}, seed=0).eval()


@pytest.mark.parametrize("case", CAUSAL, ids=str)
def test_a_recording_is_what_the_model_does(case: Case, tmp_path: Path) -> None:
    """States step by step, internals and outputs of the whole pass, under the same names."""
    model = case.build().eval()
    x = case.inputs(5, 9)
    x = x.float() if x.is_floating_point() else x
    file = tmp_path / "a.h5"
    record(model, Batch(x, torch.zeros(5, 9, 5)), file, what=GROUPS)
    trace = Trace("*")
    with torch.no_grad():
        outputs, _ = model(x, trace=trace)
        state, states = model.init_state(5), []
        for x_t in x.unbind(1):
            _, state = model.step(x_t, state)
            states.append(state)
    with xr.open_dataset(file, engine="h5netcdf") as found:
        assert found["outputs"].dims == ("trial", "time", "output")
        np.testing.assert_allclose(found["outputs"], outputs, atol=2e-5)
        np.testing.assert_array_equal(found["inputs"], x)
        kinds = model.state_kinds()
        for name in states[0]:
            if not states[0][name].numel():
                continue
            assert found[name].dims[:2] == ("trial", "time")
            assert str(found[name].dims[2]).startswith("unit")
            place = {"cache": (..., -1, slice(None)), "buffer": (..., -1)}
            rows = torch.stack(
                [one[name][place.get(kinds.get(name, "fixed"), ...)] for one in states], dim=1
            )
            rows = torch.view_as_real(rows) if rows.is_complex() else rows
            np.testing.assert_allclose(found[name], rows.flatten(2), atol=1e-6)
            shape = tuple(json.loads(found[name].attrs["shape"]))
            assert shape == rows.shape[2:]
            assert (found[name].attrs["complex"] == "true") == states[0][name].is_complex()
        for name in trace:
            if name not in states[0]:
                wanted = trace[name].flatten(2)
                np.testing.assert_allclose(found[name], wanted, atol=2e-5, err_msg=name)
        with xr.open_datatree(file, engine="h5netcdf") as tree:
            assert set(tree.dataset.data_vars) == set(found.data_vars)


def test_a_cache_is_its_entries_and_a_buffer_its_last_columns(tmp_path: Path) -> None:
    """The documented forms give the whole state back."""
    x = torch.randn(3, 12, 1)
    attention = build_model("transformer", Spec("continuous", 1, "regression", 1), {"width": 8})
    convolution = build_model("tcn", Spec("continuous", 1, "regression", 1), {"layers": 2})
    for model, name, axis in ((attention, "layer1.k", 2), (convolution, "layer1.conv1", 2)):
        model.eval()
        record(model, Batch(x, x), tmp_path / "a.h5", overwrite=True)
        with torch.no_grad():
            state = model(x)[1][name]
        with open_recording(tmp_path / "a.h5") as found:
            shape = json.loads(found[name].attrs["shape"])
            rows = torch.from_numpy(found[name].values).reshape(3, 12, *shape)
        rebuilt = rows.movedim(1, axis)
        torch.testing.assert_close(rebuilt[:, :, -state.shape[2] :], state) if shape[
            1:
        ] else torch.testing.assert_close(rebuilt[..., -state.shape[-1] :], state)


def test_inputs_targets_and_conditions_stand_beside_the_states(tmp_path: Path) -> None:
    task = make_task("sine", {"length": 30})
    model = build_model("gru", task.spec, {"width": 4})
    record(model, task, tmp_path / "a.h5", trials=70, seed=3)
    batches = [task.batch("test", 64, seed=3, index=i) for i in range(2)]
    inputs = torch.cat([batch.inputs for batch in batches])[:70]
    with open_recording(tmp_path / "a.h5") as found:
        assert found.sizes["trial"] == 70
        np.testing.assert_array_equal(found["inputs"], inputs)
        np.testing.assert_allclose(found["frequency"], 30 * inputs[:, 0, 0])
        assert found["frequency"].attrs["units"] == "Hz"
        assert found.attrs["recorded_task"] == "sine"
        assert found.attrs["format"] == "seqprobe.activations/1"
        for values in found.variables.values():
            assert values.attrs["long_name"]
            assert values.attrs["units"]


@pytest.mark.parametrize(
    ("name", "condition"), [("passkey", "depth"), ("induction", "place"), ("mqar", None)]
)
def test_recall_tasks_record_answers(name: str, condition: str | None, tmp_path: Path) -> None:
    task = make_task(name)
    model = build_model("lstm", task.spec, {"width": 4})
    record(model, task, tmp_path / "a.h5", trials=4, what=["layer0.c", "outputs"])
    with open_recording(tmp_path / "a.h5") as found:
        assert set(found.data_vars) >= {"layer0.c", "outputs", "predictions", "targets", "inputs"}
        assert "layer0.h" not in found
        said = found["outputs"].values.argmax(axis=2)
        np.testing.assert_array_equal(found["predictions"], said)
        if condition is not None:
            step = found[condition].values
            marker = {"depth": 10, "place": 16}[condition]
            assert (found["inputs"].values[np.arange(4), step] == marker).all()


def test_every_step_and_precision(tmp_path: Path) -> None:
    task, model = make_task("delay"), gru()
    record(model, task, tmp_path / "a.h5", trials=8)
    record(model, task, tmp_path / "b.h5", trials=8, every=5, dtype="float16", compression="gzip")
    with open_recording(tmp_path / "a.h5") as whole, open_recording(tmp_path / "b.h5") as some:
        assert some["layer0.h"].dtype == np.float16
        assert some["time"].values.tolist() == list(range(0, 96, 5))
        wanted = whole["layer0.h"].values[:, ::5]
        np.testing.assert_allclose(some["layer0.h"], wanted, atol=1e-3)
        # Inputs and targets keep all steps.
        np.testing.assert_array_equal(some["inputs"], whole["inputs"])
        assert some["inputs"].dims == ("trial", "step", "input")
    with h5py.File(tmp_path / "b.h5") as file:
        assert file["layer0.h"].compression == "gzip"


def test_blocks_and_pieces_make_no_difference(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task, model = make_task("delay"), gru()
    record(model, task, tmp_path / "a.h5", trials=200)
    recording = sys.modules["seqprobe.activations.record"]
    monkeypatch.setattr(recording, "_MEMORY", 2**15)
    monkeypatch.setattr(recording, "_WIDE", 1)
    seen: list[tuple[int, int]] = []
    record(model, task, tmp_path / "b.h5", trials=200, on_progress=lambda *now: seen.append(now))
    with open_recording(tmp_path / "a.h5") as a, open_recording(tmp_path / "b.h5") as b:
        np.testing.assert_allclose(a["layer0.h"], b["layer0.h"], atol=1e-6)
        np.testing.assert_array_equal(a["targets"], b["targets"])
    assert seen[-1] == (200 * 96, 200 * 96)
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    assert len(seen) > 10


def test_one_trace_is_read_without_the_file(tmp_path: Path) -> None:
    counter = Path("/proc/self/io")
    if not counter.exists():
        pytest.skip("this system does not count what a process reads")

    def read_so_far() -> int:
        return int(counter.read_text().split()[1])

    task = make_task("delay", {"length": 512})
    path = record(gru(256), task, tmp_path / "a.h5", trials=64, length=512)
    assert path.stat().st_size > 30e6
    with open_recording(path) as found:
        before = read_so_far()
        trace = found["layer0.h"].isel(trial=3, unit=200).values
        assert trace.shape == (512,)
        assert read_so_far() - before < 0.1 * path.stat().st_size


def test_a_killed_recording_leaves_nothing_that_looks_whole(tmp_path: Path) -> None:
    file = tmp_path / "a.h5"
    code = f"""
import time
from seqprobe.activations import record
from seqprobe.models import build_model
from seqprobe.tasks import make_task
task = make_task("delay")
model = build_model("gru", task.spec, {{"width": 64}})
record(model, task, {str(file)!r}, trials=4096, on_progress=lambda *now: time.sleep(0.2))
"""
    process = subprocess.Popen([sys.executable, "-c", code])
    part = tmp_path / "a.h5.part"
    for _ in range(600):
        if part.exists() and part.stat().st_size > 10_000:
            break
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert part.exists()
    assert not file.exists()
    with pytest.raises(UnreadableFileError):
        open_recording(file)


def test_a_failed_recording_is_removed(tmp_path: Path) -> None:
    model = gru()
    with torch.no_grad():
        model.head.bias.fill_(float("nan"))
    with pytest.raises(SeqprobeError, match="'outputs' is not finite at step 0; check the model"):
        record(model, make_task("delay"), tmp_path / "a.h5")
    assert list(tmp_path.iterdir()) == []


def test_half_precision_says_when_it_is_too_narrow(tmp_path: Path) -> None:
    model = gru()
    with torch.no_grad():
        model.head.bias.fill_(1e5)
    with pytest.raises(SeqprobeError, match="does not fit half precision, use --dtype float32"):
        record(model, make_task("delay"), tmp_path / "a.h5", dtype="float16")


def test_a_full_disk_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    full = shutil.disk_usage(tmp_path)._replace(free=1000)
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda path: full)
        with pytest.raises(
            SeqprobeError, match=r"disk is too full .* the recording takes 0\.2 MB, 0\.0 MB"
        ):
            record(gru(), make_task("delay"), tmp_path / "a.h5")
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_fills_up_says_so(tmp_path: Path) -> None:
    """The limit of a file's size stands for the disk's: the same error on another number."""
    code = f"""
import resource, signal
from seqprobe.cli.app import run
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
raise SystemExit(run(["record", {str(_checkpoint(tmp_path))!r}, "-o", {str(tmp_path / "a.h5")!r}]))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("seqprobe: error: disk is full: ")
    assert done.stderr.count("\n") == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["gru.pt"]


def _checkpoint(folder: Path) -> Path:
    from seqprobe.training import TrainConfig, train

    path = folder / "gru.pt"
    train("gru", make_task("delay"), path, config=TrainConfig(steps=0))
    return path


def test_refusals(tmp_path: Path) -> None:
    task, model = make_task("delay"), gru()
    file = tmp_path / "a.h5"
    with pytest.raises(UsageError, match=r"no part 'layer0.g'; did you mean 'layer0.h'\?"):
        record(model, task, file, what=["layer0.g"])
    with pytest.raises(UsageError, match=r"folder .* does not exist"):
        record(model, task, tmp_path / "no" / "a.h5")
    with pytest.raises(UsageError, match=r"unknown file type '\.csv'"):
        record(model, task, tmp_path / "a.csv")
    with pytest.raises(UsageError, match="every = 0"):
        record(model, task, file, every=0)
    with pytest.raises(UsageError, match="0 trials were asked for"):
        record(model, task, file, trials=0)
    with pytest.raises(UsageError, match="trials and length are for a task"):
        record(model, task.batch("test", 4), file, trials=2)
    both = build_model("bi-gru", task.spec, {"width": 4})
    with pytest.raises(NotApplicableError, match="bidirectional: it has no state"):
        record(both, task, file)
    assert not list(tmp_path.iterdir())
    record(model, task, file, trials=2)
    before = file.read_bytes()
    with pytest.raises(UsageError, match="is there already; use --overwrite"):
        record(model, task, file, trials=2)
    assert file.read_bytes() == before
    record(model, task, file, trials=3, overwrite=True)
    with open_recording(file) as found:
        assert found.sizes["trial"] == 3
    (tmp_path / "text.h5").write_text("no")
    for name in ("text.h5", "none.h5"):
        with pytest.raises(UnreadableFileError, match=r"is not a recording|does not exist"):
            open_recording(tmp_path / name)
