"""A folder with small checkpoints, and a way to run a command line in it."""

from __future__ import annotations

import glob
import json
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from seqprobe.cli.app import run


@dataclass
class Result:
    code: int
    out: str
    err: str

    @property
    def json(self) -> dict[str, Any]:
        content: dict[str, Any] = json.loads(self.out)
        assert self.out.count("\n") == 1
        return content

    @property
    def error(self) -> str:
        """The one line of an error."""
        assert self.err.count("\n") == 1, self.err
        assert self.err.startswith("seqprobe: error: ")
        assert "Traceback" not in self.err
        return self.err.removeprefix("seqprobe: error: ").rstrip("\n")


Seqprobe = Callable[[str], Result]


def prints_only_a_row(seqprobe: Seqprobe, *lines: str) -> None:
    """Assert that each line with ``-q`` prints its table of one row, and nothing beside it."""
    for line in lines:
        table = seqprobe(f"{line} -q")
        assert table.code == 0, table.err
        assert len(table.out.splitlines()) == 2
        assert table.err == ""


@pytest.fixture(scope="session")
def zoo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("zoo")
    for line in (
        "train tcn delay -o DIR/tcn.pt --steps 20 --set model.layers=2 --set model.kernel=3",
        "train gru delay -o DIR/gru.pt --steps 20 --set model.width=8",
        "train rnn digits -o DIR/rnn.pt --steps 0 --set model.width=8",
    ):
        options = "--device cpu --quiet"
        assert run(shlex.split(f"{line.replace('DIR', str(folder))} {options}")) == 0
    return folder


@pytest.fixture
def seqprobe(
    zoo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Seqprobe:
    """Run ``seqprobe LINE`` in an empty folder that holds a copy of the zoo as ``zoo``."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "zoo").mkdir()
    for path in zoo.iterdir():
        (tmp_path / "zoo" / path.name).write_bytes(path.read_bytes())

    def call(line: str) -> Result:
        words = []
        for word in shlex.split(line):
            words += sorted(glob.glob(word)) or [word] if "*" in word else [word]  # noqa: PTH207
        capsys.readouterr()
        code = run(words)
        captured = capsys.readouterr()
        return Result(code, captured.out, captured.err)

    return call
