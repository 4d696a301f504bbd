"""The cheap measures of a state side by side."""

from __future__ import annotations

import xarray as xr
from torch import Tensor, nn

from seqprobe import provenance
from seqprobe.capacity.effective_state_size import effective_state_size
from seqprobe.capacity.state_dimension import state_dimension
from seqprobe.memory.window import sequences
from seqprobe.models.access import kept_reals
from seqprobe.schema import variable
from seqprobe.tasks import Batch

__all__ = ["capacity_summary"]

_TRAJECTORIES = 8  # of the effective state size


def capacity_summary(
    model: nn.Module,
    batch: Tensor | Batch,
    *,
    part: str | None = None,
    seed: int = 0,
) -> xr.Dataset:
    """Return how large a state is, how much of it is used, and how many directions it visits.

    Parameters
    ----------
    model
        A model of the contract. It is left as it was.
    batch
        Sequences (N, T, D) or tokens (N, T). The effective state size takes the first eight, cut in
        the middle.
    part
        Where dimensions are measured, see `state_dimension`; None for the state, or what the head
        reads where the state grows.
    seed
        Of the bootstrap.

    Returns
    -------
    xarray.Dataset
        The variables of `effective_state_size` at one position, T / 2, without its singular values,
        and of `state_dimension`.

    Raises
    ------
    NotApplicableError
        If the model is not causal or has no such tensor.
    """
    x = sequences(model, batch)
    middle = x.shape[1] // 2
    size = effective_state_size(model, x[:_TRAJECTORIES], positions=[middle], seed=seed)
    size = size.drop_vars("sigma").isel(time=0, drop=True)
    if part is None:
        fixed = kept_reals(model, 1) == kept_reals(model, 2)  # NaN equals nothing
        part = "state" if fixed else "readout"
    dimension = state_dimension(model, batch, part=part)
    result = size.assign(dimension.data_vars).assign_coords(dimension.coords)
    result["position"] = variable((), middle, "position i of the cut", "steps")
    parameters = {"part": part, "n_sequences": len(x), "length": x.shape[1], "position": middle}
    result.attrs = provenance.of_model(
        "capacity.summary",
        model,
        parameters,
        seed,
        device=str(x.device),
        dtype=dimension.attrs["dtype"],
    )
    return result.assign_attrs(
        part=part,
        method=size.attrs["method"],
        interval="effective state size: 95 % percentile of 1000 bootstrap replicates over"
        f" sequences; dimensions: {dimension.attrs['interval']}",
    )
