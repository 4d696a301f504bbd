"""The group that holds the questions."""

from __future__ import annotations

import click

from seqprobe.cli.groups import DefaultGroup

__all__ = ["EXAMPLES", "command"]

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
