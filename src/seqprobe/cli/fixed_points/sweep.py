"""``seqprobe fixed-points sweep``: fixed points along a line of inputs."""

from __future__ import annotations

from typing import Any

import click
import numpy as np
import xarray as xr

import seqprobe.dynamics
from seqprobe.cli.analysis import Subject, View, analysis_command
from seqprobe.cli.fixed_points.group import command
from seqprobe.cli.fixed_points.options import one_vector, prepare, start_options, vectors
from seqprobe.errors import UsageError

EXAMPLES = """\b
Examples:
  seqprobe fixed-points sweep checkpoints/flipflop/rnn-s0.pt --to 1,0,0 --steps 50
"""


def folds(result: xr.Dataset) -> np.ndarray:
    """Return the different folds in order, as s."""
    found = np.concatenate([result["fold_begin"].values, result["fold_end"].values])
    found = np.sort(found[np.isfinite(found)])
    new = np.diff(found, prepend=-np.inf) > 1e-7
    kept: np.ndarray = found[new]
    return kept


def _as_json(result: xr.Dataset) -> dict[str, Any]:
    return {
        "s": result["s"].values,
        "begin": result["u"].values[0],
        "end": result["u"].values[-1],
        "n_fixed_points": result["n_branches"].values,
        "index_sum": result["index_sum"].values,
        "folds": folds(result),
    }


def _span(values: np.ndarray) -> str:
    return f"{values.min()}" if values.min() == values.max() else f"{values.min()}-{values.max()}"


VIEW = View(
    schema="seqprobe.fixed-points.sweep/1",
    columns={
        "branches": lambda r: str(r.sizes["branch"]),
        "at begin": lambda r: str(int(r["n_branches"][0])),
        "at end": lambda r: str(int(r["n_branches"][-1])),
        "folds": lambda r: str(len(folds(r))),
        "first fold (s)": lambda r: f"{folds(r)[0]:.4f}" if len(folds(r)) else "-",
        "index sum": lambda r: _span(r["index_sum"].values),
    },
    as_json=_as_json,
    figure="input_sweep_figure",
    remarks=lambda results: [
        *(
            f"'{name}': {int(r['open_ends'])} branch ends have no fold; take more --steps"
            for name, r in results.items()
            if int(r["open_ends"])
        ),
        "s runs from 0 at --from to 1 at --to; folds, where two branches meet and end, are solved"
        " for; an index sum that changes means that a branch was missed",
    ],
)


@analysis_command(
    command,
    "sweep",
    VIEW,
    click.option(
        "--from",
        "begin",
        default="zero",
        show_default=True,
        help="First input: zero, mean, 0,0,0, or a file.",
    ),
    click.option("--to", "end", required=True, help="Last input, in the same way."),
    click.option(
        "--steps", type=click.IntRange(1, 100_000), default=100, show_default=True, help="Steps."
    ),
    *start_options(512),
    examples=EXAMPLES,
)
def sweep(
    subject: Subject,
    begin: str,
    end: str,
    steps: int,
    n_starts: int,
    noise: float,
    length: int | None,
    sequences: int | None,
) -> xr.Dataset:
    """Follow the fixed points from one input to another, and locate the folds in between."""
    setting = prepare(subject, begin, n_starts, noise, length, sequences)
    u0 = setting.input
    u1 = one_vector(vectors(subject, setting.batch, end, len(u0)), end)
    if bool((u0 == u1).all()):
        raise UsageError(f"--from '{begin}' and --to '{end}' are the same input; give two")
    return seqprobe.dynamics.input_sweep(
        subject.model,
        setting.starts,
        u0,
        u1,
        n_steps=steps,
        seed=subject.seed,
        on_progress=subject.update,
    )
