"""How long training took, up to every validation."""

from __future__ import annotations

import time

__all__ = ["Stopwatch"]


class Stopwatch:
    """Seconds of updates per network: shared evenly by those that are trained together.

    The first update, which also loads and warms up what is needed, and validations do not count. On
    the CPU it is processor time, which other programs on the machine lengthen less; elsewhere it is
    the time that passed.

    Parameters
    ----------
    seconds
        What was counted before an interruption.
    on_cpu
        Whether training is on the CPU.

    Attributes
    ----------
    seconds
        What was counted so far.
    """

    def __init__(self, seconds: float, on_cpu: bool) -> None:
        self.seconds = seconds
        self._clock = time.process_time if on_cpu else time.perf_counter
        self._last: float | None = None

    def updated(self, networks: int) -> None:
        """Count an update of so many networks, from the last call of this or of `leave_out`."""
        now = self._clock()
        if self._last is not None:
            self.seconds += (now - self._last) / networks
        self._last = now

    def leave_out(self) -> None:
        """Leave out what happened since the last update."""
        if self._last is not None:
            self._last = self._clock()
