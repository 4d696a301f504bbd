"""``seqprobe memory [profile]``: sensitivity of the output to the input k steps back."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import click
import torch
import xarray as xr

import seqprobe.memory
from seqprobe.cli.analysis import Subject, View, analysis_command, number, text, with_interval
from seqprobe.cli.memory.group import EXAMPLES, command

_DEVIATION_LIMIT = 0.01
_CONSTANT_LIMIT = 0.05


def _as_json(result: xr.Dataset) -> dict[str, Any]:
    """Return what JSON says of a profile; absent values are null."""
    content: dict[str, Any] = {"n_sequences": result.sizes["trial"]}
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
        return {f"{level:g}": number(float(v)) for level, v in zip(levels, values, strict=True)}
    return number(values)


def _threshold(i: int) -> Callable[[xr.Dataset], str]:
    def cell(result: xr.Dataset) -> str:
        lengths, bounds = result["threshold_length"], result["threshold_length_ci"]
        return with_interval(lengths[i], bounds[:, i], int(result["lag"].max()))

    return cell


def _field(result: xr.Dataset) -> str:
    field = [text(result["receptive_field"])]
    if not math.isnan(float(result["structural_zero"])):
        field.append(f"0 at {text(result['structural_zero'])}")
    return ", ".join(field)


def _remarks(results: Mapping[str, xr.Dataset]) -> list[str]:
    counts = sorted({result.sizes["trial"] for result in results.values()})
    lines = [
        "lags in steps, with 95 % bootstrap intervals over"
        f" {' or '.join(map(str, counts))} test sequences; >= n: still so at the largest lag n;"
        " 0 at n: exactly zero from lag n"
    ]
    constant = {name: float(result["constant_share"]) for name, result in results.items()}
    blank = [f"{share:.0%} ({name})" for name, share in constant.items() if share > _CONSTANT_LIMIT]
    if blank:
        lines.append(
            f"inputs that never vary in these sequences hold {', '.join(blank)} of G^2;"
            " G_sd in the results leaves them out"
        )
    for name, result in results.items():
        deviation = float(result["float64_deviation"])
        if deviation > _DEVIATION_LIMIT:
            lines.append(f"{name}: float32 is off by {deviation:.1%}; use --dtype float64")
    return lines


VIEW = View(
    schema="seqprobe.memory/1",
    columns={
        "peak lag": lambda r: with_interval(r["peak_lag"], r["peak_lag_ci"]),
        "90 % of G^2": lambda r: with_interval(r["mass_quantile"][1], r["mass_quantile_ci"][:, 1]),
        "last >= 10 %": _threshold(0),
        ">= 1 %": _threshold(1),
        ">= 0.1 % of peak": _threshold(2),
        "half-life": lambda r: with_interval(r["half_life"], r["half_life_ci"], digits=1),
        "field": _field,
    },
    as_json=_as_json,
    figure="gradient_profile_figure",
    remarks=_remarks,
)


@analysis_command(
    command,
    "profile",
    VIEW,
    click.option(
        "--length",
        type=click.IntRange(1, 2**31),
        help="Length of the sequences.  [default: as trained]",
    ),
    click.option(
        "--max-lag",
        type=click.IntRange(0),
        help="Largest lag.  [default: 2/3 of the length or where the task's answers lie, if that is"
        " further; all of it for last-step tasks]",
    ),
    click.option(
        "--sequences",
        type=click.IntRange(1, 2**31),
        help="Number of test sequences.  [default: 64, 256 for last-step tasks]",
    ),
    click.option(
        "--dtype",
        type=click.Choice(["float32", "float64"]),
        help="Precision.  [default: that of the model]",
    ),
    examples=EXAMPLES,
)
def profile(
    subject: Subject,
    length: int | None,
    max_lag: int | None,
    sequences: int | None,
    dtype: str | None,
) -> xr.Dataset:
    """Sensitivity of the output to the input k steps back, for every lag k.

    Reads test sequences of the task that each checkpoint was trained on and differentiates outputs
    by inputs. G(k) is the root mean square norm of the Jacobian at lag k.

    This is 'seqprobe memory' without a subcommand.
    """  # click reads the backspace as "do not wrap"
    batch = subject.batch(sequences, length)
    return seqprobe.memory.gradient_profile(
        subject.model,
        batch,
        max_lag=subject.max_lag(max_lag, batch.inputs.shape[1]),
        dtype=None if dtype is None else getattr(torch, dtype),
        seed=subject.seed,
        on_progress=subject.update,
    )
