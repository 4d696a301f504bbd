"""Behaviour of equal networks, and of unequal ones."""

from __future__ import annotations

import numpy as np
import pytest

from degeneracy.networks import copied, flipflop, perturbed
from seqprobe.degeneracy import sigma_ood
from seqprobe.errors import NotApplicableError, UsageError
from seqprobe.models import build_model
from seqprobe.spec import Spec
from seqprobe.tasks import Task, make_task


def _conditions() -> dict[str, Task]:
    task = make_task("flipflop", {"length": 30})
    return {"as trained": task, "2 x as long": task.longer(2)}


def test_identical_networks_do_not_differ() -> None:
    """Case 19: exactly 0."""
    model = flipflop()
    found = sigma_ood([model] * 4, _conditions(), sequences=32)
    assert (found["sigma_ood"].values == 0).all()
    assert (found["sigma_ood_ci"].values == 0).all()
    assert (found["disagreement"].values == 0).all()


def test_a_relabelled_copy_answers_the_same() -> None:
    """To the rounding of float32."""
    model = flipflop()
    found = sigma_ood([model, copied(model, 1, signed=True)], _conditions(), sequences=32)
    assert found["disagreement"].values.max() < 1e-9


def test_spread_and_disagreement_grow_with_a_perturbation() -> None:
    """Case 11, twelve copies."""
    model = flipflop()
    sigmas, apart = [], []
    for size in (0.0, 0.01, 0.03, 0.1, 0.2):
        copies = [perturbed(model, size, seed) for seed in range(12)]
        found = sigma_ood(copies, _conditions(), sequences=32)
        sigmas.append(float(found["sigma_ood"].values[1]))
        apart.append(float(found["disagreement"].values[..., 1].mean()))
    assert sigmas[0] == apart[0] == 0
    assert (np.diff(sigmas) > 0).all()
    assert (np.diff(apart) > 0).all()


def test_longer_trials_are_trials_of_the_task() -> None:
    found = sigma_ood([flipflop(), flipflop("gru")], _conditions(), sequences=64)
    assert found["loss"].values.shape == (2, 2)
    assert (found["loss"].values < 5e-3).all()


@pytest.mark.parametrize("task", ["recall", "copy", "passkey"])
def test_classes_disagree_by_the_share_of_answers(task: str) -> None:
    problem = make_task(task)
    models = [build_model("gru", problem.spec, {"width": 8}, seed=seed) for seed in range(2)]
    found = sigma_ood(models, {"as trained": problem}, sequences=16)
    assert 0 < found["disagreement"].values[0, 1, 0] <= 1
    assert found["disagreement"].attrs["units"] == "share of answers"


def test_what_cannot_be_compared_is_refused() -> None:
    with pytest.raises(UsageError, match="1 networks cannot differ"):
        sigma_ood([flipflop()], _conditions())
    other = build_model("rnn", Spec("continuous", 3, "regression", 2))
    with pytest.raises(UsageError, match="the model has 2 outputs, task 'flipflop' 3"):
        sigma_ood([flipflop(), other], _conditions())


def test_densities_are_refused() -> None:
    from seqprobe.degeneracy.sigma_ood import answers_on

    class Density:
        name = "speech"
        spec = Spec("continuous", 3, "density", 3)

    with pytest.raises(NotApplicableError, match="parameters of a density"):
        answers_on(flipflop(), Density(), None)  # type: ignore[arg-type]
