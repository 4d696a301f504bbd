"""Networks for tests of degeneracy: copies, perturbed copies, untrained ones on disk."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import torch

from seqprobe.degeneracy.units import layers_of, relabel_model
from seqprobe.models import Model
from seqprobe.tasks import make_task
from seqprobe.training import TrainConfig, load, train

CHECKPOINTS = Path(__file__).resolve().parents[2] / "checkpoints"


def flipflop(name: str = "rnn") -> Model:
    """Return a shipped network that holds three bits."""
    return load(CHECKPOINTS / "flipflop" / f"{name}-s0.pt")


def relabelling(model: Model, seed: int, signed: bool) -> tuple[list[np.ndarray], list[np.ndarray]]:
    rng = np.random.default_rng(seed)
    widths = [layer.width for layer in layers_of(model)]
    perms = [rng.permutation(n) for n in widths]
    signs = [rng.choice([-1.0, 1.0], n) if signed else np.ones(n) for n in widths]
    return perms, signs


def copied(model: Model, seed: int = 0, signed: bool = False) -> Model:
    """Return the same function with its units in another order."""
    return relabel_model(model, *relabelling(model, seed, signed))


def perturbed(model: Model, size: float, seed: int) -> Model:
    """Return the network with recurrent weights W + size ||W|| E / ||E||."""
    made = copy.deepcopy(model)
    generator = torch.Generator().manual_seed(seed)
    for layer in layers_of(made):
        noise = torch.randn(layer.weight_hh.shape, generator=generator)
        with torch.no_grad():
            layer.weight_hh.add_(size * layer.weight_hh.norm() * noise / noise.norm())
    return made


def untrained(
    folder: Path, seeds: int, model: str = "rnn", task: str = "flipflop", **settings: object
) -> list[Path]:
    """Write untrained networks of 12 units and return their files."""
    from seqprobe.config import from_mapping
    from seqprobe.models import architecture

    own = {"width": 12, **{k: v for k, v in settings.items() if k != "length"}}
    config = from_mapping(architecture(model).config, own, "model")
    length = settings.get("length", 12)
    problem = make_task(task, {} if length is None else {"length": length})
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for seed in range(seeds):
        files.append(folder / f"{model}-s{seed}.pt")
        train(
            model,
            problem,
            files[-1],
            model_config=config,
            config=TrainConfig(steps=0),
            seed=seed,
        )
    return files
