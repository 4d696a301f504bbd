"""Where the numbers are computed: the device, and the memory allocator of the C library."""

from __future__ import annotations

import ctypes
import sys

import torch

from seqprobe.errors import UsageError

__all__ = ["resolve", "tune_malloc"]

_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3


def resolve(name: str = "auto") -> torch.device:
    """Return the device of that name, after a check that it is there.

    Parameters
    ----------
    name
        ``"auto"`` (a CUDA device if there is one, else the CPU), or any torch device name.

    Raises
    ------
    UsageError
        If torch does not know the name or this machine has no such device.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.zeros(1, device=device).cpu()
    except (RuntimeError, AssertionError, NotImplementedError, AttributeError, ImportError):
        there = ["auto", "cpu"] + [f"cuda:{i}" for i in range(torch.cuda.device_count())]
        raise UsageError(
            f"device '{name}' is not available here (allowed: {', '.join(there)})"
        ) from None
    return device


def tune_malloc() -> bool:
    """Tell glibc to keep large blocks instead of returning them to the kernel.

    By default every block above 32 MB is unmapped when freed and page-faulted in again at the next
    training step, which costs up to two thirds of the time of a long sequence. Called by the
    command line, never as a side effect of an import.

    Returns
    -------
    bool
        True where the setting was made, False on systems without glibc.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):
        return False
    largest = 2**31 - 1
    return bool(mallopt(_M_MMAP_THRESHOLD, largest) and mallopt(_M_TRIM_THRESHOLD, largest))
