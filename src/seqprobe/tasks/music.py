"""Polyphonic music: which of 88 keys sound in the next frame."""

from __future__ import annotations

import io
import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from seqprobe.config import bounded
from seqprobe.data import dataset, read
from seqprobe.errors import UsageError
from seqprobe.seeding import generator
from seqprobe.spec import Spec
from seqprobe.tasks.base import Baseline, Batch, Metric, Split, Task, TaskConfig, check_request

__all__ = ["JSB", "Muse", "Music", "MusicConfig", "Nottingham", "Piano"]

_KEYS = 88
_CELLS = {"train": "traindata", "valid": "validdata", "test": "testdata"}
_FRAMES = 2**16  # padded frames of one evaluation batch


@dataclass(frozen=True)
class MusicConfig(TaskConfig):
    """Settings of the music tasks.

    Attributes
    ----------
    length
        Frames of a training window; shorter pieces are padded and masked. Scores are always over
        whole pieces.
    """

    length: int = bounded(60, 1, 2**20)


class Music(Task):
    """Piano rolls, frame by frame: 88 keys in, 88 independent probabilities of the next frame out.

    The data and splits of Boulanger-Lewandowski et al. 2012 (arXiv 1206.6392), as used by Chung et
    al. 2014 and Bai et al. 2018. Loss and metric: negative log-likelihood in nats, summed over the
    keys, mean over all frames but the first of each piece. Chance, a fair coin for every key:
    88 ln 2 = 61.0. Baseline: a Markov chain per key, two numbers each, counted on the training
    pieces with one added to each count. Solved means better than that.
    """

    Config = MusicConfig
    metric = Metric("nll", "nats per frame", "lower")
    next_step = True
    chance = _KEYS * math.log(2)
    spec = Spec("continuous", _KEYS, "binary", _KEYS, "each")

    @property
    def solved_at(self) -> float:  # type: ignore[override]  # counted here, a number elsewhere
        """Score of the Markov chain."""
        return self.baseline().score

    def baseline(self) -> Baseline:
        """Return the test score of one Markov chain per key."""
        return Baseline("Markov chain per key", _markov_score(self.name))

    def batch(
        self,
        split: Split,
        size: int | None = None,
        *,
        seed: int = 0,
        index: int = 0,
        length: int | None = None,
    ) -> Batch:
        """Draw windows of pieces; see `Task.batch`.

        In training, a frame is as likely in one piece as in another; windows of short pieces are
        padded and masked. A validation or test batch has one window each of different pieces, which
        are independent, and only of pieces that fill it.
        """
        check_request(split, size, length)
        length = self.length if length is None else length
        pieces = _pieces(self.name)[split]
        longest = max(map(len, pieces)) - 1
        if length > longest:
            raise UsageError(
                f"no {split} piece of '{self.name}' has {length} predicted frames"
                f" (allowed: up to {longest})"
            )
        if split != "train":
            pieces = [piece for piece in pieces if len(piece) > length]
        rng = generator(seed, self.name, split, index)
        lengths = np.array([len(piece) for piece in pieces])
        if split == "train":
            shares = _shares(lengths, length)
            picks = rng.choice(len(pieces), 256 if size is None else size, p=shares)
        else:
            size = len(pieces) if size is None else size
            if size > len(pieces):
                raise UsageError(
                    f"{len(pieces)} {split} pieces of '{self.name}' have {length} predicted frames,"
                    f" too few for {size} (allowed: 1 to {len(pieces)}; or a smaller length)"
                )
            picks = rng.choice(len(pieces), size, replace=False)
        starts = rng.integers(np.maximum(lengths[picks] - length, 1))
        windows = [
            pieces[pick][start : start + length + 1]
            for pick, start in zip(picks, starts, strict=True)
        ]
        return _padded(windows, length)

    def count(self, split: Split, length: int | None = None) -> int | None:
        """Return the number of pieces that fill a window."""
        length = self.length if length is None else length
        return sum(len(piece) > length for piece in _pieces(self.name)[split])

    def epoch(self) -> float:
        """Return how many windows have on average as many frames as the training pieces."""
        lengths = np.array([len(piece) for piece in _pieces(self.name)["train"]])
        frames = np.minimum(lengths - 1, self.length)
        return float((lengths - 1).sum() / (_shares(lengths, self.length) @ frames))

    def evaluation(self, split: Split) -> Iterator[Batch]:
        """Yield all pieces whole, those of like length together."""
        check_request(split)
        group: list[np.ndarray] = []
        for piece in sorted(_pieces(self.name)[split], key=len):
            if group and len(piece) * (len(group) + 1) > _FRAMES:
                yield _padded(group, len(group[-1]) - 1)
                group = []
            group.append(piece)
        yield _padded(group, len(group[-1]) - 1)

    def errors(self, outputs: Tensor, batch: Batch) -> Tensor:
        """Return the negative log-likelihood of every piece, (B,), in nats per frame."""
        nll = F.binary_cross_entropy_with_logits(outputs, batch.targets, reduction="none")
        mask = self._mask(batch)
        return (nll.sum(dim=2) * mask).sum(dim=1) / mask.sum(dim=1)

    def weights(self, batch: Batch) -> Tensor:
        """Return the number of predicted frames, (B,)."""
        return self._mask(batch).sum(dim=1)

    def loss(self, outputs: Tensor, batch: Batch) -> Tensor:
        """Return the mean over frames, a scalar."""
        weights = self.weights(batch)
        return (self.errors(outputs, batch) * weights).sum() / weights.sum()

    @staticmethod
    def _mask(batch: Batch) -> Tensor:
        assert batch.mask is not None  # every batch of music has one
        return batch.mask.to(batch.targets.dtype)


class JSB(Music):
    """Four-part chorales of J. S. Bach; see `Music`."""

    name = "jsb"
    summary = "next frame of Bach chorales"


class Nottingham(Music):
    """British and American folk tunes; see `Music`.

    As published, one training tune is also in the validation set and one in the test set.
    """

    name = "nottingham"
    summary = "next frame of folk tunes"


class Muse(Music):
    """Orchestral and piano music of the MuseData archive; see `Music`."""

    name = "muse"
    summary = "next frame of classical music"


class Piano(Music):
    """Classical piano pieces of Piano-midi.de; see `Music`."""

    name = "piano"
    summary = "next frame of classical piano"


def _shares(lengths: np.ndarray, length: int) -> np.ndarray:
    """Return how often a training window is of each piece."""
    # A short piece comes whole: it is drawn as often as a window of a long one.
    frames = np.maximum(lengths, length + 1)
    shares: np.ndarray = frames / frames.sum()
    return shares


def _padded(windows: list[np.ndarray], length: int) -> Batch:
    """Return inputs (B, length, 88), the next frames as targets, and which of them are real."""
    x = torch.zeros(len(windows), length, _KEYS)
    y = torch.zeros(len(windows), length, _KEYS)
    mask = torch.zeros(len(windows), length, dtype=torch.bool)
    for i, window in enumerate(windows):
        frames = torch.from_numpy(window).float()
        x[i, : len(frames) - 1], y[i, : len(frames) - 1] = frames[:-1], frames[1:]
        mask[i, : len(frames) - 1] = True
    return Batch(x, y, mask)


@cache
def _pieces(name: str) -> dict[str, list[np.ndarray]]:
    """Return the piano rolls (frames, 88) of the three splits."""
    from scipy.io import loadmat

    (content,) = read(dataset(name)).values()
    cells = loadmat(io.BytesIO(content))
    return {split: list(cells[cell][0]) for split, cell in _CELLS.items()}


@cache
def _markov_score(name: str) -> float:
    """Return the test score of p(on | on) and p(on | off), counted per key."""
    counts = np.ones((2, 2, _KEYS))  # before, after, key
    for piece in _pieces(name)["train"]:
        for before in (0, 1):
            for after in (0, 1):
                pairs = (piece[:-1] == before) & (piece[1:] == after)
                counts[before, after] += pairs.sum(axis=0)
    logs = np.log(counts / counts.sum(axis=1, keepdims=True))
    total, frames = 0.0, 0
    for piece in _pieces(name)["test"]:
        total -= logs[piece[:-1], piece[1:], np.arange(_KEYS)].sum()
        frames += len(piece) - 1
    return float(total / frames)
