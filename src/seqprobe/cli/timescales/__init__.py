"""The command ``seqprobe timescales``: how long a network remembers, by several measures."""

from seqprobe.cli.timescales import compare, lyapunov
from seqprobe.cli.timescales.group import command

__all__ = ["EXAMPLES", "command"]

EXAMPLES = "\n".join(module.EXAMPLES for module in (compare, lyapunov))
