"""Whether a state goes on accumulating beyond the training length, and whether that hurts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import IntEnum

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from seqprobe import provenance
from seqprobe.capacity.growth_statistics import growth
from seqprobe.capacity.position_loss import losses_by_position, step_losses
from seqprobe.errors import NotApplicableError, UsageError
from seqprobe.memory.estimates import INTERVAL, ci_coordinate, estimate, resample
from seqprobe.models import SequenceModule
from seqprobe.models.access import (
    borrowed,
    check_causal,
    like_parameters,
    placement,
    refuse_lookahead,
    state_grows,
)
from seqprobe.schema import flags, variable
from seqprobe.seeding import generator
from seqprobe.spec import Spec
from seqprobe.state import State
from seqprobe.tasks import Batch

__all__ = ["Verdict", "default_positions", "state_growth"]

_GROWN = 2.0  # times the mean square within the training length
_WORSE = 0.1  # of the way from the loss within the training length to that of knowing nothing


class Verdict(IntEnum):
    """What state and loss do beyond the training length, together."""

    STABLE = 0
    GROWTH = 1  # of the state, without harm
    DECLINE = 2  # of the loss, without growth of the state
    COLLAPSE = 3  # both


def state_growth(
    model: SequenceModule,
    batch: Batch,
    *,
    train_length: int,
    positions: Sequence[int] | None = None,
    grown: float = _GROWN,
    worse: float = _WORSE,
    seed: int = 0,
    on_progress: Callable[[int, int], None] | None = None,
) -> xr.Dataset:
    """Return statistics of the state and the loss against position.

    Parameters
    ----------
    model
        A recurrent model with a `spec` that says what its outputs are. It is left as it was.
    batch
        Sequences of T steps with their targets, T beyond the training length.
    train_length
        Length of the sequences of training.
    positions
        Numbers of steps after which the state is looked at, ascending; None for about 60, closer
        together at the beginning. The sequences are run from one to the next with the state carried
        over, so that memory does not grow with T. The training length and its half are added.
    grown
        Growth index from which a state counts as growing.
    worse
        Rise of the loss that counts: a part of the way from the loss within the training length to
        the loss of an answer that knows nothing of the input.
    seed
        Of the bootstrap.
    on_progress
        Called with the number of positions done and their total.

    Returns
    -------
    xarray.Dataset
        Along ``part`` (of the state), ``head`` and ``time`` (the position):

        * ``state_mean``, ``state_var``, ``state_rms``, ``state_maxabs``: over the entries of a head
          and all sequences. A head is a row of a matrix state, such as a channel of Mamba with its
          N modes; a vector is one head. Complex entries count with their two parts.
        * ``participation_ratio`` (part, time): of the matrix of heads by entries, mean over
          sequences; for vectors, of the states of all sequences, without an interval.
        * ``loss`` (time): mean over the scored steps since the position before, in nats for classes
          and squared error for reals; NaN where none is scored.

        Beyond the training length: ``growth_index`` (part, head), the largest mean square of the
        entries there over the largest within; ``growth_index_part`` (part), over all heads;
        ``growth_exponent`` (part), the slope of ln mean square on ln position over the last half, 0
        forgets and 1 accumulates; ``onset`` (part), the first position from which the mean square
        stays above all within; ``loss_within`` and ``loss_beyond``, the mean over the last half of
        the training length and of T; ``loss_rise``, their difference as a part of the way to
        ``loss_chance``; ``loss_ratio``.

        ``verdict``: ``collapse`` only if the state of some part grows (the lower end of
        ``growth_index_part_ci`` is above `grown`) and the loss gets worse (that of
        ``loss_rise_ci`` is above `worse`); ``growth`` or ``decline`` if one of them does, else
        ``stable``. Without a score beyond (``scored_beyond`` is 0, as where only the last step
        counts, or of densities) it speaks of the state alone. ``*_ci``: 95 %, 1000 bootstrap
        replicates over sequences.

    Raises
    ------
    NotApplicableError
        If the state grows by design, as that of attention, or the model is not causal.
    UsageError
        If positions do not reach beyond the training length.

    Notes
    -----
    After Chen et al. 2024 (Stuffed Mamba, arXiv 2410.07145), who call it state collapse; another
    paper gives that name to something else. They look at the variance of the entries; the mean
    square also sees a state whose mean accumulates. A larger state alone is no failure, because
    longer input may deserve a fuller one: hence the two criteria, which are ours. Cost: one pass.
    """
    refuse_lookahead(model)
    spec: Spec = model.spec  # type: ignore[assignment]  # modules forget what they hold
    length = batch.inputs.shape[1]
    if state_grows(model):
        raise NotApplicableError(
            "the state of this model holds every input by design and grows with each step; state"
            " growth is about states of fixed size"
        )
    if model.state_size(length) == 0:
        raise NotApplicableError("this model keeps nothing between steps; there is nothing to grow")
    at = _check(positions, train_length, length)
    with borrowed(model):  # what is not finite within the training length is no growth
        check_causal(model, like_parameters(model, batch.inputs[:1, :train_length]))
    seen = _run(model, spec, batch, at, on_progress)
    weights = resample(len(batch.inputs), generator(seed, "bootstrap"))
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):  # states may overflow
        data = _summarise(seen, weights, np.array(at), train_length)
        data |= losses_by_position(
            spec, batch, np.stack(seen.losses), weights, np.array(at), train_length
        )
    result = xr.Dataset(data)
    verdict = _verdict(result, grown, worse, len(weights) == 1)
    result["verdict"] = flags((), np.array(verdict), Verdict, "verdict")
    result = result.assign_coords(
        time=variable(("time",), np.array(at), "position", "steps"),
        part=variable(("part",), np.array(list(seen.moments)), "part of the state", "1"),
        ci_bound=ci_coordinate(),
    )
    parameters = {
        "n_sequences": len(batch.inputs),
        "length": length,
        "train_length": train_length,
        "grown": grown,
        "worse": worse,
    }
    result.attrs = provenance.of_model(
        "capacity.state_growth", model, parameters, seed, **placement(model)
    )
    return result.assign_attrs(
        interval=INTERVAL, train_length=train_length, loss_unit=result["loss"].attrs["units"]
    )


def default_positions(train_length: int, length: int) -> list[int]:
    """Return about 60 positions: each of the first few, evenly spaced in the logarithm beyond.

    The training length, its half, T and its half are among them.
    """
    spread = np.geomspace(1, length, 60).round().astype(int)
    ends = {max(1, train_length // 2), train_length, length // 2, length}
    return sorted({int(i) for i in spread} | {i for i in ends if i <= length})


def _check(positions: Sequence[int] | None, train_length: int, length: int) -> list[int]:
    at = default_positions(train_length, length) if positions is None else sorted(set(positions))
    if not at or at[0] < 1 or at[-1] > length:
        raise UsageError(f"positions are {list(positions or [])} (allowed: 1 to {length})")
    if at[-1] <= train_length:
        raise UsageError(
            f"positions end at {at[-1]}, within the training length {train_length}; give longer"
            " sequences"
        )
    return sorted({*at, max(1, train_length // 2), train_length})


class _Seen:
    """What a pass over the sequences leaves: moments of the state, and losses, per sequence.

    Attributes
    ----------
    moments
        By part: mean, mean square and largest absolute entry of every head, (time, 3, B, head).
    ratios
        By part: participation ratio (time, B); for vectors (time, 1).
    losses
        Sum of the losses and number of scored steps since the position before, (time, 2, B).
    """

    def __init__(self) -> None:
        self.moments: dict[str, list[np.ndarray]] = {}
        self.ratios: dict[str, list[np.ndarray]] = {}
        self.losses: list[np.ndarray] = []

    def look(self, state: State) -> None:
        """Take down the moments of a state."""
        for name, tensor in state.items():
            if not tensor.numel():  # a buffer of no steps
                continue
            real = torch.view_as_real(tensor).flatten(-2) if tensor.is_complex() else tensor
            matrix = real.flatten(2) if real.dim() > 2 else real[:, None]
            matrix = matrix.double().cpu()
            moments = [matrix.mean(dim=2), matrix.square().mean(dim=2), matrix.abs().amax(dim=2)]
            self.moments.setdefault(name, []).append(torch.stack(moments).numpy())
            self.ratios.setdefault(name, []).append(_ratio(matrix))


def _ratio(matrix: Tensor) -> np.ndarray:
    """Return the participation ratio of each matrix (B, P, N), or of the B vectors (B, 1, N)."""
    if matrix.shape[1] == 1:
        matrix = matrix.transpose(0, 1) - matrix.mean(dim=0)
    gram = matrix @ matrix.transpose(1, 2)
    if matrix.shape[2] < matrix.shape[1]:
        gram = matrix.transpose(1, 2) @ matrix
    trace = gram.diagonal(dim1=1, dim2=2).sum(dim=1)
    squares = gram.square().sum(dim=(1, 2))
    ratio: np.ndarray = torch.where(squares > 0, trace.square() / squares, 0.0).numpy()
    return ratio


@torch.no_grad()
def _run(
    model: SequenceModule,
    spec: Spec,
    batch: Batch,
    at: list[int],
    on_progress: Callable[[int, int], None] | None,
) -> _Seen:
    """Run all sequences from position to position with the state carried over."""
    x, seen = like_parameters(model, batch.inputs), _Seen()
    with borrowed(model):
        state, start = model.init_state(len(x)), 0
        for done, stop in enumerate(at):
            outputs, state = model(x[:, start:stop], state)
            seen.look(state)
            seen.losses.append(step_losses(spec, outputs.cpu(), batch, slice(start, stop)))
            start = stop
            if on_progress is not None:
                on_progress(done + 1, len(at))
    return seen


def _summarise(
    seen: _Seen, weights: np.ndarray, at: np.ndarray, train_length: int
) -> dict[str, xr.Variable]:
    """Return everything about the state; heads of parts with fewer are NaN."""
    parts = list(seen.moments)
    heads = max(rows[0].shape[2] for rows in seen.moments.values())
    shape = (len(parts), heads, len(at))
    fields = {name: np.full(shape, np.nan) for name in ("mean", "var", "rms", "maxabs")}
    index = np.full((len(weights), *shape[:2]), np.nan)
    whole = np.empty((len(weights), len(parts)))
    exponent, onset = np.empty_like(whole), np.empty_like(whole)
    ratios = np.empty((len(weights), len(parts), len(at)))
    for i, part in enumerate(parts):
        moments = np.stack(seen.moments[part], axis=-1)  # (3, B, head, time)
        count = moments.shape[2]
        mean = np.tensordot(weights, moments[0], axes=1)
        square = np.tensordot(weights, moments[1], axes=1)
        var = np.maximum(square - mean**2, 0.0)
        fields["mean"][i, :count], fields["var"][i, :count] = mean[0], var[0]
        fields["rms"][i, :count] = np.sqrt(square[0])
        fields["maxabs"][i, :count] = moments[2].max(axis=0)
        index[:, i, :count] = growth(square, at, train_length).ratio
        together = square.mean(axis=1)
        whole[:, i], exponent[:, i], onset[:, i] = growth(together, at, train_length)
        each = np.stack(seen.ratios[part], axis=-1)
        # Of vectors there is one ratio for all sequences, which cannot be resampled.
        matrices = len(each) == weights.shape[1] and len(each) > 1
        ratios[:, i] = weights @ each if matrices else np.nan
        ratios[0, i] = each.mean(axis=0)
    over = ("part", "head", "time")
    names = {
        "mean": "mean",
        "var": "variance",
        "rms": "root mean square",
        "maxabs": "largest absolute value",
    }
    data = {
        f"state_{name}": variable(over, values, f"{names[name]} of the entries", "1")
        for name, values in fields.items()
    }
    data |= estimate(
        "participation_ratio", ("part", "time"), ratios, "participation ratio", "dimensions"
    )
    beyond = "mean square beyond over within the training length"
    data |= estimate("growth_index", ("part", "head"), index, f"{beyond}, by head", "1")
    data |= estimate("growth_index_part", ("part",), whole, beyond, "1")
    data["trained_length"] = variable((), train_length, "training length", "steps")
    label = "slope of ln mean square on ln position, last half"
    data |= estimate("growth_exponent", ("part",), exponent, label, "1")
    data["onset"] = variable(
        ("part",), onset[0], "position from which the state is larger", "steps"
    )
    return data


def _verdict(result: xr.Dataset, grown: float, worse: float, single: bool) -> Verdict:
    """Return the verdict, from the lower ends of the intervals."""

    def low(name: str) -> np.ndarray:
        bound = result[f"{name}_ci"].values[0]
        # One sequence has no interval; of several, one that could not be computed proves nothing.
        other = result[name].values if single else -np.inf
        return np.asarray(np.where(np.isnan(bound), other, bound))

    grows = bool((low("growth_index_part") > grown).any())
    # An overflow is growth, too, and its loss is not a number.
    grows |= not bool(np.isfinite(result["growth_index_part"].values).all())
    declines = bool(low("loss_rise") > worse)
    if float(result["scored_beyond"]) > 0:
        declines |= not bool(np.isfinite(result["loss_beyond"].values))
    return Verdict(int(grows) + 2 * int(declines))
