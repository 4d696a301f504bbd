"""The command ``seqprobe data``: list, fetch and check the real data sets."""

from __future__ import annotations

from typing import Any

import click

from seqprobe.cli.common import echo_error, echo_json, progress, table
from seqprobe.data import CATALOG, Dataset, dataset, fetch, folder, missing
from seqprobe.data.store import problem
from seqprobe.errors import UnreadableFileError

EXAMPLES = """\b
Examples:
  seqprobe data ls
"""

_JSON = click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")


@click.group(epilog=EXAMPLES)
def command() -> None:
    """List, fetch and check the real data sets.

    They live in the folder that SEQPROBE_DATA names, else in a cache folder of yours.
    """


@command.command("ls", epilog=EXAMPLES)
@_JSON
def list_datasets(as_json: bool) -> None:
    """List the data sets and whether they are here."""
    rows = [_row(entry) for entry in CATALOG.values()]
    if as_json:
        echo_json({"schema": "seqprobe.data/1", "folder": str(folder()), "data": rows})
        return
    click.echo(f"folder {folder()}")
    cells = [[str(row[key]) for key in row] for row in rows]
    table(list(rows[0]), cells)


@command.command("fetch")
@click.argument("names", nargs=-1, required=True, metavar="NAME...|all")
@click.option("-q", "--quiet", is_flag=True, help="No progress bar, no remarks.")
def fetch_datasets(names: tuple[str, ...], quiet: bool) -> None:
    """Download data sets, going on where a download broke off."""
    entries = _named(names)
    with progress(quiet, "bytes") as update:
        for entry in entries:
            done = fetch(entry, lambda have, total, name: update(have, total, name))
            if not quiet:
                click.echo(f"{entry.name}: {len(done) or 'no'} files downloaded to {folder()}")


@command.command("check")
@click.argument("names", nargs=-1, metavar="[NAME...]")
@_JSON
def check_datasets(names: tuple[str, ...], as_json: bool) -> int:
    """Compare the content of every file with its published hash; all data sets if none is named."""
    rows = [
        {"data": entry.name, "file": file.path, "problem": problem(file)}
        for entry in _named(names or ("all",))
        for file in entry.files
    ]
    wrong = [row for row in rows if row["problem"]]
    if as_json:
        echo_json({"schema": "seqprobe.data/1", "folder": str(folder()), "files": rows})
    else:
        cells = [[str(row["data"]), str(row["file"]), row["problem"] or "ok"] for row in rows]
        table(["data", "file", "content"], cells)
    if wrong:
        echo_error(f"{len(wrong)} of {len(rows)} files are missing or wrong in '{folder()}'")
    return UnreadableFileError.exit_code if wrong else 0


def _named(names: tuple[str, ...]) -> list[Dataset]:
    if "all" in names:
        return list(CATALOG.values())
    return [dataset(name) for name in names]


def _row(entry: Dataset) -> dict[str, Any]:
    absent = len(missing(entry))
    here = "yes" if absent == 0 else "no" if absent == len(entry.files) else "in part"
    size = sum(file.size for file in entry.files)
    return {
        "data": entry.name,
        "here": here,
        "MB": f"{size / 1e6:.1f}",
        "licence": entry.licence,
        "summary": entry.summary,
    }
