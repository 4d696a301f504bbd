"""Oscillations under constant input: periodic orbits, invariant circles, and what is neither."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from seqprobe.dynamics.circle import Circle, invariant_circle
from seqprobe.dynamics.describe import describe
from seqprobe.dynamics.drive import constant_input, flat_states
from seqprobe.dynamics.lyapunov import growth_rates
from seqprobe.dynamics.maps import StateMap, state_map
from seqprobe.dynamics.periodic import Orbit, close_return, periodic_orbit
from seqprobe.dynamics.readout import readout
from seqprobe.errors import UsageError
from seqprobe.schema import flags, variable

__all__ = ["Kind", "limit_cycles"]

_STILL = 1e-9  # speed over the size of the state below which a trajectory has settled
_POINTS = 256
_CERTAIN, _MOST_STEPS = 1e-6, 2**16
_MOST_LONG_RUNS = 8  # starts that are followed so far
_TOGETHER = 2**25  # reals of trajectories that are kept at once


class Kind(IntEnum):
    """What a trajectory came to."""

    FIXED_POINT = 0
    PERIODIC = 1
    CIRCLE = 2  # an invariant circle, with a period that is not a whole number of steps
    CHAOTIC = 3
    UNSETTLED = 4  # still on its way, on a torus, or too slow to tell
    LEFT = 5  # not finite


def limit_cycles(
    model: object,
    starts: Tensor | dict[str, Tensor],
    *,
    input: Tensor | None = None,  # noqa: A002  # what it is
    transient: int = 2000,
    window: int = 4096,
    max_period: int = 512,
    on_progress: Callable[[int, int], None] | None = None,
) -> xr.Dataset:
    """Find the attracting oscillations that states come to when the input is held.

    In discrete time an oscillation is either a periodic orbit of k states, or, as a rule, an
    invariant circle on which states never come back exactly. Periodic orbits are solved for by
    Newton's method on all k states at once and certified like fixed points. Circles are computed as
    Fourier series x(phase) with ``F(x(phase)) = x(phase + 1 / period)``, whose error is reported.

    Parameters
    ----------
    model
        See `fixed_points`.
    starts
        States (S, n); see `sample_states`.
    input
        Constant input (d,), zero if None.
    transient
        Steps before looking.
    window
        Steps that are looked at; up to 65,536 where a circle needs them.
    max_period
        Longest period of a periodic orbit, in steps.
    on_progress
        Called with the number of steps done and their total.

    Returns
    -------
    xarray.Dataset
        Over ``cycle``, each once: ``kind`` (1 periodic, 2 circle); ``period`` in steps, for a
        circle not a whole number; ``certificate``: for a periodic orbit the Newton distance to the
        true one, for a circle the largest ``|F(x(phase)) - x(phase + 1 / period)|``; ``multiplier``
        (cycle, mode): Floquet multipliers by falling modulus, of a circle their moduli ``exp(period
        * exponent)`` with the 1 along it first; ``exponent`` (cycle, mode), per step;
        ``amplitude``: root mean square distance from the mean; ``hits``: starts that came here;
        ``orbit`` (cycle, time, state): one turn at 256 equal phases for a circle, the k states
        (then NaN) for a periodic orbit; ``readout`` (cycle, time, output) if there is a head. Over
        ``start``: ``status`` (0 fixed point, 1 periodic, 2 circle, 3 chaotic, 4 unsettled, 5 left)
        and ``cycle_reached``, -1 for none.

    Raises
    ------
    UsageError
        If starts or input have the wrong size, or a number is out of range.

    Notes
    -----
    Only attracting cycles are found. Moduli of a circle come from its Lyapunov exponents over the
    window. The rotation number and the Fourier series are weighted Birkhoff averages (Das, Saiki,
    Sander and Yorke 2017, Nonlinearity 30, 4111), which converge faster than any power of the
    window. Starts that are still approaching count as unsettled: give a longer transient.
    """
    if min(transient, max_period) < 1 or window < 64:
        raise UsageError(
            f"transient {transient}, window {window}, max_period {max_period}"
            " (allowed: at least 1, 64, 1)"
        )
    of = state_map(model)
    x = flat_states(of, starts)
    u = constant_input(of, input)
    if u.dim() != 1:
        raise UsageError("limit cycles are of one input; call once for each")
    search = _Search(of, u, max_period)
    with torch.no_grad():
        for t in range(transient):
            x = of.step(x, u)
            if on_progress is not None and t % 50 == 0:
                on_progress(t, transient + window)
        verdicts = []
        for rows in x.split(max(1, _TOGETHER // (window * of.size))):
            path = rows.new_empty(len(rows), window, of.size)
            for t in range(window):
                path[:, t] = rows
                rows = of.step(rows, u)
            for row in path:
                verdicts.append(search.judge(row))
                if on_progress is not None:
                    done = transient + round(window * len(verdicts) / len(x))
                    on_progress(done, transient + window)
    data = _variables(model, of, u, search.cycles, verdicts)
    parameters = {
        "n_starts": len(x),
        "transient": transient,
        "window": window,
        "max_period": max_period,
    }
    attrs = describe("limit_cycles", model, parameters)
    return xr.Dataset(data, attrs=attrs)


@dataclass
class _Cycle:
    """One oscillation that was found."""

    kind: Kind
    found: Orbit | Circle
    hits: int = 0


class _Search:
    """Names what single trajectories do, and remembers the cycles met so far."""

    def __init__(self, of: StateMap, u: Tensor, max_period: int) -> None:
        self.of, self.u, self.max_period = of, u, max_period
        self.cycles: list[_Cycle] = []
        self.long_runs = 0

    def judge(self, path: Tensor) -> tuple[Kind, int]:
        """Return what a trajectory (T, n) came to, and the index of its cycle or -1."""
        if not bool(torch.isfinite(path).all()):
            return Kind.LEFT, -1
        size = max(float(torch.linalg.vector_norm(path, dim=1).median()), 1e-9)
        speed = torch.linalg.vector_norm(path[1:] - path[:-1], dim=1)
        part = max(1, len(speed) // 8)
        if float(speed[-part:].max()) < max(_STILL * size, 1e-3 * float(speed[:part].max())):
            return Kind.FIXED_POINT, -1
        for i, cycle in enumerate(self.cycles):
            if cycle.found.distance(path[-1]) < max(1e-4 * size, 10 * cycle.found.certificate):
                cycle.hits += 1
                return cycle.kind, i
        period = close_return(path, self.max_period)
        if period is not None:
            orbit = periodic_orbit(self.of, self.u, path[-period:])
            if orbit is not None:
                return self._add(Kind.PERIODIC, orbit)
        rates = growth_rates(self.of, path[:1], self.u, len(path) - 1, min(4, self.of.size))[0]
        leading = rates[len(rates) // 10 :]
        error = 3 * _standard_error(leading[:, 0]) + 1 / len(path)
        if leading[:, 0].mean() > error:
            return Kind.CHAOTIC, -1
        if leading[:, 0].mean() < -error:  # still on its way to rest
            return Kind.UNSETTLED, -1
        circle = self._circle(path, leading.mean(axis=0), size)
        if circle is None:
            return Kind.UNSETTLED, -1
        return self._add(Kind.CIRCLE, circle)

    def _circle(self, path: Tensor, exponents: np.ndarray, size: float) -> Circle | None:
        """Return the circle under a trajectory, from more steps where it closes up slowly.

        That is so where the period is almost a whole number of steps, or a simple fraction.
        """
        while True:
            circle = invariant_circle(self.of, self.u, path, exponents)
            if circle is not None and circle.certificate < _CERTAIN * size:
                return circle
            if len(path) >= _MOST_STEPS or self.long_runs >= _MOST_LONG_RUNS:
                return circle
            self.long_runs += 4 * len(path) >= _MOST_STEPS
            more = [path[-1:]]
            for _ in range(3 * len(path)):
                more.append(self.of.step(more[-1], self.u))
            path = torch.cat([path, *more[1:]])

    def _add(self, kind: Kind, found: Orbit | Circle) -> tuple[Kind, int]:
        self.cycles.append(_Cycle(kind, found, hits=1))
        return kind, len(self.cycles) - 1


def _standard_error(values: np.ndarray, blocks: int = 20) -> float:
    """Return the standard error of a mean over time from the means of blocks."""
    means = [block.mean() for block in np.array_split(values, blocks)]
    return float(np.std(means, ddof=1) / np.sqrt(blocks))


def _variables(
    model: object,
    of: StateMap,
    u: Tensor,
    cycles: list[_Cycle],
    verdicts: list[tuple[Kind, int]],
) -> dict[str, xr.Variable]:
    count = len(cycles)
    modes = max((len(c.found.multipliers) for c in cycles), default=0)
    length = max((len(c.found.points(_POINTS)) for c in cycles), default=0)
    multiplier = np.full((count, modes), np.nan, dtype=complex)
    exponent = np.full((count, modes), np.nan)
    orbit = np.full((count, length, of.size), np.nan)
    for i, cycle in enumerate(cycles):
        own = cycle.found.multipliers
        multiplier[i, : len(own)] = own
        with np.errstate(divide="ignore"):
            exponent[i, : len(own)] = np.log(np.abs(own)) / cycle.found.period
        points = cycle.found.points(_POINTS)
        orbit[i, : len(points)] = points.numpy()
    at = ("cycle",)
    away = orbit - np.nanmean(orbit, axis=1, keepdims=True) if count else orbit
    amplitude = np.sqrt(np.nanmean((away**2).sum(axis=2), axis=1)) if count else np.zeros(0)
    outcomes = np.array([int(kind) for kind, _ in verdicts])
    data = {
        "kind": variable(at, np.array([int(c.kind) for c in cycles], dtype=int), "kind", "1"),
        "period": variable(at, np.array([c.found.period for c in cycles]), "period", "steps"),
        "certificate": variable(at, np.array([c.found.certificate for c in cycles]), "error", "1"),
        "multiplier": variable((*at, "mode"), multiplier, "Floquet multiplier", "1"),
        "exponent": variable((*at, "mode"), exponent, "Floquet exponent", "1/step"),
        "amplitude": variable(at, amplitude, "root mean square distance from the mean", "1"),
        "hits": variable(at, np.array([c.hits for c in cycles], dtype=int), "starts", "starts"),
        "orbit": variable((*at, "time", "state"), orbit, "states of one turn", "1"),
        "status": flags(("start",), outcomes, Kind, "outcome"),
        "cycle_reached": variable(
            ("start",), np.array([i for _, i in verdicts]), "cycle reached, -1 for none", "1"
        ),
    }
    head = readout(model, of)
    if head is not None and count:
        with torch.no_grad():
            said = head(torch.from_numpy(orbit.reshape(-1, of.size)), u).numpy()
        data["readout"] = variable(
            (*at, "time", "output"), said.reshape(count, length, -1), "output", "1"
        )
    return data
