"""Penalties on recurrent weights: their values, their gradients, and what they do to weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from seqprobe.config import from_mapping
from seqprobe.errors import DivergedError, InterruptedRunError, NotApplicableError, UsageError
from seqprobe.models import MODELS, Together, build_model
from seqprobe.models.recurrent import recurrent_layers
from seqprobe.spec import Spec
from seqprobe.studies import open_study
from seqprobe.tasks import make_task
from seqprobe.training import Checkpoint, Recipe, TrainConfig, load_checkpoint, train
from seqprobe.training.loop import Trainer
from seqprobe.training.penalty import penalised
from seqprobe.training.together import GroupTrainer, train_together

SPEC = Spec("continuous", 3, "regression", 2)
TASK = make_task("delay", {"delay": 2, "length": 12})
L1, NUCLEAR = 0.3, 0.7
H = 6

# Every form of the recurrent weights, with its number of gates.
FORMS: list[tuple[str, dict[str, Any], int]] = [
    ("rnn", {"layers": 2}, 1),
    ("gru", {"layers": 2}, 3),
    ("lstm", {}, 4),
    ("lstm", {"cifg": True}, 3),
    ("leaky", {"self_loops": False}, 1),
    ("leaky", {"self_loops": True}, 1),
    ("mup", {}, 1),
    ("bi-rnn", {}, 1),
]


def settings(model: str, model_config: dict[str, Any], **config: Any) -> dict[str, Any]:
    common = {"steps": 40, "eval_every": 20, "batch": 8, "warmup": 5, **config}
    return {
        "model_config": from_mapping(MODELS[model].config, {"width": H, **model_config}, "model"),
        "config": from_mapping(TrainConfig, common, "train"),
    }


def by_hand(weights: dict[str, Tensor], model: str, config: dict[str, Any], gates: int) -> float:
    """Return the penalty of weights by name, with numpy."""
    total = 0.0
    for name, weight in weights.items():
        if not name.endswith("weight_hh"):
            continue
        for block in np.split(weight.detach().double().numpy(), gates):
            w = block / H if model == "mup" else block.copy()
            if model == "leaky" and not config["self_loops"]:
                np.fill_diagonal(w, 0)
            total += L1 * np.abs(w).sum() + NUCLEAR * np.linalg.norm(w, "nuc")
    return total


@pytest.mark.parametrize(("model", "config", "gates"), FORMS)
def test_penalty_is_that_of_the_effective_matrices(
    model: str, config: dict[str, Any], gates: int
) -> None:
    built = [build_model(model, SPEC, {"width": H, **config}, seed=s).double() for s in range(3)]
    for network in built:
        for layer in recurrent_layers(network):  # they start orthogonal, which is a special case
            torch.nn.init.normal_(layer.weight_hh)
    wanted = [by_hand(network.state_dict(), model, config, gates) for network in built]
    weighs = TrainConfig(l1=L1, nuclear=NUCLEAR)
    for network, value in zip(built, wanted, strict=True):
        own = penalised(torch.tensor(2.0, dtype=torch.float64), network, weighs)
        assert own.item() == pytest.approx(2 + value, rel=1e-12)
    if MODELS[model].directions == 1:
        three = penalised(torch.zeros(3, dtype=torch.float64), Together(built), weighs)
        assert three.tolist() == pytest.approx(wanted, rel=1e-12)


def test_gradient_of_the_singular_values_is_u_v_transposed() -> None:
    """Also where they are all equal, as at the orthogonal start."""
    for std in (None, 1.0):
        network = build_model("gru", SPEC, {"width": H}).double()
        (layer,) = recurrent_layers(network)
        if std is not None:
            torch.nn.init.normal_(layer.weight_hh, std=std)
        penalised(torch.zeros(()), network, TrainConfig(nuclear=1.0)).backward()
        assert layer.weight_hh.grad is not None
        for w, gradient in zip(
            layer.weight_hh.detach().split(H), layer.weight_hh.grad.split(H), strict=True
        ):
            u, _, vh = np.linalg.svd(w.numpy())
            np.testing.assert_allclose(gradient.numpy(), u @ vh, rtol=0, atol=1e-10)


def test_nothing_is_computed_without_a_penalty(monkeypatch: pytest.MonkeyPatch) -> None:
    losses, network = torch.ones(()), build_model("rnn", SPEC)
    monkeypatch.delattr(torch.linalg, "svdvals")
    assert penalised(losses, network, TrainConfig()) is losses
    penalised(losses, network, TrainConfig(l1=1.0))
    with pytest.raises(AttributeError):
        penalised(losses, network, TrainConfig(nuclear=1.0))


@pytest.mark.parametrize(("model", "config"), [("rnn", {}), ("gru", {"layers": 2}), ("mup", {})])
def test_a_group_has_the_losses_of_single_runs(
    model: str, config: dict[str, Any], tmp_path: Path
) -> None:
    """Sums in float32 in another order, over 40 updates."""
    seeds = (0, 1, 5)
    common = settings(model, config, l1=1e-3, nuclear=1e-3)
    recipe = Recipe.of(model, TASK, **common)
    paths = {seed: tmp_path / f"{seed}.pt" for seed in seeds}
    group = GroupTrainer(recipe, paths, tmp_path / "group.resume.pt", torch.device("cpu"))
    together = [group.update() for _ in range(40)]
    for seed in seeds:
        own = Recipe.of(model, TASK, **common, seed=seed)
        alone = Trainer(own, tmp_path / "x.pt", torch.device("cpu"))
        single = [alone.update() for _ in range(40)]
        assert [losses[seed] for losses in together] == pytest.approx(single, rel=1e-6, abs=1e-6)


def test_losses_are_reported_without_the_penalty(tmp_path: Path) -> None:
    made = [
        train("rnn", TASK, tmp_path / f"{l1}.pt", **settings("rnn", {}, steps=1, l1=l1))
        for l1 in (0.0, 10.0)
    ]
    assert made[0].history[-1]["loss"] == made[1].history[-1]["loss"]
    assert not torch.equal(
        made[0].weights["core.layers.0.weight_hh"], made[1].weights["core.layers.0.weight_hh"]
    )


def trained(tmp_path: Path, **penalty: float) -> np.ndarray:
    """Return the recurrent weights after training, (seed, H, H)."""
    common = settings("rnn", {"width": 16}, steps=600, eval_every=600, lr=0.01, **penalty)
    paths = {seed: tmp_path / f"{seed}.pt" for seed in range(3)}
    made = train_together("rnn", TASK, paths, resume_path=tmp_path / "g.resume.pt", **common)
    weights = []
    for own in made.values():
        assert isinstance(own, Checkpoint)
        assert own.metrics["test"]["score"] < 0.1  # it still does its task
        weights.append(own.weights["core.layers.0.weight_hh"].numpy())
    return np.array(weights)


def participation(weights: np.ndarray) -> np.ndarray:
    values = np.linalg.svd(weights, compute_uv=False)
    return np.asarray(values.sum(axis=-1) ** 2 / (values**2).sum(axis=-1))


@pytest.mark.slow
def test_l1_empties_and_nuclear_lowers_the_rank(tmp_path: Path) -> None:
    """Measured: 1 % of the weights are near zero without a penalty and 82 to 90 % with l1; singular
    values count as 13.5 of 16 without and as 2, the delay, with nuclear.
    """
    made = {}
    for name, penalty in (("none", {}), ("l1", {"l1": 3e-3}), ("nuclear", {"nuclear": 0.01})):
        (tmp_path / name).mkdir()
        made[name] = trained(tmp_path / name, **penalty)
    small = {name: (np.abs(w) < 5e-3).mean(axis=(1, 2)) for name, w in made.items()}
    rank = {name: participation(w) for name, w in made.items()}
    assert small["none"].max() < 0.05
    assert small["l1"].min() > 0.5
    assert rank["none"].min() > 10
    assert rank["nuclear"].max() < 3


@pytest.mark.parametrize("name", ["tcn", "transformer", "s4d", "mamba", "bi-tcn"])
@pytest.mark.parametrize("key", ["l1", "nuclear"])
def test_models_without_recurrent_weights_are_refused(name: str, key: str, tmp_path: Path) -> None:
    config = from_mapping(TrainConfig, {key: 0.1}, "train")
    match = rf"train\.{key} = 0\.1 .* '{name}' has none \(allowed: rnn, bi-rnn, .*; leave it out"
    with pytest.raises(NotApplicableError, match=match):
        train(name, TASK, tmp_path / "x.pt", config=config)
    with pytest.raises(UsageError, match=rf"train\.{key} = -1\.0 is out of range"):
        from_mapping(TrainConfig, {key: -1.0}, "train")


def test_studies_skip_them_with_the_reason(tmp_path: Path) -> None:
    (tmp_path / "study.toml").write_text(
        'name = "penalties"\nseeds = 1\n'
        'fixed.task = { name = "delay", length = 8, delay = 2 }\n'
        "fixed.train = { steps = 6, batch = 4, eval_every = 2 }\n"
        "fixed.model = { width = 4 }\n"
        'grid."model.name" = ["rnn", "tcn"]\ngrid."train.nuclear" = [0.0, 0.1]\n'
    )
    study = open_study(tmp_path / "study.toml", folder=tmp_path / "runs")
    assert len(study.units) == 3
    (skipped,) = study.skipped
    assert skipped.settings == {"model.name": "tcn", "train.nuclear": 0.1}
    assert "'tcn' has none" in skipped.reason


def stop_at_25(now: Any) -> None:
    if now.step == 25:
        raise KeyboardInterrupt


def test_files_from_before_penalties_go_on(tmp_path: Path) -> None:
    common = settings("gru", {})
    with pytest.raises(InterruptedRunError):
        train("gru", TASK, tmp_path / "x.pt", on_step=stop_at_25, **common)
    for name in ("x.pt", "x.resume.pt"):
        content = torch.load(tmp_path / name, weights_only=True)
        old = content if name == "x.pt" else content["recipe"]
        del old["train"]["l1"], old["train"]["nuclear"]
        torch.save(content, tmp_path / name)
    assert "l1" not in load_checkpoint(tmp_path / "x.pt").train
    assert train("gru", TASK, tmp_path / "x.pt", resume=True, **common).status == "complete"
    with pytest.raises(UsageError, match=r"was made with train\.l1 = 0\.0, not 0\.1"):
        train("gru", TASK, tmp_path / "x.pt", resume=True, **settings("gru", {}, l1=0.1))


def test_a_penalised_run_resumes_to_the_same_bytes(tmp_path: Path) -> None:
    common = settings("mup", {"gamma": 3.0}, l1=1e-3, nuclear=1e-3)
    train("mup", TASK, tmp_path / "whole.pt", **common)
    with pytest.raises(InterruptedRunError):
        train("mup", TASK, tmp_path / "broken.pt", on_step=stop_at_25, **common)
    train("mup", TASK, tmp_path / "broken.pt", resume=True, **common)
    assert (tmp_path / "whole.pt").read_bytes() == (tmp_path / "broken.pt").read_bytes()


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e38])
def test_a_diverged_network_does_not_end_its_group(value: float, tmp_path: Path) -> None:
    """LAPACK refuses to decompose what is not finite, all matrices of a batch at once."""
    common = settings("rnn", {}, nuclear=1e-3)
    recipe = Recipe.of("rnn", TASK, **common)
    paths = {seed: tmp_path / f"{seed}.pt" for seed in (0, 1)}
    group = GroupTrainer(recipe, paths, tmp_path / "group.resume.pt", torch.device("cpu"))
    with torch.no_grad():
        group.network.get_parameter("core.layers.0.weight_hh")[1] = value
        group.network.get_parameter("head.weight")[1] = float("nan")
    assert list(group.update()) == [0]
    assert isinstance(group.outcomes[1], DivergedError)
