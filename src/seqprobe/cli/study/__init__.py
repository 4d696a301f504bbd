"""The command ``seqprobe study``: sweeps of many small networks."""

import click

from seqprobe.cli.groups import LazyGroup

__all__ = ["EXAMPLES", "command"]

EXAMPLES = """\b
Examples:
  seqprobe study plan analyses/example --size smoke
  seqprobe study run analyses/example --size smoke
  seqprobe study status analyses/example --size smoke
  seqprobe study collect analyses/example --size smoke -o study.nc
"""

_HERE = "seqprobe.cli.study"
_COMMANDS = {
    "plan": (f"{_HERE}.plan", "List the units, what they cost, and what is done."),
    "run": (f"{_HERE}.run", "Train and analyse what is missing, then draw."),
    "status": (f"{_HERE}.status", "Show how far it is, and the spread over seeds."),
    "retry": (f"{_HERE}.status:retry", "Let failed units run again."),
    "validate": (f"{_HERE}.status:validate", "Read every file and name the damaged ones."),
    "collect": (f"{_HERE}.collect", "Put everything into one file."),
    "check": (f"{_HERE}.collect:check", "Compare with what was expected."),
}


@click.group(cls=LazyGroup, lazy=_COMMANDS, epilog=EXAMPLES)
def command() -> None:
    """Plan, run and collect a sweep of many small networks.

    FILE is a study.toml, the folder that holds one, or the folder of a study that has been run.
    'analyses/example/study.toml' shows everything that can be in it.
    """
