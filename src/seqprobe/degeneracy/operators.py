"""A linear model of trajectories: delay embedding, reduction of the rank, next-step regression."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from seqprobe.errors import UsageError

__all__ = ["Embedding", "Operator", "Reduction", "check_states", "embed"]

Reduction = Literal["pca", "rrr"]

_RIDGE = 1e-6  # of the regression of unit-variance coordinates
_NULL = 1e-10  # directions with less than this share of the largest variance are not there


@dataclass(frozen=True)
class Operator:
    """A linear next-step map fitted to trajectories.

    Attributes
    ----------
    matrix
        A (r, r): ``v_{t+1} = A v_t + B u_{t+1}`` in coordinates of unit variance.
    inputs
        B (r, D), or None if the fit knows no inputs.
    r2
        Share of the variance of the states, over all units, that is predicted one step ahead in
        trials that the fit has not seen. At most 1; below 0 it is worse than their mean.
    """

    matrix: np.ndarray
    inputs: np.ndarray | None
    r2: float


def check_states(states: np.ndarray, name: str = "states") -> np.ndarray:
    """Return trajectories (trials, T, n) in float64.

    Raises
    ------
    UsageError
        If they have another shape, or hold NaN or inf.
    """
    values = np.asarray(states, dtype=np.float64)
    if values.ndim != 3 or 0 in values.shape:
        raise UsageError(
            f"{name} have shape {values.shape} (allowed: (trials, T, n)); cut one long"
            " recording with seqprobe.arrays.cut"
        )
    if not np.isfinite(values).all():
        trial, time, _ = np.argwhere(~np.isfinite(values))[0]
        raise UsageError(f"{name} hold NaN or inf, first in trial {trial} at step {time}")
    return values


class Embedding:
    """Trajectories with p delays, in the coordinates of their own covariance.

    All operators of one number of delays share it: only the regression depends on the rank.

    Parameters
    ----------
    states
        (trials, T, n): the fit is made from them.
    held_out
        (trials, T, n), other trials of the same network: `Operator.r2` is measured there.
    delays
        p: a coordinate is ``[z_t, ..., z_{t-p+1}]``; 1 is no delay.
    inputs, held_out_inputs
        (trials, T, D) of both, to tell the drive from the recurrence (DMDc), or None.
    """

    def __init__(
        self,
        states: np.ndarray,
        held_out: np.ndarray,
        delays: int,
        inputs: np.ndarray | None = None,
        held_out_inputs: np.ndarray | None = None,
    ) -> None:
        self.units = states.shape[2]
        flat, self.steps = _delayed(states, delays), states.shape[1] - delays + 1
        self.mean = flat.mean(axis=0)
        covariance = (flat - self.mean).T @ (flat - self.mean) / len(flat)
        variances, directions = np.linalg.eigh(covariance)
        self.variances, directions = variances[::-1], directions[:, ::-1]
        self.max_rank = int((self.variances > _NULL * max(self.variances[0], 1e-300)).sum())
        self.variances = self.variances[: self.max_rank]
        self.axes = directions[:, : self.max_rank]
        self.drive = self.drive_held_out = None
        if inputs is not None and held_out_inputs is not None:
            arriving = _arriving(inputs, delays)
            self.drive = arriving - arriving.mean(axis=0)
            self.drive_held_out = _arriving(held_out_inputs, delays) - arriving.mean(axis=0)
        self.white = self._whitened(flat)
        self.white_held_out = self._whitened(_delayed(held_out, delays))
        self.next_held_out = _ahead(_delayed(held_out, delays), held_out.shape[1] - delays + 1)
        self.steps_held_out = held_out.shape[1] - delays + 1

    def _whitened(self, flat: np.ndarray) -> np.ndarray:
        white: np.ndarray = (flat - self.mean) @ (self.axes / np.sqrt(self.variances))
        return white

    def operator(self, rank: int, reduction: Reduction = "pca", driven: bool = False) -> Operator:
        """Return the operator of a rank.

        Parameters
        ----------
        rank
            r, at most `max_rank`.
        reduction
            ``"pca"`` keeps the r directions of largest variance (HAVOK-DMD); ``"rrr"`` the r
            combinations of all directions whose next step is predicted best (reduced-rank
            regression), with the operator of the least-squares fit on them.
        driven
            Whether the fit knows the inputs.

        Raises
        ------
        UsageError
            If the trajectories do not visit so many directions.
        """
        if not 1 <= rank <= self.max_rank:
            raise UsageError(
                f"rank {rank} of a delay embedding that visits {self.max_rank} directions"
                f" (allowed: 1 to {self.max_rank})"
            )
        if driven and self.drive is None:
            raise UsageError("the embedding knows no inputs; give them, or driven=False")
        drives = (self.drive, self.drive_held_out) if driven else (None, None)
        kept = np.eye(self.max_rank)[:, :rank]
        if reduction == "rrr":
            kept = self._best_predicted(rank, drives[0])
        now, ahead = _pairs(self.white @ kept, self.steps, drives[0])
        solution = _ridge(now, ahead)
        known, _ = _pairs(self.white_held_out @ kept, self.steps_held_out, drives[1])
        r2 = self._predicts(known @ solution[:, :rank], kept)
        return Operator(solution[:rank].T, solution[rank:].T if driven else None, r2)

    def _predicts(self, predicted: np.ndarray, kept: np.ndarray) -> float:
        """Return the share of variance of held-out states that coordinates (m, r) predict."""
        back = (self.axes * np.sqrt(self.variances))[: self.units] @ kept
        true = self.next_held_out[:, : self.units]
        error = true - self.mean[: self.units] - predicted @ back.T
        total = np.square(true - true.mean(axis=0)).sum()
        return 1 - float(np.square(error).sum() / total) if total > 0 else float("nan")

    def _best_predicted(self, rank: int, drive: np.ndarray | None) -> np.ndarray:
        """Return the r orthonormal combinations whose next step is predicted best."""
        now, ahead = _pairs(self.white, self.steps, drive)
        predicted = now @ _ridge(now, ahead)
        _, directions = np.linalg.eigh(predicted.T @ predicted)
        best: np.ndarray = directions[:, ::-1][:, :rank]
        return best


def embed(
    states: np.ndarray,
    held_out: np.ndarray,
    delays: int,
    inputs: np.ndarray | None = None,
    held_out_inputs: np.ndarray | None = None,
) -> Embedding:
    """Return the delay embedding of trajectories, after checks.

    Parameters
    ----------
    states, held_out, delays, inputs, held_out_inputs
        See `Embedding`.

    Raises
    ------
    UsageError
        If trials are too short for the delays, or arrays do not fit together.

    Notes
    -----
    Cost O(m (p n)^2 + (p n)^3) for m samples.

    References
    ----------
    Brunton et al. 2017 (HAVOK). Ostrow et al. 2023, arXiv 2306.10168, whose package neither
    centres the embedding nor weighs the ridge by the number of samples. Huang, Ostrow et al. 2025,
    arXiv 2510.25943 (with inputs); Proctor, Brunton and Kutz 2016 (DMDc).
    """
    states, held_out = check_states(states), check_states(held_out, "held-out states")
    shortest = min(states.shape[1], held_out.shape[1])
    if not 1 <= delays <= shortest - 1:
        raise UsageError(
            f"{delays} delays need trials of at least {max(2, delays + 1)} steps, these have"
            f" {shortest} (allowed: 1 to {shortest - 1})"
        )
    if states.shape[2] != held_out.shape[2]:
        raise UsageError(
            f"states have {states.shape[2]} units, held-out states {held_out.shape[2]};"
            " give trials of one network"
        )
    if (inputs is None) != (held_out_inputs is None):
        raise UsageError("inputs of the fit and of the held-out trials belong together; give both")
    if inputs is not None and held_out_inputs is not None:
        inputs = check_states(inputs, "inputs")
        held_out_inputs = check_states(held_out_inputs, "held-out inputs")
        for name, drive, driven in (
            ("inputs", inputs, states),
            ("held-out inputs", held_out_inputs, held_out),
        ):
            if drive.shape[:2] != driven.shape[:2]:
                raise UsageError(
                    f"{name} have shape {drive.shape}, states {driven.shape}"
                    " (allowed: the same trials and steps)"
                )
        if inputs.shape[2] != held_out_inputs.shape[2]:
            raise UsageError(
                f"inputs have {inputs.shape[2]} channels, held-out inputs"
                f" {held_out_inputs.shape[2]}; give trials of one task"
            )
    return Embedding(states, held_out, delays, inputs, held_out_inputs)


def _delayed(states: np.ndarray, delays: int) -> np.ndarray:
    """Return (trials * (T - p + 1), p n): the newest state first."""
    steps = states.shape[1] - delays + 1
    shifted = [states[:, delays - 1 - i : delays - 1 - i + steps] for i in range(delays)]
    stacked: np.ndarray = np.concatenate(shifted, axis=2).reshape(-1, delays * states.shape[2])
    return stacked


def _arriving(inputs: np.ndarray, delays: int) -> np.ndarray:
    """Return the inputs that arrive with the next state, (trials * (T - p), D)."""
    return inputs[:, delays:].reshape(-1, inputs.shape[2])


def _ahead(flat: np.ndarray, steps: int) -> np.ndarray:
    """Return the rows of the next step within every trial."""
    next_rows: np.ndarray = flat.reshape(-1, steps, flat.shape[1])[:, 1:].reshape(-1, flat.shape[1])
    return next_rows


def _pairs(
    white: np.ndarray, steps: int, drive: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """Return coordinates, with what drives them, and the coordinates one step later."""
    now = white.reshape(-1, steps, white.shape[1])[:, :-1].reshape(-1, white.shape[1])
    if drive is not None:
        now = np.hstack([now, drive])
    return now, _ahead(white, steps)


def _ridge(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return the ridge regression of y on x."""
    penalty = _RIDGE * len(x) * np.eye(x.shape[1])
    solution: np.ndarray = np.linalg.solve(x.T @ x + penalty, x.T @ y)
    return solution
