"""Gradient ascent over orthogonal matrices, from many starts at once."""

from __future__ import annotations

import numpy as np

from seqprobe.degeneracy.modes import neighbours

__all__ = ["Search"]

_SMALLEST, _LARGEST = 0.05, 25.0  # rate of a step times the norms of both operators
_TURN = 1.0  # largest rotation of one step in radians, Frobenius
_MOST_STEPS = 250
_STALLED, _PATIENCE = 1e-8, 15  # at the end no value grows by so much, relative, in so many steps
_NEIGHBOURS, _HOP_STEPS, _HOP_FINALISTS = 48, 25, 6
_BETTER = 1e-6  # by which a neighbouring maximum must be better, relative
_NEAR = 1e-6  # to an exact solution, relative, where the end is polished


class Search:
    """Maximises ``f(C) = tr(A^T C B C^T) + tr(L^T C)`` over the orthogonal matrices C (r, r).

    Riemannian gradient ascent with Barzilai-Borwein steps, long and short in turn, for a stack of
    starts at once. A step is brought back to O(r) by Newton-Schulz iteration: matrix products are
    cheap where singular value decompositions are not. Steps need not be uphill; the best point that
    each start met is what counts, so that no start gets worse.

    Parameters
    ----------
    a, b
        Operators (r, r).
    drive
        L (r, r).
    size
        A bound on what f can be, positive: ``||A|| ||B|| + ||L||``.
    """

    def __init__(self, a: np.ndarray, b: np.ndarray, drive: np.ndarray, size: float) -> None:
        self.a, self.b, self.drive, self.size = a, b, drive, size

    def ascend(
        self,
        points: np.ndarray,
        steps: int | None = None,
        converged: float = 1e-8,
        flattest: bool = False,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the best values (K,) and points (K, r, r) that starts come to.

        Parameters
        ----------
        points
            Starts (K, r, r).
        steps
            How many; None until no value grows any more.
        converged
            Length of the gradient, relative to `size`, that ends the ascent.
        flattest
            Whether the shortest gradient is best, not the largest value, and its negative length
            what is returned for a value.
        """
        best_values, best = np.full(len(points), -np.inf), points.copy()
        checked = best_values
        rate = np.full(len(points), 0.5 / self.size)
        before: np.ndarray | None = None
        for step in range((_MOST_STEPS if steps is None else steps) + 1):
            values, gradient = self._value_and_gradient(points)
            lengths = np.sqrt(np.square(gradient).sum(axis=(1, 2)))
            merits = -lengths if flattest else values
            better = merits > best_values
            best_values[better], best[better] = merits[better], points[better]
            if (lengths <= converged * self.size).all():
                break
            if steps is None and step % _PATIENCE == 0:
                if (best_values - checked <= _STALLED * self.size).all():
                    break
                checked = best_values.copy()
            if before is not None:
                rate = self._rate(step, rate, before, gradient)
            rate = np.minimum(rate, _TURN / np.maximum(lengths, 1e-300))
            points = _orthogonal(points + (rate[:, None, None] * gradient) @ points)
            before = gradient
        return best_values, best

    def _value_and_gradient(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return f (K,) and its gradient (K, r, r), skew, in the directions ``exp(W) C``."""
        turned = points @ self.b @ np.swapaxes(points, 1, 2)
        back = np.swapaxes(turned, 1, 2)
        along = self.drive @ np.swapaxes(points, 1, 2)
        values = (self.a * turned).sum(axis=(1, 2)) + along.trace(axis1=1, axis2=2)
        moved = self.a @ back - back @ self.a + along
        return values, (moved - np.swapaxes(moved, 1, 2)) / 2

    def _rate(
        self, step: int, rate: np.ndarray, before: np.ndarray, gradient: np.ndarray
    ) -> np.ndarray:
        """Return rates (K,) that fit the curvature met in the last step."""
        change = before - gradient
        curved = rate * np.abs((before * change).sum(axis=(1, 2)))
        if step % 2:
            wanted = rate**2 * np.square(before).sum(axis=(1, 2)) / np.maximum(curved, 1e-300)
        else:
            wanted = curved / np.maximum(np.square(change).sum(axis=(1, 2)), 1e-300)
        clipped: np.ndarray = np.clip(wanted, _SMALLEST / self.size, _LARGEST / self.size)
        return clipped

    def hop(self, point: np.ndarray) -> np.ndarray | None:
        """Return a better maximum beside one, found through exchanges of modes, or None."""
        here, _ = self._value_and_gradient(point[None])
        starts = neighbours(self.a, self.b, self.drive, point, _NEIGHBOURS)
        values, points = self.ascend(starts, _HOP_STEPS)
        chosen = np.argsort(-values, kind="stable")[:_HOP_FINALISTS]
        values, points = self.ascend(points[chosen])
        best = int(np.argmax(values))
        return points[best] if values[best] > here[0] + _BETTER * self.size else None

    def polish(self, point: np.ndarray) -> np.ndarray:
        """Return a maximum to rounding if it is one of an exact solution, else as it is.

        Away from zero a distance is as precise as the square of the gradient; at zero as itself,
        and values, which differ by rounding alone, no longer tell which point is better.
        """
        gap = np.square(self.a - point @ self.b @ point.T).sum()
        if gap > _NEAR * self.size:
            return point
        polished: np.ndarray = self.ascend(
            point[None], _MOST_STEPS, converged=1e-15, flattest=True
        )[1][0]
        return polished


def _orthogonal(matrices: np.ndarray) -> np.ndarray:
    """Return the nearest orthogonal matrices of nearly orthogonal ones (Newton-Schulz).

    After a step their singular values are at most sqrt(1 + _TURN^2 / 2), because those of a skew
    matrix come in pairs; five iterations then reach 1 to 1e-15.
    """
    more = 1.5 * np.eye(matrices.shape[-1])
    for _ in range(5):
        matrices = matrices @ (more - 0.5 * (np.swapaxes(matrices, 1, 2) @ matrices))
    return matrices
