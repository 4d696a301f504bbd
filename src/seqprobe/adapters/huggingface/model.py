"""A causal language model of transformers behind the contract of this package."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from seqprobe.adapters.huggingface.calls import Call
from seqprobe.adapters.huggingface.families import FAMILIES, Family
from seqprobe.adapters.huggingface.memory import Memory
from seqprobe.adapters.huggingface.text import Text, encode
from seqprobe.adapters.huggingface.verification import Verification
from seqprobe.errors import NotApplicableError, UsageError
from seqprobe.models import StateKind, Trace, WholeModel
from seqprobe.models.base import scanned
from seqprobe.spec import Spec
from seqprobe.state import State

__all__ = ["HuggingFaceModel"]


@dataclass(frozen=True)
class _Part:
    """A part of the state: shape of one row before the first token, and what it is."""

    shape: tuple[int, ...]
    kind: StateKind
    limit: int | None  # entries that a windowed cache keeps at most
    start: float
    wide: bool  # kept in float32 whatever the weights are

    def reals(self, length: int) -> int:
        """Return the number of reals after `length` tokens."""
        shape = list(self.shape)
        if self.kind == "cache":
            shape[1] = length if self.limit is None else min(length, self.limit)
        return torch.Size(shape).numel()


class HuggingFaceModel(WholeModel):
    """A causal language model of transformers; made by `from_huggingface`.

    Tokens (B, T) go in, or their embeddings (B, T, E) as reals; logits (B, T, V) come out. The
    network runs from embeddings always, with explicit ("eager") attention, because fused kernels
    have no second derivative and none under `torch.func`. A network that is converted to float64
    computes in float64 throughout; see `calls.Call`.

    The state has the names and shapes that `Memory` of its family gives; all parts are tensors of
    reals, and no counter is among them. A step costs one call of the network with one token.
    Internals for a `Trace`: ``features``, what the head reads; ``hidden<i>``, as transformers
    counts them, 0 the embedding; ``attn<j>``, the weights of the j-th attention layer.

    Parameters
    ----------
    network
        A ``PreTrainedModel`` of our own: modes and configuration are changed.
    family
        How its state is kept; None for a network without `step`.
    text
        Its tokenizer.

    Attributes
    ----------
    verified
        What the check of the step against the network found; None if there was none.
    source
        Where the network is from, as plain values for the attributes of results.
    """

    exact_causality = False  # experts are computed in groups, whose sums round differently

    def __init__(self, network: Any, family: Family | None, text: Text) -> None:
        super().__init__()
        self.network = network
        self.family = family
        self.text = text
        self.verified: Verification | None = None
        self.source: dict[str, str] = {}
        self.name = str(self.network.config.model_type)
        self.eval()
        table = network.get_input_embeddings()
        with torch.no_grad():
            two = table(torch.zeros(1, 2, dtype=torch.long, device=table.weight.device))
            logits, state, memory = self._run(two, None)
        self._reads = int(two.shape[-1])
        size = int(table.num_embeddings)
        self.spec = Spec("token", size, "class", int(logits.shape[-1]), "each")
        self._parts = {} if memory is None else _parts(memory, state, two.dtype)

    @property
    def receptive_field(self) -> int | None:
        """Number of tokens that can reach an output, or None if unbounded.

        Bounded where every layer is attention within a sliding window.
        """
        reach = 1
        for name, part in self._parts.items():
            if part.reals(1) and part.limit is None:
                return None
            reach += (part.limit or 0) if name.endswith(".key") else 0
        return reach if self._parts else None

    @property
    def reads(self) -> int:
        """Size E of the embedding."""
        return self._reads

    def embed(self, x: Tensor) -> Tensor:
        """Return embeddings of tokens; reals are taken to be embedded already.

        Raises
        ------
        UsageError
            If a token is not in the vocabulary.
        """
        if x.is_floating_point():
            return x
        if x.numel() and not 0 <= int(x.min()) <= int(x.max()) < self.spec.input_size:
            raise UsageError(
                f"tokens run from {int(x.min())} to {int(x.max())}"
                f" (allowed: 0 to {self.spec.input_size - 1})"
            )
        embedded: Tensor = self.network.get_input_embeddings()(x)
        return embedded

    def forward(
        self, x: Tensor, state: State | None = None, trace: Trace | None = None
    ) -> tuple[Tensor, State]:
        """Map tokens (B, T), or embeddings (B, T, E), to logits (B, T, V) and the state after.

        Without a state the network reads the whole sequence at once and fills its caches on the
        way: that costs no second pass, little beside the layers, and lets a gradient through. With
        a state tokens are read one by one, since several families start from nothing whenever they
        read more than one. The state of a network without `step` is empty.

        Raises
        ------
        UsageError
            If the input has another shape, or more tokens than there are learned positions; or if
            internals are asked for together with a state.
        """
        x = self._embedded(x, steps=True)
        if state is None and (x.shape[1] > 1 or self.family is None):
            logits, state, _ = self._run(x, None, trace)
            return logits, state
        if trace is not None:
            raise UsageError(
                "internals of a sequence are recorded from the first of at least two tokens on;"
                " use step for one token after a state"
            )
        state = self.init_state(len(x)) if state is None else state
        return scanned(self, x, state)

    def step(self, x_t: Tensor, state: State, trace: Trace | None = None) -> tuple[Tensor, State]:
        """Map tokens (B,), or embeddings (B, E), to logits (B, V) and the next state.

        Raises
        ------
        NotApplicableError
            If there is no adapter for this architecture.
        """
        self._require_family()
        if not len(x_t):  # searches that have nothing left to do ask for no rows
            blank = {name: part.new_zeros(1, *part.shape[1:]) for name, part in state.items()}
            y, after = self.step(x_t.new_zeros(1, *x_t.shape[1:]), blank)
            return y[:0], {name: part[:0] for name, part in after.items()}
        x = self._embedded(x_t, steps=False)[:, None]
        scope = None if trace is None else Trace(*trace.patterns)
        logits, after, _ = self._run(x, state, scope)
        if trace is not None and scope is not None:
            for name in scope:
                trace.put(name, scope[name][:, 0])
        return logits[:, 0], after

    def features(self, x: Tensor) -> Tensor:
        """Return what the last linear map reads, (B, T, H), of tokens or embeddings."""
        trace = Trace("features")
        self._run(self._embedded(x, steps=True), None, trace)
        return trace["features"]

    def init_state(self, batch: int) -> State:
        """Return the state before the first token."""
        self._require_family()
        like = next(p for p in self.parameters() if p.is_floating_point())
        state = {}
        for name, part in self._parts.items():
            dtype = torch.promote_types(like.dtype, torch.float32) if part.wide else like.dtype
            state[name] = torch.full(
                (batch, *part.shape), part.start, dtype=dtype, device=like.device
            )
        return state

    def state_size(self, length: int) -> int:
        """Return the number of reals kept per row after `length` tokens."""
        self._require_family()
        return sum(part.reals(length) for part in self._parts.values())

    def state_kinds(self) -> dict[str, StateKind]:
        """Return what each part of the state is; see `SequenceModule.state_kinds`."""
        return {name: p.kind for name, p in self._parts.items() if p.kind != "fixed"}

    def tokenize(self, text: str | list[str], length: int | None = None) -> Tensor:
        """Return the tokens (B, T) of one text or several, by the tokenizer of the network.

        Parameters
        ----------
        text
            One text, or several of the same number of tokens.
        length
            Keep so many tokens from the start of each; None for all of them.

        Raises
        ------
        UsageError
            If there is no tokenizer, or the texts do not have equal or enough tokens.
        """
        return encode(self.text, self.spec.input_size, text, length)

    def attrs(self) -> dict[str, str | int | float]:
        """Return where the network is from and how its check went, for attributes of results."""
        return self.source | ({} if self.verified is None else self.verified.attrs())

    def _require_family(self) -> None:
        if self.family is None:
            covered = ", ".join(family.name for family in FAMILIES)
            raise NotApplicableError(
                f"there is no adapter for the state of '{self.name}', so it has no step (covered:"
                f" {covered}); measures of inputs and outputs work"
            )

    def _embedded(self, x: Tensor, steps: bool) -> Tensor:
        """Return embeddings, and say what shape is wanted before the network says it less well."""
        lead = "B, T" if steps else "B"
        dims = 2 if steps else 1
        right = x.dim() == dims + x.is_floating_point()
        if not right or 0 in x.shape or (x.is_floating_point() and x.shape[-1] != self._reads):
            raise UsageError(
                f"input has shape {tuple(x.shape)}, model takes ({lead}) integer tokens or"
                f" ({lead}, {self._reads}) embeddings"
            )
        return self.embed(x)

    def _run(
        self, x: Tensor, state: State | None, trace: Trace | None = None
    ) -> tuple[Tensor, State, Memory | None]:
        """Call the network with embeddings (B, T, E)."""
        memory = None
        self._check_rotation(x.shape[1], state or {})
        if self.family is not None:
            memory = self.family.memory(self.network, state, self.family.recurrent, len(x))
        arguments = {} if memory is None else memory.arguments()
        call = Call(x.dtype == torch.float64, () if memory is None else memory.kept())
        watched = call if call.is_needed else nullcontext()  # it costs a little in every operation
        around = nullcontext() if memory is None else memory.around()
        with watched, around, self._traced(trace) as extra:
            try:
                out = self.network(
                    inputs_embeds=x, use_cache=memory is not None, **arguments, **extra
                )
            except IndexError:
                self._check_positions(x.shape[1], state or {})
                raise
        if trace is not None:
            _put_internals(trace, out)
        return out.logits, {} if memory is None else memory.read(call.written), memory

    @property
    def longest(self) -> int | None:
        """Number of tokens that the network was made for; None if it does not say."""
        limits = [
            getattr(self.network.config, "max_position_embeddings", None),
            _rotation_switches(self.network.config),
        ]
        return min((limit for limit in limits if limit is not None), default=None)

    def _check_rotation(self, tokens: int, state: State) -> None:
        """Refuse lengths at which the positions of all tokens change, those before as well."""
        allowed = _rotation_switches(self.network.config)
        if allowed is not None and tokens + _seen(state) > allowed:
            raise NotApplicableError(
                f"'{self.name}' turns all its positions otherwise (longrope, dynamic) beyond"
                f" {allowed} tokens, so that early outputs depend on the length; give sequences of"
                f" at most {allowed} tokens, not {tokens + _seen(state)}"
            )

    def _check_positions(self, tokens: int, state: State) -> None:
        """Say so if a sequence has more tokens than there are learned positions."""
        allowed = getattr(self.network.config, "max_position_embeddings", None)
        tokens += _seen(state)
        if allowed is not None and tokens > allowed:
            raise UsageError(
                f"sequence has {tokens} tokens, '{self.name}' has learned {allowed} positions"
                f" (allowed: up to {allowed} tokens)"
            ) from None

    @contextmanager
    def _traced(self, trace: Trace | None) -> Iterator[dict[str, bool]]:
        """Catch what the head reads, and yield what to ask the network for."""
        if trace is None:
            yield {}
            return
        head = self.network.get_output_embeddings()
        hook = head.register_forward_pre_hook(lambda _, args: trace.put("features", args[0]))
        numbers = range(self.network.config.get_text_config().num_hidden_layers + 1)
        try:
            yield {
                f"output_{word}": True
                for word, name in (("hidden_states", "hidden"), ("attentions", "attn"))
                if any(trace.wants(f"{name}{i}") for i in numbers)
            }
        finally:
            hook.remove()


def _seen(state: State) -> int:
    """Return how many tokens a state has seen, as far as its caches say."""
    caches = (t.shape[2] for n, t in state.items() if n.endswith(".key") or n == "position")
    return max(caches, default=0)


def _rotation_switches(config: Any) -> int | None:
    """Return the length beyond which rotary positions are scaled by the length itself."""
    found = getattr(config, "rope_parameters", None) or {}
    for entry in [found, *found.values()]:
        if isinstance(entry, dict) and entry.get("rope_type") in ("longrope", "dynamic"):
            limit = entry.get("original_max_position_embeddings") or config.max_position_embeddings
            return int(limit)
    return None


def _put_internals(trace: Trace, out: Any) -> None:
    for i, hidden in enumerate(getattr(out, "hidden_states", None) or ()):
        trace.put(f"hidden{i}", hidden)
    for j, weights in enumerate(getattr(out, "attentions", None) or ()):
        if weights is not None and weights.dim() == 4:
            trace.put(f"attn{j}", weights.transpose(1, 2))


def _parts(memory: Memory, state: State, dtype: torch.dtype) -> dict[str, _Part]:
    """Return what the parts of a state are, from one after two tokens."""
    parts = {}
    for name, tensor in state.items():
        kind = memory.kinds.get(name, "fixed")
        shape = list(tensor.shape[1:])
        if kind == "cache":
            shape[1] = 0
        start = next((v for end, v in memory.start.items() if name.endswith(end)), 0.0)
        wide = tensor.dtype.itemsize > dtype.itemsize
        parts[name] = _Part(tuple(shape), kind, memory.limits.get(name), start, wide)
    return parts
