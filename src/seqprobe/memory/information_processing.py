"""How much nonlinear memory a tensor carries, by degree."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from typing import Literal

import numpy as np
import torch
import xarray as xr
from numpy.polynomial import hermite_e, legendre
from scipy.special import chdtri
from torch import Tensor, nn

from seqprobe.errors import NotApplicableError, UsageError
from seqprobe.memory.linear_memory import orthonormal_basis
from seqprobe.memory.states import collect
from seqprobe.memory.summary import steps
from seqprobe.memory.window import describe, make_window, sequences
from seqprobe.schema import variable

__all__ = ["capacities", "information_processing_capacity"]

Law = Literal["uniform", "normal", "binary"]
_SPURIOUS = 1e-4  # share of functions that pass by chance
_MOST = 200_000  # functions
_CHUNK = 256

# A function of past inputs: pairs of lag and degree.
Function = tuple[tuple[int, int], ...]


def information_processing_capacity(
    model: nn.Module,
    inputs: Tensor,
    *,
    law: Law = "uniform",
    part: str = "readout",
    max_lag: int = 10,
    max_degree: int = 3,
    on_progress: Callable[[int, int], None] | None = None,
) -> xr.Dataset:
    """Return how much of every polynomial of past inputs a tensor holds, summed by degree.

    A function ``z = prod_i P_{d_i}(u_{t-k_i})`` of normalised orthogonal polynomials has capacity
    ``C[z] = 1 - min_w <(z - w h)^2> / <z^2>``. Degree 1 is linear memory; all capacities together
    are at most the rank of the states, and reach it where memory fades.

    Parameters
    ----------
    model
        A model of the contract. It is left as it was.
    inputs
        One channel (N, T, 1), drawn independently from `law`, with any mean and scale. The law may
        be unlike the inputs that a network was trained on; then this is its capacity off the data.
    law
        ``"uniform"`` (Legendre polynomials), ``"normal"`` (Hermite) or ``"binary"`` (products).
    part
        See `seqprobe.memory.linear_memory`.
    max_lag
        Largest lag K; times t >= K count, so that T should be much longer.
    max_degree
        Largest total degree.
    on_progress
        Called with the number of functions done and their total.

    Returns
    -------
    xarray.Dataset
        * ``ipc`` (degree): capacity in functions; ``ipc_by_lag`` (degree, lag): by the largest lag
          in the function; ``ipc_total``; ``rank``: of the states, its bound.
        * ``ipc_null`` (degree): the same with the inputs of other sequences, the control: what
          passes the threshold by chance.
        * ``threshold``: ``chi2_{rank, 1 - 1e-4} / n``; smaller capacities count as 0.
        * ``n_functions`` (degree).

    Raises
    ------
    NotApplicableError
        If inputs are tokens or of several channels.
    UsageError
        If there are more than 200,000 functions, fewer samples than ten per state, or inputs that
        are plainly not independent draws of `law` (their kurtosis, their correlation in time).

    Notes
    -----
    Source: Dambre et al. 2012 (Scientific Reports 2, 514). The uncertainty is in the threshold:
    states are fitted in sample, so that each function has capacity rank / n by chance. Cost: O(n
    rank) per function; their number explodes with lag and degree.
    """
    x = sequences(model, inputs)
    if not x.is_floating_point() or x.shape[2] != 1:
        raise NotApplicableError(
            "information processing capacity is for one channel of numbers"
            f" (inputs have shape {tuple(x.shape)}); use the linear memory curve"
        )
    window = make_window(model, x.shape[1], max_lag, 1)
    z = collect(model, x, part).double().cpu().numpy()[:, window.max_lag :]
    u = x.double().cpu().numpy()[..., 0]
    states = z.reshape(-1, z.shape[2])
    _check_law(u, law)
    if max_degree < 1:
        raise UsageError(f"largest degree is {max_degree} (allowed: 1 or more)")
    functions = list(itertools.islice(_functions(max_lag, max_degree, law), _MOST + 1))
    if len(functions) > _MOST:
        raise UsageError(
            f"more than {_MOST} functions up to lag {max_lag} and degree {max_degree}"
            f" (allowed: {_MOST}); take smaller ones"
        )
    if len(states) < 10 * z.shape[2]:
        raise UsageError(
            f"{len(states)} samples for {z.shape[2]} states (allowed: ten per state or more);"
            " give more or longer sequences"
        )
    n = len(functions)

    def half(first: bool) -> Callable[[int], None]:
        return lambda done: on_progress(done + (0 if first else n), 2 * n) if on_progress else None

    rounding = _rounding(x.dtype)
    found, rank, threshold = capacities(
        states, _lagged(u, max_lag), functions, law, rounding, half(True)
    )
    # The inputs of another sequence, or of another time if there is one sequence only.
    other = np.roll(u, 1, axis=0) if len(u) > 1 else np.roll(u, u.shape[1] // 2, axis=1)
    null, _, _ = capacities(states, _lagged(other, max_lag), functions, law, rounding, half(False))
    result = _result(functions, found, null, max_lag, max_degree)
    result["rank"] = variable((), rank, "rank of the states", "1")
    label = "capacity that counts as more than chance"
    result["threshold"] = variable((), threshold, label, "1")
    parameters = {"max_lag": max_lag, "max_degree": max_degree, "law": law, "part": part}
    result.attrs = describe("information_processing_capacity", model, x, parameters, 0)
    result.attrs |= {"law": law, "part": part}
    return result


def _result(
    functions: list[Function], found: np.ndarray, null: np.ndarray, max_lag: int, max_degree: int
) -> xr.Dataset:
    """Return capacities of functions, and those by chance, summed by degree and lag."""
    degree = np.array([sum(d for _, d in f) for f in functions])
    furthest = np.array([max(k for k, _ in f) for f in functions])
    by_lag = np.zeros((max_degree, max_lag + 1))
    np.add.at(by_lag, (degree - 1, furthest), found)
    counts = np.bincount(degree - 1, minlength=max_degree)
    by_chance = np.bincount(degree - 1, weights=null, minlength=max_degree)
    functions_unit = "functions"
    data = {
        "ipc": variable(("degree",), by_lag.sum(axis=1), "capacity by degree", functions_unit),
        "ipc_by_lag": variable(
            ("degree", "lag"), by_lag, "capacity by degree and largest lag", functions_unit
        ),
        "ipc_total": variable((), by_lag.sum(), "capacity of all degrees", functions_unit),
        "ipc_null": variable(("degree",), by_chance, "capacity by chance", functions_unit),
        "n_functions": variable(("degree",), counts, "functions of this degree", "1"),
    }
    coords = {
        "degree": variable(("degree",), np.arange(1, max_degree + 1), "total degree", "1"),
        "lag": steps(("lag",), np.arange(max_lag + 1), "largest lag"),
    }
    return xr.Dataset(data, coords)


def _functions(max_lag: int, max_degree: int, law: Law) -> Iterator[Function]:
    """Yield all products of polynomials of distinct lags up to a total degree."""
    for count in range(1, max_degree + 1):
        for total in range(count, max_degree + 1):
            # Ways to give each of `count` factors a degree of 1 or more.
            cuts = itertools.combinations(range(1, total), count - 1)
            degrees = [[b - a for a, b in itertools.pairwise((0, *cut, total))] for cut in cuts]
            if law == "binary":  # u^2 is constant
                degrees = [ds for ds in degrees if max(ds) == 1]
            for lags in itertools.combinations(range(max_lag + 1), count):
                yield from (tuple(zip(lags, ds, strict=True)) for ds in degrees)


def _rounding(dtype: torch.dtype) -> float:
    """Return the relative size of directions that are rounding of so many digits."""
    return max(1e-10, 30 * torch.finfo(dtype).eps)


def _check_law(u: np.ndarray, law: Law) -> None:
    """Refuse inputs whose fourth moment is not that of the law, or that depend on the last one."""
    standard = (u - u.mean()) / u.std()
    kurtosis = float((standard**4).mean())
    expected = {"uniform": 1.8, "normal": 3.0, "binary": 1.0}[law]
    # Its standard error is at most that of the normal law.
    if abs(kurtosis - expected) > 5 * math.sqrt(24 / u.size) + 0.02:
        raise UsageError(
            f"inputs have a kurtosis of {kurtosis:.2f}, which is not that of the law '{law}'"
            f" ({expected}); draw them from it, or name another (uniform, normal, binary)"
        )
    if u.shape[1] > 1:
        echo = float((standard[:, 1:] * standard[:, :-1]).mean())
        if abs(echo) > 5 / math.sqrt(u.size) + 0.02:
            raise UsageError(
                f"neighbouring inputs are correlated ({echo:.2f}); capacities are for inputs drawn"
                " independently"
            )


def _lagged(u: np.ndarray, max_lag: int) -> np.ndarray:
    """Return u_{t-k} for t >= K of all sequences, (n, K + 1)."""
    length = u.shape[1]
    columns = [u[:, max_lag - k : length - k].reshape(-1) for k in range(max_lag + 1)]
    return np.stack(columns, axis=1)


def capacities(
    states: np.ndarray,
    lagged: np.ndarray,
    functions: list[Function],
    law: Law,
    precision: float = 1e-10,
    on_progress: Callable[[int], None] | None = None,
) -> tuple[np.ndarray, int, float]:
    """Return the capacity of every function, 0 below the threshold; the rank; the threshold.

    Parameters
    ----------
    states
        (n, d).
    lagged
        Inputs u_{t-k}, (n, K + 1), of any mean and scale.
    functions
        Pairs of lag and degree.
    law
        Of the inputs.
    precision
        Directions smaller than this, relative to the largest, are rounding.
    on_progress
        Called with the number of functions done.
    """
    basis = orthonormal_basis(states, precision)
    rank, n = basis.shape[1], len(basis)
    threshold = float(chdtri(rank, _SPURIOUS) / n)
    polynomials = _polynomials(lagged, max(d for f in functions for _, d in f), law)
    found = np.zeros(len(functions))
    for start in range(0, len(functions), _CHUNK):
        piece = functions[start : start + _CHUNK]
        z = np.stack([math.prod(polynomials[d][:, k] for k, d in f) for f in piece], axis=1)
        z = z - z.mean(axis=0)
        found[start : start + len(piece)] = ((basis.T @ z) ** 2).sum(axis=0) / (z**2).sum(axis=0)
        if on_progress is not None:
            on_progress(start + len(piece))
    return np.where(found > threshold, found, 0.0), rank, threshold


def _polynomials(lagged: np.ndarray, max_degree: int, law: Law) -> dict[int, np.ndarray]:
    """Return normalised polynomials of every degree from 1 on, (n, K + 1) each."""
    standard = (lagged - lagged.mean()) / lagged.std()
    if law == "uniform":
        on = standard / math.sqrt(3)  # from -1 to 1
        return {
            d: math.sqrt(2 * d + 1) * legendre.legval(on, np.eye(d + 1)[d])
            for d in range(1, max_degree + 1)
        }
    return {
        d: hermite_e.hermeval(standard, np.eye(d + 1)[d]) / math.sqrt(math.factorial(d))
        for d in range(1, max_degree + 1)
    }
