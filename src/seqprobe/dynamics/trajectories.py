"""A few trajectories, to be drawn beside the fixed points."""

from __future__ import annotations

import numpy as np
import xarray as xr
from torch import Tensor

from seqprobe.dynamics.describe import describe
from seqprobe.dynamics.drive import initial_state, input_vectors, run
from seqprobe.dynamics.maps import state_map
from seqprobe.errors import UsageError
from seqprobe.schema import variable
from seqprobe.tasks import Batch

__all__ = ["trajectories"]


def trajectories(model: object, batch: Tensor | Batch, *, n_trials: int = 16) -> xr.Dataset:
    """Return the states after every step of the first sequences of a batch.

    Parameters
    ----------
    model
        See `fixed_points`.
    batch
        Inputs (N, T, D) or tokens (N, T).
    n_trials
        Number of sequences.

    Returns
    -------
    xarray.Dataset
        ``trajectory`` (trial, time, state), NaN where a sequence is padded.

    Raises
    ------
    UsageError
        If no sequence was asked for.
    SeqprobeError
        If a state is not finite.
    """
    if n_trials < 1:
        raise UsageError(f"{n_trials} sequences were asked for (allowed: 1 or more)")
    of = state_map(model)
    inputs = input_vectors(model, batch)[:n_trials]
    start = initial_state(model, of, len(inputs))
    states = np.stack([x.numpy() for x in run(of, start, inputs)], axis=1)
    if isinstance(batch, Batch) and batch.mask is not None:
        states[~batch.mask[:n_trials].cpu().numpy()] = np.nan
    attrs = describe("trajectories", model, {"n_trials": n_trials})
    data = {"trajectory": variable(("trial", "time", "state"), states, "state", "1")}
    return xr.Dataset(data, attrs=attrs)
