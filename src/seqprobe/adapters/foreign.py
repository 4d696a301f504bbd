"""A module of any origin as a model of the contract, with as much of it as it can keep."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from seqprobe.adapters.form import Form
from seqprobe.errors import NotApplicableError
from seqprobe.models import Trace, WholeModel
from seqprobe.models.access import like_parameters
from seqprobe.models.base import scanned
from seqprobe.spec import Spec
from seqprobe.state import State

__all__ = ["TOLERANCE", "Agreement", "ForeignModel", "HookedModel", "compare"]

# Of the largest value; modules that refuse double precision are compared in their own.
TOLERANCE = {"float64": 1e-9, "float32": 1e-4, "float16": 2e-2, "bfloat16": 1e-1}


@dataclass(frozen=True)
class Agreement:
    """How far stepping through sequences is from reading them at once.

    Attributes
    ----------
    output, state
        Largest difference, as a part of the largest value; NaN where there is nothing to compare.
    steps
        Number of steps compared.
    dtype
        Precision of the comparison.
    """

    output: float
    state: float
    steps: int
    dtype: str

    @property
    def good(self) -> bool:
        """True if the two are the same function, up to rounding."""
        allowed = TOLERANCE[self.dtype]
        return all(d <= allowed or math.isnan(d) for d in (self.output, self.state))


class ForeignModel(WholeModel):
    """A module without a state that is known: sequences in, outputs out.

    Parameters
    ----------
    module
        Of any kind; it is held, not copied, and never changed.
    form
        How it is called.
    spec
        Kinds and sizes of what goes in and comes out.
    name
        For tables and figures.
    why_no_state
        A line that says why there is no state to look into, and what to do.

    Attributes
    ----------
    agreement
        What the check of `step` against `forward` found; None without a step.
    """

    # Matrix products of other sizes may be rounded otherwise.
    exact_causality = False
    stepwise = False

    def __init__(
        self, module: nn.Module, form: Form, spec: Spec, name: str, why_no_state: str = ""
    ) -> None:
        super().__init__()
        self.module = module
        self.form = form
        self.spec = spec
        self.name = name
        self.agreement: Agreement | None = None
        self._why_no_state = why_no_state

    @property
    def reads(self) -> int:
        """Size d of the vectors that `step` reads: that of the embedding for tokens."""
        if self.form.embedding is not None:
            table = self.module.get_submodule(self.form.embedding)
            assert isinstance(table, nn.Embedding)
            return table.embedding_dim
        return self.spec.input_size

    def embed(self, x: Tensor) -> Tensor:
        """Return tokens as vectors and reals as they are; see `WholeModel.embed`."""
        if x.is_floating_point() or not self.form.tokens:
            return x
        if self.form.embedding is None:
            raise NotApplicableError(
                f"no single nn.Embedding of {self.name} reads its tokens, so there is nothing to"
                " differentiate by; use a measure without gradients (total-effect, substitution,"
                " context)"
            )
        found: Tensor = self.module.get_submodule(self.form.embedding)(x)
        return found

    def features(self, x: Tensor) -> Tensor:
        """Return what the last linear map reads, (B, T, H)."""
        if self.form.head is None or self.form.pooled:
            what = "one answer per sequence" if self.form.pooled else "no linear map at its end"
            raise NotApplicableError(
                f"{self.name} has {what}, so that nothing is read at every step; name the part to"
                " look into (--state NAME, or seqprobe.wrap(module, batch, state=NAME))"
            )
        return self.form.before_head(self.module, x)

    def forward(
        self, x: Tensor, state: State | None = None, trace: Trace | None = None
    ) -> tuple[Tensor, State]:
        """Map (B, T, D) or tokens (B, T) to (B, T, K); see `SequenceModule.forward`.

        The state is empty. Of a module with one output per sequence, that stands at the last step.
        """
        if state or trace is not None:
            raise self._stateless()
        return self.outputs(x), {}

    def outputs(self, x: Tensor) -> Tensor:
        """Return (B, T, K) of whole sequences, by the user's forward.

        Raises
        ------
        NotApplicableError
            If there is no gradient where one is asked for.
        """
        y = self.form.run(self.module, x)
        if torch.is_grad_enabled() and x.requires_grad and not y.requires_grad:
            raise NotApplicableError(
                f"forward of {self.name} runs without gradients (torch.no_grad, detach), or does"
                " not use its input; remove that, or use a measure without gradients"
                " (total-effect, substitution, context)"
            )
        return y

    def blank(self, *lead: int) -> Tensor:
        """Return zero inputs, or tokens, (B, T, D) or (B, D) for the axes before D."""
        like = next(iter(self.module.parameters()), torch.zeros(()))
        if self.form.tokens:
            return torch.zeros(lead, device=like.device, dtype=torch.long)
        return torch.zeros(*lead, self.spec.input_size, device=like.device, dtype=like.dtype)

    def _stateless(self) -> NotApplicableError:
        return NotApplicableError(self._why_no_state)


class HookedModel(ForeignModel):
    """A module up to a named part, whose output at every step counts as the state.

    It cannot be stepped: whole sequences go in. Measures of recorded states take it.
    """

    def state_size(self, length: int) -> int:
        """Return the size H of what the part returns, whatever the length."""
        return self.spec.output_size

    def streamed(self, x: Tensor) -> Tensor:
        """Return the part's output at every step, (B, T, H)."""
        return self.form.run(self.module, x)

    features = streamed


def compare(model: ForeignModel, x: Tensor) -> Agreement:
    """Step through sequences (N, T, D) or tokens and read them at once, and say how they differ."""
    x = like_parameters(model, x)
    with torch.no_grad():
        y, after = model(x)
        stepped, state = scanned(model, x, model.init_state(len(x)))
    if model.form.pooled:
        y, stepped = y[:, -1:], stepped[:, -1:]
    states = [_distance(state[part], after[part]) for part in after]
    dtype = str(y.dtype).removeprefix("torch.")
    return Agreement(_distance(stepped, y), max(states, default=math.nan), x.shape[1], dtype)


def _distance(a: Tensor, b: Tensor) -> float:
    if a.shape != b.shape:
        return float("inf")
    if not a.numel():
        return 0.0
    return float((a - b).abs().amax() / b.abs().amax().clamp(min=1e-12))
