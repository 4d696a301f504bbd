"""``seqprobe fixed-points``: find and certify them."""

from __future__ import annotations

from typing import Any

import click
import numpy as np
import xarray as xr

import seqprobe.dynamics
from seqprobe.cli.analysis import Subject, View, analysis_command, number
from seqprobe.cli.fixed_points.group import EXAMPLES, command
from seqprobe.cli.fixed_points.options import (
    find,
    histogram,
    input_option,
    prepare,
    start_options,
)

__all__ = ["EXAMPLES"]

_TRAJECTORIES = 16


def _of_status(result: xr.Dataset) -> list[int]:
    """Return how many starts are stalled, converged, slow, left."""
    return [int((result["status"] == code).sum()) for code in range(4)]


def _largest(values: xr.DataArray) -> float:
    return float(values.max()) if values.size else float("nan")


def _as_json(result: xr.Dataset) -> dict[str, Any]:
    stalled, converged, slow, left = _of_status(result)
    return {
        "n_fixed_points": result.sizes["fixed_point"],
        "n_stable": int((result["stability"] == 0).sum()),
        "n_marginal": int((result["stability"] == 3).sum()),
        "unstable_dims": histogram(result["n_unstable"].values),
        "n_slow": slow,
        "n_stalled": stalled,
        "n_left": left,
        "n_converged": converged,
        "max_residual": number(np.sqrt(2 * _largest(result["q"]))),
        "max_certificate": number(_largest(result["certificate"])),
        "index_sum": [int(i) for i in result["index_sum"]],
        "complete": [None if c < 0 else bool(c) for c in result["complete"]],
        "basin": result["basin"].values if "basin" in result else None,
        "input": result.attrs["held_input"],
        "by_input": _by_input(result),
        "starts": result.sizes["start"],
        "noise": result.attrs["noise"],
        "method": result.attrs["method"],
        "seconds": float(result["seconds"]),
    }


def _by_input(result: xr.Dataset) -> list[dict[str, Any]]:
    """Return the counts of every input by itself."""
    rows = []
    for i, vector in enumerate(result["held"].values):
        mine = result["input_index"].values == i
        rows.append(
            {
                "input": vector,
                "n_fixed_points": int(mine.sum()),
                "n_stable": int((result["stability"].values[mine] == 0).sum()),
                "unstable_dims": histogram(result["n_unstable"].values[mine]),
                "index_sum": int(result["index_sum"][i]),
            }
        )
    return rows


def _by_dimension(result: xr.Dataset) -> str:
    """Return ``8/12/6/1``, or ``2 + 1 with 16`` where few dimensions occur."""
    found = {int(k): v for k, v in histogram(result["n_unstable"].values).items()}
    if not found:
        return "-"
    if max(found) < 6:
        return "/".join(str(found.get(k, 0)) for k in range(max(found) + 1))
    return ", ".join(f"{count} with {k}" for k, count in sorted(found.items()))


def _sums(result: xr.Dataset) -> str:
    kinds = {
        f"{int(s)}{'' if c else ', incomplete'}"
        for s, c in zip(result["index_sum"].values, result["complete"].values, strict=True)
    }
    return " | ".join(sorted(kinds))


def _ends(result: xr.Dataset) -> str:
    stalled, converged, slow, left = _of_status(result)
    return f"{converged}/{slow}/{stalled}/{left}"


VIEW = View(
    schema="seqprobe.fixed-points/1",
    columns={
        "points": lambda r: str(r.sizes["fixed_point"]),
        "stable": lambda r: str(int((r["stability"] == 0).sum())),
        "by unstable dims": _by_dimension,
        "certificate": lambda r: (
            f"{_largest(r['certificate']):.0e}" if r.sizes["fixed_point"] else "-"
        ),
        "index sum": _sums,
        "starts": _ends,
        "seconds": lambda r: f"{float(r['seconds']):.2f}",
    },
    as_json=_as_json,
    figure="fixed_points_figure",
    remarks=lambda results: [
        "certificate: largest distance to the true root, to first order; index sum: 1 if none is"
        " missing (necessary, for bounded states); starts: converged/slow/stalled/left;"
        " points, eigenvalues and directions are in -o",
        *_warnings(results),
    ],
)


def _warnings(results: Any) -> list[str]:
    lines = []
    for name, result in results.items():
        if not result.sizes["fixed_point"]:
            lines.append(f"'{name}': no fixed point was found; its state may never settle")
        elif bool((result["complete"] == 0).any()):
            lines.append(
                f"'{name}': some points are missing; try --exhaustive, more --starts or --noise"
            )
        if bool((result["stability"] == 3).any()):
            lines.append(
                f"'{name}': some points are marginal (an eigenvalue within 1e-3 of the unit circle)"
            )
    return lines


@analysis_command(
    command,
    "search",
    VIEW,
    input_option(several=True),
    *start_options(1024),
    click.option(
        "--exhaustive",
        is_flag=True,
        help="Search from 12,288 more starts, drawn far around the others.",
    ),
    examples=EXAMPLES,
)
def search(
    subject: Subject,
    held: str | None,
    n_starts: int,
    noise: float,
    length: int | None,
    sequences: int | None,
    exhaustive: bool,
) -> xr.Dataset:
    """Find the fixed points under constant input, each once, with a certificate.

    By Newton's method in float64 from states met on test sequences, then from between what was
    found. Slow points are not fixed points; see 'slow'.
    """
    setting = prepare(subject, held, n_starts, noise, length, sequences)
    points = find(subject, setting, exhaustive)
    parts = [points]
    if len(setting.inputs) == 1:
        if points.sizes["fixed_point"]:
            visited = seqprobe.dynamics.sample_states(
                subject.model, setting.batch, n_starts, noise=0.0, seed=subject.seed
            )
            counted = seqprobe.dynamics.basins(subject.model, points, visited)
            parts.append(counted[["basin", "unresolved"]])
        parts.append(seqprobe.dynamics.unstable_directions(subject.model, points))
    parts.append(
        seqprobe.dynamics.trajectories(subject.model, setting.batch, n_trials=_TRAJECTORIES)
    )
    result = xr.merge(parts, combine_attrs="override", compat="override")
    result.attrs |= {"held_input": setting.text, "noise": noise}
    return result
