"""The entry point: commands are imported when they are called, errors become one line.

Exit codes: 0 ok, 1 failed, 2 usage, 3 unreadable file, 4 not applicable to this model, 5 study
finished with failed units, 130 interrupted.
"""

from __future__ import annotations

import os
import signal
import sys
from typing import Any

import click

import seqprobe
from seqprobe.cli.plugged import PluggedGroup
from seqprobe.errors import SeqprobeError

__all__ = ["main", "run"]

# Name -> module and the line that 'seqprobe --help' shows without importing it.
COMMANDS = {
    "train": ("seqprobe.cli.train", "Train a model on a task and keep it as a checkpoint."),
    "memory": ("seqprobe.cli.memory", "How far back does a trained model remember?"),
    "fixed-points": (
        "seqprobe.cli.fixed_points",
        "Which states does a trained model compute with?",
    ),
    "capacity": ("seqprobe.cli.capacity", "How much does its state hold?"),
    "degeneracy": (
        "seqprobe.cli.degeneracy",
        "How differently do seeds solve the same task?",
    ),
    "timescales": ("seqprobe.cli.timescales", "How long do its units remember?"),
    "record": ("seqprobe.cli.record", "Write every state of a model into a file."),
    "study": ("seqprobe.cli.study", "Plan, run and collect a sweep of many small networks."),
    "data": ("seqprobe.cli.data", "List, fetch and check the real data sets."),
    "ls": ("seqprobe.cli.ls", "List models, tasks, checkpoints, analyses or plug-ins."),
    "show": ("seqprobe.cli.show", "Show what a checkpoint holds."),
}

EXAMPLES = """\b
Examples:
  seqprobe memory checkpoints/digits
  seqprobe train gru delay -o gru.pt --steps 200
  seqprobe show checkpoints/delay/gru-s0.pt
"""


@click.group(
    cls=PluggedGroup,
    lazy=COMMANDS,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=EXAMPLES,
)
@click.version_option(seqprobe.__version__, prog_name="seqprobe")
def app() -> None:
    """Train sequence models of any architecture, keep them, and take them apart."""


def run(arguments: list[str]) -> int:
    """Run a command line and return its exit code; errors are printed as one line."""
    try:
        result: Any = app.main(arguments, prog_name="seqprobe", standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message())
        return 2
    except click.UsageError as error:
        path = error.ctx.command_path if error.ctx else "seqprobe"
        return _fail(f"{_one_line(error.format_message())} (see '{path} --help')", 2)
    except (KeyboardInterrupt, click.Abort):
        return _fail("interrupted", 130)
    except SeqprobeError as error:
        return _fail(str(error), error.exit_code)
    except BrokenPipeError:
        # The reader went away, as in '| head'; nobody is left to write to, at exit neither.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        where = f": '{error.filename}'" if error.filename else ""
        return _fail(f"{error.strerror or error}{where}", 1)
    except (MemoryError, RuntimeError) as error:
        if not _out_of_memory(error):
            raise
        return _fail("out of memory; use a smaller model, batch, length or --sequences", 1)
    return result if isinstance(result, int) else 0


def _out_of_memory(error: Exception) -> bool:
    text = str(error)
    return (
        isinstance(error, MemoryError)
        or "not enough memory" in text
        or "out of memory" in text
        or "can't allocate memory" in text
    )


def _one_line(text: str) -> str:
    return " ".join(text.split()).removesuffix(".")


def _fail(message: str, code: int) -> int:
    from seqprobe.cli.common import echo_error

    echo_error(message)
    return code


def main() -> None:
    """Run the command line of this process; being asked to end is being interrupted."""
    for name in ("SIGTERM", "SIGHUP"):
        if number := getattr(signal, name, None):
            signal.signal(number, signal.default_int_handler)
    sys.exit(run(sys.argv[1:]))
