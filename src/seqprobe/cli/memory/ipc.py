"""``seqprobe memory ipc``: information processing capacity by degree."""

from __future__ import annotations

import click
import numpy as np
import torch
import xarray as xr

import seqprobe.memory
from seqprobe.cli.analysis import Subject, View, analysis_command, text
from seqprobe.cli.memory.group import command
from seqprobe.cli.memory.options import PART
from seqprobe.errors import NotApplicableError
from seqprobe.memory.information_processing import Law
from seqprobe.seeding import generator

EXAMPLES = """\b
Examples:
  seqprobe memory ipc checkpoints/delay/gru-s0.pt --samples 4000 --max-degree 2 --figure ipc.pdf
"""


def _degrees(result: xr.Dataset) -> str:
    cells = zip(result["degree"].values, result["ipc"].values, strict=True)
    return "  ".join(f"{degree}: {text(value, 2)}" for degree, value in cells)


VIEW = View(
    schema="seqprobe.memory.information_processing_capacity/1",
    columns={
        "read from": lambda r: str(r.attrs["part"]),
        "inputs": lambda r: str(r.attrs["law"]),
        "capacity by degree": _degrees,
        "total": lambda r: text(r["ipc_total"], 2),
        "rank": lambda r: text(r["rank"]),
        "by chance": lambda r: text(r["ipc_null"].sum(), 2),
    },
    as_json=lambda r: {
        "part": r.attrs["part"],
        "law": r.attrs["law"],
        **{
            name: r[name].values
            for name in ("degree", "ipc", "ipc_by_lag", "ipc_total", "ipc_null", "rank")
        },
    },
    figure="capacity_by_degree_figure",
    remarks=lambda results: [
        "capacity in functions of past inputs, at most the rank of the states; inputs are drawn"
        " independently with the mean and scale of the task's, which for most tasks are unlike it"
    ],
)


@analysis_command(
    command,
    "ipc",
    VIEW,
    PART,
    click.option(
        "--law",
        type=click.Choice(["uniform", "normal", "binary"]),
        default="uniform",
        show_default=True,
        help="Law of the inputs.",
    ),
    click.option(
        "--max-lag",
        type=click.IntRange(0),
        default=10,
        show_default=True,
        help="Largest lag in a function.",
    ),
    click.option(
        "--max-degree",
        type=click.IntRange(1, 9),
        default=3,
        show_default=True,
        help="Largest total degree.",
    ),
    click.option(
        "--samples",
        type=click.IntRange(100, 10**7),
        default=20_000,
        show_default=True,
        help="Time steps that count.",
    ),
    examples=EXAMPLES,
)
def ipc(
    subject: Subject, part: str, law: Law, max_lag: int, max_degree: int, samples: int
) -> xr.Dataset:
    """How much nonlinear memory the state carries, by degree (Dambre et al. 2012).

    Degree 1 is linear memory, degree 2 products of two past inputs and squares, and so on.
    """
    if subject.task.spec.input_kind == "token" or subject.task.spec.input_size != 1:
        raise NotApplicableError(
            f"information processing capacity is for one channel of numbers; task"
            f" '{subject.task.name}' has {subject.task.spec.input_size} inputs; use 'linear'"
        )
    like = subject.batch(64).inputs.double()
    rng = generator(subject.seed, "probe inputs")
    length = max(max_lag + 100, subject.task.length)
    shape = (-(-samples // (length - max_lag)), length, 1)
    if law == "uniform":
        unit = rng.uniform(-(3**0.5), 3**0.5, shape)
    else:
        unit = rng.standard_normal(shape)
    if law == "binary":
        unit = np.sign(unit)
    inputs = like.mean() + like.std() * torch.from_numpy(unit)
    return seqprobe.memory.information_processing_capacity(
        subject.model,
        inputs.float(),
        law=law,
        part=part,
        max_lag=max_lag,
        max_degree=max_degree,
        on_progress=subject.update,
    )
