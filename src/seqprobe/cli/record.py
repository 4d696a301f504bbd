"""``seqprobe record``: write every state of a model into a file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from seqprobe import device as devices
from seqprobe.cli.analysis import of_checkpoint
from seqprobe.cli.common import LENGTH, echo_json, progress, run_options, table
from seqprobe.cli.given import Given, given_options
from seqprobe.errors import UsageError

EXAMPLES = """\b
Examples:
  seqprobe record checkpoints/delay/gru-s0.pt -o acts.h5
  seqprobe record checkpoints/delay/lstm-s0.pt -o acts.h5 --what states,gates --dtype float16
  seqprobe record checkpoints/recall/gru-s0.pt -o acts.h5 --trials 200 --length 500 --every 10
"""


@click.command(epilog=EXAMPLES)
@click.argument("checkpoint", metavar="CKPT", required=False)
@click.option("-o", "--output", required=True, metavar="FILE.h5", help="Where the recording goes.")
@click.option(
    "--trials",
    type=click.IntRange(1, 2**31),
    help="Number of test sequences.  [default: 64, or all if there are fewer]",
)
@LENGTH
@click.option(
    "--what",
    default="states,outputs",
    show_default=True,
    help="states, gates, outputs, or names such as layer0.h or '*.update', with commas between.",
)
@click.option(
    "--every", type=click.IntRange(1), default=1, show_default=True, help="Keep every k-th step."
)
@click.option(
    "--dtype",
    type=click.Choice(["float16", "float32", "float64"]),
    default="float32",
    show_default=True,
    help="Precision of states, gates and outputs.",
)
@click.option(
    "--compression",
    type=click.Choice(["none", "gzip", "lzf"]),
    default="none",
    show_default=True,
    help="gzip is slow and saves a tenth to a half.",
)
@click.option("--overwrite", is_flag=True, help="Replace an existing file.")
@given_options
@run_options
def command(
    checkpoint: str | None,
    output: str,
    trials: int | None,
    length: int | None,
    what: str,
    every: int,
    dtype: Any,
    compression: Any,
    overwrite: bool,
    seed: int,
    device: str,
    as_json: bool,
    quiet: bool,
    **more: Any,
) -> None:
    """Run CKPT over test sequences of its task and write down every step.

    The file opens with xarray.open_dataset(FILE, engine="h5netcdf") without being read: states and
    gates by layer and part along (trial, time, unit), beside inputs, targets, outputs, predictions
    and conditions. It may be larger than memory. A growing cache (attention) has the entry that
    each step adds, a buffer of past inputs (TCN) its newest column.
    """
    from seqprobe.activations import record
    from seqprobe.activations.record import check_recording

    given = Given.of(more, () if checkpoint is None else (checkpoint,))
    check_recording(output, overwrite)
    words = [word.strip() for word in what.split(",") if word.strip()]
    if not words:
        raise UsageError("--what names nothing (allowed: states, gates, outputs, names of parts)")
    loaded = given.open(Path(checkpoint or str(given.factory)))
    devices.tune_malloc()
    model = loaded.build_model().to(devices.resolve(device))
    with progress(quiet, "steps") as update:
        record(
            model,
            loaded.build_task(),
            output,
            trials=trials,
            length=length,
            what=words,
            every=every,
            dtype=dtype,
            compression=compression,
            overwrite=overwrite,
            seed=seed,
            on_progress=lambda done, total: update(done, total, output),
        )
    _show(output, of_checkpoint(loaded), as_json, quiet)


def _show(output: str, checkpoint: dict[str, Any], as_json: bool, quiet: bool) -> None:
    """Say what the file holds."""
    from seqprobe.activations import open_recording

    size = Path(output).stat().st_size
    with open_recording(output) as recording:
        rows = [
            {
                "variable": str(name),
                "dims": list(map(str, values.dims)),
                "shape": list(values.shape),
                "dtype": str(values.dtype),
                "what": f"{values.attrs['long_name']}"
                + (f": {values.attrs['form']}" if "form" in values.attrs else ""),
            }
            for name, values in recording.data_vars.items()
        ]
    if as_json:
        found = {"schema": "seqprobe.record/1", "file": output, "bytes": size, "variables": rows}
        echo_json(found | checkpoint)
    elif not quiet:
        cells = [
            [
                str(row["variable"]),
                " x ".join(f"{dim} {n}" for dim, n in zip(row["dims"], row["shape"], strict=True)),
                str(row["dtype"]),
                str(row["what"]),
            ]
            for row in rows
        ]
        table(["variable", "dimensions", "type", "what"], cells)
        click.echo(f"{output}: {size / 1e6:.1f} MB", err=True)
