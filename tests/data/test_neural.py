"""The recording of head-direction cells: fetched, converted, binned, and read."""

from __future__ import annotations

import cmath
import hashlib
import io
import itertools
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest

from data_sets import needs_data
from seqprobe import schema
from seqprobe.data import (
    CATALOG,
    DataFile,
    Dataset,
    dataset,
    fetch,
    folder,
    grasshopper,
    head_direction,
)
from seqprobe.data import convert as converters
from seqprobe.data.convert import head_direction as convert
from seqprobe.errors import SeqprobeError, UnreadableFileError, UsageError
from seqprobe.memory import decode

SPIKES = [np.sort(np.random.default_rng(i).uniform(0, 4, n)) for i, n in enumerate((200, 50))]
T = 1.53 + 0.00835 * np.arange(290)  # to 3.94 s
ANGLE = np.linspace(-9, 3, len(T)) % (2 * np.pi)  # through 0 twice


def session() -> bytes:
    """Return a small file laid out as that of pynapple: two units, sleep to 1 s, wake to 4 s."""
    packed = io.BytesIO()
    with h5py.File(packed, "w") as file:
        for name in ("CompassDirection/ry", "Position/x", "Position/z"):
            file[f"acquisition/{name}/data"] = ANGLE
            file[f"acquisition/{name}/timestamps"] = T
        file["units/spike_times"] = np.concatenate(SPIKES)
        file["units/spike_times_index"] = np.array([200, 250], dtype=np.uint32)
        file["units/location"] = ["adn", "ca1"]
        file["units/group"] = np.array([0, 1])
        file["intervals/epochs/start_time"] = [0.0, 1.0]
        file["intervals/epochs/stop_time"] = [1.0, 4.0]
    return packed.getvalue()


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@pytest.fixture
def published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put the small session in the place of the real one, where its publisher keeps it."""
    monkeypatch.setenv("SEQPROBE_DATA", str(tmp_path / "data"))
    source = tmp_path / "session.nwb"
    source.write_bytes(session())
    with zipfile.ZipFile(io.BytesIO(convert(session()))) as archive:
        content = {name: archive.read(name) for name in archive.namelist()}
    lines = "".join(f"{digest(content[name])}  {name}\n" for name in sorted(content))
    file = DataFile(
        "neural/session.npz",
        source.as_uri(),
        digest(lines.encode()),
        sum(map(len, content.values())),
        made_by="head_direction",
        source_sha256=digest(session()),
    )
    entry = Dataset("head-direction", "for tests", "none", (file,))
    monkeypatch.setitem(CATALOG, "head-direction", entry)
    return source


def test_what_is_fetched_is_converted_and_checked(published: Path) -> None:
    with pytest.raises(UnreadableFileError, match="seqprobe data fetch head-direction"):
        head_direction()
    assert fetch(dataset("head-direction")) == [folder() / "neural/session.npz"]
    assert fetch(dataset("head-direction")) == []
    assert head_direction().sizes == {"time": 24, "unit": 2}
    assert [p.name for p in (folder() / "neural").iterdir()] == ["session.npz"]
    (folder() / "neural/session.npz").write_bytes(b"no archive")
    with pytest.raises(UnreadableFileError, match="cannot be read"):
        head_direction()


def test_another_source_is_not_read(published: Path) -> None:
    published.write_bytes(session()[:-1] + b"x")
    with pytest.raises(SeqprobeError, match="another content than was published"):
        fetch(dataset("head-direction"))
    assert list((folder() / "neural").iterdir()) == []


def test_a_source_that_is_here_needs_no_network(published: Path) -> None:
    content = published.read_bytes()
    published.unlink()
    with pytest.raises(SeqprobeError, match=r"session.npz.part' and call it again"):
        fetch(dataset("head-direction"))
    (folder() / "neural/session.npz.part").write_bytes(content)
    fetch(dataset("head-direction"))
    assert head_direction().sizes["unit"] == 2


@pytest.mark.parametrize(("width", "smooth"), [(0.05, 0.0), (0.1, 0.13)])
def test_bins_against_the_definition(published: Path, width: float, smooth: float) -> None:
    fetch(dataset("head-direction"))
    found = head_direction(width, smooth)
    schema.validate(found)
    edges = [T[0] + k * width for k in range(found.sizes["time"] + 1)]
    assert edges[-1] <= T[-1] < edges[-1] + width
    np.testing.assert_allclose(found["time"].values, np.array(edges[:-1]) + width / 2)
    for i, (low, high) in enumerate(itertools.pairwise(edges)):
        for unit, train in enumerate(SPIKES):
            assert int(found["count"][i, unit]) == sum(low <= spike < high for spike in train)
        inside = [cmath.exp(1j * a) for a, t in zip(ANGLE, T, strict=True) if low <= t < high]
        mean = cmath.phase(sum(inside)) % (2 * np.pi)
        assert float(found["angle"][i]) == pytest.approx(mean, abs=1e-5)  # angles are float32
    if smooth == 0:
        np.testing.assert_allclose(found["rate"], found["count"] / width)
        return
    # Away from the ends of the recording: a sum over all bins with Gaussian weights.
    every = T[0] + width * np.arange(-15, 25)
    counts = np.histogram(SPIKES[0], every)[0]
    middles = (every[:-1] + every[1:]) / 2
    at = float(found["time"][6])
    reach = int(4 * smooth / width + 0.5)
    weights = np.exp(-0.5 * ((middles - at) / smooth) ** 2)
    weights[np.abs(middles - at) > (reach + 0.5) * width] = 0
    expected = weights @ counts / weights.sum() / width
    assert float(found["rate"][6, 0]) == pytest.approx(expected, rel=1e-9)


def test_refusals(published: Path) -> None:
    for arguments, message in (
        ((0.005, 0.2), "bins of 0.005 s .*sampled every 8.35 ms"),
        ((0.1, -1.0), "smoothing over -1 s"),
        ((0.1, float("nan")), "smoothing over nan s"),
    ):
        with pytest.raises(UsageError, match=message):
            head_direction(*arguments)


def test_text_of_sounds_and_spikes_is_converted() -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for k in "12":
            folder = "nitime/data/grasshopper"
            archive.writestr(f"{folder}_stimulus{k}.txt", f"0  0.5\n50  0.{k}\n")
            archive.writestr(f"{folder}_spike_times{k}.txt", f"# a header\n100\n{k}200\n")
    found = np.load(io.BytesIO(converters.grasshopper(packed.getvalue())), allow_pickle=False)
    assert found["stim2_t_us"].tolist() == [0, 50]
    assert found["stim2_amp"].tolist() == pytest.approx([0.5, 0.2])
    assert found["spikes1_us"].tolist() == [100, 1200]
    assert found["spikes2_len"].tolist() == [2]


@needs_data("grasshopper")
def test_a_receptor_follows_the_sound() -> None:
    found = grasshopper(0.002)
    schema.validate(found)
    assert found.sizes == {"trial": 2, "time": 5000, "unit": 1}
    assert found["count"].sum(("time", "unit")).values.tolist() == [929, 868]
    assert -36 < float(found["sound"].min()) < float(found["sound"].max()) <= 0
    # A receptor fires a few milliseconds after the sound is loud.
    sound, spikes = found["sound"].values, found["count"].values[..., 0]
    r = [np.corrcoef(sound[:, : -k or None].ravel(), spikes[:, k:].ravel())[0, 1] for k in range(9)]
    assert int(np.argmax(r)) in (1, 2, 3, 4)
    assert max(r) > 0.2
    with pytest.raises(UsageError, match="bins of 2 s"):
        grasshopper(2)


@needs_data("head-direction")
def test_thalamic_units_say_where_the_head_points() -> None:
    """About 10 degrees; a target that is shifted along the recording is at chance."""
    found = head_direction(0.1, 0.2)
    assert found["region"].values.tolist() == ["adn"] * 7 + ["ca1"] * 8
    assert float(found["time"][0]) == pytest.approx(670.69, abs=0.01)
    assert found.sizes == {"time": 5293, "unit": 15}
    adn, ca1 = (
        decode(found["rate"].isel(unit=units), found["angle"], circular=True)
        for units in (slice(0, 7), slice(7, None))
    )
    assert 8 < float(adn["median_error"]) < 12
    assert adn["median_error_ci"].values[1] < 15
    assert float(adn["p_value"]) < 0.01
    # The head points elsewhere in the second half, so that shifted targets do worse than 90.
    low, high = adn["median_error_null_ci"].values
    assert low < 90 < high
    assert 80 < float(adn["mean_error_null"]) < 120
    low, high = ca1["median_error_null_ci"].values
    assert low < float(ca1["median_error"]) < high
