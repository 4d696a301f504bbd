"""Every study in analyses/ runs in its small size, and says what it is expected to say."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import xarray as xr
from matplotlib.testing.compare import compare_images

from seqprobe.cli.app import run
from seqprobe.errors import UnreadableFileError
from seqprobe.studies import open_study

ROOT = Path(__file__).resolve().parents[1]
ANALYSES, FIGURES = ROOT / "analyses", ROOT / "figures"
STUDIES = sorted(path.parent.name for path in ANALYSES.glob("*/study.toml"))
DRAWN = [name for name in STUDIES if (FIGURES / f"{name}.nc").is_file()]
# Runs a script where torch cannot be imported.
WITHOUT_TORCH = (
    "import runpy, sys; sys.modules['torch'] = None; sys.argv = sys.argv[1:];"
    " runpy.run_path(sys.argv[0], run_name='__main__')"
)


def _expects_of_smoke(name: str) -> bool:
    path = ANALYSES / name / "expected.toml"
    if not path.is_file():
        return False
    entries = tomllib.loads(path.read_text())["expect"]
    return any(entry.get("size") == "smoke" for entry in entries)


@pytest.mark.slow
@pytest.mark.parametrize("name", STUDIES)
def test_the_small_size_runs_and_agrees(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    study = str(ANALYSES / name)
    try:
        open_study(study, "smoke")
    except UnreadableFileError as error:
        if not str(error).startswith("data set"):
            raise
        pytest.skip(str(error))
    assert run(["study", "run", study, "--size", "smoke", "--quiet"]) == 0
    if _expects_of_smoke(name):
        assert run(["study", "check", study, "--size", "smoke"]) == 0


@pytest.mark.slow
@pytest.mark.parametrize("name", DRAWN)
def test_a_figure_is_drawn_again_from_its_numbers_without_torch(name: str, tmp_path: Path) -> None:
    script, numbers = ANALYSES / name / "figure.py", FIGURES / f"{name}.nc"
    command = [sys.executable, "-c", WITHOUT_TORCH, str(script), str(numbers), str(tmp_path)]
    subprocess.run(command, check=True)
    assert {path.name for path in tmp_path.iterdir()} == {
        *(f"{name}{ending}" for ending in (".nc", ".pdf", ".png"))
    }
    with (
        xr.open_datatree(numbers, engine="h5netcdf") as kept,
        xr.open_datatree(tmp_path / f"{name}.nc", engine="h5netcdf") as again,
    ):
        xr.testing.assert_identical(kept, again)
    # Another version of a library may place a letter elsewhere.
    drawn = str(tmp_path / f"{name}.png")
    assert compare_images(str(FIGURES / f"{name}.png"), drawn, tol=10) is None


def test_figures_are_those_whose_hashes_are_listed() -> None:
    listed = {}
    for line in (FIGURES / "SHA256SUMS").read_text().splitlines():  # 'make hashes' writes it
        digest, _, file = line.partition("  ")
        listed[file] = digest
    found = {p.name for p in FIGURES.iterdir() if p.suffix in (".nc", ".pdf", ".png")}
    found -= {"demo_memory.pdf", "demo_memory.png"}  # of 'make demo'
    assert listed.keys() == found, "run 'make hashes'"
    for file, digest in listed.items():
        assert hashlib.sha256((FIGURES / file).read_bytes()).hexdigest() == digest, file
