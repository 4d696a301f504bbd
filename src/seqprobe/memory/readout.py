"""Linear readers of many targets at once, with a ridge chosen by cross-validation."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

__all__ = ["RIDGES", "Readings", "read_out"]

# Times the number of samples, of states of unit variance.
RIDGES = 10.0 ** np.arange(-6, 3)
_FOLDS = 5


class Readings(NamedTuple):
    """What linear readers say of samples they have not seen.

    Attributes
    ----------
    decoded
        (m, G, k), of m samples, G targets of k numbers each.
    ridge
        Of every target, (G,), per sample.
    """

    decoded: np.ndarray
    ridge: np.ndarray


def read_out(fit: np.ndarray, targets: np.ndarray, test: np.ndarray) -> Readings:
    """Fit a ridge regression to every target and apply it to other samples.

    Parameters
    ----------
    fit
        States (n, d) to fit on, in the order of time.
    targets
        (n, G, k): G targets of k numbers each; the k share a ridge.
    test
        States (m, d) to read.

    Notes
    -----
    Units that are constant in `fit` are left out. States are standardised by the mean and standard
    deviation of `fit`; the constant is not penalised. The ridge of a target is that of `RIDGES`
    with the smallest squared error in five folds of neighbouring samples. All targets share the
    products of the states, so that many cost little more than one: O(n d^2 + n d G k + d^3), 45
    times for the cross-validation.
    """
    mean, sd = fit.mean(axis=0), fit.std(axis=0)
    # A unit that is constant but for rounding tells nothing, whatever it does later.
    varies = sd > 1e-9 * np.abs(fit).max(axis=0)
    mean, sd = mean[varies], sd[varies]
    x, new = (np.column_stack([(z[:, varies] - mean) / sd, np.ones(len(z))]) for z in (fit, test))
    count, _, k = targets.shape
    flat = targets.reshape(count, -1)
    penalty = np.eye(x.shape[1])
    penalty[-1, -1] = 0.0
    gram, product = x.T @ x, x.T @ flat
    errors = np.zeros((len(RIDGES), targets.shape[1]))
    for fold in np.array_split(np.arange(count), _FOLDS):
        inside, aim = x[fold], flat[fold]
        rest, into = gram - inside.T @ inside, product - inside.T @ aim
        for i, ridge in enumerate(RIDGES):
            weights = np.linalg.solve(rest + ridge * (count - len(fold)) * penalty, into)
            off = np.square(inside @ weights - aim).sum(axis=0)
            errors[i] += off.reshape(-1, k).sum(axis=1)
    best = errors.argmin(axis=0)
    decoded = np.empty((len(new), *targets.shape[1:]))
    for i in np.unique(best):
        these = best == i
        into = product.reshape(-1, *targets.shape[1:])[:, these].reshape(len(gram), -1)
        weights = np.linalg.solve(gram + RIDGES[i] * count * penalty, into)
        decoded[:, these] = (new @ weights).reshape(len(new), -1, k)
    return Readings(decoded, RIDGES[best])
