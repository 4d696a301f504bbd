"""What drives a map: inputs as vectors, the state before them, and states met on the way."""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

import numpy as np
import torch
from torch import Tensor

from seqprobe.dynamics.maps import StateMap, state_map
from seqprobe.errors import SeqprobeError, UsageError
from seqprobe.models import SequenceModule, WholeModel
from seqprobe.models.access import in_dtype, like_parameters
from seqprobe.seeding import generator
from seqprobe.state import flatten
from seqprobe.tasks import Batch

__all__ = ["constant_input", "flat_states", "input_vectors", "run", "sample_states"]


def input_vectors(model: object, batch: Tensor | Batch) -> Tensor:
    """Return what a map reads of inputs (N, T, D) or tokens (N, T): (N, T, d) in float64.

    For a model of tokens that is their embedding, for all others the inputs as they are.
    """
    x = batch.inputs if isinstance(batch, Batch) else batch
    if not x.is_floating_point():
        if not isinstance(model, WholeModel):
            raise UsageError("inputs are tokens, but the model has no embedding; give it vectors")
        with torch.no_grad():
            twin = in_dtype(model, torch.float64)
            x = cast("WholeModel", twin).embed(like_parameters(model, x))
    if x.dim() != 3:
        raise UsageError(f"inputs have shape {tuple(x.shape)} (allowed: (N, T, D))")
    return x.detach().cpu().double()


def constant_input(of: StateMap, value: Tensor | None) -> Tensor:
    """Return one input (d,) in float64, zero if none is given.

    Raises
    ------
    UsageError
        If it has another size than the map reads.
    """
    if value is None:
        return torch.zeros(of.inputs, dtype=torch.float64)
    u = torch.as_tensor(value).detach().cpu().double()
    if u.dim() == 0 or u.shape[-1] != of.inputs or u.dim() > 2:
        raise UsageError(
            f"input has shape {tuple(u.shape)}, the model reads ({of.inputs},), or one such row per"
            " start"
        )
    if not bool(torch.isfinite(u).all()):
        raise UsageError("input holds values that are not finite (allowed: numbers)")
    return u


def flat_states(of: StateMap, states: Tensor | dict[str, Tensor]) -> Tensor:
    """Return states as rows (S, n) in float64.

    Raises
    ------
    UsageError
        If there are none, or they have another size.
    """
    x = flatten(states) if isinstance(states, dict) else torch.as_tensor(states)
    x = x.detach().cpu().double()
    if x.dim() != 2 or x.shape[1] != of.size:
        raise UsageError(
            f"starts have shape {tuple(x.shape)} (allowed: (S, {of.size}), the reals of the state)"
        )
    if not len(x):
        raise UsageError("no starts were given (allowed: at least one state)")
    if not bool(torch.isfinite(x).all()):
        raise UsageError("starts hold values that are not finite (allowed: numbers)")
    return x


def initial_state(model: object, of: StateMap, rows: int) -> Tensor:
    """Return the state before the first input, (rows, n)."""
    if isinstance(model, SequenceModule):
        return flatten(model.init_state(1)).detach().cpu().double().repeat(rows, 1)
    return torch.zeros(rows, of.size, dtype=torch.float64)


def run(of: StateMap, x: Tensor, inputs: Tensor) -> Iterator[Tensor]:
    """Yield the states (N, n) after each of the inputs (N, T, d).

    Raises
    ------
    SeqprobeError
        If a state is not finite; the message names the step.
    """
    with torch.no_grad():
        for t, u in enumerate(inputs.unbind(1)):
            x = of.step(x, u)
            if not bool(torch.isfinite(x).all()):
                raise SeqprobeError(
                    f"state is not finite from step {t} on: the model diverges on these inputs;"
                    " use shorter sequences, or train it again"
                )
            yield x


def sample_states(
    model: object,
    batch: Tensor | Batch,
    n_states: int = 1024,
    *,
    noise: float = 0.1,
    seed: int = 0,
) -> Tensor:
    """Return states met along trajectories, with noise, to start searches from.

    Parameters
    ----------
    model
        See `seqprobe.dynamics.state_map`.
    batch
        Inputs (N, T, D) or tokens (N, T); steps that are masked out are not taken.
    n_states
        Number S of states, drawn evenly over sequences and steps.
    noise
        Standard deviation of what is added to every real, in standard deviations of the states
        (root mean square over the reals).
    seed
        Of the choice and the noise.

    Returns
    -------
    torch.Tensor
        (S, n), float64.

    Raises
    ------
    UsageError
        If a number is out of range.
    SeqprobeError
        If the states do not stay finite.
    """
    if n_states < 1:
        raise UsageError(f"{n_states} starts were asked for (allowed: 1 or more)")
    if not 0 <= noise < np.inf:
        raise UsageError(f"noise is {noise} (allowed: 0 or more)")
    of = state_map(model)
    inputs = input_vectors(model, batch)
    rng = generator(seed, "states")
    there = torch.ones(inputs.shape[:2], dtype=torch.bool)
    if isinstance(batch, Batch) and batch.mask is not None:
        there = batch.mask.cpu()
    trials, times = there.nonzero(as_tuple=True)
    picked = rng.choice(len(trials), n_states, replace=n_states > len(trials))
    trials, times = trials[picked], times[picked]
    states = torch.empty(n_states, of.size, dtype=torch.float64)
    start = initial_state(model, of, len(inputs))
    for t, x in enumerate(run(of, start, inputs[:, : int(times.max()) + 1])):
        here = times == t
        states[here] = x[trials[here]]
    spread = states.var(dim=0, correction=0).mean().sqrt()
    return states + noise * spread * torch.from_numpy(rng.standard_normal(states.shape))
