"""The group that holds the commands on timescales."""

from __future__ import annotations

import click

from seqprobe.cli.groups import DefaultGroup

__all__ = ["EXAMPLES", "LENGTH", "command", "sequences"]

EXAMPLES = """\b
Examples:
  seqprobe timescales checkpoints/flipflop/leaky-s0.pt
  seqprobe timescales checkpoints/flipflop/rnn-s0.pt --length 256 --figure timescales.pdf
  seqprobe timescales lyapunov checkpoints/flipflop/gru-s0.pt
"""

LENGTH = click.option(
    "--length",
    type=click.IntRange(1, 2**31),
    help="Length of the sequences.  [default: as trained]",
)


@click.group(cls=DefaultGroup, default="compare", epilog=EXAMPLES)
def command() -> None:
    """Measure how long a network remembers, in steps.

    Without a subcommand, 'compare' runs; 'seqprobe timescales compare --help' has its options.
    """


def sequences(default: int) -> object:
    """Return the option for the number of test sequences."""
    return click.option(
        "--sequences",
        type=click.IntRange(1, 2**31),
        help=f"Number of test sequences.  [default: {default}, or all if there are fewer]",
    )
