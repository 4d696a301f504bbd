"""The command ``seqprobe fixed-points``: the states a model computes with, and what joins them."""

from seqprobe.cli.fixed_points import connections, cycles, linear, search, slow, speed_map, sweep
from seqprobe.cli.fixed_points.group import command

__all__ = ["EXAMPLES", "command"]

EXAMPLES = "\n".join(
    module.EXAMPLES for module in (search, linear, connections, sweep, slow, speed_map, cycles)
)
