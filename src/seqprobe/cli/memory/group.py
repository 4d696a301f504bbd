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
    """Measure how far back a trained model remembers.

    Without a subcommand, 'profile' runs; 'seqprobe memory profile --help' has its options. Four
    questions have different answers for the same model:

    \b
    sensitivity   profile, perturbation
    use           total-effect, substitution, context, copy-curve
    availability  linear, information, fisher
    dimension     ipc, receptive-field
    all of them   report

    A path that has the name of a subcommand is written ./NAME.
    """  # noqa: D301  # click reads the backspace as "do not wrap"
