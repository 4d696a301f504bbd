"""``python -m seqprobe`` is the same as ``seqprobe``."""

from seqprobe.cli import main

main()
