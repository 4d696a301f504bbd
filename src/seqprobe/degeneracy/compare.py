"""All levels of degeneracy of ensembles of networks in one result."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import xarray as xr
from threadpoolctl import threadpool_limits

from seqprobe import provenance
from seqprobe.degeneracy.ensemble import (
    INTERVAL,
    check_ensemble,
    mean_over_networks,
    mean_over_pairs,
    spread,
)
from seqprobe.degeneracy.groups import Ensembles
from seqprobe.degeneracy.levels import DEFAULT_LEVELS, LEVELS, Options, Remarks
from seqprobe.errors import NotApplicableError, unknown_name
from seqprobe.memory.estimates import ci_coordinate
from seqprobe.models import Model
from seqprobe.models.access import placement
from seqprobe.schema import variable

__all__ = ["compare"]

_NOT_AVERAGED = ("perm", "sign", "complete")  # labels


def compare(
    models: Sequence[Model],
    levels: Sequence[str] = DEFAULT_LEVELS,
    *,
    across: bool = False,
    options: Options | None = None,
    on_level: Callable[[str, float, float], None] = lambda level, done, total: None,
) -> xr.Dataset:
    """Compare networks that solve the same task: behaviour, dynamics, weights, representation.

    Networks that differ in their seed alone make an ensemble, and all pairs within ensembles are
    compared. What cannot be compared (other tasks or sizes, states that grow) is left out, and
    ``remarks`` says why.

    Parameters
    ----------
    models
        Networks from `seqprobe.load`. Give those that reached the same loss.
    levels
        ``behaviour`` (`sigma_ood`), ``dynamics`` (`dsa`), ``weights`` (`dpif`, `mode_connectivity`,
        `feature_learning`), ``representation`` (`representation.DISTANCES`), ``topology``
        (`fixed_point_topology`).
    across
        Compare pairs of different ensembles too, if they have the same task.
    options
        See `seqprobe.degeneracy.Options`.
    on_level
        Called with the level, and what is done of how much.

    Returns
    -------
    xarray.Dataset
        * What the levels return along ``net_a`` and ``net_b``, for all networks in one; NaN for
          pairs that are not compared. Coordinates along ``net_a`` and ``net_b`` are the file, along
          ``net_a`` also ``net_seed``, ``net_ensemble`` (its number) and ``net_sha256``.
        * ``<name>_mean`` (ensemble, ...): over the pairs, or networks, of every ensemble, with
          ``<name>_mean_ci`` by resampling networks.
        * ``sigma_ood`` (ensemble, condition) with ``sigma_ood_ci``.
        * Settings that tell ensembles apart are coordinates along ``ensemble``.

    Raises
    ------
    UsageError
        If there are fewer than two networks, or a level is unknown.
    NotApplicableError
        If no level says anything of any pair, or a model was not loaded from a checkpoint.

    Notes
    -----
    Cost of 50 networks of 64 units (1,225 pairs), on two cores: see ``benchmarks/README.md``.
    Source: Huang, Singh, Martinelli, Rajan 2024, arXiv 2410.03972.
    """
    check_ensemble(len(models))
    for level in levels:
        if level not in LEVELS:
            raise unknown_name("level", level, LEVELS)
    ensembles = Ensembles(models, across)
    options = options or Options()
    remarks = Remarks()
    _remark_on_pairs(ensembles, remarks)
    parts = []
    for level in levels:
        own = replace(options, update=_to_level(on_level, level))
        try:
            with threadpool_limits(1):  # threads of small matrices wait for each other
                parts.append(LEVELS[level](ensembles, own, remarks))
        except NotApplicableError as error:
            remarks.add(str(error))
    if not any(part.sizes for part in parts):
        raise NotApplicableError("; ".join(remarks.lines))
    found = xr.merge(parts, combine_attrs="override")
    found = found.assign_coords(_coordinates(ensembles))
    found = found.assign(_summary(found, ensembles, options.seed))
    parameters = {
        key: value
        for key, value in asdict(replace(options, kept=None)).items()
        if key not in ("kept", "update", "jobs")
    }
    found.attrs = provenance.attrs(
        "degeneracy",
        parameters | {"levels": list(levels), "across": across},
        seed=options.seed,
        **placement(models[0]),
    )
    found.attrs |= {
        "interval": INTERVAL,
        "remarks": json.dumps(remarks.lines),
        "precision": "behaviour as device and dtype say; all else in float64 on the CPU",
    }
    return found


def _to_level(
    on_level: Callable[[str, float, float], None], level: str
) -> Callable[[float, float], None]:
    return lambda done, total: on_level(level, done, total)


def _remark_on_pairs(ensembles: Ensembles, remarks: Remarks) -> None:
    if ensembles.mixed:
        remarks.add(
            "no two networks differ in their seed alone: networks of one task are compared as one"
            " ensemble, whatever their settings"
        )
    alone = set(range(len(ensembles.models))) - set(ensembles.compared)
    if alone:
        model = ensembles.models[min(alone)]
        path = model.origin.path if model.origin else ""
        more = f" and {len(alone) - 1} more" if len(alone) > 1 else ""
        remarks.add(f"'{path}'{more}: no other network of the same settings, so not compared")
    if not ensembles.pairs:
        raise NotApplicableError("no two networks have the same task: there is nothing to compare")


def _coordinates(ensembles: Ensembles) -> dict[str, xr.Variable]:
    origins = [model.origin for model in ensembles.models]
    paths = np.array([o.path if o else "" for o in origins], dtype=object)
    hashes = np.array([o.sha256 if o else "" for o in origins], dtype=object)
    seeds = np.array([o.seed if o else -1 for o in origins])
    made = {
        "net_a": variable(("net_a",), paths, "network", "1"),
        "net_b": variable(("net_b",), paths, "network", "1"),
        "net_seed": variable(("net_a",), seeds, "seed of weights and data order", "1"),
        "net_sha256": variable(("net_a",), hashes, "hash of the checkpoint", "1"),
        "net_ensemble": variable(("net_a",), np.array(ensembles.of), "number of the ensemble", "1"),
        "ensemble": variable(
            ("ensemble",), np.array(ensembles.labels, dtype=object), "ensemble", "1"
        ),
        "n_networks": variable(
            ("ensemble",),
            np.array([len(group) for group in ensembles.members]),
            "networks of the ensemble",
            "1",
        ),
        "ci_bound": ci_coordinate(),
    }
    for key in ensembles.varied:
        values = [common.get(key) for common in ensembles.common]
        made[key] = variable(("ensemble",), _column(values), f"setting {key}", "1")
    return made


def _column(values: Sequence[Any]) -> np.ndarray:
    """Return settings as numbers if all are, else as text."""
    if all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in values):
        return np.array(values)
    return np.array(["" if value is None else str(value) for value in values], dtype=object)


def _summary(found: xr.Dataset, ensembles: Ensembles, seed: int) -> dict[str, xr.Variable]:
    """Return the mean of everything over pairs or networks of every ensemble."""
    made: dict[str, xr.Variable] = {}
    for name, values in found.data_vars.items():
        dims = tuple(map(str, values.dims))
        if "net_a" not in dims or name in _NOT_AVERAGED or values.dtype.kind not in "fiub":
            continue
        paired = dims[:2] == ("net_a", "net_b")
        rest = dims[2:] if paired else dims[1:]
        numbers = values.values.astype(np.float64)
        over = mean_over_pairs if paired else mean_over_networks
        of_each = [
            over(numbers[np.ix_(group, group)] if paired else numbers[group], seed)
            for group in ensembles.members
        ]
        words, units = values.attrs["long_name"], values.attrs["units"]
        of = "pairs" if paired else "networks"
        made |= _with_interval(f"{name}_mean", of_each, rest, f"{words}, mean over {of}", units)
        if name == "loss":
            spreads = [spread(numbers[group], seed) for group in ensembles.members]
            made |= _with_interval("sigma_ood", spreads, rest, "spread of losses", units)
    return made


def _with_interval(
    name: str,
    of_each: Sequence[tuple[np.ndarray, np.ndarray]],
    rest: tuple[str, ...],
    long_name: str,
    units: str,
) -> dict[str, xr.Variable]:
    middle = np.stack([one[0] for one in of_each])
    bounds = np.stack([one[1] for one in of_each], axis=1)
    return {
        name: variable(("ensemble", *rest), middle, long_name, units),
        f"{name}_ci": variable(
            ("ci_bound", "ensemble", *rest), bounds, f"95 % interval of: {long_name}", units
        ),
    }
