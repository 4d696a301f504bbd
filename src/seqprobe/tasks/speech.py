"""Raw speech: a density over the next ten samples."""

from __future__ import annotations

import io
import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from torch import Tensor

from seqprobe.config import bounded
from seqprobe.data import dataset, read
from seqprobe.errors import UsageError
from seqprobe.seeding import generator
from seqprobe.spec import Spec
from seqprobe.tasks.base import Baseline, Batch, Metric, Split, Task, TaskConfig, check_request

__all__ = ["Speech", "SpeechConfig"]

_NEXT = 10
_COMPONENTS = 20
_TEST, _VALID = range(5), range(5, 10)  # recordings of every speaker and digit; the others train
_SMALLEST_LOG_SCALE = -5.0  # of a sample's deviation: silence would make a density infinite
_EVALUATION_BATCH = 256


@dataclass(frozen=True)
class SpeechConfig(TaskConfig):
    """Settings of raw speech.

    Attributes
    ----------
    length
        Samples that are heard before the ten that are predicted, at 8 kHz.
    """

    length: int = bounded(500, 1, 10_000)


class Speech(Task):
    """Hear 500 raw samples one by one, then give a mixture of 20 Gaussians over the next 10.

    The protocol of Chung et al. 2014 (arXiv 1412.3555) on spoken digits (Jackson et al. 2018), a
    stand-in for its speech data, which are not public. Every speaker is in every set: recordings
    0-4 of each digit and speaker are for test, 5-9 for validation, the others for training. Samples
    are divided by the deviation of the training set. Outputs are, for each component, a logit, 10
    means and 10 log-deviations, the latter at least -5. Loss and metric: negative log-likelihood in
    nats of the 10 samples together. Chance: independent Gaussians of the training mean and
    variance. Baseline: one Gaussian whose mean is linear in the last sample heard, fitted on the
    training set.
    """

    name = "speech"
    summary = "density of the next 10 samples of spoken digits"
    Config = SpeechConfig
    metric = Metric("nll", "nats per 10 samples", "lower")
    spec = Spec("continuous", 1, "density", _COMPONENTS * (1 + 2 * _NEXT), "last")

    @property
    def chance(self) -> float:  # type: ignore[override]  # measured, a number elsewhere
        """Score of independent Gaussians."""
        return _gaussian_scores(self.length)[0]

    @property
    def solved_at(self) -> float:  # type: ignore[override]
        """Score of the linear Gaussian."""
        return _gaussian_scores(self.length)[1]

    def baseline(self) -> Baseline:
        """Return the test score of the linear Gaussian."""
        return Baseline("Gaussian, linear in the last sample", self.solved_at)

    def batch(
        self,
        split: Split,
        size: int | None = None,
        *,
        seed: int = 0,
        index: int = 0,
        length: int | None = None,
    ) -> Batch:
        """Draw windows, a sample being as likely in one recording as in another."""
        check_request(split, size, length)
        length = self.length if length is None else length
        sounds = _long_enough(split, length + _NEXT)
        rng = generator(seed, self.name, split, index)
        rooms = np.array([len(sound) - length - _NEXT + 1 for sound in sounds])
        picks = rng.choice(len(sounds), 256 if size is None else size, p=rooms / rooms.sum())
        starts = rng.integers(rooms[picks])
        rows = [sounds[p][s : s + length + _NEXT] for p, s in zip(picks, starts, strict=True)]
        return _as_batch(np.stack(rows))

    def evaluation(self, split: Split) -> Iterator[Batch]:
        """Yield every recording in windows that start every 0.1 s.

        A window starts every 800 samples, so that scores of one recording are few and far apart.
        """
        check_request(split)
        width = self.length + _NEXT
        rows = [
            sound[start : start + width]
            for sound in _long_enough(split, width)
            for start in range(0, len(sound) - width + 1, 800)
        ]
        yield from _as_batch(np.stack(rows)).split(_EVALUATION_BATCH)

    def epoch(self) -> float:
        """Return how many windows are as long as the training recordings."""
        return sum(map(len, _sounds()["train"])) / (self.length + _NEXT)

    def errors(self, outputs: Tensor, batch: Batch) -> Tensor:
        """Return the negative log-likelihood of the last output, (B,), in nats."""
        parameters = outputs[:, -1].unflatten(1, (_COMPONENTS, 1 + 2 * _NEXT))
        logit, mean, log_scale = parameters.split([1, _NEXT, _NEXT], dim=2)
        log_scale = log_scale.clamp(min=_SMALLEST_LOG_SCALE)
        z = (batch.targets[:, None] - mean) / log_scale.exp()
        log_density = -0.5 * z.square() - log_scale - 0.5 * math.log(2 * math.pi)
        log_weight = torch.log_softmax(logit[..., 0], dim=1)
        return -torch.logsumexp(log_weight + log_density.sum(dim=2), dim=1)


def _as_batch(rows: np.ndarray) -> Batch:
    x = torch.from_numpy(rows[:, :-_NEXT].astype(np.float32))
    return Batch(x[:, :, None], torch.from_numpy(rows[:, -_NEXT:].astype(np.float32)))


def _long_enough(split: Split, width: int) -> list[np.ndarray]:
    sounds = [sound for sound in _sounds()[split] if len(sound) >= width]
    if not sounds:
        longest = max(map(len, _sounds()[split]))
        raise UsageError(
            f"no {split} recording has {width} samples (allowed: task.length up to"
            f" {longest - _NEXT})"
        )
    return sounds


@cache
def _sounds() -> dict[str, list[np.ndarray]]:
    """Return the recordings of the three sets, in deviations of the training set."""
    from scipy.io import wavfile

    sounds: dict[str, list[np.ndarray]] = {"train": [], "valid": [], "test": []}
    for name, content in read(dataset("fsdd")).items():
        _, samples = wavfile.read(io.BytesIO(content))
        take = int(name.removesuffix(".wav").split("_")[2])
        split = "test" if take in _TEST else "valid" if take in _VALID else "train"
        sounds[split].append(samples.astype(np.float64))
    scale = np.concatenate(sounds["train"]).std()
    return {split: [sound / scale for sound in some] for split, some in sounds.items()}


@cache
def _gaussian_scores(length: int) -> tuple[float, float]:
    """Return the test scores of independent Gaussians and of one linear in the last sample."""
    task = Speech(SpeechConfig(length=length))
    rows = {}
    for split in ("train", "test"):
        batches = list(task.evaluation(split))
        last = torch.cat([batch.inputs[:, -1] for batch in batches]).double().numpy()
        rows[split] = last, torch.cat([batch.targets for batch in batches]).double().numpy()
    (x, y), (x_test, y_test) = rows["train"], rows["test"]
    mean, variance = y.mean(), y.var()
    z2 = (y_test - mean) ** 2 / variance
    independent = 0.5 * (z2 + np.log(2 * np.pi * variance)).sum(axis=1).mean()

    design = np.concatenate([x, np.ones_like(x)], axis=1)
    weights, *_ = np.linalg.lstsq(design, y, rcond=None)
    covariance = np.cov((y - design @ weights).T)
    off = y_test - np.concatenate([x_test, np.ones_like(x_test)], axis=1) @ weights
    distance = (off @ np.linalg.inv(covariance) * off).sum(axis=1)
    log_det = np.linalg.slogdet(2 * np.pi * covariance)[1]
    return float(independent), float(0.5 * (distance + log_det).mean())
