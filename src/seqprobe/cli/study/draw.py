"""What a study draws at its end."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import xarray as xr
from matplotlib.figure import Figure

from seqprobe.errors import SeqprobeError, UsageError
from seqprobe.files import make_folder
from seqprobe.studies import Study, collect, write_study
from seqprobe.studies.plan import LEARNING_CURVES

__all__ = ["draw_all"]

_TAIL = 300


def draw_all(study: Study) -> list[Path]:
    """Draw what the plan wants into ``figures/`` of the study's folder; return the files.

    An analysis is drawn as its command draws it. A Python file beside the study file is called
    with the collected study and the folder for its figures.

    Raises
    ------
    SeqprobeError
        If a Python file fails.
    """
    if not study.draw:
        return []
    home = make_folder(study.folder / "figures")
    with study.lock():
        return _draw_into(home, study)


def _draw_into(home: Path, study: Study) -> list[Path]:
    tree = collect(study)
    collected = study.folder / "study.nc"
    write_study(tree, collected)
    made = [collected]
    for what in study.draw:
        if what.endswith(".py"):
            made += _call(study.source.parent / what, collected, home)
        elif what == LEARNING_CURVES:
            from seqprobe import plots

            drawn = plots.learning_curves_figure(tree["training"].to_dataset())
            made += _save(drawn, home / LEARNING_CURVES)
        else:
            made += _draw(tree, what, home)
    return made


def _save(figure: Figure, stem: Path) -> list[Path]:
    from seqprobe import plots

    paths = [stem.with_name(f"{stem.name}{ending}") for ending in (".pdf", ".png")]
    for path in paths:
        plots.save(figure, path)
    return paths


def _draw(tree: xr.DataTree, line: str, home: Path) -> list[Path]:
    """Draw an analysis of all units that count."""
    from seqprobe import plots
    from seqprobe.cli.measures import command_of, parse

    analysis = parse(line)
    view = command_of(analysis.name).view
    if view.figure is None:
        raise UsageError(f"draw: '{line}' has no figure; leave it out")
    group = next((n for n in (analysis.name, analysis.stem) if n in tree.children), None)
    if group is None:  # it has no meaning for any model of the study
        return []
    runs = tree[group].to_dataset()
    return _save(getattr(plots, view.figure)(runs), home / group)


def _call(script: Path, collected: Path, home: Path) -> list[Path]:
    """Run a script of the study; return what it wrote."""
    before = {path: path.stat().st_mtime_ns for path in home.iterdir()}
    ended = subprocess.run(
        [sys.executable, str(script), str(collected), str(home)],
        capture_output=True,
        text=True,
        check=False,
    )
    if ended.returncode:
        words = " ".join(ended.stderr.split())[-_TAIL:]
        raise SeqprobeError(f"'{script}' failed with exit code {ended.returncode}: {words}")
    return sorted(p for p in home.iterdir() if before.get(p) != p.stat().st_mtime_ns)
