"""Tasks that ask for symbols shown before: layout, loads, chance, and no ambiguity."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from seqprobe.errors import UsageError
from seqprobe.tasks import make_task
from seqprobe.tasks.symbol_recall import SymbolRecall

RECALLS = ("mqar", "induction", "selective-copy", "passkey")


@pytest.mark.parametrize("name", RECALLS)
def test_answers_of_recall_tasks_score_one(name: str) -> None:
    task = make_task(name)
    assert isinstance(task, SymbolRecall)
    batch = task.batch("test", 40)
    asked = task.asked(batch)
    outputs = torch.zeros(40, task.length, task.alphabet)
    where = batch.mask
    if where is None:
        where = torch.zeros(40, task.length, dtype=torch.bool)
        where[:, -1] = True
    outputs[where] = 50.0 * torch.nn.functional.one_hot(asked.flatten(), task.alphabet).float()
    assert task.scores(outputs, batch).min() == 1
    assert task.loss(outputs, batch) < 1e-6
    even = torch.zeros(40, task.length, task.alphabet)
    assert task.loss(even, batch).item() == pytest.approx(np.log(task.alphabet), rel=1e-5)
    # Nothing is asked for before everything has been shown.
    assert not where[:, : task.stored_after(task.length)].any()
    assert batch.inputs.max() < task.spec.input_size
    # A guess that does not look is right as often as chance says.
    wide = task.batch("test", 2000)
    counts = torch.bincount(task.asked(wide).flatten(), minlength=task.alphabet).double()
    assert (counts / counts.sum() - 1 / task.alphabet).abs().max() < 5 / (
        task.alphabet * counts.mean().sqrt()
    )


@pytest.mark.parametrize("name", RECALLS)
def test_loads_of_recall_tasks(name: str) -> None:
    task = make_task(name)
    assert isinstance(task, SymbolRecall)
    for load in task.loads:
        there = task.at(load, getattr(task.config, load) + 2)
        assert getattr(there.config, load) == getattr(task.config, load) + 2
        assert there.batch("test", 2).inputs.shape[1] == there.length
    with pytest.raises(UsageError, match=f"task '{name}' has no load 'no'"):
        task.at("no", 1)


@pytest.mark.parametrize(("keys", "key_length", "pairs"), [(16, 1, 16), (3, 2, 7), (2, 4, 12)])
def test_queries_of_mqar_are_never_ambiguous(keys: int, key_length: int, pairs: int) -> None:
    length = 2 * pairs * (key_length + 1) + 7
    settings = {"keys": keys, "key_length": key_length, "pairs": pairs, "length": length}
    task = make_task("mqar", settings | {"values": 5})
    batch = task.batch("test", 100)
    assert batch.mask is not None
    for tokens, targets, mask in zip(batch.inputs, batch.targets, batch.mask, strict=True):
        context = tokens[: pairs * (key_length + 1)].reshape(pairs, key_length + 1)
        stored = {tuple(row[:-1].tolist()): int(row[-1]) - 1 - keys for row in context}
        assert len(stored) == pairs
        asked = []
        for t in mask.nonzero().flatten().tolist():
            key = tuple(tokens[t - key_length + 1 : t + 1].tolist())
            asked.append(key)
            assert stored[key] == int(targets[t])
        assert sorted(asked) == sorted(stored)  # each key once
        rest = tokens[pairs * (key_length + 1) :]
        assert int((rest > 0).sum()) == pairs * key_length  # all else is filler


def test_early_slots_of_mqar_are_asked_most() -> None:
    steep = make_task("mqar", {"pairs": 2, "power": 0.01}).batch("test", 2000)
    even = make_task("mqar", {"pairs": 2, "power": 1.0}).batch("test", 2000)
    assert steep.mask is not None
    assert even.mask is not None
    first = [float(batch.mask[:, 4].float().mean()) for batch in (steep, even)]  # type: ignore[index]
    # Of 30 slots with p ~ 1/g, two draws take the first one 44 times in 100; evenly, 2 in 30.
    assert first[0] == pytest.approx(0.44, abs=0.05)
    assert first[1] == pytest.approx(2 / 30, abs=0.03)


def test_mqar_on_several_loads() -> None:
    task = make_task("mqar", {"min_pairs": 2, "pairs": 5, "length": 32})
    counts = set()
    for index in range(60):
        batch = task.batch("train", 2, index=index)
        assert batch.mask is not None
        counts.add(int(batch.mask[0].sum()))
        assert batch.inputs.shape == (2, 32)
    assert counts == {2, 3, 4, 5}
    scored = [int(b.mask[0].sum()) for b in task.evaluation("valid") if b.mask is not None]
    assert scored == [2, 3, 4, 5]
    rates = [1 / p + (1 - 1 / p) / 64 for p in (2, 3, 4, 5)]
    assert task.baseline().score == pytest.approx(np.mean(rates))


def test_impossible_recall_tasks_are_refused() -> None:
    with pytest.raises(UsageError, match="length 30 is too short for task 'mqar'"):
        make_task("mqar", {"length": 30, "pairs": 8})
    with pytest.raises(UsageError, match=r"task.min_pairs = 9 is above task.pairs = 8"):
        make_task("mqar", {"min_pairs": 9})
    with pytest.raises(UsageError, match=r"task.pairs = 9 is more than there are keys \(8\)"):
        make_task("mqar", {"pairs": 9, "keys": 2, "key_length": 3, "length": 100})
    with pytest.raises(UsageError, match=r"64\^11 keys, too many"):
        make_task("mqar", {"key_length": 11, "length": 1000})
    with pytest.raises(UsageError, match="length 20 is too short for task 'selective-copy'"):
        make_task("selective-copy", {"length": 20})
    with pytest.raises(UsageError, match="length 11 is too short for task 'passkey'"):
        make_task("passkey", {"length": 11})
    shortest = make_task("passkey", {"length": 12}).batch("test", 50)
    assert (shortest.inputs[:, 0] == 10).all()  # the key fills what is not the question


def test_a_passkey_may_lie_anywhere() -> None:
    batch = make_task("passkey", {"length": 30}).batch("test", 2000)
    first = (batch.inputs == 10).int().argmax(dim=1)
    assert sorted(set(first.tolist())) == list(range(30 - 5 - 7 + 1))
