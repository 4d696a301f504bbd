"""Options and preparations that measures of recorded states share."""

from __future__ import annotations

import click
import torch

from seqprobe.cli.analysis import Subject
from seqprobe.memory.states import collect
from seqprobe.models.access import like_parameters, state_grows
from seqprobe.tasks import Batch

__all__ = ["READ_FROM", "states"]

READ_FROM = click.option(
    "--part",
    help="Tensor: state, readout, or an internal such as layer0.update.  [default: state, or"
    " readout where the state grows]",
)


def states(subject: Subject, batch: Batch, part: str | None) -> tuple[torch.Tensor, str]:
    """Return the visited states (N, T, d) in double precision, and of which tensor they are."""
    model = subject.model
    if part is None:
        part = "readout" if model.causal and state_grows(model) else "state"
    x = like_parameters(model, batch.inputs)
    return collect(model, x, part).double().cpu(), part
