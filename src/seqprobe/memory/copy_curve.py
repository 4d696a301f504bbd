"""Up to which delay, and how many symbols and bits, a model can say again."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Literal, Protocol

import numpy as np
import torch
import torch.nn.functional as F
import xarray as xr
from torch import Tensor, nn

from seqprobe import provenance
from seqprobe.errors import UsageError
from seqprobe.memory import recall_statistics as statistics
from seqprobe.models.access import borrowed, first_output, like_parameters, placement
from seqprobe.schema import variable
from seqprobe.seeding import generator
from seqprobe.tasks import Task

__all__ = ["PROTOCOLS", "CopyProtocol", "DelayedRecall", "copy_curve"]

CopyProtocol = Literal["fixed", "mixed", "retrain", "stream"]
PROTOCOLS: tuple[CopyProtocol, ...] = ("fixed", "mixed", "retrain", "stream")
_STEPS = 2**16  # sequences times their length in one forward pass


class DelayedRecall(Protocol):
    """A task whose answers are symbols shown a known number of steps earlier: copy, recall."""

    alphabet: int
    chance: float

    def at_delay(self, delay: int) -> Task:
        """Return the same task at one other delay."""
        ...

    def answers(self, values: Tensor) -> Tensor:
        """Return the M answers (B, M, ...) of values at every step (B, T, ...)."""
        ...

    def reach(self, length: int) -> int:
        """Return how many steps back the answers lie."""
        ...


def copy_curve(
    models: nn.Module | Mapping[int, nn.Module],
    task: DelayedRecall,
    delays: Sequence[int],
    *,
    protocol: CopyProtocol,
    n_sequences: int = 1000,
    seed: int = 0,
    on_progress: Callable[[int, int], None] | None = None,
) -> xr.Dataset:
    """Return recall against the delay.

    The curve of one checkpoint says how far its solution carries beyond the delay it was trained
    on; that of a model trained anew for every delay says what the architecture can learn. Which of
    them it is, is the protocol, and stands in every result and figure.

    Parameters
    ----------
    models
        One model for all delays (``fixed``, ``mixed``), or one per delay (``retrain``, ``stream``).
    task
        `seqprobe.tasks` ``copy`` or ``recall``.
    delays
        Delays T, ascending: silent steps in ``copy``, the lag itself in ``recall``.
    protocol
        ``"fixed"``: trained on one delay; ``"mixed"``: on a range of them; ``"retrain"``: trained
        anew for every delay; ``"stream"``: the same on the task ``recall``, an endless stream.
    n_sequences
        Test sequences per delay.
    seed
        Of the sequences and the bootstrap.
    on_progress
        Called with the number of delays done and their total.

    Returns
    -------
    xarray.Dataset
        Along ``length``, the delay T:

        * ``accuracy``: fraction of the M copied symbols, never of all positions, with a Wilson
          interval whose number of trials is that of sequences, increased as far as symbols of one
          sequence are found to err independently;
        * ``accuracy_sequence``: fraction of sequences without an error, with its Wilson interval;
        * ``accuracy_all_positions``: over every scored step, for comparison with the literature;
          0.99 by chance at T = 1000;
        * ``symbols``: ``M (accuracy - 1/K) / (1 - 1/K)``;
        * ``bits_ba``: ``M log2 K`` less the cross-entropy of the answers in bits, at least 0
          (Barber and Agakov 2003), a lower bound that punishes wrong confidence; ``bits_mi``:
          mutual information of the confusion matrix of each answer, Miller-Madow corrected, less
          what shuffled answers have;
          ``bits_fano``: from the accuracy alone. In bits per sequence, out of ``M log2 K``;
        * ``answer_lag``: how many steps back the answers lie.

        ``T50``: last delay at which chance-corrected accuracy falls to a half, interpolated in
        log T; infinite if the last one is above, 0 if none is. ``area``: mean of
        chance-corrected accuracy over log T. ``*_ci`` (ci_bound, ...): 95 %; by 500 bootstrap
        replicates over sequences where not Wilson.

    Raises
    ------
    UsageError
        If delays are not ascending, or a model is missing.

    Notes
    -----
    Cost: one forward pass per sequence and delay. The layout of ``copy`` is that of Bai et al. 2018
    (arXiv 1803.01271); other papers count T differently.
    """
    _check_delays(delays)
    if missing := [d for d in delays if not isinstance(models, nn.Module) and d not in models]:
        raise UsageError(f"no model is given for delay {missing[0]} (allowed: one per delay)")
    rows = []
    for done, delay in enumerate(delays):
        model = models if isinstance(models, nn.Module) else models[delay]
        rows.append(_recall(model, task, delay, n_sequences, seed))
        if on_progress is not None:
            on_progress(done + 1, len(delays))
    rng = generator(seed, "bootstrap")
    result = statistics.summarise(rows, np.array(delays), task.alphabet, rng)
    lags = [row.lag for row in rows]
    result["answer_lag"] = variable(("length",), np.array(lags), "lag of the answers", "steps")
    one = models if isinstance(models, nn.Module) else models[delays[0]]
    result.attrs = provenance.attrs(
        "memory.copy_curve",
        {"protocol": protocol, "delays": list(delays), "n_sequences": n_sequences},
        seed=seed,
        **placement(one),
    ) | {
        "protocol": protocol,
        "symbols_to_copy": rows[0].right.shape[1],
        "alphabet": task.alphabet,
        "chance": task.chance,
        "interval": "Wilson over sequences; 95 % percentile of 500 bootstrap replicates",
    }
    return result


def _check_delays(delays: Sequence[int]) -> None:
    if not delays or delays[0] < 1 or any(a >= b for a, b in itertools.pairwise(delays)):
        raise UsageError(f"delays are {list(delays)} (allowed: ascending, from 1 on)")


def _recall(
    model: nn.Module, task: DelayedRecall, delay: int, n_sequences: int, seed: int
) -> statistics.Recalled:
    """Run one model at one delay."""
    there = task.at_delay(delay)
    rule: DelayedRecall = there  # type: ignore[assignment]  # what `at_delay` returns is one too
    parts: list[tuple[np.ndarray, ...]] = []
    batch = there.batch("test", n_sequences, seed=seed, index=delay)
    length = batch.inputs.shape[1]
    with borrowed(model), torch.no_grad():
        for piece in batch.split(max(1, _STEPS // length)):
            outputs = first_output(model, like_parameters(model, piece.inputs)).cpu()
            said, asked = rule.answers(outputs), rule.answers(piece.targets)
            nll = F.cross_entropy(said.flatten(0, 1), asked.flatten(), reduction="none")
            everywhere = outputs.argmax(dim=2) == piece.targets
            mask = torch.ones_like(everywhere) if piece.mask is None else piece.mask
            all_right = (everywhere & mask).sum(dim=1) / mask.sum(dim=1)
            parts.append(
                tuple(
                    part.numpy()
                    for part in (asked, said.argmax(dim=2), nll.view(asked.shape), all_right)
                )
            )
    columns = [np.concatenate(column) for column in zip(*parts, strict=True)]
    return statistics.Recalled(
        columns[0], columns[1], columns[2] / math.log(2), columns[3], rule.reach(length)
    )
