"""The command ``seqprobe memory``: how far back a trained model remembers."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

import click
import torch
import xarray as xr

import seqprobe.memory
from seqprobe import device as devices
from seqprobe import schema
from seqprobe.cli.common import analysis_options, echo_json, progress, table
from seqprobe.cli.groups import DefaultGroup
from seqprobe.cli.inputs import Outcome, analyse_all
from seqprobe.files import check_output
from seqprobe.tasks import Task
from seqprobe.training import Checkpoint

JSON_SCHEMA = "seqprobe.memory/1"
_SEQUENCES = {"last": 256, "each": 64}  # about 1000 (sequence, time) pairs at 16 output times
_DEVIATION_LIMIT = 0.01
_CONSTANT_LIMIT = 0.05

EXAMPLES = """\b
Examples:
  seqprobe memory checkpoints/digits
  seqprobe memory checkpoints/delay/*.pt --json
  seqprobe memory checkpoints/delay -o memory.nc --figure memory.pdf
  seqprobe memory checkpoints/delay/gru-s0.pt --length 192 --max-lag 120
"""


@click.group(cls=DefaultGroup, default="profile", epilog=EXAMPLES)
def command() -> None:
    """Measure how far back a trained model remembers; without a subcommand, by 'profile'."""


@command.command(epilog=EXAMPLES)
@analysis_options
@click.option(
    "--length", type=click.IntRange(1), help="Length of the sequences.  [default: as trained]"
)
@click.option(
    "--max-lag",
    type=click.IntRange(0),
    help="Largest lag.  [default: 2/3 of the length or where the task's answers lie, if that is"
    " further; all of it for last-step tasks]",
)
@click.option(
    "--sequences",
    type=click.IntRange(1),
    help="Number of test sequences.  [default: 64, 256 for last-step tasks]",
)
@click.option(
    "--dtype",
    type=click.Choice(["float32", "float64"]),
    help="Precision.  [default: that of the model]",
)
def profile(
    checkpoints: tuple[str, ...],
    output: str | None,
    figures: tuple[str, ...],
    seed: int,
    device: str,
    as_json: bool,
    quiet: bool,
    length: int | None,
    max_lag: int | None,
    sequences: int | None,
    dtype: str | None,
) -> int:
    """Sensitivity of the output to the input k steps back, for every lag k.

    Reads test sequences of the task that each checkpoint was trained on and differentiates outputs
    by inputs. G(k) is the root mean square norm of the Jacobian at lag k.

    This is 'seqprobe memory' without a subcommand; a path that has the name of a subcommand is
    written ./NAME. Subcommands: profile.
    """
    _check_outputs(output, figures)
    devices.tune_malloc()
    where = devices.resolve(device)

    with progress(quiet, "checkpoints") as update:

        def analyse(checkpoint: Checkpoint, i: int, total: int) -> xr.Dataset:
            model = checkpoint.build_model().to(where)
            task = checkpoint.build_task()
            size = sequences
            if size is None:
                there = task.count("test", length)
                size = min(_SEQUENCES[task.spec.readout], there or 2**31)
            return seqprobe.memory.gradient_profile(
                model,
                task.batch("test", size, seed=seed, length=length),
                max_lag=_max_lag(task, length) if max_lag is None else max_lag,
                dtype=None if dtype is None else getattr(torch, dtype),
                seed=seed,
                on_progress=lambda done, of: update(i + done / of, total, _path(checkpoint)),
            )

        outcome = analyse_all(checkpoints, analyse)
    if outcome.results:
        _write(outcome, output, figures)
    if as_json:
        echo_json(
            {
                "schema": JSON_SCHEMA,
                "results": list(map(_as_json, outcome.checkpoints, outcome.results)),
                "skipped": outcome.skipped,
            }
        )
    elif outcome.results:
        _print_table(outcome, quiet)
    outcome.report()
    return outcome.exit_code


def _max_lag(task: Task, length: int | None) -> int | None:
    """Return a window that shows the answers of the task, or None for what an analysis takes."""
    length = task.length if length is None else length
    reach = task.reach(length)
    if reach is None or reach <= 2 * length // 3 or reach >= length:
        return None
    return reach


def _check_outputs(output: str | None, figures: tuple[str, ...]) -> None:
    from seqprobe.plots.style import FIGURE_TYPES

    if output is not None:
        check_output(output, (".nc",))
    for figure in figures:
        check_output(figure, FIGURE_TYPES)


def _write(outcome: Outcome, output: str | None, figures: tuple[str, ...]) -> None:
    if output is None and not figures:
        return
    combined = schema.combine_runs(outcome.results)
    if output is not None:
        schema.write(combined, output)
    if figures:
        from seqprobe import plots

        drawn = plots.gradient_profile_figure(combined)
        for figure in figures:
            plots.save(drawn, figure)


def _as_json(checkpoint: Checkpoint, result: xr.Dataset) -> dict[str, Any]:
    """Return the object of one checkpoint; absent values are null."""
    assert checkpoint.origin is not None  # it was read from a file
    content: dict[str, Any] = {
        "checkpoint": checkpoint.origin.path,
        "sha256": checkpoint.origin.sha256,
        "model": checkpoint.model["name"],
        "task": checkpoint.task["name"],
        "solved": checkpoint.solved,
        "train_length": checkpoint.origin.train_length,
        "n_sequences": result.sizes["trial"],
    }
    for name in ("peak_lag", "threshold_length", "mass_quantile", "half_life"):
        content[name] = _by_level(result[name])
        content[f"{name}_ci"] = [_by_level(bound) for bound in result[f"{name}_ci"]]
    for name in ("receptive_field", "structural_zero"):
        content[name] = _by_level(result[name])
    return content | {
        "lags": result["lag"].values,
        "G": result["G"].values,
        "G_ci": result["G_ci"].values,
        "share": result["share"].values,
        "float64_deviation": float(result["float64_deviation"]),
    }


def _by_level(values: xr.DataArray) -> Any:
    """Return a number, or one per level as ``{"0.1": ..., "0.01": ...}``; lags as integers."""
    if values.ndim:
        levels = values[values.dims[0]].values
        return {f"{level:g}": _number(float(v)) for level, v in zip(levels, values, strict=True)}
    return _number(float(values))


def _number(value: float) -> float | int | None:
    if not math.isfinite(value):
        return None
    return int(value) if value == int(value) else value


def _print_table(outcome: Outcome, quiet: bool) -> None:
    names = _short_names([_path(checkpoint) for checkpoint in outcome.checkpoints])
    rows = [
        [name, *_row(checkpoint, result)]
        for name, checkpoint, result in zip(
            names, outcome.checkpoints, outcome.results, strict=True
        )
    ]
    header = "checkpoint|task|model|params|score|solved|peak lag|90 % of G^2|last >= 10 %|>= 1 %"
    header += "|>= 0.1 % of peak|half-life|field"
    table(header.split("|"), rows)
    if quiet:
        return
    counts = sorted({result.sizes["trial"] for result in outcome.results})
    click.echo(
        "lags in steps, with 95 % bootstrap intervals over"
        f" {' or '.join(map(str, counts))} test sequences; >= n: still so at the largest lag n;"
        " 0 at n: exactly zero from lag n",
        err=True,
    )
    by_name = list(zip(names, outcome.results, strict=True))
    constant = [(name, float(result["constant_share"])) for name, result in by_name]
    if blank := [f"{share:.0%} ({name})" for name, share in constant if share > _CONSTANT_LIMIT]:
        click.echo(
            f"inputs that never vary in these sequences hold {', '.join(blank)} of G^2;"
            " G_sd in the results leaves them out",
            err=True,
        )
    for name, result in by_name:
        deviation = float(result["float64_deviation"])
        if deviation > _DEVIATION_LIMIT:
            click.echo(f"{name}: float32 is off by {deviation:.1%}; use --dtype float64", err=True)


def _path(checkpoint: Checkpoint) -> str:
    assert checkpoint.origin is not None  # it was read from a file
    return checkpoint.origin.path


def _short_names(paths: list[str]) -> list[str]:
    """Return the paths without the folder that all of them share."""
    absolute = [Path(path).absolute() for path in paths]
    shared = os.path.commonpath([path.parent for path in absolute])
    return [str(path.relative_to(shared)) for path in absolute]


def _row(checkpoint: Checkpoint, result: xr.Dataset) -> list[str]:
    score = checkpoint.score
    largest = int(result["lag"].max())
    cells = [
        checkpoint.task["name"],
        checkpoint.model["name"],
        str(checkpoint.params),
        f"{score['metric']} {score['score']:.4f}",
        ("yes" if checkpoint.solved else "no") + (", untrained" if checkpoint.step == 0 else ""),
        _with_interval(result["peak_lag"], result["peak_lag_ci"]),
        _with_interval(result["mass_quantile"][1], result["mass_quantile_ci"][:, 1]),
    ]
    lengths, bounds = result["threshold_length"], result["threshold_length_ci"]
    cells += [_with_interval(lengths[i], bounds[:, i], largest) for i in range(len(lengths))]
    cells.append(_with_interval(result["half_life"], result["half_life_ci"], digits=1))
    field = [_text(result["receptive_field"])]
    if not math.isnan(float(result["structural_zero"])):
        field.append(f"0 at {_text(result['structural_zero'])}")
    cells.append(", ".join(field))
    return cells


def _with_interval(
    value: xr.DataArray, bounds: xr.DataArray, largest: int | None = None, digits: int = 0
) -> str:
    """Return ``20 [19, 21]``, or ``>= 64`` where the largest lag still qualifies."""
    if largest is not None and float(value) == largest:
        return f">= {largest}"
    low, high = (_text(bound, digits) for bound in bounds)
    middle = _text(value, digits)
    return middle if "-" in (low, middle) or low == high == middle else f"{middle} [{low}, {high}]"


def _text(value: xr.DataArray, digits: int = 0) -> str:
    number = float(value)
    return f"{number:.{digits}f}" if math.isfinite(number) else "-"
