"""The command ``seqprobe capacity``: how much the state of a trained model holds."""

from seqprobe.cli.capacity import (
    cover,
    dimension,
    ess,
    growth,
    manifold,
    quantised,
    recall,
    table,
)
from seqprobe.cli.capacity.group import EXAMPLES as _GROUP
from seqprobe.cli.capacity.group import command

__all__ = ["EXAMPLES", "command"]

_MEASURES = (table, ess, dimension, recall, quantised, cover, manifold, growth)
EXAMPLES = "\n".join([_GROUP, *(module.EXAMPLES for module in _MEASURES)])
