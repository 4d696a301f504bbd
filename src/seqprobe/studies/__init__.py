"""A sweep as data: plan (TOML) -> run (this machine or a Dask cluster) -> collect into one file."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from seqprobe.studies.analyses import Analysis
    from seqprobe.studies.batch import analyse_together
    from seqprobe.studies.cluster import on_dask, on_slurm
    from seqprobe.studies.collection import collect
    from seqprobe.studies.comparisons import compare_units
    from seqprobe.studies.cost import estimate
    from seqprobe.studies.expected import check
    from seqprobe.studies.export import write_study
    from seqprobe.studies.grid import to_grid
    from seqprobe.studies.results import analyse, answered, stored
    from seqprobe.studies.running import Standing, cores, run
    from seqprobe.studies.selection import of_study
    from seqprobe.studies.study import Study, is_study, open_study
    from seqprobe.studies.unit import Unit
    from seqprobe.studies.upkeep import retry, status, validate

# Imported on first use: 'seqprobe study status' of thousands of units must not wait for torch.
_HOME = {
    "Analysis": "analyses",
    "Standing": "running",
    "Study": "study",
    "Unit": "unit",
    "analyse": "results",
    "analyse_together": "batch",
    "answered": "results",
    "is_study": "study",
    "cores": "running",
    "of_study": "selection",
    "check": "expected",
    "collect": "collection",
    "compare_units": "comparisons",
    "on_dask": "cluster",
    "estimate": "cost",
    "on_slurm": "cluster",
    "open_study": "study",
    "retry": "upkeep",
    "run": "running",
    "status": "upkeep",
    "stored": "results",
    "to_grid": "grid",
    "validate": "upkeep",
    "write_study": "export",
}

__all__ = [
    "Analysis",
    "Standing",
    "Study",
    "Unit",
    "analyse",
    "analyse_together",
    "answered",
    "check",
    "collect",
    "compare_units",
    "cores",
    "estimate",
    "is_study",
    "of_study",
    "on_dask",
    "on_slurm",
    "open_study",
    "retry",
    "run",
    "status",
    "stored",
    "to_grid",
    "validate",
    "write_study",
]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(importlib.import_module(f"seqprobe.studies.{_HOME[name]}"), name)
    raise AttributeError(f"module 'seqprobe.studies' has no attribute '{name}'")
