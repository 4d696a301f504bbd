"""``seqprobe show``: what a checkpoint holds."""

from __future__ import annotations

import dataclasses
from typing import Any

import click

from seqprobe.cli.common import echo_json
from seqprobe.models import state_parts
from seqprobe.training import Checkpoint, load_checkpoint

EXAMPLES = """\b
Examples:
  seqprobe show checkpoints/delay/gru-s0.pt
  seqprobe show checkpoints/digits/tcn-s0.pt --json
"""


@click.command(epilog=EXAMPLES)
@click.argument("checkpoint")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(checkpoint: str, as_json: bool) -> None:
    """Show what a checkpoint holds: model, task, training, scores, and how it was made."""
    content = _content(load_checkpoint(checkpoint))
    if as_json:
        echo_json({"schema": "seqprobe.show/1", **content})
        return
    for name, value in content.items():
        if name in ("history", "weights", "state"):
            continue
        if isinstance(value, dict):
            value = ", ".join(f"{key} {_text(item)}" for key, item in value.items())
        click.echo(f"{name:<16} {_text(value)}")
    for name, part in content["state"].items():
        shape = "x".join(map(str, part["shape"]))
        click.echo(f"  {name:<32} {shape} ({part['kind']})")
    click.echo("weights")
    for name, shape in content["weights"].items():
        click.echo(f"  {name:<32} {'x'.join(map(str, shape))}")


def _content(checkpoint: Checkpoint) -> dict[str, Any]:
    assert checkpoint.origin is not None
    model, length = checkpoint.build_model(), checkpoint.build_task().length
    fields = {f.name: getattr(checkpoint, f.name) for f in dataclasses.fields(checkpoint)}
    del fields["origin"], fields["weights"], fields["metrics"]
    return {
        "checkpoint": checkpoint.origin.path,
        "sha256": checkpoint.origin.sha256,
        **fields,
        **checkpoint.metrics,
        "params": checkpoint.params,
        "receptive_field": model.receptive_field,
        # After as many steps as in training: a cache grows with them.
        "state_size": model.state_size(length) if model.causal else None,
        "state": {
            name: part._asdict()
            for name, part in (state_parts(model, length) if model.causal else {}).items()
        },
        "weights": {name: list(weight.shape) for name, weight in checkpoint.weights.items()},
    }


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}={_text(item)}" for key, item in value.items()) + "}"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value is None:
        return "-"
    if isinstance(value, str):  # a vocabulary has line ends in it
        return value if value.isprintable() and value else repr(value)
    return f"{value:.6g}" if isinstance(value, float) else str(value)
