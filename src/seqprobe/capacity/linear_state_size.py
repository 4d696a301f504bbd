"""The effective state size of a linear recurrence, in closed form."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
import xarray as xr

from seqprobe import provenance
from seqprobe.capacity.effective_state_size import TOLERANCES, check_tolerances, cut_positions
from seqprobe.capacity.spectra import count_above, entropy_size
from seqprobe.errors import UsageError
from seqprobe.models.s4d import S4DBlock
from seqprobe.schema import variable

__all__ = ["LinearSystem", "hankel_singular_values", "linear_state_size"]


class LinearSystem(NamedTuple):
    """``h_t = A h_{t-1} + B x_t``, ``y_t = Re(C h_t)`` plus what of x_t goes straight through.

    Attributes
    ----------
    a
        Poles (n,) of a diagonal system, or a matrix (n, n).
    b
        (n, D).
    c
        (K, n).
    """

    a: np.ndarray
    b: np.ndarray
    c: np.ndarray


def hankel_singular_values(system: LinearSystem, past: int, future: int) -> np.ndarray:
    """Return the singular values of the map from the last `past` inputs to `future` outputs.

    The block is ``O C`` with the observability matrix O (future K, n) and the controllability
    matrix C (n, past D); after a QR decomposition of both only an (n, n) matrix is left, so that
    the cost is O((past D + future K) n^2) whatever the block's size.

    Parameters
    ----------
    system
        The system; complex poles must come in conjugate pairs with conjugate weights.
    past, future
        Numbers of steps.
    """
    a, b, c = (np.asarray(part) for part in system)
    if a.ndim not in (1, 2) or b.shape[:1] != a.shape[:1] or c.shape[1:] != a.shape[-1:]:
        raise UsageError(
            f"system has shapes {a.shape}, {b.shape}, {c.shape}"
            " (allowed: (n,) or (n, n), (n, D), (K, n))"
        )

    def advance(columns: np.ndarray) -> np.ndarray:
        moved: np.ndarray = a[:, None] * columns if a.ndim == 1 else a @ columns
        return moved

    def observe(rows: np.ndarray) -> np.ndarray:
        moved: np.ndarray = rows * a if a.ndim == 1 else rows @ a
        return moved

    columns, rows = [b], [observe(c)]
    for _ in range(past - 1):
        columns.append(advance(columns[-1]))
    for _ in range(future - 1):
        rows.append(observe(rows[-1]))
    observed = np.linalg.qr(np.concatenate(rows))[1]
    controlled = np.linalg.qr(np.concatenate(columns, axis=1).conj().T)[1]
    sigma: np.ndarray = np.linalg.svd(observed @ controlled.conj().T, compute_uv=False)
    return sigma


def linear_state_size(
    system: LinearSystem | S4DBlock,
    *,
    length: int,
    positions: Sequence[int] | None = None,
    tolerances: Sequence[float] = TOLERANCES,
) -> xr.Dataset:
    """Return the effective state size of a linear system, without a Jacobian.

    Parameters
    ----------
    system
        A system, or a block of S4D: then each of its channels, as in the paper.
    length
        Length T of the sequences.
    positions, tolerances
        As for `seqprobe.capacity.effective_state_size`.

    Returns
    -------
    xarray.Dataset
        ``ess`` (channel, time, tolerance), ``ess_entropy`` (channel, time), ``sigma`` (channel,
        time, mode) and ``tss`` (time), which is ``min(n, i D, (T - i) K)``. One system is one
        channel.

    Raises
    ------
    UsageError
        If shapes, positions or tolerances do not fit.

    Notes
    -----
    Parnichkun et al. 2025, arXiv 2504.19561. Equal to the Jacobian's to rounding. Cost: see
    `hankel_singular_values`, per channel and position.
    """
    cuts, levels = cut_positions(length, positions), check_tolerances(tolerances)
    systems = _channels(system) if isinstance(system, S4DBlock) else [system]
    found = [[hankel_singular_values(one, i, length - i) for i in cuts] for one in systems]
    order, inputs, outputs = len(systems[0].b), systems[0].b.shape[1], len(systems[0].c)
    sigma = np.full((len(found), len(cuts), order), np.nan)
    for n, row in enumerate(found):
        for j, values in enumerate(row):
            sigma[n, j, : min(order, len(values))] = values[:order]
    counts = np.array([[count_above(values, levels) for values in row] for row in found])
    entropy = np.array([[entropy_size(values) for values in row] for row in found])
    bound = [min(order, i * inputs, (length - i) * outputs) for i in cuts]
    at = ("channel", "time")
    data = {
        "ess": variable((*at, "tolerance"), counts, "effective state size", "reals"),
        "ess_entropy": variable(at, entropy, "entropy effective state size", "reals"),
        "sigma": variable((*at, "mode"), sigma, "Hankel singular values", "1"),
        "tss": variable(("time",), np.array(bound), "theoretically realisable size", "reals"),
    }
    coords = {
        "time": variable(("time",), np.array(cuts), "position i of the cut", "steps"),
        "tolerance": variable(("tolerance",), levels, "part of the largest singular value", "1"),
    }
    attrs = provenance.of_model("capacity.linear_state_size", system, {"length": length})
    return xr.Dataset(data, coords, attrs)


@torch.no_grad()
def _channels(block: S4DBlock) -> list[LinearSystem]:
    """Return the single-input single-output system of every channel, conjugates included."""
    log_pole, drive, readout = (part.cpu().to(torch.complex128).numpy() for part in block.system())
    pole = np.exp(log_pole)
    return [
        LinearSystem(
            np.concatenate([a, a.conj()]),
            np.concatenate([b, b.conj()])[:, None],
            np.concatenate([c, c.conj()])[None],
        )
        for a, b, c in zip(pole, drive, readout, strict=True)
    ]
