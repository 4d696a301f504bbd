"""What a task asks and a model answers: the one place where the two meet."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["Spec"]


@dataclass(frozen=True)
class Spec:
    """Kinds and sizes of the input and the output of a sequence problem.

    Attributes
    ----------
    input_kind
        ``"continuous"`` for inputs (B, T, D) of reals, ``"token"`` for (B, T) of integers.
    input_size
        D, or the size of the vocabulary.
    output_kind
        ``"regression"`` for outputs in the units of the target, ``"class"`` for the logits of one
        class in K, ``"binary"`` for K independent logits, ``"density"`` for the parameters of a
        probability density of the target.
    output_size
        Number of outputs K; a model returns (B, T, K).
    readout
        ``"each"`` if every time step is scored, ``"last"`` if only the last one is.
    """

    input_kind: Literal["continuous", "token"]
    input_size: int
    output_kind: Literal["regression", "class", "binary", "density"]
    output_size: int
    readout: Literal["each", "last"] = "each"
