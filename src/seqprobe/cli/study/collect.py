"""``seqprobe study collect`` and ``check``: a study as one file, and against what was expected."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import click

from seqprobe.cli.common import echo_json, table
from seqprobe.cli.study.options import study_options
from seqprobe.errors import UsageError
from seqprobe.files import check_output
from seqprobe.studies import check as check_study
from seqprobe.studies import collect as collect_study
from seqprobe.studies import open_study, write_study
from seqprobe.studies.export import check_study_output

if TYPE_CHECKING:
    import xarray as xr

EXAMPLES = """\b
Examples:
  seqprobe study collect analyses/example --size smoke -o study.nc -o study.csv
  seqprobe study check analyses/example --size smoke
"""


@click.command("collect", epilog=EXAMPLES)
@study_options
@click.option(
    "-o",
    "--output",
    "outputs",
    multiple=True,
    required=True,
    metavar="FILE.nc",
    help="Where to write (.nc, .csv, .parquet); may be repeated.",
)
@click.option(
    "--figure",
    "figures",
    multiple=True,
    metavar="FILE.pdf",
    help="Draw learning curves and scores (.pdf, .png, .svg); may be repeated.",
)
@click.option("-q", "--quiet", is_flag=True, help="No remarks.")
def command(
    file: str,
    size: str | None,
    folder: str | None,
    as_json: bool,
    outputs: tuple[str, ...],
    figures: tuple[str, ...],
    quiet: bool,
) -> None:
    """Put what FILE found into one file: xarray.open_datatree(FILE.nc, engine="h5netcdf").

    One row per unit that is done and reached its threshold, with architecture, task, seed and
    settings as coordinates; a group per analysis. The others are listed in the group 'excluded'.
    """
    for output in outputs:
        check_study_output(output)
    from seqprobe.plots.style import FIGURE_TYPES

    for figure in figures:
        check_output(figure, FIGURE_TYPES)
    study = open_study(file, size, folder)
    tree = collect_study(study)
    for output in outputs:
        write_study(tree, output)
    if figures:
        from seqprobe import plots

        drawn = plots.learning_curves_figure(tree["training"].to_dataset())
        for figure in figures:
            plots.save(drawn, figure)
    left_out = tree["excluded"].to_dataset() if "excluded" in tree.children else None
    n_excluded = 0 if left_out is None else left_out.sizes["excluded"]
    if as_json:
        echo_json(
            {
                "schema": "seqprobe.study.collect/1",
                "study": study.name,
                "files": [*outputs, *figures],
                "runs": tree.sizes["run"],
                "groups": {name: dict(node.sizes) for name, node in tree.children.items()},
                "excluded": []
                if left_out is None
                else [
                    {"unit": unit, "reason": reason}
                    for unit, reason in zip(
                        left_out["unit"].values, left_out["reason"].values, strict=True
                    )
                ],
            }
        )
    elif not quiet:
        table(
            ["group", "dimensions", "variables"],
            [
                [name, " x ".join(f"{d} {n}" for d, n in sizes.items()), str(count)]
                for name, sizes, count in _groups(tree)
            ],
        )
        if n_excluded:
            click.echo(f"{n_excluded} units do not count; the group 'excluded' says why", err=True)
        for output in (*outputs, *figures):
            click.echo(f"wrote {output}", err=True)


def _groups(tree: xr.DataTree) -> list[tuple[str, dict[str, int], int]]:
    """Return name, sizes and number of variables of the root and every group."""
    nodes = {"/": tree, **tree.children}
    return [
        (name, {str(d): n for d, n in node.sizes.items()}, len(node.data_vars))
        for name, node in nodes.items()
    ]


@click.command("check", epilog=EXAMPLES)
@study_options
def check(file: str, size: str | None, folder: str | None, as_json: bool) -> int:
    """Compare FILE with the expected.toml beside it; exit code 1 if they disagree."""
    study = open_study(file, size, folder)
    if not study.source.is_file():
        raise UsageError(f"'{study.source}', which this study was made from, is gone; name FILE")
    verdicts = check_study(study)
    if as_json:
        content = [dataclasses.asdict(verdict) for verdict in verdicts]
        echo_json({"schema": "seqprobe.study.check/1", "study": study.name, "claims": content})
    else:
        table(
            ["claim", "expected", "found", "runs", "seeds", "agrees"],
            [
                [
                    verdict.claim,
                    f"{verdict.expected:g} +- {verdict.tolerance:g}",
                    f"{verdict.found:.4g}",
                    str(verdict.n_runs),
                    str(verdict.n_seeds),
                    "yes" if verdict.agrees else f"NO: {verdict.reason}",
                ]
                for verdict in verdicts
            ],
        )
    return 0 if all(verdict.agrees for verdict in verdicts) else 1
