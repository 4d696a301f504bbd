"""A model from input to output: what it takes, what it gives, and where it comes from."""

from __future__ import annotations

from abc import abstractmethod

from torch import Tensor

from seqprobe.errors import NotApplicableError
from seqprobe.models.base import SequenceModule
from seqprobe.provenance import Origin
from seqprobe.spec import Spec

__all__ = ["WholeModel"]


class WholeModel(SequenceModule):
    """What analyses take: outputs that mean something, and inputs that can be embedded.

    Attributes
    ----------
    name
        Of the architecture, for tables and figures.
    spec
        Kinds and sizes of input and output.
    origin
        Where the weights come from; results carry it. None if nobody said.
    stepwise
        False if states are known of whole sequences only, by `streamed`, and not step by step.
    """

    name: str
    spec: Spec
    origin: Origin | None = None
    stepwise: bool = True

    @property
    @abstractmethod
    def reads(self) -> int:
        """Size d of the vectors that `step` reads: that of the embedding for tokens."""

    @abstractmethod
    def embed(self, x: Tensor) -> Tensor:
        """Return what is differentiated by: tokens as vectors, reals as they are.

        For a token model, a tensor of reals is taken to be embedded already, so that gradients with
        respect to the embedding are one call away: ``model(model.embed(tokens))``.
        """

    def state_module(self) -> SequenceModule | None:
        """Return the module that keeps the state, if it reads what `embed` returns, else None.

        Its parts have the names of the model's own; analyses know cells by it.
        """
        return None

    def features(self, x: Tensor) -> Tensor:
        """Return what the last linear map reads, (B, T, H), of inputs or tokens.

        Raises
        ------
        NotApplicableError
            If it is not known what that is.
        """
        raise NotApplicableError(
            f"it is not known what the readout of {type(self).__name__} reads; use part 'state'"
        )
