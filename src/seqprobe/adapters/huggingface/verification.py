"""Whether a step of a network is what the network itself computes."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor, nn

from seqprobe.adapters.huggingface.calls import Call
from seqprobe.errors import NotApplicableError, SeqprobeError
from seqprobe.models import count_parameters
from seqprobe.models.access import float64_twin
from seqprobe.seeding import generator

if TYPE_CHECKING:
    from seqprobe.adapters.huggingface.model import HuggingFaceModel

__all__ = ["Verification", "check_finite", "check_network", "check_step"]

# Relative to the largest logit. In float64 rounding leaves 1e-14 in the tested families; lower
# precisions round every layer, and a network of many layers loses a digit or two on the way.
_TOLERANCES = {
    torch.float64: 1e-9,
    torch.float32: 1e-4,
    torch.float16: 2e-2,
    torch.bfloat16: 1e-1,
}
_TWIN_UP_TO = 2**27  # parameters that are copied to float64, a gigabyte
_TOKENS = 12
_TOKENS_OF_LARGE = 4


@dataclass(frozen=True)
class Verification:
    """Largest deviations of a step from the network, each relative to the largest value there.

    Attributes
    ----------
    tokens
        Number of tokens that were read one by one and at once.
    dtype
        Precision of the check.
    tolerance
        What every deviation stayed below.
    outputs
        Logits of `step`, against those of the whole sequence.
    state
        The state after the last step, against that after the whole sequence.
    rows
        Logits of a sequence alone, against those beside another one.
    embedding
        Logits from embeddings, against those from tokens.
    """

    tokens: int
    dtype: str
    tolerance: float
    outputs: float
    state: float
    rows: float
    embedding: float

    def attrs(self) -> dict[str, str | int | float]:
        """Return plain values by name, for the attributes of results."""
        return {f"verified_{name}": value for name, value in asdict(self).items()}


def check_finite(network: nn.Module) -> None:
    """Refuse a network with a weight that is not a finite number.

    Raises
    ------
    SeqprobeError
        With the name of the first one.
    """
    for name, weight in network.named_parameters():
        bad = int((~torch.isfinite(weight)).sum())
        if bad:
            raise SeqprobeError(
                f"weight '{name}' has {bad} values that are NaN or infinite; load other weights"
            )


def check_network(model: HuggingFaceModel) -> None:
    """Refuse a network whose logits depend on later tokens, or on more than the embeddings.

    Raises
    ------
    NotApplicableError
        If they do.
    SeqprobeError
        If they are not finite.
    """
    tokens = _tokens(model, 1, _TOKENS_OF_LARGE)
    other = tokens.clone()
    last = tokens.shape[1] - 1
    other[:, last] = (other[:, last] + 1) % model.spec.input_size
    with torch.no_grad():
        y, changed = (model(x)[0] for x in (tokens, other))
        from_tokens = _from_tokens(model, tokens)
    if not torch.isfinite(y).all():
        raise SeqprobeError(
            f"logits of '{model.name}' are not finite in {str(y.dtype).removeprefix('torch.')};"
            " load it in a wider precision, or other weights"
        )
    found = _deviation(changed[:, :-1], y[:, :-1])
    if found > _TOLERANCES[y.dtype]:
        raise NotApplicableError(
            f"'{model.name}' is not causal: another token at step {last} changed"
            f" earlier logits by {found:.1e} of the largest; use a network that reads forwards"
        )
    found = _deviation(y, from_tokens)
    if found > _TOLERANCES[y.dtype]:
        raise NotApplicableError(
            f"'{model.name}' reads more of a token than its embedding: without it logits differ by"
            f" {found:.1e} of the largest, so that there is no input to differentiate by"
        )


def check_step(model: HuggingFaceModel) -> Verification:
    """Compare the step with the network, and refuse to go on if they differ.

    Up to 134 million parameters that is done in float64 on a copy, with 12 tokens; for larger
    networks as they are, with 4.

    Raises
    ------
    NotApplicableError
        If they differ, with the numbers.
    """
    worker, length = model, _TOKENS_OF_LARGE
    if count_parameters(model) <= _TWIN_UP_TO:
        worker, length = cast("HuggingFaceModel", float64_twin(model)), _TOKENS
    tokens = _tokens(worker, 2, length)
    length = tokens.shape[1]
    with torch.no_grad():
        found = _deviations(worker, tokens)
    dtype = next(worker.network.parameters()).dtype
    result = Verification(length, str(dtype).removeprefix("torch."), _TOLERANCES[dtype], **found)
    if max(found.values()) > result.tolerance:
        numbers = ", ".join(f"{name} {value:.1e}" for name, value in found.items())
        raise NotApplicableError(
            f"the step of '{model.name}' does not compute what the network does: {numbers}"
            f" (allowed: {result.tolerance:.0e} in {result.dtype}, {length} tokens); use"
            " verify=False only for measures of inputs and outputs"
        )
    return result


def _deviations(model: HuggingFaceModel, tokens: Tensor) -> dict[str, float]:
    """Return the numbers of a `Verification`."""
    y, end = model(tokens)
    state, before, rows = model.init_state(len(tokens)), model.init_state(len(tokens)), []
    for i, token in enumerate(tokens.unbind(1)):
        kept = state
        y_t, state = model.step(token, state)
        rows.append(y_t)
        if i == 0 and any(not torch.equal(kept[name], before[name]) for name in kept):
            raise NotApplicableError(f"a step of '{model.name}' writes over the state it is given")
    return {
        "outputs": _deviation(torch.stack(rows, dim=1), y),
        "state": max((_deviation(state[name], part) for name, part in end.items()), default=0.0),
        "rows": _deviation(model(tokens[:1])[0], y[:1]),
        "embedding": _deviation(_from_tokens(model, tokens), y),
    }


def _from_tokens(model: HuggingFaceModel, tokens: Tensor) -> Tensor:
    """Return the logits (B, T, V) of the network itself."""
    with Call(next(model.network.parameters()).dtype == torch.float64):
        logits: Tensor = model.network(input_ids=tokens, use_cache=False).logits
    return logits


def _tokens(model: HuggingFaceModel, rows: int, length: int) -> Tensor:
    """Return random tokens, as many as there are learned positions if those are fewer."""
    length = min(length, getattr(model.network.config, "max_position_embeddings", None) or length)
    drawn = generator(0, "verification").integers(model.spec.input_size, size=(rows, length))
    return torch.from_numpy(drawn).to(next(model.network.parameters()).device)


def _deviation(found: Tensor, wanted: Tensor) -> float:
    """Return the largest difference over the largest value; infinite where it is not a number."""
    if found.shape != wanted.shape:
        return math.inf
    if not wanted.numel():
        return 0.0
    largest = wanted.abs().amax().item()
    difference = (found - wanted).abs().amax().item()
    if not math.isfinite(difference):
        return math.inf
    return difference / largest if largest else difference
