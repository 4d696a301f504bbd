"""How finely a state has to be kept: bits decoded after it was rounded or shaken once."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
import xarray as xr
from torch import Tensor

from seqprobe import provenance
from seqprobe.errors import NotApplicableError, UsageError
from seqprobe.memory.estimates import INTERVAL, ci_coordinate, estimate, resample
from seqprobe.models import SequenceModule
from seqprobe.models.access import (
    borrowed,
    check_causal,
    like_parameters,
    placement,
    refuse_lookahead,
)
from seqprobe.schema import variable
from seqprobe.seeding import generator
from seqprobe.state import State, flatten, layout, size, unflatten
from seqprobe.tasks import Batch, Task
from seqprobe.tasks.copy import Copy
from seqprobe.tasks.delayed import Delayed
from seqprobe.tasks.symbol_recall import SymbolRecall

__all__ = ["KINDS", "Held", "held", "quantised_bits"]

Kind = Literal["round", "noise"]
KINDS: tuple[Kind, ...] = ("round", "noise")
_LEVELS: dict[Kind, tuple[float, ...]] = {
    "round": (1, 2, 3, 4, 5, 6, 8, 10, 12),
    "noise": (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0),
}
_FEWEST = 32
_KNEE = 0.95  # of the bits of the state as it is


class Held(NamedTuple):
    """When a state is touched, and which answers come from it.

    Attributes
    ----------
    after
        Number of steps before.
    mask
        (B, T), True at answers that are due later and tell of what was shown before.
    alphabet
        Number of symbols, or None for real answers.
    targets
        (B, T) symbols, or (B, T, K) reals.
    """

    after: int
    mask: Tensor
    alphabet: int | None
    targets: Tensor


def held(task: Task, batch: Batch) -> Held:
    """Return when all that is asked for later has been shown.

    For associative recall, induction, selective copying, passkeys and copy memory that is before
    the first question; for delayed recall it is the middle of the sequence, and the answers of the
    next D steps count.

    Raises
    ------
    NotApplicableError
        For other tasks, whose answers do not say what the state holds at one time.
    """
    size, length = batch.inputs.shape[:2]
    step = torch.arange(length).expand(size, length)
    if isinstance(task, SymbolRecall):
        targets, mask = batch.targets, batch.mask
        if mask is not None and "pairs" in task.loads:  # a batch may hold fewer than the settings
            counts = mask.sum(dim=1)
            if bool((counts != counts[0]).any()):
                raise UsageError("sequences ask for different numbers of pairs; give them apart")
            task = task.at("pairs", int(counts[0]))
        if mask is None:  # the last step only
            mask, targets = step == length - 1, batch.targets[:, None].expand(size, length)
        return Held(task.stored_after(length), mask, task.alphabet, targets)
    if isinstance(task, Copy):
        symbols = task.config.symbols
        mask = step >= length - symbols
        return Held(max(symbols, length // 2), mask, task.alphabet, batch.targets)
    if isinstance(task, Delayed):
        after = length // 2
        mask = (step >= after) & (step < after + task.config.delay)
        mask = mask if batch.mask is None else mask & batch.mask
        if not bool(mask.any()):
            raise UsageError(f"no answer of '{task.name}' tells of the past at delay 0")
        alphabet = task.spec.output_size if task.spec.output_kind == "class" else None
        return Held(after, mask, alphabet, batch.targets)
    raise NotApplicableError(
        f"answers of task '{task.name}' do not say what the state holds at one time (allowed:"
        " mqar, induction, selective-copy, passkey, copy, delay, recall)"
    )


def quantised_bits(
    model: SequenceModule,
    task: Task,
    batch: Batch,
    *,
    kind: Kind = "round",
    levels: Sequence[float] | None = None,
    seed: int = 0,
    on_progress: Callable[[int, int], None] | None = None,
) -> xr.Dataset:
    """Return the bits that are decoded after the state was made coarse at one time.

    Parameters
    ----------
    model
        A causal model. It is left as it was.
    task
        What it was trained on, see `held`.
    batch
        Sequences of the task.
    kind
        ``"round"``: every real of the state goes to the nearest of 2^b values, evenly spaced
        between the smallest and the largest that it takes over the sequences. ``"noise"``: Gaussian
        noise is added, in standard deviations of each real over the sequences.
    levels
        Bits b, or standard deviations; None for 1 to 12 bits, or 0.001 to 1.
    seed
        Of the noise, the same for all levels, and the bootstrap.
    on_progress
        Called with the number of levels done and their total.

    Returns
    -------
    xarray.Dataset
        ``bits`` (level): per sequence, for M symbols ``M log2 K`` less their cross-entropy in bits,
        for reals the sum of ``1/2 log2(variance / squared error)`` over answers, at least 0;
        ``bits_untouched``: the same of the state as it is. ``knee_level``: the coarsest level that
        leaves 95 % of those; NaN if none does. ``state_size``, in reals;
        ``bits_per_real``: decoded bits of the untouched state over its size; ``storage_bits``: with
        ``round``, knee times size, what a memory of that coarseness would take. ``*_ci``: 95 %,
        1000 bootstrap replicates over sequences.

    Raises
    ------
    NotApplicableError
        If the task does not say what is held, or the model is not causal.
    UsageError
        If a level is not allowed, or there are fewer than 32 sequences.

    Notes
    -----
    The range and the standard deviation of each real are those over the sequences at that time,
    which few of them would make too narrow; reals that never vary stay as they are. Answers that
    are exact to the last digit count as far as their precision goes. Works for caches and buffers,
    too: the whole state is made coarse. Cost: one forward pass per level over the rest of the
    sequences.
    """
    refuse_lookahead(model, "it has no state between the past and the future")
    chosen = _check(kind, levels)
    plan = held(task, batch)
    if len(batch.inputs) < _FEWEST:
        raise UsageError(
            f"{len(batch.inputs)} sequences are too few to know the range of a state"
            f" (allowed: {_FEWEST} or more)"
        )
    x = like_parameters(model, batch.inputs)
    found = []
    with borrowed(model), torch.no_grad():
        check_causal(model, x[:1])
        past, future = x[:, : plan.after], x[:, plan.after :]
        before = model(past)[1]
        values: list[float | None] = [None, *chosen]
        for done, level in enumerate(values):
            rng = generator(seed, "noise")
            state = before if level is None else _coarse(before, kind, level, rng)
            outputs = model(future, state)[0].cpu()
            found.append(_bits(outputs, plan))
            if on_progress is not None:
                on_progress(done + 1, len(values))
    weights = resample(len(x), generator(seed, "bootstrap"))
    return _summarise(found, weights, chosen, plan, size(before), model, kind, seed, x)


def _check(kind: Kind, levels: Sequence[float] | None) -> list[float]:
    if kind not in KINDS:
        raise UsageError(f"kind is '{kind}' (allowed: {', '.join(KINDS)})")
    chosen = sorted(set(_LEVELS[kind] if levels is None else levels))
    low, high = (1, 24) if kind == "round" else (0, math.inf)
    whole = kind == "noise" or all(level == int(level) for level in chosen)
    if not chosen or not whole or not all(low <= level <= high for level in chosen):
        allowed = "whole numbers of bits, 1 to 24" if kind == "round" else "0 or more"
        raise UsageError(f"levels are {chosen} (allowed: {allowed})")
    return chosen


def _coarse(state: State, kind: Kind, level: float, rng: np.random.Generator) -> State:
    """Return the state rounded or shaken; reals that do not vary stay."""
    flat = flatten(state)
    if kind == "noise":
        noise = torch.from_numpy(rng.standard_normal(tuple(flat.shape)))
        spread = flat.std(dim=0, correction=0)
        return unflatten(flat + level * spread * noise.to(flat.device, flat.dtype), layout(state))
    low, high = flat.amin(dim=0), flat.amax(dim=0)
    step = (high - low) / (2**level - 1)
    varies = step > 0
    places = torch.round((flat - low) / torch.where(varies, step, 1.0))
    return unflatten(torch.where(varies, low + places * step, flat), layout(state))


class _Decoded(NamedTuple):
    """Per sequence: what bits are made of, (B,) or, for reals, squared errors (B, M)."""

    bits: np.ndarray | None = None
    errors: np.ndarray | None = None
    variance: float = math.nan
    rounding: float = 0.0

    def with_weights(self, weights: np.ndarray) -> np.ndarray:
        """Return the mean bits per sequence under bootstrap weights, (R,)."""
        if self.bits is not None:
            return np.asarray(np.maximum(weights @ self.bits, 0.0))
        assert self.errors is not None  # one of the two is there
        mean = np.maximum(weights @ self.errors, self.variance * self.rounding**2)
        each: np.ndarray = np.maximum(0.5 * np.log2(self.variance / mean), 0.0)
        return np.asarray(each.sum(axis=1))


def _bits(outputs: Tensor, plan: Held) -> _Decoded:
    """Return what is decoded from outputs (B, T', K) after the state was touched."""
    mask = plan.mask[:, plan.after :]
    rows = len(outputs)
    said = outputs[mask].reshape(rows, -1, outputs.shape[2])
    wanted = plan.targets[:, plan.after :][mask].reshape(rows, said.shape[1], -1)
    if plan.alphabet is None:
        errors = (said - wanted).square().flatten(1).double().numpy()
        variance = float(wanted.double().var(correction=0))
        return _Decoded(None, errors, variance, torch.finfo(said.dtype).eps)
    nll = F.cross_entropy(said.flatten(0, 1), wanted.flatten(), reduction="none")
    spent = nll.reshape(rows, -1).double().sum(dim=1).numpy() / math.log(2)
    return _Decoded(said.shape[1] * math.log2(plan.alphabet) - spent)


def _summarise(
    found: list[_Decoded],
    weights: np.ndarray,
    levels: list[float],
    plan: Held,
    reals: int,
    model: SequenceModule,
    kind: Kind,
    seed: int,
    x: Tensor,
) -> xr.Dataset:
    untouched, *touched = (decoded.with_weights(weights) for decoded in found)
    bits = np.stack(touched, axis=1)
    enough = bits >= _KNEE * untouched[:, None]
    # From the coarse side: few bits, or much noise.
    order = levels if kind == "round" else levels[::-1]
    good = enough if kind == "round" else enough[:, ::-1]
    knee = np.where(good.any(axis=1), np.array(order)[good.argmax(axis=1)], np.nan)
    knee = np.where(untouched > 0, knee, np.nan)
    unit = "bits" if kind == "round" else "standard deviations"
    data = {
        **estimate("bits", ("level",), bits, "bits decoded after the state was touched", "bits"),
        **estimate("bits_untouched", (), untouched, "bits decoded from the state as it is", "bits"),
        **estimate("knee_level", (), knee, "coarsest level that leaves 95 % of the bits", unit),
        **estimate("bits_per_real", (), untouched / reals, "decoded bits per real", "bits"),
        "state_size": variable((), reals, "reals of state", "reals"),
    }
    if kind == "round":
        data |= estimate("storage_bits", (), knee * reals, "bits of a state so coarse", "bits")
    coords = {
        "level": variable(("level",), np.array(levels, dtype=float), f"{kind}, per real", unit),
        "ci_bound": ci_coordinate(),
    }
    parameters = {"kind": kind, "n_sequences": len(x), "length": x.shape[1], "after": plan.after}
    attrs = provenance.of_model(
        "capacity.quantised_bits",
        model,
        parameters,
        seed,
        **placement(model),
    )
    attrs |= {"kind": kind, "interval": INTERVAL, "touched_after": plan.after}
    return xr.Dataset(data, coords, attrs)
