"""The command line: it parses, calls and prints, nothing else."""

from seqprobe.cli.app import main

__all__ = ["main"]
