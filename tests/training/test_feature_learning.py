"""What gamma and the width of the muP form do to training; Huang et al. 2024, arXiv 2410.03972."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from seqprobe.config import from_mapping
from seqprobe.models import MODELS, Model
from seqprobe.models.recurrent import recurrent_layers
from seqprobe.tasks import make_task
from seqprobe.training import Recipe, TrainConfig, Until, train
from seqprobe.training.loop import Trainer
from seqprobe.training.together import GroupTrainer

TASK = make_task("delay", {"delay": 1, "length": 12})
SEEDS = (0, 1, 2)


def recipe(model: str, lr: float, **settings: float) -> Recipe:
    config = TrainConfig(batch=32, lr=lr, schedule="constant", warmup=0, clip=1e9)
    return Recipe.of(model, TASK, from_mapping(MODELS[model].config, settings, "model"), config)


def losses(model: str, lr: float, updates: int, **settings: float) -> np.ndarray:
    """Return the training losses, (updates,), as means over seeds."""
    trainer = GroupTrainer(
        recipe(model, lr, **settings),
        dict.fromkeys(SEEDS, Path("nowhere.pt")),
        Path("nowhere.resume.pt"),
        torch.device("cpu"),
    )
    every = [list(trainer.update().values()) for _ in range(updates)]
    return np.asarray(np.mean(every, axis=1))


def features(model: Model) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return tanh of the states (B, T, H), the outputs (B, T, K) and the recurrent weights."""
    x = TASK.batch("valid", 64).inputs
    (layer,) = recurrent_layers(model)
    scaled, _ = layer(x)
    with torch.no_grad():
        phi = scaled * model.config.gamma * model.config.width  # type: ignore[attr-defined]
        return phi, model(x)[0], layer.recurrent_weight().clone()


def test_features_move_by_gamma_and_outputs_by_one() -> None:
    """From lazy to rich, at one eta_0 and after 20 updates.

    Adam moves every weight by about its rate, gamma eta_0. Measured over three seeds: features
    move by 0.03, 0.3 and 1.5 of their norm for gamma = 0.1, 1 and 10 (the last saturates: tanh is
    bounded), weights by 0.0023, 0.023 and 0.19, outputs by 0.08, 0.08 and 0.12.
    """
    moved: dict[float, list[float]] = {}
    for gamma in (0.1, 1.0, 10.0):
        trainer = Trainer(
            recipe("mup", 0.01, width=64, gamma=gamma, tau=0.5), Path("x.pt"), torch.device("cpu")
        )
        phi, y, w = features(trainer.model)
        for _ in range(20):
            trainer.update()
        after = features(trainer.model)
        moved[gamma] = [
            ((after[0] - phi).norm() / phi.norm()).item(),
            (after[1] - y).square().mean().sqrt().item(),
            ((after[2] - w).norm() / w.norm()).item(),
        ]
        assert trainer.optimizer.param_groups[0]["lr"] == gamma * 0.01
    lazy, middle, rich = (np.array(moved[gamma]) for gamma in (0.1, 1.0, 10.0))
    assert middle[0] > 5 * lazy[0]
    assert rich[0] > 3 * middle[0]
    assert middle[2] == pytest.approx(10 * lazy[2], rel=0.1)
    assert rich[2] > 5 * middle[2]
    assert max(lazy[1], middle[1], rich[1]) < 2 * min(lazy[1], middle[1], rich[1])


def test_widths_learn_alike_where_the_standard_form_does_not() -> None:
    """Loss curves of 64 and 256 units: within 10 % in the muP form, more than e-fold apart else."""
    apart = {}
    for model, lr, settings in (("mup", 0.01, {"gamma": 10.0, "tau": 0.5}), ("rnn", 0.003, {})):
        narrow, wide = (losses(model, lr, 60, width=width, **settings) for width in (64, 256))
        apart[model] = np.abs(np.log(narrow / wide)).max()
    assert apart["mup"] < 0.1
    assert apart["rnn"] > 1


def test_the_first_update_moves_all_widths_alike() -> None:
    """Features and gamma times the outputs, averaged over 3 seeds, after Adam's first step."""
    moved = []
    for width in (64, 512):
        own = []
        for seed in SEEDS:
            mine = dataclasses.replace(recipe("mup", 0.01, width=width, gamma=2.0), seed=seed)
            trainer = Trainer(mine, Path("x.pt"), torch.device("cpu"))
            phi, y, _ = features(trainer.model)
            trainer.update()
            after = features(trainer.model)
            own.append(
                [
                    phi.square().mean().sqrt().item(),
                    (after[0] - phi).square().mean().sqrt().item(),
                    (after[1] - y).square().mean().sqrt().item(),
                ]
            )
        moved.append(np.mean(own, axis=0))
    np.testing.assert_allclose(moved[0], moved[1], rtol=0.25)


def test_equal_loss_stops_at_every_gamma(tmp_path: Path) -> None:
    ends = []
    for gamma in (1.0, 10.0):
        made = train(
            "mup",
            TASK,
            tmp_path / f"{gamma}.pt",
            model_config=from_mapping(
                MODELS["mup"].config, {"width": 24, "gamma": gamma, "tau": 0.5}, "model"
            ),
            config=TrainConfig(steps=600, lr=0.02, schedule="constant", eval_every=10, l1=1e-4),
            until=Until.parse("nmse=0.3", TASK, patience=2),
        )
        assert made.stopped.startswith("nmse reached 0.3 in 2 validations in a row at update")
        ends.append([entry["score"] <= 0.3 for entry in made.history[-3:]])
    assert ends == [[False, True, True]] * 2
