"""``seqprobe degeneracy``: how differently seeds solve the same task."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from seqprobe import device as devices
from seqprobe.cli.analysis import number, text
from seqprobe.cli.common import (
    Steps,
    analysis_options,
    echo_error,
    echo_json,
    progress,
    table,
)
from seqprobe.cli.inputs import Outcome, analyse_all, expand
from seqprobe.errors import NotApplicableError, UsageError, unknown_name
from seqprobe.files import check_output
from seqprobe.studies import cores, is_study, open_study
from seqprobe.training import Until

if TYPE_CHECKING:
    import xarray as xr

    from seqprobe.training import Checkpoint

__all__ = ["OPTION_NAMES", "command", "comparison"]

EXAMPLES = """\b
Examples:
  seqprobe degeneracy checkpoints/integrator --level behaviour,representation --sequences 16
  seqprobe degeneracy checkpoints/sine --level dynamics --sequences 16 --delays 1 --ranks 4
"""

SCHEMA = "seqprobe.degeneracy/1"
_WORTH_PAIRS = 40  # other processes need some seconds to start

# What the table says of an ensemble: a name, a variable, digits.
_COLUMNS = (
    ("sigma_OOD", "sigma_ood", "g"),
    ("disagreement", "disagreement", "g"),
    ("DSA", "dsa", "f"),
    ("R2", "r2", "f"),
    ("relative PIF", "dpif_rel", "f"),
    ("barrier", "barrier", "g"),
    ("Procrustes (rad)", "procrustes", "f"),
    ("same graph", "same_graph", "f"),
)


class Levels(click.ParamType[tuple[str, ...]]):
    """``behaviour,weights``."""

    name = "LEVEL,..."

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, ...]:
        """Return the names, each once."""
        from seqprobe.degeneracy import LEVELS

        if isinstance(value, tuple):
            return value
        names = tuple(dict.fromkeys(word.strip() for word in str(value).split(",")))
        for name in names:
            if name not in LEVELS:
                raise unknown_name("level", name, LEVELS)
        return names


OPTIONS: tuple[Any, ...] = (
    click.option(
        "--level",
        "levels",
        type=Levels(),
        default="behaviour,dynamics,weights,representation",
        show_default=True,
        help="What to compare; also: topology (slow).",
    ),
    click.option("--across", is_flag=True, help="Compare different settings of one task too."),
    click.option(
        "--sequences",
        type=click.IntRange(4, 2**20),
        default=64,
        show_default=True,
        help="Test sequences whose trajectories are compared.",
    ),
    click.option(
        "--delays",
        type=Steps("number of delays", 1),
        default="1,3",
        show_default=True,
        help="Delays p of DSA.",
    ),
    click.option(
        "--ranks",
        type=Steps("rank", 1),
        default="8,16",
        show_default=True,
        help="Ranks r of DSA.",
    ),
    click.option(
        "--group",
        type=click.Choice(["auto", "perm", "signed_perm"]),
        default="auto",
        show_default=True,
        help="Relabellings of units; auto: what leaves the network as it is.",
    ),
    click.option(
        "--matrices",
        type=click.Choice(["recurrent", "all"]),
        default="recurrent",
        show_default=True,
        help="Weights that are compared.",
    ),
    click.option(
        "--factor",
        type=click.IntRange(1, 1000),
        default=2,
        show_default=True,
        help="Trials out of distribution are so many times as long.",
    ),
)

OPTION_NAMES = (
    "levels",
    "across",
    "sequences",
    "delays",
    "ranks",
    "group",
    "matrices",
    "factor",
)


def _with_options(function: Callable[..., Any]) -> Callable[..., Any]:
    for option in reversed(OPTIONS):
        function = option(function)
    return function


@click.command(epilog=EXAMPLES)
@_with_options
@analysis_options
def command(
    checkpoints: tuple[str, ...],
    output: str | None,
    figures: tuple[str, ...],
    jobs: int | None,
    seed: int,
    device: str,
    as_json: bool,
    quiet: bool,
    **own: Any,
) -> int:
    """Compare networks that solve the same task: behaviour, dynamics, weights, representation.

    Networks that differ in their seed alone make an ensemble; all its pairs are compared, each
    distance beside its null. Give a study, a folder, or two checkpoints and more. Networks that
    did not reach their threshold are left out: unequal losses are unequal networks.
    """
    from seqprobe.plots.style import FIGURE_TYPES

    if output is not None:
        check_output(output, (".nc",))
    for figure in figures:
        check_output(figure, FIGURE_TYPES)
    devices.tune_malloc()
    files, skipped = expand(checkpoints)
    seen: dict[str, Path] = {}
    outcome = analyse_all(
        files, skipped, lambda checkpoint, path, i: _check_network(checkpoint, path, seen)
    )
    outcome.report()
    if len(outcome.checkpoints) < 2 and outcome.skipped:
        left = len(outcome.checkpoints)
        echo_error(f"{left or 'no'} network{'s' * (left != 1)} left to compare; give 2 or more")
        return outcome.exit_code or NotApplicableError.exit_code
    home = _home(checkpoints)
    with progress(quiet, "pairs") as update:
        found = comparison(
            outcome.checkpoints, own, seed=seed, device=device, jobs=jobs, home=home, update=update
        )
    _show(found, outcome, as_json, quiet)
    _write(found, output, figures)
    return outcome.exit_code


def _home(paths: Sequence[str]) -> Path | None:
    """Return the folder that keeps what is known of pairs: of one folder or study, else none."""
    if len(paths) > 1:
        return None
    path = Path(paths[0])
    if path.suffix == ".toml" or is_study(path):
        path = open_study(path).folder
    results = path / "results"
    place = results if results.exists() else path
    return path if place.is_dir() and os.access(place, os.W_OK) else None


def _check_network(checkpoint: Checkpoint, path: Path, seen: dict[str, Path]) -> None:
    """Refuse a network that is there already, or was to reach a threshold and did not."""
    assert checkpoint.origin is not None  # it was read from a file
    first = seen.setdefault(checkpoint.origin.sha256, path)
    if first != path:
        raise NotApplicableError(f"'{path}' is the same network as '{first}'; it counts once")
    until = checkpoint.train["until"]
    if until is None:
        return
    rule = Until(**until)
    scores = [line["score"] for line in checkpoint.history]
    if not rule.met(scores, checkpoint.build_task().metric):
        score = checkpoint.score
        raise NotApplicableError(
            f"it did not reach its threshold, {rule.metric} = {rule.threshold:g}"
            f" ({score['metric']} is {score['score']:.4g}): networks are compared at equal loss"
        )


def comparison(
    checkpoints: Sequence[Checkpoint],
    own: Mapping[str, Any],
    *,
    seed: int,
    device: str = "auto",
    jobs: int | None = None,
    home: Path | None = None,
    update: Callable[[float, float, str], None] = lambda done, total, text: None,
) -> xr.Dataset:
    """Compare the networks of checkpoints.

    Parameters
    ----------
    checkpoints
        As read.
    own
        The values of `OPTIONS`.
    seed, device, jobs
        As for every analysis.
    home
        A folder or study that keeps what is known of pairs, in ``results/degeneracy``.
    update
        Reports (done, total, level).
    """
    from seqprobe import degeneracy

    if len(checkpoints) < 2:
        raise UsageError(
            f"{len(checkpoints)} network cannot differ from another (allowed: 2 or more"
            " checkpoints, a folder or a study)"
        )
    where = devices.resolve(device)
    models = [checkpoint.build_model().to(where) for checkpoint in checkpoints]
    kept = None
    if home is not None:
        hashes = [model.origin.sha256 if model.origin else "" for model in models]
        kept = degeneracy.Kept(home / "results" / "degeneracy", hashes)
    if jobs is None:
        jobs = cores() if len(models) * (len(models) - 1) / 2 > _WORTH_PAIRS else 1
    settings = {key: value for key, value in own.items() if key not in ("levels", "across")}
    options = degeneracy.Options(**settings, seed=seed, jobs=jobs, kept=kept)
    return degeneracy.compare(
        models,
        own["levels"],
        across=own["across"],
        options=options,
        on_level=lambda level, done, total: update(done, total, level),
    )


def _show(found: xr.Dataset, outcome: Outcome, as_json: bool, quiet: bool) -> None:
    remarks = json.loads(found.attrs["remarks"])
    if as_json:
        echo_json(_as_json(found, outcome, remarks))
        return
    columns = [column for column in _COLUMNS if _mean_name(column[1]) in found]
    if found.sizes.get("condition", 0) < 2:  # nothing was out of distribution
        columns = [column for column in columns if column[1] != "sigma_ood"]
    rows = [
        [str(label), str(int(found["n_networks"][k])), *(_cell(found, k, *c[1:]) for c in columns)]
        for k, label in enumerate(found["ensemble"].values)
    ]
    table(["ensemble", "networks", *(column[0] for column in columns)], rows)
    if not quiet:
        for line in [*_explained(found), *remarks]:
            click.echo(line, err=True)


def _mean_name(name: str) -> str:
    return name if name == "sigma_ood" else f"{name}_mean"


def _at_choice(values: xr.DataArray, found: xr.Dataset) -> xr.DataArray:
    """Return a variable at the chosen setting of DSA and in the last condition."""
    if "delays" in values.dims:
        values = values.where(found["chosen"]).sum(("delays", "rank"), min_count=1)
    return values.isel(condition=-1) if "condition" in values.dims else values


def _cell(found: xr.Dataset, k: int, name: str, style: str) -> str:
    """Return ``0.17 [0.15, 0.19] (null 0.08)``."""

    def written(value: xr.DataArray) -> str:
        plain = number(value)
        return "-" if plain is None else f"{plain:.2g}" if style == "g" else text(value, 3)

    mean = _mean_name(name)
    middle = _at_choice(found[mean], found).isel(ensemble=k)
    bounds = _at_choice(found[f"{mean}_ci"], found).isel(ensemble=k)
    said = written(middle)
    low, high = (written(bound) for bound in bounds)
    if "-" not in (low, high):
        said += f" [{low}, {high}]"
    null = f"{name}_null_mean"
    if null in found:
        said += f" (null {written(_at_choice(found[null], found).isel(ensemble=k))})"
    return said


def _explained(found: xr.Dataset) -> list[str]:
    """Return what the table's numbers are."""
    lines = []
    setting = _setting(found)
    if setting is not None:
        p, r = setting
        lines.append(
            f"DSA at p = {p}, r = {r}, the best predicting of {found['chosen'].size} settings;"
            " its null: two halves of the trials of one network"
        )
    if "loss" in found:
        losses = found["loss"].isel(condition=0)
        lines.append(
            f"test losses as trained: {float(losses.min()):.3g} to {float(losses.max()):.3g};"
            " nulls of weights and representation: the same networks before training"
        )
    return lines


def _setting(found: xr.Dataset) -> tuple[int, int] | None:
    """Return the number of delays and the rank that the table shows, if there is DSA."""
    if "chosen" not in found:
        return None
    (p, r), *_ = [
        (int(p), int(r))
        for i, p in enumerate(found["delays"].values)
        for j, r in enumerate(found["rank"].values)
        if found["chosen"].values[i, j]
    ]
    return p, r


def _as_json(found: xr.Dataset, outcome: Outcome, remarks: list[str]) -> dict[str, Any]:
    """Return all means of every ensemble, and the networks; matrices are in the result file."""
    summary = [str(n) for n, v in found.data_vars.items() if "ensemble" in v.dims]
    ensembles = []
    for k, label in enumerate(found["ensemble"].values):
        own: dict[str, Any] = {"ensemble": str(label), "networks": int(found["n_networks"][k])}
        for name in summary:
            values = found[name].isel(ensemble=k)
            own[name] = values.values.tolist()
        ensembles.append(own)
    return {
        "schema": SCHEMA,
        "networks": [
            {"checkpoint": str(a), "seed": int(seed), "ensemble": int(k), "sha256": str(sha)}
            for a, seed, k, sha in zip(
                *(found[n].values for n in ("net_a", "net_seed", "net_ensemble", "net_sha256")),
                strict=True,
            )
        ],
        "delays": found["delays"].values.tolist() if "delays" in found.coords else None,
        "rank": found["rank"].values.tolist() if "rank" in found.coords else None,
        "chosen": _setting(found),
        "condition": list(map(str, found["condition"].values))
        if "condition" in found.coords
        else None,
        "results": ensembles,
        "skipped": outcome.skipped,
        "remarks": remarks,
    }


def _write(found: xr.Dataset, output: str | None, figures: tuple[str, ...]) -> None:
    from seqprobe import plots, schema

    if output is not None:
        schema.write(found, output)
    if figures:
        drawn = plots.degeneracy_figure(found)
        for figure in figures:
            plots.save(drawn, figure)
