"""How much of the past a model uses for its loss."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
import xarray as xr
from torch import Tensor, nn

from seqprobe.errors import NotApplicableError, UsageError
from seqprobe.memory.estimates import INTERVAL, ci_coordinate, estimate, lag_grid, resample
from seqprobe.memory.interventions import output_at
from seqprobe.memory.summary import steps
from seqprobe.memory.window import describe, make_window, sequences
from seqprobe.models.access import borrowed, check_causal
from seqprobe.schema import variable
from seqprobe.seeding import generator
from seqprobe.tasks import Batch

__all__ = ["context_use"]

Damage = Literal["truncate", "shuffle", "drop"]
DAMAGES: tuple[Damage, ...] = ("truncate", "shuffle", "drop")
_THRESHOLDS = (0.1, 0.03, 0.01)


def context_use(
    model: nn.Module,
    batch: Batch,
    *,
    max_context: int | None = None,
    contexts: Sequence[int] | None = None,
    n_times: int = 8,
    thresholds: Sequence[float] = _THRESHOLDS,
    seed: int = 0,
    on_progress: Callable[[int, int], None] | None = None,
) -> xr.Dataset:
    """Return what it costs to damage all but the last n inputs.

    Parameters
    ----------
    model
        A causal module whose ``spec`` says what its outputs are: classes or binary logits, scored
        in nats, or reals, scored by their squared error over the variance of the targets. It is
        left as it was.
    batch
        Sequences with targets at every step.
    max_context
        Largest n; None for two thirds of T.
    contexts
        Numbers n of inputs left whole, the current one included; None for about ten per decade.
    n_times
        Number of output times, spread over max_context <= t < T.
    thresholds
        Costs delta that define the effective context length.
    seed
        Of permutations, omissions and the bootstrap.
    on_progress
        Called with the number of (damage, n) pairs done and their total.

    Returns
    -------
    xarray.Dataset
        ``length`` is n. For each damage to what lies further back, the paired difference of the
        loss from that with the whole past, in nats per step, or for real outputs in fractions of
        the variance of the targets:

        * ``cost_truncate``: it is cut off, and the model starts n steps back from its initial
          state, which is unlike what it was trained on if n is small;
        * ``cost_shuffle``: it is put into random order, every sequence in its own (Khandelwal et
          al. 2018, ACL P18-1027): what remains is the use of what was said, not when;
        * ``cost_drop``: every second of it, chosen at random, is left out;
        * ``ecl_truncate``, ``ecl_shuffle``, ``ecl_drop`` (threshold): effective context length, the
          smallest n from which on the cost stays at or below delta; infinite if it does so nowhere;
        * ``loss``: with the whole past;
        * ``*_ci``: 95 % percentile intervals of 1000 bootstrap replicates over sequences, each of
          them a block of consecutive steps.

    Raises
    ------
    NotApplicableError
        If the model is not causal, or is not scored at every step.
    UsageError
        If contexts do not fit.

    Notes
    -----
    Source: the effective context length is that of Dai et al. 2019 (arXiv 1901.02860), section 4.3,
    for a single model, with the gain counted from n to the whole past, so that it does not depend
    on the grid. Restarting from the initial state is itself a damage; shuffling is its control.
    Cost: one forward pass of N sequences per time, n and damage.
    """
    spec = getattr(model, "spec", None)
    if spec is None or spec.readout != "each" or spec.output_kind == "density":
        raise NotApplicableError(
            "context use needs a loss at every step (classes, binary or real outputs); this model"
            " has none; use the total effect"
        )
    x = sequences(model, batch)
    targets = batch.targets.to(x.device)
    window = make_window(model, x.shape[1], max_context, n_times)
    contexts = _contexts(contexts, window.max_lag)
    times = _scored(batch, window.max_lag, n_times)
    rng = generator(seed, "damage")
    costs: dict[str, np.ndarray] = {}
    unit = 1.0
    if spec.output_kind == "regression":
        unit = float(targets[:, times].double().flatten(0, 1).var(dim=0, unbiased=False).sum())
        if not unit > 0:
            raise UsageError(
                "targets never vary, or there are none, so that a loss has no unit; give other"
                " sequences"
            )
    with borrowed(model), torch.no_grad():
        check_causal(model, x)

        def losses(damaged: Callable[[int], Tensor]) -> np.ndarray:
            """Return the loss at every time, (N, times), of the inputs up to it, damaged."""
            columns = [
                _loss(spec.output_kind, output_at(model, damaged(t)), targets[:, t]) / unit
                for t in times
            ]
            return torch.stack(columns, dim=1).double().cpu().numpy()

        whole = losses(lambda t: x[:, : t + 1])
        for i, damage in enumerate(DAMAGES):
            rows = []
            for j, n in enumerate(contexts):
                after = losses(lambda t, n=n, damage=damage: _damaged(x, t, n, damage, rng))  # type: ignore[misc]
                rows.append((after - whole).mean(axis=1))
                if on_progress is not None:
                    on_progress(i * len(contexts) + j + 1, len(DAMAGES) * len(contexts))
            costs[damage] = np.stack(rows, axis=1)
    rng = generator(seed, "bootstrap")
    units = "fraction of target variance" if spec.output_kind == "regression" else "nats"
    result = _result(whole, costs, contexts, thresholds, units, rng)
    parameters = {"max_context": window.max_lag, "n_times": len(times)}
    result.attrs = describe("context_use", model, x, parameters, seed)
    result.attrs["functional"] = spec.output_kind
    result.attrs["interval"] = INTERVAL
    return result


def _result(
    whole: np.ndarray,
    costs: dict[str, np.ndarray],
    contexts: list[int],
    thresholds: Sequence[float],
    units: str,
    rng: np.random.Generator,
) -> xr.Dataset:
    """Return losses (N, times) and costs (N, n) with their intervals and effective lengths."""
    weights = resample(len(whole), rng)
    data = estimate("loss", (), weights @ whole.mean(axis=1), "loss with the whole past", units)
    for name, cost in costs.items():
        replicates = weights @ cost
        label = f"cost of {_WORDS[name]} what lies further back"
        data |= estimate(f"cost_{name}", ("length",), replicates, label, units)
        lengths = np.stack([_effective(replicates, contexts, d) for d in thresholds], axis=1)
        data |= estimate(f"ecl_{name}", ("threshold",), lengths, "effective context", "steps")
    coords = {
        "length": steps(("length",), np.array(contexts), "inputs left whole"),
        "threshold": variable(("threshold",), np.array(thresholds), "cost delta", units),
        "ci_bound": ci_coordinate(),
    }
    return xr.Dataset(data, coords)


_WORDS = {"truncate": "cutting off", "shuffle": "shuffling", "drop": "leaving out half of"}


def _scored(batch: Batch, first: int, n_times: int) -> list[int]:
    """Return output times from `first` on that are scored in every sequence."""
    scored = np.ones(batch.inputs.shape[1], dtype=bool)
    if batch.mask is not None:
        scored = batch.mask.all(dim=0).cpu().numpy()
    there = first + np.flatnonzero(scored[first:])
    if not len(there):
        raise UsageError(
            f"no step from {first} on is scored in every sequence (allowed: contexts that end"
            " earlier, or other sequences)"
        )
    picks = np.linspace(0, len(there) - 1, min(n_times, len(there))).round().astype(int)
    return [int(there[i]) for i in picks]


def _contexts(contexts: Sequence[int] | None, largest: int) -> list[int]:
    if contexts is None:
        return [n for n in lag_grid(largest) if n > 0]
    wrong = [n for n in contexts if not 1 <= n <= largest]
    if wrong or not len(contexts):
        raise UsageError(f"contexts are {list(contexts)} (allowed: 1 to {largest})")
    return sorted(set(contexts))


def _damaged(x: Tensor, t: int, n: int, damage: Damage, rng: np.random.Generator) -> Tensor:
    """Return the inputs up to t with the last n of them whole."""
    old, kept = x[:, : t + 1 - n], x[:, t + 1 - n : t + 1]
    if damage == "truncate" or not old.shape[1]:
        return kept
    keys = rng.random((len(x), old.shape[1]))
    order = np.argsort(keys, axis=1)
    if damage == "drop":
        order = np.sort(order[:, : old.shape[1] // 2], axis=1)
    rows = torch.arange(len(x), device=x.device)[:, None]
    return torch.cat([old[rows, torch.as_tensor(order, device=x.device)], kept], dim=1)


def _loss(kind: str, outputs: Tensor, targets: Tensor) -> Tensor:
    """Return the loss of one step, (N,)."""
    if kind == "class":
        return F.cross_entropy(outputs, targets, reduction="none")
    targets = targets.to(outputs.dtype)
    if kind == "binary":
        return F.binary_cross_entropy_with_logits(outputs, targets, reduction="none").sum(dim=1)
    return (outputs - targets).square().sum(dim=1)


def _effective(costs: np.ndarray, contexts: Sequence[int], delta: float) -> np.ndarray:
    """Return the smallest n from which on each row (R, n) stays at or below delta."""
    above = costs > delta
    # The position after the last one above; none above gives 0.
    after = np.where(above.any(axis=1), costs.shape[1] - above[:, ::-1].argmax(axis=1), 0)
    return np.append(np.array(contexts, dtype=np.float64), np.inf)[after]
