"""``seqprobe fixed-points connections``: which saddle leads to which attractors."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

import seqprobe.dynamics
from seqprobe.cli.analysis import Subject, View, analysis_command
from seqprobe.cli.fixed_points.group import command
from seqprobe.cli.fixed_points.options import find, input_option, prepare, start_options

EXAMPLES = """\b
Examples:
  seqprobe fixed-points connections checkpoints/flipflop/gru-s0.pt --figure graph.pdf
"""


def joined(result: xr.Dataset) -> dict[str, int]:
    """Return how many saddles of one unstable dimension join attractors by Hamming distance."""
    if "hamming" not in result:
        return {}
    apart = result["hamming"].values
    distances, counts = np.unique(apart[np.isfinite(apart)], return_counts=True)
    return {str(int(d)): int(n) for d, n in zip(distances, counts, strict=True)}


def _as_json(result: xr.Dataset) -> dict[str, Any]:
    return {
        "n_fixed_points": result.sizes["fixed_point"],
        "edges": [
            {"source": int(s), "target": int(t), "source_unstable": int(d), "rays": int(c)}
            for s, t, d, c in zip(
                result["source"].values,
                result["target"].values,
                result["source_unstable"].values,
                result["count"].values,
                strict=True,
            )
        ],
        "saddles_by_hamming_distance": joined(result),
        "unresolved": int(result["unresolved"].sum()),
    }


def _by_type(result: xr.Dataset) -> str:
    """Return the number of edges by unstable dimensions of their source: ``1: 24, 2: 24``."""
    values, counts = np.unique(result["source_unstable"].values, return_counts=True)
    return ", ".join(f"{v}: {c}" for v, c in zip(values, counts, strict=True)) or "-"


VIEW = View(
    schema="seqprobe.fixed-points.connections/1",
    columns={
        "points": lambda r: str(r.sizes["fixed_point"]),
        "attractors": lambda r: str(int((r["stability"] == 0).sum())),
        "edges by unstable dims": _by_type,
        "saddles by Hamming distance": lambda r: (
            ", ".join(f"{k}: {v}" for k, v in sorted(joined(r).items())) or "-"
        ),
        "unresolved": lambda r: str(int(r["unresolved"].sum())),
    },
    as_json=_as_json,
    figure="connections_figure",
    remarks=lambda results: [
        "edges: from a saddle along its unstable directions to an attractor; exact for one unstable"
        " dimension, a lower bound for more; Hamming distance: outputs of other sign in the two"
        " attractors that a saddle of one unstable dimension joins"
    ],
)


@analysis_command(
    command, "connections", VIEW, input_option(), *start_options(1024), examples=EXAMPLES
)
def connections(
    subject: Subject,
    held: str | None,
    n_starts: int,
    noise: float,
    length: int | None,
    sequences: int | None,
) -> xr.Dataset:
    """Follow the unstable directions of every saddle to the attractors they end at."""
    setting = prepare(subject, held, n_starts, noise, length, sequences)
    points = find(subject, setting, several=False)
    found = seqprobe.dynamics.connections(subject.model, points, seed=subject.seed)
    found.attrs["held_input"] = setting.text
    return found
