"""Every study in analyses/ runs in its small size, and says what it is expected to say."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from seqprobe.cli.app import run

ANALYSES = Path(__file__).resolve().parents[1] / "analyses"
STUDIES = sorted(path.parent.name for path in ANALYSES.glob("*/study.toml"))


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
    assert run(["study", "run", study, "--size", "smoke", "--quiet"]) == 0
    if _expects_of_smoke(name):
        assert run(["study", "check", study, "--size", "smoke"]) == 0
