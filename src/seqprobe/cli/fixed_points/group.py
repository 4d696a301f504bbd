"""The group that holds the commands on fixed points."""

from __future__ import annotations

import click

from seqprobe.cli.groups import DefaultGroup

__all__ = ["EXAMPLES", "command"]

EXAMPLES = """\b
Examples:
  seqprobe fixed-points checkpoints/flipflop
  seqprobe fixed-points checkpoints/flipflop/gru-s0.pt --json
  seqprobe fixed-points checkpoints/flipflop/rnn-s0.pt -o points.nc --figure points.pdf
  seqprobe fixed-points connections checkpoints/flipflop/gru-s0.pt --figure graph.pdf
"""


@click.group(cls=DefaultGroup, default="search", epilog=EXAMPLES)
def command() -> None:
    """Find the states a trained model computes with, and what it does between them.

    Without a subcommand, 'search' runs; 'seqprobe fixed-points search --help' has its options.
    """
