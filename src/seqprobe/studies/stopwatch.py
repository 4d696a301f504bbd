"""How long training took, up to every validation."""

from __future__ import annotations

import time

__all__ = ["Stopwatch"]


class Stopwatch:
    """Seconds of training per network: shared evenly by those in training at that moment.

    On the CPU that is processor time, which other programs on the machine lengthen less; elsewhere
    it is the time that passed.

    Parameters
    ----------
    networks
        How many are trained together.
    seconds
        What was counted before an interruption.
    on_cpu
        Whether training is on the CPU.
    """

    def __init__(self, networks: int, seconds: float, on_cpu: bool) -> None:
        self._clock = time.process_time if on_cpu else time.perf_counter
        self._networks = networks
        self._seconds = seconds
        self._last = self._clock()

    def read(self) -> float:
        """Return the seconds per network so far."""
        now = self._clock()
        self._seconds += (now - self._last) / self._networks
        self._last = now
        return self._seconds

    def share(self, networks: int) -> None:
        """Say how many networks are in training from now on."""
        if networks != self._networks:
            self.read()
            self._networks = max(networks, 1)
