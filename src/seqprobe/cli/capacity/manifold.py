"""``seqprobe capacity manifold``: how many classes a linear reader can tell apart."""

from __future__ import annotations

from typing import Any

import xarray as xr

import seqprobe.capacity
from seqprobe import provenance
from seqprobe.cli.analysis import Subject, View, analysis_command, number, text, with_interval
from seqprobe.cli.capacity.group import command
from seqprobe.cli.capacity.options import READ_FROM, states
from seqprobe.cli.common import LENGTH, sequences
from seqprobe.errors import NotApplicableError

EXAMPLES = """\b
Examples:
  seqprobe capacity manifold checkpoints/digits/gru-s0.pt --part readout
"""
_SEQUENCES = 400


def _as_json(result: xr.Dataset) -> dict[str, Any]:
    names = ("capacity", "radius", "manifold_dimension", "capacity_shuffled", "manifolds", "points")
    found: dict[str, Any] = {name: number(result[name]) for name in names}
    return found | {
        "part": result.attrs["part"],
        "classes": result["output"].values,
        **{f"{name}_ci": result[f"{name}_ci"].values for name in names[:3]},
        **{n: result[n].values for n in ("class_capacity", "class_radius", "class_dimension")},
    }


VIEW = View(
    schema="seqprobe.capacity.manifold/1",
    columns={
        "read from": lambda r: str(r.attrs["part"]),
        "classes": lambda r: text(r["manifolds"]),
        "capacity": lambda r: with_interval(r["capacity"], r["capacity_ci"], None, 2),
        "shuffled": lambda r: text(r["capacity_shuffled"], 2),
        "radius": lambda r: with_interval(r["radius"], r["radius_ci"], None, 2),
        "dimension": lambda r: with_interval(
            r["manifold_dimension"], r["manifold_dimension_ci"], None, 1
        ),
    },
    as_json=_as_json,
    figure="manifold_capacity_figure",
    remarks=lambda results: [
        "capacity: classes per dimension that a linear reader can give any labels, 2 for points;"
        " radius in distances of a class's centre from that of all; states at the answer, one cloud"
        " per class (Chung, Lee and Sompolinsky 2018)"
    ],
)


@analysis_command(
    command,
    "manifold",
    VIEW,
    READ_FROM,
    LENGTH,
    sequences(_SEQUENCES),
    examples=EXAMPLES,
)
def manifold(
    subject: Subject, part: str | None, length: int | None, sequences: int | None
) -> xr.Dataset:
    """Capacity, radius and dimension of the classes' states, where answers are due.

    For tasks with classes: states are taken at the last step, or at every scored one.
    """
    if subject.task.spec.output_kind != "class":
        raise NotApplicableError(
            f"task '{subject.task.name}' has no classes whose states could be told apart"
        )
    batch = subject.batch(sequences, length, _SEQUENCES)
    z, read = states(subject, batch, part)
    if batch.targets.dim() == 1:
        chosen, labels = z[:, -1], batch.targets
    else:
        mask = batch.targets >= 0 if batch.mask is None else batch.mask
        chosen, labels = z[mask], batch.targets[mask]
    result = seqprobe.capacity.manifold_capacity(
        chosen.numpy(), labels.numpy(), seed=subject.seed, on_progress=subject.update
    )
    return result.assign_attrs(provenance.model_attrs(subject.model) | {"part": read})
