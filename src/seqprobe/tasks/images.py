"""What tasks that read an image pixel by pixel share."""

from __future__ import annotations

from abc import abstractmethod

import numpy as np
import torch
from torch import Tensor

from seqprobe.errors import UsageError
from seqprobe.seeding import generator
from seqprobe.spec import Spec
from seqprobe.tasks.base import (
    Batch,
    Metric,
    Split,
    Task,
    check_request,
    last_step_cross_entropy,
)

__all__ = ["ImageTask"]


class ImageTask(Task):
    """One pixel per step, the class of ten after the last; the training set in shuffled epochs.

    Loss: cross-entropy in nats. Metric: accuracy.
    """

    metric = Metric("accuracy", "fraction correct", "higher")
    spec = Spec("continuous", 1, "class", 10, "last")

    @abstractmethod
    def images(self, split: Split) -> tuple[np.ndarray, np.ndarray]:
        """Return all images (N, T) and their classes (N,)."""

    def pixels(self, images: np.ndarray) -> np.ndarray:
        """Return the inputs (B, T), float32 in the order of reading, of some of the images."""
        return images

    def batch(
        self,
        split: Split,
        size: int | None = None,
        *,
        seed: int = 0,
        index: int = 0,
        length: int | None = None,
    ) -> Batch:
        """Read images; see `Task.batch`. The training stream is reshuffled in every epoch."""
        check_request(split, size, length)
        if length not in (None, self.length):
            raise UsageError(
                f"images of '{self.name}' have {self.length} pixels, not {length}"
                f" (allowed: {self.length})"
            )
        images, classes = self.images(split)
        count = len(classes)
        size = count if size is None else size
        if split != "train" and (index + 1) * size > count:
            raise UsageError(
                f"the {split} set of '{self.name}' has {count} images, too few for {size}"
                + (f" at batch {index}" if index else "")
                + f" (allowed: up to {count // (index + 1)})"
            )
        first = index * size
        epochs = range(first // count, (first + size - 1) // count + 1)
        orders = [generator(seed, self.name, split, "order", e).permutation(count) for e in epochs]
        rows = np.concatenate(orders)[first % count :][:size]
        x = torch.from_numpy(self.pixels(images[rows]))
        return Batch(x[:, :, None], torch.from_numpy(classes[rows]))

    def count(self, split: Split, length: int | None = None) -> int:
        """Return the number of images."""
        del length  # one that they do not have is refused when it is asked for
        return len(self.images(split)[1])

    def errors(self, outputs: Tensor, batch: Batch) -> Tensor:
        """Return the cross-entropy of the last output, (B,), in nats."""
        return last_step_cross_entropy(outputs, batch.targets)

    def scores(self, outputs: Tensor, batch: Batch) -> Tensor:
        """Return 1 where the last output is right and 0 where it is not, (B,)."""
        return (outputs[:, -1].argmax(dim=1) == batch.targets).to(outputs.dtype)
