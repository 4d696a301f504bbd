"""Sequences of the user's own in the place of a task."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from seqprobe.errors import NotApplicableError, SeqprobeError, UnreadableFileError, UsageError
from seqprobe.tasks import from_arrays, read_arrays

RNG = np.random.default_rng(0)
X = RNG.standard_normal((6, 9, 2)).astype(np.float32)


def test_what_was_given_comes_back_in_order() -> None:
    task = from_arrays(X, X[..., :1], np.ones((6, 9), dtype=bool))
    batch = task.batch("test")
    assert torch.equal(batch.inputs, torch.from_numpy(X)) and task.count("test") == 6
    some = task.batch("test", 3, seed=1, length=5)
    assert some.inputs.shape == (3, 5, 2) and some.mask is not None and some.mask.shape == (3, 5)
    rows = [(batch.inputs[:, :5] == row).all(dim=(1, 2)).nonzero().item() for row in some.inputs]
    assert rows == sorted(set(rows))


@pytest.mark.parametrize(
    ("targets", "kind", "size", "readout"),
    [
        (np.arange(6) % 3, "class", 3, "last"),
        (np.tile(np.arange(9) % 4, (6, 1)), "class", 4, "each"),
        (X, "regression", 2, "each"),
        (X[..., 0], "regression", 1, "each"),
    ],
)
def test_targets_say_what_the_outputs_are(
    targets: np.ndarray, kind: str, size: int, readout: str
) -> None:
    spec = from_arrays(X, targets).spec
    assert (spec.output_kind, spec.output_size, spec.readout) == (kind, size, readout)
    assert (spec.input_kind, spec.input_size) == ("continuous", 2)


def test_scores_and_the_best_constant_answer() -> None:
    classes = from_arrays(X, np.array([0, 0, 0, 0, 1, 2]))
    assert classes.chance == pytest.approx(4 / 6)
    outputs = torch.zeros(6, 9, 3)
    outputs[:, -1, 0] = 1
    assert float(classes.scores(outputs, classes.batch("test")).mean()) == pytest.approx(4 / 6)
    mask = np.ones((6, 9), dtype=bool)
    mask[:, 5:] = False
    reals = from_arrays(X, X, mask)
    assert reals.chance == pytest.approx(X[:, :5].reshape(-1, 2).var(axis=0).mean(), rel=1e-5)
    best = torch.from_numpy(X[:, :5].mean(axis=(0, 1))).expand(6, 9, 2)
    loss = reals.loss(best, reals.batch("test"))
    assert float(loss) == pytest.approx(reals.chance, rel=1e-5)


def test_without_targets_there_is_no_score() -> None:
    task = from_arrays(X)
    with pytest.raises(NotApplicableError, match="no targets to score against"):
        task.errors(torch.zeros(6, 9, 2), task.batch("test"))
    with pytest.raises(NotApplicableError, match="no targets"):
        task.baseline()


def test_tokens() -> None:
    task = from_arrays(np.array([[0, 4, 1], [2, 2, 3]], dtype=np.uint8))
    assert task.spec.input_kind == "token" and task.spec.input_size == 5
    assert task.batch("test").inputs.dtype == torch.long


@pytest.mark.parametrize(
    ("inputs", "targets", "mask", "said"),
    [
        (X[0, 0], None, None, r"inputs have shape \(2,\)"),
        (X[..., None], None, None, "inputs have shape"),
        (np.full_like(X, np.nan), None, None, "108 values that are not finite"),
        (np.array([[-1, 2]]), None, None, "token -1"),
        (X + 1j, None, None, "inputs are complex"),
        (X, np.zeros((5, 9, 2)), None, r"targets have shape \(5, 9, 2\)"),
        (X, np.zeros((6, 9, 2), dtype=int), None, r"targets have shape"),
        (X, np.zeros((6, 8), dtype=int), None, r"targets have shape"),
        (X, None, np.ones((6, 8)), r"mask has shape \(6, 8\)"),
        (X, None, np.zeros((6, 9)), "true at one step"),
    ],
)
def test_arrays_that_do_not_fit(inputs: object, targets: object, mask: object, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        from_arrays(inputs, targets, mask)


def test_requests_that_do_not_fit() -> None:
    task = from_arrays(X, np.arange(6) % 3)
    with pytest.raises(UsageError, match="more than the 9 steps"):
        task.batch("test", length=10)
    with pytest.raises(UsageError, match="cuts off the step that the targets are for"):
        task.batch("test", length=5)
    with pytest.raises(UsageError, match="7 sequences were asked for, there are 6"):
        task.batch("test", 7)


def test_files(tmp_path: Path) -> None:
    def refused(name: str, said: str, error: type[SeqprobeError] = UnreadableFileError) -> None:
        with pytest.raises(error, match=said):
            read_arrays(tmp_path / name)

    np.savez(tmp_path / "a.npz", inputs=X, targets=np.arange(6))
    task = read_arrays(tmp_path / "a.npz")
    assert task.has_targets and len(task.config.sha256) == 64
    np.save(tmp_path / "a.npy", X)
    assert not read_arrays(tmp_path / "a.npy").has_targets
    np.savez(tmp_path / "b.npz", input=X)
    refused("b.npz", r"no array 'inputs'; did you mean 'input'\?")
    np.savez(tmp_path / "c.npz", inputs=X, target=X)
    refused("c.npz", r"'target'; did you mean 'targets'\?", UsageError)
    np.savez(tmp_path / "d.npz", inputs=np.array([{}], dtype=object))
    refused("d.npz", "holds objects")
    (tmp_path / "e.npz").write_bytes(b"")
    refused("e.npz", "damaged")
    refused("nothing.npz", "does not exist")
    refused("x.csv", "allowed: .npz, .npy", UsageError)
