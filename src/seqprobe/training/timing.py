"""What an update costs, measured."""

from __future__ import annotations

import dataclasses
import os
import statistics
import time
from collections.abc import Sequence
from pathlib import Path

import torch

from seqprobe.models import can_train_together
from seqprobe.seeding import torch_seeded
from seqprobe.training.loop import Trainer
from seqprobe.training.recipe import Recipe
from seqprobe.training.together import GroupTrainer

__all__ = ["seconds_per_update"]

_RUNS = 3


def seconds_per_update(
    recipe: Recipe, seeds: Sequence[int], device: torch.device | None = None
) -> float:
    """Return the wall time of one update of a group of seeds, with its data and its optimiser.

    On one thread, as the processes of a study compute: several threads on cores that are in use
    wait for each other, a hundred times as long. Nothing is written. Costs four updates: the median
    of three after one that does not count.

    Parameters
    ----------
    recipe
        What would be trained, for any seed.
    seeds
        The seeds; several are computed together where the architecture allows, else one after
        another.
    device
        Where to train; None for the CPU.

    Returns
    -------
    float
        Seconds for one update of all seeds.
    """
    device = device or torch.device("cpu")
    # Weights that stay as they are cannot diverge.
    recipe = dataclasses.replace(recipe, config=dataclasses.replace(recipe.config, lr=0.0))
    nowhere = Path(os.devnull)
    trainers: list[Trainer | GroupTrainer]
    if len(seeds) > 1 and can_train_together(recipe.model):
        trainers = [GroupTrainer(recipe, dict.fromkeys(seeds, nowhere), nowhere, device)]
    else:
        trainers = [Trainer(dataclasses.replace(recipe, seed=s), nowhere, device) for s in seeds]
    seconds = []
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch_seeded(0, "timing"):
            for _ in range(1 + _RUNS):
                start = time.perf_counter()
                for trainer in trainers:
                    trainer.update()
                seconds.append(time.perf_counter() - start)
    finally:
        torch.set_num_threads(threads)
    return statistics.median(seconds[1:])
