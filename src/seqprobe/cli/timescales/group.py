"""The group that holds the commands on timescales."""

from __future__ import annotations

import click

from seqprobe.cli.groups import DefaultGroup

__all__ = ["EXAMPLES", "command"]

EXAMPLES = """\b
Examples:
  seqprobe timescales checkpoints/flipflop/leaky-s0.pt
  seqprobe timescales checkpoints/flipflop/rnn-s0.pt --length 256 --figure timescales.pdf
  seqprobe timescales lyapunov checkpoints/flipflop/gru-s0.pt
"""


@click.group(cls=DefaultGroup, default="compare", epilog=EXAMPLES)
def command() -> None:
    """Measure how long a network remembers, in steps.

    Without a subcommand, 'compare' runs; 'seqprobe timescales compare --help' has its options.
    """
