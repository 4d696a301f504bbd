"""From answers right and wrong to accuracies, bits and their intervals."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import xarray as xr

from seqprobe.memory.estimates import CI, Z, ci_coordinate
from seqprobe.schema import variable

__all__ = [
    "Recalled",
    "fano_bits",
    "last_crossing",
    "mutual_information",
    "summarise",
    "wilson",
    "wilson_of_means",
]

_REPLICATES = 500


@dataclass(frozen=True)
class Recalled:
    """The answers of one model at one delay, for N sequences of M symbols.

    Attributes
    ----------
    asked, said
        Right classes and answers, (N, M).
    bits
        Cross-entropy of every answer in bits, (N, M).
    all_positions
        Accuracy over all scored steps, (N,).
    lag
        How many steps back the answers lie.
    """

    asked: np.ndarray
    said: np.ndarray
    bits: np.ndarray
    all_positions: np.ndarray
    lag: int

    @property
    def right(self) -> np.ndarray:
        """Which answers are right, (N, M)."""
        same: np.ndarray = self.asked == self.said
        return same


def wilson(rate: float, n: float) -> tuple[float, float]:
    """Return Wilson's 95 % interval of a rate found in `n` independent trials."""
    centre = (rate + Z**2 / (2 * n)) / (1 + Z**2 / n)
    half = Z / (1 + Z**2 / n) * math.sqrt(rate * (1 - rate) / n + Z**2 / (4 * n * n))
    return max(0.0, centre - half), min(1.0, centre + half)


def wilson_of_means(right: np.ndarray) -> tuple[float, float]:
    """Return Wilson's 95 % interval of the mean of (N, M) trials that depend within a row.

    The number of trials is that which gives the variance found between the means of rows, at least
    N and at most N M: N if the symbols of a sequence are right or wrong together.
    """
    n, m = right.shape
    rate = float(right.mean())
    between = float(right.mean(axis=1).var(ddof=1)) / n if n > 1 else 0.0
    trials = rate * (1 - rate) / between if between > 0 else 0.0
    return wilson(rate, min(max(trials, n), n * m))


def mutual_information(counts: np.ndarray) -> np.ndarray:
    """Return the plug-in mutual information in bits of tables (..., A, B), Miller-Madow corrected.

    The correction takes off ``(cells - rows - columns + 1) / (2 n ln 2)``, counting those that are
    not empty.
    """
    n = counts.sum(axis=(-2, -1), keepdims=True)
    joint = counts / n
    rows, columns = joint.sum(axis=-1, keepdims=True), joint.sum(axis=-2, keepdims=True)
    with np.errstate(divide="ignore", invalid="ignore"):
        terms = np.where(joint > 0, joint * np.log2(joint / (rows * columns)), 0.0)
    found = terms.sum(axis=(-2, -1))
    full = (joint > 0).sum(axis=(-2, -1)) - (rows > 0).sum(axis=(-2, -1))
    full = full - (columns > 0).sum(axis=(-2, -1)) + 1
    corrected: np.ndarray = found - full / (2 * n[..., 0, 0] * math.log(2))
    return corrected


def fano_bits(accuracy: np.ndarray, symbols: int, alphabet: int) -> np.ndarray:
    """Return ``M (log2 K - H_b(e) - e log2(K - 1))`` bits for the error rate e, at least 0."""
    e = np.clip(1 - accuracy, 0.0, 1.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        binary = -np.where(e > 0, e * np.log2(e), 0) - np.where(e < 1, (1 - e) * np.log2(1 - e), 0)
    bits = math.log2(alphabet) - binary - e * math.log2(max(alphabet - 1, 1))
    # Beyond chance level the bound would rise again.
    return np.where(accuracy > 1 / alphabet, np.maximum(symbols * bits, 0.0), 0.0)


def summarise(
    rows: Sequence[Recalled], delays: np.ndarray, alphabet: int, rng: np.random.Generator
) -> xr.Dataset:
    """Return the result of `seqprobe.memory.copy_curve` for one `Recalled` per delay."""
    columns = [_one_delay(row, alphabet, rng) for row in rows]
    found = {name: np.stack([column[name] for column in columns]) for name in columns[0]}
    data: dict[str, xr.Variable] = {}
    for name, (long_name, unit) in _VARIABLES.items():
        data |= _with_interval(name, found[name], long_name, unit)
    corrected = (found["accuracy_replicates"] - 1 / alphabet) / (1 - 1 / alphabet)
    data |= _interval_of(
        "T50", last_crossing(delays, corrected.T, 0.5), "delay of half recall", "steps"
    )
    data |= _interval_of("area", _areas(delays, corrected.T), "mean recall over log delay", "1")
    coords = {
        "length": variable(("length",), delays, "delay T", "steps"),
        "ci_bound": ci_coordinate(),
    }
    return xr.Dataset(data, coords)


_VARIABLES = {
    "accuracy": ("accuracy on the copied symbols", "1"),
    "accuracy_sequence": ("sequences without an error", "1"),
    "accuracy_all_positions": ("accuracy over all scored steps", "1"),
    "symbols": ("copied symbols, corrected for chance", "symbols"),
    "bits_ba": ("bits recovered, by cross-entropy", "bits per sequence"),
    "bits_mi": ("bits recovered, by confusion", "bits per sequence"),
    "bits_fano": ("bits recovered, by accuracy", "bits per sequence"),
}


def _one_delay(row: Recalled, alphabet: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Return ``(estimate, low, high)`` of every variable, and the accuracy's replicates."""
    n, m = row.right.shape
    weights = np.concatenate([np.ones((1, n)), rng.multinomial(n, np.full(n, 1 / n), _REPLICATES)])
    accuracy = weights @ row.right.mean(axis=1) / n
    whole = float(row.right.all(axis=1).mean())
    entropy = weights @ row.bits.sum(axis=1) / n
    information = _information(row, weights)
    # In few sequences tables find information by chance: as much as shuffled answers have, less
    # where most of what there is has been found.
    shuffled = replace(row, said=row.said[rng.permutation(n)])
    chance = max(0.0, float(_information(shuffled, weights[:1])[0]))
    information -= chance * max(0.0, 1 - float(information[0]) / (m * math.log2(alphabet)))
    # A resampled table has the bias of a table once more: its replicates show the spread only.
    information[1:] += information[0] - information[1:].mean()
    capacity = m * math.log2(alphabet)
    replicated = {
        "accuracy_all_positions": weights @ row.all_positions / n,
        "bits_ba": np.maximum(capacity - entropy, 0.0),
        "bits_mi": np.maximum(information, 0.0),
        "bits_fano": fano_bits(accuracy, m, alphabet),
    }
    bounds = {
        "accuracy": np.array([accuracy[0], *wilson_of_means(row.right)]),
        "accuracy_sequence": np.array([whole, *wilson(whole, n)]),
        **{name: _bounded(values) for name, values in replicated.items()},
    }
    bounds["symbols"] = m * (bounds["accuracy"] - 1 / alphabet) / (1 - 1 / alphabet)
    return bounds | {"accuracy_replicates": accuracy}


def _information(row: Recalled, weights: np.ndarray) -> np.ndarray:
    """Return the bits in the confusion of all answers, summed, one per row of weights."""
    total = np.zeros(len(weights))
    for asked, said in zip(row.asked.T, row.said.T, strict=True):
        # Only the classes that occur: an alphabet may be large.
        kinds, column = np.unique(asked, return_inverse=True)
        answers, answered = np.unique(said, return_inverse=True)
        shape = (len(kinds), len(answers))
        cells, place = np.unique(column * shape[1] + answered, return_inverse=True)
        counts = np.zeros((len(weights), shape[0] * shape[1]))
        counts[:, cells] = weights @ np.eye(len(cells))[place]
        total += mutual_information(counts.reshape(-1, *shape))
    return total


def last_crossing(x: np.ndarray, curves: np.ndarray, level: float) -> np.ndarray:
    """Return where each curve (R, len(x)) falls to a level for the last time.

    Interpolated in log x; infinite if the last value is above, 0 if none is.
    """
    logs = np.log(x)
    found = np.zeros(len(curves))
    for i, curve in enumerate(curves):
        above = np.flatnonzero(curve >= level)
        if not len(above):
            continue
        j = int(above[-1])
        if j == len(curve) - 1:
            found[i] = np.inf
            continue
        share = (curve[j] - level) / (curve[j] - curve[j + 1])
        found[i] = math.exp(logs[j] + share * (logs[j + 1] - logs[j]))
    return found


def _areas(delays: np.ndarray, curves: np.ndarray) -> np.ndarray:
    if len(delays) == 1:
        return curves[:, 0]
    logs = np.log(delays)
    areas: np.ndarray = np.trapezoid(curves, logs, axis=1) / (logs[-1] - logs[0])
    return areas


def _bounded(replicates: np.ndarray) -> np.ndarray:
    """Return the estimate (first) and the interval of its replicates (the rest)."""
    ends = np.percentile(replicates[1:], CI, method="inverted_cdf")
    return np.array([replicates[0], *ends])


def _with_interval(
    name: str, values: np.ndarray, long_name: str, unit: str
) -> dict[str, xr.Variable]:
    """Return a variable along length and its interval, of (length, 3) estimates and bounds."""
    return {
        name: variable(("length",), values[:, 0], long_name, unit),
        f"{name}_ci": variable(
            ("ci_bound", "length"), values[:, 1:].T, f"95 % interval of: {long_name}", unit
        ),
    }


def _interval_of(
    name: str, replicates: np.ndarray, long_name: str, unit: str
) -> dict[str, xr.Variable]:
    estimate, low, high = _bounded(replicates)
    return {
        name: variable((), estimate, long_name, unit),
        f"{name}_ci": variable(
            ("ci_bound",), np.array([low, high]), f"95 % interval of: {long_name}", unit
        ),
    }
