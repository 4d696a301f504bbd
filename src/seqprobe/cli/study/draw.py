"""What a study draws at its end."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import xarray as xr
from matplotlib.figure import Figure

from seqprobe.errors import SeqprobeError, UsageError
from seqprobe.files import make_folder
from seqprobe.studies import Analysis, Study, collect, write_study
from seqprobe.studies.comparisons import comparison_group
from seqprobe.studies.plan import LEARNING_CURVES

__all__ = ["draw_all"]

_TAIL = 300


def draw_all(study: Study) -> tuple[list[Path], list[str]]:
    """Draw what the plan wants into ``figures/`` of the study's folder.

    An analysis is drawn as its command draws it. A Python file beside the study file is called
    with the collected study and the folder for its figures.

    Returns
    -------
    files
        What was written.
    failures
        Why drawings are missing, one line each; the others are there.
    """
    if not study.draw:
        return [], []
    home = make_folder(study.folder / "figures")
    with study.lock():
        try:
            tree = collect(study)
            collected = study.folder / "study.nc"
            write_study(tree, collected)
        except SeqprobeError as error:
            return [], [str(error)]
        made, failures = [collected], []
        for what in study.draw:
            try:
                made += _drawn(study, tree, what, collected, home)
            except SeqprobeError as error:
                failures.append(str(error))
    return made, failures


def _drawn(study: Study, tree: xr.DataTree, what: str, collected: Path, home: Path) -> list[Path]:
    if what.endswith(".py"):
        return _call(study.source.parent / what, collected, home)
    compared = [analysis for analysis in study.compare if analysis.name == what]
    if compared:
        return [path for one in compared for path in _draw_comparison(study, tree, one, home)]
    if what == LEARNING_CURVES:
        from seqprobe import plots

        drawn = plots.learning_curves_figure(tree["training"].to_dataset())
        return _save(drawn, home / LEARNING_CURVES)
    return _draw(study, tree, what, home)


def _draw_comparison(study: Study, tree: xr.DataTree, compared: Analysis, home: Path) -> list[Path]:
    """Draw a comparison of all units, if there is one."""
    from seqprobe import plots

    group = comparison_group(study, compared)
    if group not in tree.children:
        return []
    return _save(
        plots.degeneracy_figure(tree.children[group].to_dataset(inherit=False)), home / group
    )


def _save(figure: Figure, stem: Path) -> list[Path]:
    from seqprobe import plots

    paths = [stem.with_name(f"{stem.name}{ending}") for ending in (".pdf", ".png")]
    for path in paths:
        plots.save(figure, path)
    return paths


def _draw(study: Study, tree: xr.DataTree, line: str, home: Path) -> list[Path]:
    """Draw an analysis of all units that count and that it has a meaning for."""
    from seqprobe.cli.measures import command_of, parse

    analysis = study.drawn(parse(line))
    view = command_of(analysis.name).view
    if view.figure is None:
        raise UsageError(f"draw: '{line}' has no figure; leave it out")
    group = next((n for n in (analysis.name, analysis.stem) if n in tree.children), None)
    if group is None:
        return []
    runs = tree[group].to_dataset()
    runs = runs.isel(run=runs["measured"].values)
    return _save(view.draw(runs), home / group)


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
