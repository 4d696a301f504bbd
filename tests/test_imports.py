"""The house keeps its order: a room knows only rooms above it, and the door opens at once."""

from __future__ import annotations

import ast
import subprocess
import sys
import time
from pathlib import Path

import pytest

import seqprobe

SOURCE = Path(seqprobe.__file__).parent
FOUNDATION = {path.stem for path in SOURCE.glob("*.py")} - {"__init__", "__main__"}
# The order in which data flows. A room may import from the foundation and from rooms before it.
ROOMS = [
    *("data", "tasks", "models", "training", "adapters", "activations"),
    *("memory", "capacity", "dynamics", "degeneracy", "studies", "plots", "cli"),
]
FORBIDDEN = {
    "models": {"data", "tasks"},
    "adapters": {"data"},
    "activations": {"data", "training"},
    "memory": {"data", "training", "activations"},
    "capacity": {"data", "training", "activations"},
    "dynamics": {"data", "training", "activations", "capacity"},
    "degeneracy": {"data", "training", "activations"},
    "studies": {"data", "activations", "memory", "capacity", "dynamics", "degeneracy"},
    "plots": {room for room in ROOMS if room not in ("plots", "cli")},
}


def _imports(path: Path) -> set[str]:
    """Return the seqprobe rooms and files that a module imports, `seqprobe` alone left out."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, f"{path}: relative import"
            if node.module == "seqprobe":
                found |= {alias.name for alias in node.names}
            elif node.module.startswith("seqprobe."):
                found.add(node.module.split(".")[1])
        elif isinstance(node, ast.Import):
            names = (alias.name.split(".") for alias in node.names)
            found |= {parts[1] for parts in names if parts[0] == "seqprobe" and len(parts) > 1}
    return found


def test_every_folder_is_a_room_of_the_list() -> None:
    folders = {path.name for path in SOURCE.iterdir() if (path / "__init__.py").exists()}
    assert folders == set(ROOMS)


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_knows_only_rooms_above_it(room: str) -> None:
    allowed = FOUNDATION | set(ROOMS[: ROOMS.index(room) + 1]) - FORBIDDEN.get(room, set())
    for path in (SOURCE / room).rglob("*.py"):
        strange = _imports(path) - allowed - {"__version__"}
        assert not strange, f"{path.relative_to(SOURCE)} imports {strange}"


def test_the_foundation_knows_no_room() -> None:
    for name in FOUNDATION:
        assert not _imports(SOURCE / f"{name}.py") & set(ROOMS), name


def test_nobody_imports_private_names_of_another_module() -> None:
    for path in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("seqprobe"):
                private = [alias.name for alias in node.names if alias.name.startswith("_")]
                assert set(private) <= {"__version__"}, f"{path}: {private}"


def test_plots_need_no_torch() -> None:
    code = "import sys, seqprobe.plots; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_help_answers_without_torch() -> None:
    code = (
        "import sys; from seqprobe.cli.app import run; run(['--help']);"
        "sys.exit(bool({'torch', 'numpy', 'xarray'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.slow
def test_help_answers_in_a_fifth_of_a_second() -> None:
    times = []
    for _ in range(7):
        start = time.perf_counter()
        subprocess.run([sys.executable, "-m", "seqprobe", "--help"], check=True)
        times.append(time.perf_counter() - start)
    assert sorted(times)[3] < 0.2
