"""Music and MNIST against the published counts and the baselines counted here."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from data_sets import needs_data
from seqprobe.errors import NotApplicableError, UnreadableFileError, UsageError
from seqprobe.memory import gradient_profile
from seqprobe.models import build_model
from seqprobe.tasks import Task, chartext, make_task, speech
from seqprobe.tasks.chartext import CharText
from seqprobe.tasks.mnist import PMNIST, SMNIST, PMNISTConfig
from seqprobe.tasks.music import _pieces
from seqprobe.training import TrainConfig, evaluate, load, load_checkpoint, train

MUSIC = {
    # name: pieces and frames of train, valid, test; nats per frame of the Markov chain
    "jsb": ((229, 76, 77), (13_807, 4_602, 4_725), 10.49),
    "nottingham": ((694, 173, 170), (176_561, 45_513, 44_463), 5.15),
    "muse": ((524, 135, 124), (245_202, 82_755, 64_339), 8.56),
    "piano": ((87, 12, 25), (75_911, 8_540, 19_036), 8.26),
}

every_music = pytest.mark.parametrize(
    "name", [pytest.param(name, marks=needs_data(name)) for name in MUSIC]
)


@every_music
def test_music_has_the_published_pieces_and_frames(name: str) -> None:
    pieces, frames, _ = MUSIC[name]
    splits = _pieces(name)
    assert tuple(len(splits[split]) for split in ("train", "valid", "test")) == pieces
    assert tuple(sum(map(len, splits[s])) for s in ("train", "valid", "test")) == frames
    texts = {split: {piece.tobytes() for piece in splits[split]} for split in splits}
    shared = 1 if name == "nottingham" else 0  # as published: one tune is in two sets, twice over
    assert len(texts["train"] & texts["test"]) == shared
    assert len(texts["train"] & texts["valid"]) == shared
    assert not texts["valid"] & texts["test"]


@every_music
def test_music_baselines_are_those_of_the_literature(name: str) -> None:
    task = make_task(name)
    assert task.baseline().score == pytest.approx(MUSIC[name][2], abs=0.006)
    assert task.chance == pytest.approx(61.0, abs=0.01)
    assert task.solved(task.baseline().score - 0.01)
    assert not task.solved(task.baseline().score + 0.01)


@needs_data("jsb")
def test_score_is_the_mean_over_predicted_frames_of_whole_pieces() -> None:
    task = make_task("jsb")
    batches = list(task.evaluation("test"))
    frames = sum(task.weights(batch).sum().item() for batch in batches)
    assert frames == 4_725 - 77
    keys = torch.zeros(88, dtype=torch.float64)
    for piece in _pieces("jsb")["test"]:
        keys += torch.from_numpy(piece[1:]).double().sum(dim=0)
    density = keys / frames
    total = -(keys * density.clamp(1e-12).log() + (frames - keys) * (-density).log1p()).sum().item()

    logits = torch.logit(density.clamp(1e-12)).float()
    error = 0.0
    for batch in batches:
        outputs = logits.expand(*batch.targets.shape).clone()
        assert batch.mask is not None
        outputs[~batch.mask] = 1e3  # nonsense where nothing is scored
        error += (task.errors(outputs, batch) * task.weights(batch)).sum().item()
    assert error == pytest.approx(total, rel=1e-5)

    class Marginal(torch.nn.Module):
        """Answers the density of every key at every step."""

        def __init__(self) -> None:
            super().__init__()
            self.logits = torch.nn.Parameter(logits)

        def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
            return self.logits.expand(*x.shape), {}

    score = evaluate(Marginal(), task, "test")  # type: ignore[arg-type]
    assert score["n"] == 77
    assert score["score"] == pytest.approx(total / frames, rel=1e-5)
    assert 0 < score["standard_error"] < 1


@needs_data("jsb")
def test_training_draws_a_frame_of_a_short_piece_as_often_as_of_a_long_one() -> None:
    task = make_task("jsb", {"length": 100})
    seen = [task.batch("train", 2000, index=i) for i in range(10)]
    lengths = torch.cat([task.weights(batch) for batch in seen])
    pieces = torch.tensor([min(len(piece) - 1, 100) for piece in _pieces("jsb")["train"]])
    # Whole pieces are drawn evenly, so that short ones keep their share.
    short = (pieces < 50).float().mean().item()
    assert (lengths < 50).float().mean().item() == pytest.approx(short, abs=0.02)


@needs_data("jsb")
@pytest.mark.parametrize("length", [20, 100])
def test_an_epoch_has_as_many_frames_as_the_training_pieces(length: int) -> None:
    task = make_task("jsb", {"length": length})
    frames = [float(task.weights(task.batch("train", 400, index=i)).mean()) for i in range(5)]
    windows = task.epoch()
    assert windows is not None
    assert windows * np.mean(frames) == pytest.approx(13_807 - 229, rel=0.02)


def test_generated_data_have_no_epochs_and_images_are_seen_once_in_each() -> None:
    assert make_task("adding").epoch() is None
    assert make_task("digits").epoch() == 898


@needs_data("jsb")
def test_held_out_windows_come_from_different_pieces() -> None:
    task = make_task("jsb", {"length": 60})
    there = task.count("test")
    assert there == sum(len(piece) > 60 for piece in _pieces("jsb")["test"])
    batch = task.batch("test", there)
    assert len({row.numpy().tobytes() for row in batch.inputs}) == there
    with pytest.raises(UsageError, match=rf"{there} test pieces of 'jsb' have 60 .* too few"):
        task.batch("test", 70)


@needs_data("jsb")
def test_windows_longer_than_every_piece_are_refused() -> None:
    with pytest.raises(UsageError, match=r"no train piece of 'jsb' has 160 .* up to 128\)"):
        make_task("jsb", {"length": 160}).batch("train", 2)


@needs_data("jsb")
def test_a_model_that_reads_the_future_is_not_asked_for_it(tmp_path: Path) -> None:
    with pytest.raises(NotApplicableError, match=r"'bi-gru' reads the future, .* use 'gru'"):
        train("bi-gru", make_task("jsb"), tmp_path / "x.pt")
    assert list(tmp_path.iterdir()) == []


@needs_data("tinyshakespeare")
def test_a_text_model_opens_without_its_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = TrainConfig(steps=0)
    train("rnn", make_task("chartext"), tmp_path / "x.pt", config=config)
    with pytest.raises(UsageError, match="too few for a length of 60000"):
        train("rnn", make_task("chartext", {"length": 60_000}), tmp_path / "y.pt", config=config)
    for cached in (chartext._text, chartext._splits):
        cached.cache_clear()
    monkeypatch.setenv("SEQPROBE_DATA", str(tmp_path / "nowhere"))
    model = load(tmp_path / "x.pt")
    assert model.spec.input_size == 65
    with pytest.raises(UnreadableFileError, match="data set 'tinyshakespeare' is not in"):
        make_task("chartext").batch("test", 2)


@needs_data("jsb")
def test_padding_changes_neither_score_nor_gradient() -> None:
    task = make_task("jsb")
    batch = next(task.evaluation("test"))
    assert batch.mask is not None
    assert not batch.mask.all()
    outputs = torch.randn(*batch.targets.shape, requires_grad=True)
    task.loss(outputs, batch).backward()
    assert outputs.grad is not None
    assert (outputs.grad[~batch.mask] == 0).all()
    assert (outputs.grad[batch.mask] != 0).any()
    model = build_model("gru", task.spec, {"width": 8})
    noisy = torch.where(batch.mask[..., None], batch.inputs, torch.randn_like(batch.inputs))
    a, b = model(batch.inputs)[0], model(noisy)[0]
    torch.testing.assert_close(task.errors(a, batch), task.errors(b, batch))


@needs_data("jsb")
def test_targets_are_the_next_frames() -> None:
    batch = make_task("jsb", {"length": 20}).batch("valid", 30)
    assert batch.inputs.shape == (30, 20, 88)
    assert batch.mask is not None
    assert batch.mask.all()
    assert torch.equal(batch.targets[:, :-1], batch.inputs[:, 1:])


@needs_data("jsb")
def test_a_window_longer_than_any_piece_is_refused() -> None:
    with pytest.raises(UsageError, match=r"no test piece of 'jsb' has 500 .*allowed: up to \d+"):
        make_task("jsb").batch("test", 4, length=500)


@needs_data("jsb")
def test_memory_of_a_music_model_can_be_measured() -> None:
    task = make_task("jsb", {"length": 40})
    model = build_model("gru", task.spec, {"width": 8})
    profile = gradient_profile(model, task.batch("test", 6))
    assert profile.sizes["lag"] == 27
    assert (profile["G"] > 0).all()


@needs_data("mnist")
def test_mnist_is_normalised_and_split() -> None:
    task = make_task("smnist")
    sizes = [len(task.batch(s).targets) for s in ("valid", "test")]
    assert sizes == [5_000, 10_000]
    batch = task.batch("train", 2_000)
    assert batch.inputs.shape == (2_000, 784, 1)
    assert batch.inputs.mean().item() == pytest.approx(0, abs=0.02)
    assert batch.inputs.std().item() == pytest.approx(1, abs=0.02)
    commonest = np.bincount(task.batch("test").targets.numpy()).max() / 10_000
    assert commonest == task.chance


@needs_data("mnist")
def test_permutation_is_seeded_and_one_for_all() -> None:
    plain, permuted = SMNIST(), PMNIST()
    order = permuted.order()
    assert sorted(order) == list(range(784))
    assert np.array_equal(order, PMNIST().order())
    assert not np.array_equal(order, PMNIST(PMNISTConfig(permutation=1)).order())
    images = plain.images("test")[0][:50]
    assert np.array_equal(permuted.pixels(images), plain.pixels(images)[:, order])
    again = make_task("pmnist").batch("test", 50)
    assert torch.equal(permuted.batch("test", 50).inputs, again.inputs)


@pytest.mark.slow
@needs_data("mnist")
def test_mnist_baseline() -> None:
    assert make_task("smnist").baseline().score == pytest.approx(0.924, abs=0.006)


@needs_data("tinyshakespeare")
def test_text_is_cut_into_three_parts() -> None:
    vocabulary = CharText().vocabulary
    splits = chartext._splits(("", vocabulary))
    text = chartext._text("")
    assert sum(map(len, splits.values())) == len(text) == 1_115_394
    assert len(vocabulary) == 65
    back = "".join(vocabulary[code] for code in splits["train"][:30])
    assert back == text[:30] == "First Citizen:\nBefore we proce"
    batch = make_task("chartext").batch("valid", 5)
    assert torch.equal(batch.inputs[:, 1:], batch.targets[:, :-1])


@needs_data("tinyshakespeare")
def test_text_is_scored_once_in_bits() -> None:
    task = CharText()
    scored = sum(batch.targets.numel() for batch in task.evaluation("test"))
    whole = len(chartext._splits(("", task.vocabulary))["test"])
    assert whole - 2 * task.length < scored < whole
    assert task.chance == pytest.approx(6.022, abs=1e-3)
    batch = task.batch("test", 3)
    even = torch.zeros(3, task.length, 65)
    assert task.scores(even, batch).mean().item() == pytest.approx(task.chance, rel=1e-5)
    # The entropy of a character given the one before, about 3.5 bits in English.
    assert 3.3 < task.baseline().score < 3.7
    with pytest.raises(UsageError, match=r"too few for a length of 99999 \(allowed: up to 55768\)"):
        task.batch("test", 1, length=99_999)


@needs_data("tinyshakespeare")
def test_test_windows_do_not_overlap() -> None:
    task = CharText()
    there = task.count("test")
    assert there == 278
    rows = {row.numpy().tobytes() for row in task.batch("test", there).inputs}
    scored = {row.numpy().tobytes() for b in task.evaluation("test") for row in b.inputs}
    assert rows == scored
    with pytest.raises(UsageError, match=r"has 278 windows of 200 characters, too few for 279"):
        task.batch("test", 279)


@needs_data("tinyshakespeare")
def test_memory_of_a_text_model_is_measured_at_the_embedding() -> None:
    task = make_task("chartext", {"length": 30})
    model = build_model("lstm", task.spec, {"width": 8})
    profile = gradient_profile(model, task.batch("test", 4), n_probes=8)
    assert profile.sizes["lag"] == 21
    assert (profile["G"] > 0).all()


def _write(path: Path, text: str) -> str:
    path.write_text(text, encoding="utf-8")
    return str(path)


def test_a_checkpoint_keeps_the_vocabulary_of_its_text(tmp_path: Path) -> None:
    text = _write(tmp_path / "own.txt", "eine kleine Nachtmusik\n" * 40)
    config = TrainConfig(steps=0)
    task = make_task("chartext", {"text": text, "length": 10})
    train("rnn", task, tmp_path / "x.pt", config=config)
    kept = load_checkpoint(tmp_path / "x.pt")
    assert kept.task["config"]["vocabulary"] == "\n Nacehiklmnstu"
    other = _write(tmp_path / "other.txt", "zeile\n" * 100)
    with pytest.raises(UsageError, match=r"has the character 'z', which is not in the vocabulary"):
        make_task("chartext", kept.task["config"] | {"text": other}).batch("test", 2)
    known = _write(tmp_path / "known.txt", "alle" * 100)
    batch = make_task("chartext", kept.task["config"] | {"text": known}).batch("train", 2)
    assert set(batch.inputs.unique().tolist()) == {3, 5, 9}  # a, e, l in the checkpoint's order


def test_texts_that_cannot_be_read(tmp_path: Path) -> None:
    def task(text: str) -> Task:
        return make_task("chartext", {"text": text})

    with pytest.raises(UnreadableFileError, match=r"cannot be read: No such file"):
        task(str(tmp_path / "none.txt")).batch("test", 1)
    (tmp_path / "latin.txt").write_bytes("größer".encode("latin-1"))
    with pytest.raises(UnreadableFileError, match=r"is not UTF-8 \(byte 2\); convert it"):
        task(str(tmp_path / "latin.txt")).batch("test", 1)
    with pytest.raises(UsageError, match="is empty"):
        task(_write(tmp_path / "empty.txt", "")).batch("test", 1)
    with pytest.raises(UsageError, match=r"has 7 characters, too few .* \(allowed: 40 or more\)"):
        task(_write(tmp_path / "short.txt", "abcabca")).baseline()
    with pytest.raises(UsageError, match="has a character twice"):
        make_task("chartext", {"vocabulary": "abca"})


@needs_data("fsdd")
def test_recordings_are_split_by_their_number() -> None:
    sounds = speech._sounds()
    assert {split: len(some) for split, some in sounds.items()} == {
        "train": 2400,
        "valid": 300,
        "test": 300,
    }
    assert np.concatenate(sounds["train"]).std() == pytest.approx(1)
    batch = make_task("speech", {"length": 60}).batch("valid", 5)
    assert batch.inputs.shape == (5, 60, 1)
    assert batch.targets.shape == (5, 10)
    whole = torch.cat([batch.inputs[..., 0], batch.targets], dim=1)[0].numpy()
    assert any(
        np.allclose(window, whole)
        for sound in sounds["valid"]
        if len(sound) >= 70
        for window in np.lib.stride_tricks.sliding_window_view(sound.astype(np.float32), 70)
        if window[0] == whole[0]
    )


@needs_data("fsdd")
def test_an_epoch_of_speech_is_as_long_as_the_recordings() -> None:
    one, two = (make_task("speech", {"length": length}).epoch() for length in (90, 490))
    assert one is not None and two is not None
    assert one * 100 == pytest.approx(two * 500)
    assert 2400 * 0.3 < one * 100 / 8000 < 2400 * 0.6  # recordings of 0.3 to 0.6 s on average


@needs_data("fsdd")
def test_mixture_density_is_that_of_torch() -> None:
    task = make_task("speech", {"length": 20})
    batch = task.batch("test", 4)
    outputs = torch.randn(4, 20, task.spec.output_size).double()
    parameters = outputs[:, -1].reshape(4, 20, 21)
    mixture = torch.distributions.MixtureSameFamily(
        torch.distributions.Categorical(logits=parameters[..., 0]),
        torch.distributions.Independent(
            torch.distributions.Normal(parameters[..., 1:11], parameters[..., 11:].exp()), 1
        ),
    )
    expected = -mixture.log_prob(batch.targets.double())
    torch.testing.assert_close(task.errors(outputs, batch), expected)


@needs_data("fsdd")
def test_speech_baselines_are_ordered_and_chance_is_a_gaussian() -> None:
    task = make_task("speech")
    single = torch.zeros(1, 1, task.spec.output_size)
    scores = [
        task.scores(single.expand(len(batch.inputs), 1, -1), batch)
        for batch in task.evaluation("test")
    ]
    assert torch.cat(scores).mean().item() == pytest.approx(task.chance, abs=1.0)
    assert task.baseline().score < task.chance - 3
    with pytest.raises(UsageError, match=r"no test recording has 10010 samples"):
        make_task("speech", {"length": 10_000}).batch("test", 2)
