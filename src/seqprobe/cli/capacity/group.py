"""The group that holds the measures of a state."""

from __future__ import annotations

import click

from seqprobe.cli.groups import DefaultGroup

__all__ = ["EXAMPLES", "command"]

EXAMPLES = """\b
Examples:
  seqprobe capacity checkpoints/recall
  seqprobe capacity checkpoints/delay/gru-s0.pt --json
  seqprobe capacity checkpoints/recall -o capacity.nc --figure capacity.pdf
"""


@click.group(cls=DefaultGroup, default="table", epilog=EXAMPLES)
def command() -> None:
    """Measure how much the state of a trained model holds.

    Without a subcommand, 'table' runs: the cheap measures of several checkpoints side by side;
    'seqprobe capacity table --help' has its options.

    \b
    what must cross to the future    ess
    directions that states visit     dimension
    what can be recalled             recall
    how finely it has to be kept     quantised
    what linear readers can do       cover, manifold
    beyond the training length       growth

    A path that has the name of a subcommand is written ./NAME.
    """  # noqa: D301  # click reads the backspace as "do not wrap"
