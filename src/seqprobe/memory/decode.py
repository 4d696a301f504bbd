"""What can be read linearly from recorded states, whoever recorded them."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from scipy.special import stdtrit

from seqprobe import provenance
from seqprobe.arrays import Recorded, ordered
from seqprobe.errors import UsageError
from seqprobe.memory.estimates import CI, ci_coordinate, percentile
from seqprobe.memory.readout import read_out
from seqprobe.schema import variable
from seqprobe.seeding import generator

__all__ = ["decode"]

_SAMPLES = 10  # to fit, per number of the states
_SHIFTS = 200
_NEAREST = 0.05  # of the recording: no shift is smaller
_REPLICATES = 1000
_TOGETHER = 2**22  # numbers decoded at once


class _Score(NamedTuple):
    long_name: str
    units: str
    larger_is_better: bool


_LINEAR = {
    "r2": _Score("share of the variance decoded, held out", "1", True),
    "rmse": _Score("root mean square error, held out", "1", False),
}
_CIRCULAR = {
    "median_error": _Score("median absolute angular error, held out", "degrees", False),
    "mean_error": _Score("mean absolute angular error, held out", "degrees", False),
}


def decode(
    states: Recorded,
    target: Recorded,
    *,
    circular: bool = False,
    blocks: int = 20,
    seed: int = 0,
) -> xr.Dataset:
    """Return how well a number can be read linearly from states, on data that were not fitted.

    The first half of the recording fits a ridge regression, the second half tests it; nothing is
    shuffled, because neighbouring samples are nearly the same sample.

    Parameters
    ----------
    states
        One recording (T, d), or trials (N, T, d), of which the first half fits. Named dimensions
        ``trial``, ``time``, ``unit`` may be in any order.
    target
        One number per step, (T,) or (N, T).
    circular
        True for angles in radians: their cosine and sine are read, and the angle of both is the
        answer.
    blocks
        Number of contiguous blocks of the tested half that intervals resample; of trials, at most
        their number, so that no trial is cut.
    seed
        Of the bootstrap.

    Returns
    -------
    xarray.Dataset
        * ``r2``: one less the squared error over the variance of the target, at most 1 and below 0
          where the reading is worse than the mean; ``rmse``, in units of the target. For angles
          ``median_error`` and ``mean_error``, absolute, in degrees: 90 is chance for angles that
          are spread evenly.
        * ``<name>_ci``: 95 %, 1000 bootstrap replicates over blocks; NaN if one trial is tested.
        * ``<name>_null``: the same with the target shifted along the recording and wrapped around,
          and the reader fitted anew; the mean of up to 200 shifts of 5 to 95 % of it.
          ``<name>_null_ci``: what 95 % of the shifts give. ``p_value``: part of the shifts, the
          true one counted, that do as well by the first of the two scores.
        * ``<name>_constant``: of the best constant of the fitted half.
        * ``target``, ``decoded``, ``error`` (trial, time) of the tested half, without ``trial`` for
          one recording; errors of angles are signed, in degrees.
        * ``ridge``: the penalty per sample, of states of unit variance.

    Raises
    ------
    UsageError
        If shapes do not fit, values are not finite, the target never varies, or there are fewer
        than ten samples to fit per unit.

    Notes
    -----
    The ridge comes from five contiguous folds of the fitted half. Shifts keep the correlations in
    time of both sides and break what relates them, which shuffled steps would not (Harris 2020,
    arXiv 2012.06862); trials are shifted end to end. Where the target has other values in the
    second half than in the first, shifts and constants do worse than 90 degrees: compare with
    them. What was smoothed over time reaches across the border of the halves by that width.
    Percentiles of few blocks are widened as Student's t is. Intervals are still too narrow where
    errors last longer than a third of a block. Cost: 200 regressions that share
    their products, 0.5 s for 5000 samples of 10 units.
    """
    z, y = ordered(states), ordered(target, "targets", last=False)
    _check(states, target, z, y)
    half = len(z) // 2 * (z.shape[1] if z.ndim == 3 else 1)
    x, truth = z.reshape(-1, z.shape[-1]), y.reshape(-1)
    _check_values(x, truth, half, blocks)
    found, ridge = _read(x, truth[:, None], half, circular)
    decoded, tested = found[:, 0], truth[half:]
    rng = generator(seed, "decode")
    trials = len(z) - len(z) // 2 if z.ndim == 3 else len(tested)
    if circular:
        _check_radians(target, y)
    replicates = _resampled(tested, decoded, min(blocks, trials), trials, circular, rng)
    nulls = _shifted(x, truth, half, circular)
    data = _scored(
        _scores(tested, decoded, circular),
        replicates,
        nulls,
        _scores(tested, np.full_like(tested, _constant(truth[:half], circular)), circular),
        circular,
        str(target.attrs.get("units", "1")) if isinstance(target, xr.DataArray) else "1",
        min(blocks, trials),
    )
    data["ridge"] = variable((), float(ridge[0]), "ridge per sample", "1")
    parameters = {
        "circular": circular,
        "blocks": min(blocks, trials),
        "samples": len(x),
        "shifts": len(nulls),
    }
    attrs = provenance.attrs("memory.decode", parameters, seed=seed, device="cpu", dtype="float64")
    attrs["interval"] = f"95 % percentile, {_REPLICATES} bootstrap replicates over blocks"
    held_out, coords = _held_out(target, y, tested, decoded, circular)
    return xr.Dataset(data | held_out, coords | {"ci_bound": ci_coordinate()}, attrs)


def _check_radians(target: Recorded, y: np.ndarray) -> None:
    """Refuse angles in degrees, which would be read as many turns."""
    units = str(target.attrs.get("units", "rad")) if isinstance(target, xr.DataArray) else "rad"
    if not units.lower().startswith("rad") or float(np.abs(y).max()) > 4 * np.pi:
        raise UsageError(
            f"circular targets reach {float(np.abs(y).max()):.3g} in units '{units}' (allowed:"
            " radians, within two turns); use numpy.radians"
        )


def _check(states: Recorded, target: Recorded, z: np.ndarray, y: np.ndarray) -> None:
    """Refuse targets that are not one number per step of the states."""
    if z.ndim not in (2, 3) or y.shape != z.shape[:-1]:
        raise UsageError(
            f"states have shape {z.shape}, targets {y.shape} (allowed: (T, d) and (T,), or"
            " (N, T, d) and (N, T))"
        )
    if isinstance(states, xr.DataArray) and isinstance(target, xr.DataArray):
        for name in ("trial", "time"):
            both = name in states.coords and name in target.coords
            if both and not np.array_equal(states.coords[name], target.coords[name]):
                raise UsageError(
                    f"states and targets differ in '{name}' (allowed: the same steps for both);"
                    " align them"
                )


def _check_values(x: np.ndarray, truth: np.ndarray, half: int, blocks: int) -> None:
    for name, values in (("states", x), ("targets", truth)):
        if not np.isfinite(values).all():
            count = np.count_nonzero(~np.isfinite(values))
            raise UsageError(
                f"{count} {name} are not finite (allowed: finite numbers); leave these steps out"
            )
    if half < _SAMPLES * x.shape[1]:
        raise UsageError(
            f"{half} samples to fit a reader of {x.shape[1]} units (allowed: {_SAMPLES} per unit or"
            " more); record longer"
        )
    if not 2 <= blocks <= len(x) - half:
        raise UsageError(f"{blocks} blocks (allowed: 2 to {len(x) - half}, the samples tested)")
    if not (np.ptp(truth[:half]) > 0 and np.ptp(truth[half:]) > 0):
        raise UsageError(
            "targets never vary in one half of the recording; there is nothing to read"
        )


def _read(
    x: np.ndarray, truth: np.ndarray, half: int, circular: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Return what is decoded of targets (n, G) in the second part, (m, G), and the ridges (G,)."""
    fit = truth[:half]
    parts = [np.cos(fit), np.sin(fit)] if circular else [fit]
    found = read_out(x[:half], np.stack(parts, axis=2), x[half:])
    if circular:
        cosine, sine = np.moveaxis(found.decoded, 2, 0)
        return np.arctan2(sine, cosine) % (2 * np.pi), found.ridge
    return found.decoded[..., 0], found.ridge


def _errors(truth: np.ndarray, decoded: np.ndarray, circular: bool) -> np.ndarray:
    """Return decoded less true values; of angles the shorter way round, in degrees."""
    error: np.ndarray = decoded - truth
    return np.degrees((error + np.pi) % (2 * np.pi) - np.pi) if circular else error


def _scores(truth: np.ndarray, decoded: np.ndarray, circular: bool) -> np.ndarray:
    """Return the two scores of `_LINEAR` or `_CIRCULAR`."""
    error = _errors(truth, decoded, circular)
    if circular:
        size = np.abs(error)
        return np.array([np.median(size), size.mean()])
    square = np.square(error).mean()
    variance = truth.var()
    return np.array([1 - square / variance if variance > 0 else np.nan, np.sqrt(square)])


def _constant(truth: np.ndarray, circular: bool) -> float:
    """Return the mean of the targets, of angles that of their directions."""
    if circular:
        return float(np.arctan2(np.sin(truth).mean(), np.cos(truth).mean()))
    return float(truth.mean())


def _resampled(
    truth: np.ndarray,
    decoded: np.ndarray,
    blocks: int,
    trials: int,
    circular: bool,
    rng: np.random.Generator,
) -> np.ndarray:
    """Return scores (R, 2) of samples of blocks of whole trials, drawn with replacement."""
    if blocks == 1:
        return np.full((1, 2), np.nan)
    rows = np.arange(len(truth)).reshape(trials, -1)
    pieces = [some.ravel() for some in np.array_split(rows, blocks)]
    replicates = []
    for drawn in rng.integers(blocks, size=(_REPLICATES, blocks)):
        kept = np.concatenate([pieces[i] for i in drawn])
        replicates.append(_scores(truth[kept], decoded[kept], circular))
    return np.array(replicates)


def _shifted(x: np.ndarray, truth: np.ndarray, half: int, circular: bool) -> np.ndarray:
    """Return scores (S, 2) of targets that are shifted along the recording."""
    nearest = _NEAREST * len(x)
    shifts = np.unique(np.linspace(nearest, len(x) - nearest, _SHIFTS).round().astype(int))
    some = max(1, _TOGETHER // (len(x) * (2 if circular else 1)))
    found = []
    for piece in np.array_split(shifts, -(-len(shifts) // some)):
        rolled = np.stack([np.roll(truth, shift) for shift in piece], axis=1)
        decoded, _ = _read(x, rolled, half, circular)
        pairs = zip(rolled[half:].T, decoded.T, strict=True)
        found += [_scores(true, read, circular) for true, read in pairs]
    return np.array(found)


def _scored(
    scores: np.ndarray,
    replicates: np.ndarray,
    nulls: np.ndarray,
    constant: np.ndarray,
    circular: bool,
    units: str,
    blocks: int,
) -> dict[str, Any]:
    """Return both scores with intervals, nulls and those of a constant as labelled variables."""
    data: dict[str, Any] = {}
    wider = stdtrit(max(1, blocks - 1), 0.975) / stdtrit(np.inf, 0.975)
    kinds = _CIRCULAR if circular else {**_LINEAR, "rmse": _LINEAR["rmse"]._replace(units=units)}
    for i, (name, kind) in enumerate(kinds.items()):
        bounds, null = (
            np.array([percentile(rows[:, i], q) for q in CI]) for rows in (replicates, nulls)
        )
        bounds = scores[i] + wider * (bounds - scores[i])
        words, unit, ci = kind.long_name, kind.units, ("ci_bound",)
        data |= {
            name: variable((), scores[i], words, unit),
            f"{name}_ci": variable(ci, bounds, f"95 % interval of: {words}", unit),
            f"{name}_null": variable((), nulls[:, i].mean(), f"{words}, shifted targets", unit),
            f"{name}_null_ci": variable(ci, null, f"95 % of shifted targets: {words}", unit),
            f"{name}_constant": variable((), constant[i], f"{words}, of a constant", unit),
        }
    as_good = nulls[:, 0] <= scores[0] if circular else nulls[:, 0] >= scores[0]
    p = (1 + as_good.sum()) / (1 + len(nulls))
    data["p_value"] = variable((), float(p), "part of the shifted targets that do as well", "1")
    return data


def _held_out(
    target: Recorded, y: np.ndarray, tested: np.ndarray, decoded: np.ndarray, circular: bool
) -> tuple[dict[str, xr.Variable], dict[str, xr.Variable]]:
    """Return the tested half step by step, with the coordinates that the target has."""
    kept = slice(len(y) // 2, None)
    shape = y[kept].shape
    dims = ("trial", "time")[2 - y.ndim :]
    attrs = target.attrs if isinstance(target, xr.DataArray) else {}
    words = str(attrs.get("long_name", "target"))
    unit = "rad" if circular else str(attrs.get("units", "1"))
    true = tested % (2 * np.pi) if circular else tested
    error = _errors(tested, decoded, circular)
    data = {
        "target": variable(dims, true.reshape(shape), words, unit),
        "decoded": variable(dims, decoded.reshape(shape), f"decoded {words}", unit),
        "error": variable(
            dims, error.reshape(shape), f"error of {words}", "degrees" if circular else unit
        ),
    }
    coords = {}
    for place, name in enumerate(dims):
        rows = kept if place == 0 else slice(None)
        if isinstance(target, xr.DataArray) and name in target.coords:
            coord = target.coords[name]
            given = {"long_name": name, "units": "1"} | coord.attrs
            coords[name] = xr.Variable((name,), coord.values[rows], given)
        else:
            numbers = np.arange(y.shape[place])[rows]
            coords[name] = variable((name,), numbers, name, "steps" if name == "time" else "1")
    return data, coords
