"""Periodic orbits of k steps: Newton on all of their states at once."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from seqprobe.dynamics.certify import eigenpairs
from seqprobe.dynamics.maps import StateMap

__all__ = ["Orbit", "close_return", "periodic_orbit"]

_CLOSE = 1e-3  # of the orbit's size: a return nearer than that is worth solving for
_SETTLED = 1e-2  # of the orbit's size: states farther from it have not settled on it
_NEWTON_STEPS = 12


@dataclass
class Orbit:
    """A periodic orbit.

    Attributes
    ----------
    states
        (k, n), in order.
    certificate
        Largest Newton correction of a state: distance to the true orbit to first order.
    multipliers
        Floquet multipliers by falling modulus, eigenvalues of the product of the k Jacobians.
    """

    states: Tensor
    certificate: float
    multipliers: np.ndarray

    @property
    def period(self) -> float:
        """Number of steps k."""
        return float(len(self.states))

    def points(self, most: int) -> Tensor:
        """Return the states, (k, n)."""
        del most
        return self.states

    def distance(self, x: Tensor) -> float:
        """Return the distance of a state (n,) to the nearest of the orbit."""
        return float(torch.linalg.vector_norm(self.states - x, dim=1).min())


def close_return(path: Tensor, longest: int) -> int | None:
    """Return the shortest time after which the end of a trajectory (T, n) came close to itself."""
    tail = path[-2 * longest :]
    longest = min(longest, len(tail) // 2)
    size = torch.linalg.vector_norm(tail - tail.mean(dim=0), dim=1).max()
    back = torch.linalg.vector_norm(tail[-1] - tail[-longest - 1 : -1], dim=1).flip(0)
    close = (back < _CLOSE * size).nonzero()[:, 0]
    return int(close[0]) + 1 if len(close) else None


def periodic_orbit(of: StateMap, u: Tensor, states: Tensor) -> Orbit | None:
    """Return the periodic orbit near k states (k, n), or None if there is no attracting one.

    Every state is an unknown (multiple shooting), and the cyclic system is condensed to the first.
    """
    x = states.clone()
    size = float(torch.linalg.vector_norm(x - x.mean(dim=0), dim=1).max())
    error = np.inf
    for _ in range(_NEWTON_STEPS):
        step, jacobians = _correction(of, u, x)
        error = float(torch.linalg.vector_norm(step, dim=1).max())
        if not np.isfinite(error) or error > size:
            return None
        x = x + step
        if error < 1e-13 * max(size, 1.0):
            break
    moved = float(torch.linalg.vector_norm(x - states, dim=1).max())
    if error > 1e-9 * max(size, 1.0) or moved > _SETTLED * size:
        return None
    x = _shortest(x, size)
    step, jacobians = _correction(of, u, x)
    product = jacobians[0]
    for jacobian in jacobians[1:]:
        product = jacobian @ product
    multipliers = eigenpairs(product[None])[0][0].numpy()
    order = np.argsort(-np.abs(multipliers), kind="stable")
    if abs(multipliers[order[0]]) > 1:
        return None  # a trajectory that only passed by, as in chaos
    certificate = float(torch.linalg.vector_norm(step, dim=1).max())
    return Orbit(x, certificate, multipliers[order])


def _correction(of: StateMap, u: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
    """Return the Newton step of all states (k, n) and the Jacobians (k, n, n).

    With ``d_{t+1} = J_t d_t + r_t`` for ``r_t = F(x_t) - x_{t+1}``, going round once gives ``(I -
    J_k ... J_1) d_1 = c``.
    """
    after, operator, _ = of.linearise(x, u)
    jacobians = operator.dense()
    r = after - x.roll(-1, dims=0)
    n = x.shape[1]
    product, constant = torch.eye(n, dtype=x.dtype), torch.zeros(n, dtype=x.dtype)
    for jacobian, rest in zip(jacobians, r, strict=True):
        product, constant = jacobian @ product, jacobian @ constant + rest
    first = torch.linalg.solve_ex(torch.eye(n, dtype=x.dtype) - product, constant[:, None])[0]
    steps = [first[:, 0]]
    for jacobian, rest in zip(jacobians[:-1], r[:-1], strict=True):
        steps.append(jacobian @ steps[-1] + rest)
    return torch.stack(steps), jacobians


def _shortest(x: Tensor, size: float) -> Tensor:
    """Return one turn where the orbit goes round several times."""
    k = len(x)
    for period in range(1, k):
        if k % period == 0:
            apart = torch.linalg.vector_norm(x - x.roll(-period, dims=0), dim=1).max()
            if float(apart) < 1e-8 * max(size, 1.0):
                return x[:period]
    return x
