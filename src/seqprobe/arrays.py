"""Arrays of any origin: dimensions by name where they have names, in an agreed order where not.

Measures that need no model take numpy arrays, trials first, units last: (N, T, d). Of an
`xarray.DataArray` with the dimensions ``trial``, ``time`` and ``unit`` the order does not matter.
"""

from __future__ import annotations

import numpy as np
import xarray as xr

from seqprobe.errors import UsageError

__all__ = [
    "SEGMENTS",
    "Recorded",
    "as_labels",
    "as_samples",
    "as_trials",
    "cut",
    "is_named",
    "ordered",
    "seconds_per_step",
]

Recorded = np.ndarray | xr.DataArray

SEGMENTS = 20
_ORDER = ("trial", "time", "unit")
_SECONDS = ("s", "sec", "second", "seconds")
_EVEN = 1e-3  # of a step: how much steps of a time axis may differ


def is_named(x: Recorded) -> bool:
    """Say whether an array names its dimensions; ``dim_0`` is what xarray calls no name."""
    return isinstance(x, xr.DataArray) and not all(str(d).startswith("dim_") for d in x.dims)


def ordered(x: Recorded, what: str = "states", last: bool = True) -> np.ndarray:
    """Return real numbers in float64, named dimensions in the order trial, time, unit.

    Parameters
    ----------
    x
        An array. Without names it keeps its shape.
    what
        What it is, for messages.
    last
        True if there must be units; False if there must be none, as of one number per step.

    Raises
    ------
    UsageError
        If dimensions have other names, or values are not real numbers.
    """
    values = _in_order(x, what, last)
    if values.dtype.kind not in "fiub":
        raise UsageError(f"{what} are of type {values.dtype} (allowed: real numbers)")
    return values.astype(np.float64, copy=False)


def as_labels(x: Recorded, what: str = "labels") -> np.ndarray:
    """Return one value per sample, (m,), of whatever type, in the order of `as_samples`."""
    return _in_order(x, what, last=False).reshape(-1)


def _in_order(x: Recorded, what: str, last: bool) -> np.ndarray:
    """Return the values with named dimensions in the order trial, time, unit."""
    if is_named(x):
        assert isinstance(x, xr.DataArray)  # it has names
        there = [name for name in (_ORDER if last else _ORDER[:2]) if name in x.dims]
        if len(there) != x.ndim or there == ["unit"] or ("unit" in there) != last:
            raise UsageError(
                f"{what} have the dimensions ({', '.join(map(str, x.dims))}) (allowed:"
                f" {'unit with ' * last}trial, time or both, in any order); rename or select"
            )
        x = x.transpose(*there)
    return np.asarray(x)


def cut(x: Recorded, segments: int = SEGMENTS) -> np.ndarray:
    """Return one long recording (T, d) as segments that follow each other, (segments, T', d).

    What needs independent trials takes the segments for them. They are, as far as a segment is much
    longer than what is recorded remembers. The steps that are left over at the end are dropped.

    Parameters
    ----------
    x
        (T, d), or the dimensions ``time`` and ``unit``.
    segments
        Their number; T' is the whole part of T / segments.

    Raises
    ------
    UsageError
        If the recording has another shape, or fewer than two steps per segment.
    """
    values = ordered(x)
    if values.ndim != 2:
        raise UsageError(f"the recording has shape {values.shape} (allowed: (T, d)); it has trials")
    if not 1 <= segments <= len(values) // 2:
        raise UsageError(
            f"{segments} segments of a recording of {len(values)} steps (allowed: 1 to"
            f" {len(values) // 2}, two steps each)"
        )
    length = len(values) // segments
    return values[: segments * length].reshape(segments, length, values.shape[1])


def as_trials(x: Recorded, segments: int = SEGMENTS, what: str = "states") -> np.ndarray:
    """Return (N, T, d) of an array whose dimensions have names, other arrays as they are.

    ``(time, unit)`` is one long recording and is `cut`; ``(trial, unit)`` are trials of one step.
    """
    values = ordered(x, what)
    if not is_named(x) or values.ndim == 3:
        return values
    assert isinstance(x, xr.DataArray)  # it has names
    return cut(values, segments) if "time" in x.dims else values[:, None]


def as_samples(x: Recorded, what: str = "activations") -> np.ndarray:
    """Return samples x units, (m, d): trials and time steps one after another."""
    values = ordered(x, what)
    return values.reshape(-1, values.shape[2]) if values.ndim == 3 else values


def seconds_per_step(x: Recorded) -> float | None:
    """Return the step of the ``time`` coordinate, or None if it has none in seconds.

    Raises
    ------
    UsageError
        If the steps are not even.
    """
    if not isinstance(x, xr.DataArray) or "time" not in x.coords:
        return None
    time = x.coords["time"]
    if str(time.attrs.get("units", "")).lower() not in _SECONDS or time.size < 2:
        return None
    steps = np.diff(time.values.astype(np.float64))
    step = float(np.median(steps))
    if not step > 0 or np.abs(steps - step).max() > _EVEN * step:
        raise UsageError(
            f"steps of 'time' are {steps.min():g} to {steps.max():g} s (allowed: all alike); bin"
            " the recording evenly"
        )
    return float(f"{step:.9g}")  # the rest is rounding of times that are long after 0
