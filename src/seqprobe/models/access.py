"""How an analysis uses a model that belongs to someone else: it leaves it as it was."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from seqprobe.errors import NotApplicableError, SeqprobeError
from seqprobe.models.base import SequenceModule

__all__ = [
    "borrowed",
    "check_causal",
    "copied",
    "first_output",
    "float64_twin",
    "in_dtype",
    "kept_reals",
    "like_parameters",
    "other_values",
    "placement",
    "refuse_lookahead",
    "state_grows",
]


@contextmanager
def borrowed(model: nn.Module) -> Iterator[nn.Module]:
    """Put a model into evaluation mode without weight gradients, and restore it after the block.

    Training mode (of every submodule) and ``requires_grad`` (of every parameter) come back as they
    were. cuDNN is off inside, because its recurrent kernels refuse a backward pass in evaluation
    mode.
    """
    modes = [(module, module.training) for module in model.modules()]
    wanted = [(p, p.requires_grad) for p in model.parameters()]
    try:
        model.eval()
        for parameter, _ in wanted:
            parameter.requires_grad_(False)
        with torch.backends.cudnn.flags(enabled=False):
            yield model
    finally:
        for module, training in modes:
            module.training = training
        for parameter, required in wanted:
            parameter.requires_grad_(required)


def in_dtype(model: nn.Module, dtype: torch.dtype) -> nn.Module:
    """Return the model itself if it computes in `dtype`, else a converted copy.

    Complex parameters and buffers change to the complex type of the same precision, which
    ``module.to(dtype)`` would cut down to their real part and ``module.double()`` would leave.
    """
    wanted = {True: dtype.to_complex(), False: dtype}
    tensors = [t for t in _tensors(model) if t.is_floating_point() or t.is_complex()]
    if all(tensor.dtype == wanted[tensor.is_complex()] for tensor in tensors):
        return model
    model = copied(model)
    for tensor in _tensors(model):
        if tensor.is_floating_point() or tensor.is_complex():
            tensor.data = tensor.data.to(wanted[tensor.is_complex()])
    for module in model.modules():  # masks and tables that nobody registered
        for name, value in vars(module).items():
            if isinstance(value, Tensor) and (value.is_floating_point() or value.is_complex()):
                setattr(module, name, value.to(wanted[value.is_complex()]))
    return model


def copied(model: nn.Module) -> nn.Module:
    """Return a copy; what a forward left behind on the modules loses its graph.

    Raises
    ------
    SeqprobeError
        If the model holds what cannot be copied, as a lock or an open file.
    """
    memo: dict[int, object] = {}
    for module in model.modules():
        for value in vars(module).values():
            kept = value if isinstance(value, list | tuple) else [value]
            for tensor in kept:
                if isinstance(tensor, Tensor) and not tensor.is_leaf:
                    memo[id(tensor)] = tensor.detach().clone()
    try:
        return copy.deepcopy(model, memo)
    except Exception as error:
        reason = " ".join(str(error).split())
        raise SeqprobeError(
            f"model cannot be copied ({type(error).__name__}: {reason[:200]}), as computing in"
            " float64 needs; keep no locks, files or graphs on its modules"
        ) from None


def _tensors(model: nn.Module) -> Iterator[Tensor]:
    yield from model.parameters()
    yield from model.buffers()


def like_parameters(model: nn.Module, x: Tensor) -> Tensor:
    """Return inputs on the device of the model and, unless they are tokens, in its precision."""
    like = next((p for p in model.parameters() if p.is_floating_point()), None)
    if like is None:
        return x
    return x.to(like.device, like.dtype) if x.is_floating_point() else x.to(like.device)


def placement(model: nn.Module) -> dict[str, str]:
    """Return device and precision of a model's parameters, for the attributes of results."""
    like = next(model.parameters(), torch.zeros(()))
    return {"device": str(like.device), "dtype": str(like.dtype).removeprefix("torch.")}


def first_output(model: nn.Module, x: Tensor) -> Tensor:
    """Return y (B, T, K) of a module that returns y or (y, state)."""
    result = model(x)
    y: Tensor = result[0] if isinstance(result, tuple) else result
    return y


def other_values(x: Tensor, value: Tensor) -> Tensor:
    """Return what differs from `value` everywhere: other tokens of `x`, or numbers far from it.

    Numbers move by unlike amounts, because a shift of all alike cancels in a norm or a mean.
    """
    if x.is_floating_point():
        noise = torch.randn(value.shape, generator=torch.Generator().manual_seed(0))
        return value + x.abs().amax().clamp(min=1.0) * noise.to(x.device, x.dtype)
    low, high = x.min(), x.max()
    return torch.where(value == low, high, low)


def refuse_lookahead(
    model: nn.Module,
    because: str = "it reads the future, so 'how far back' and 'how much is kept' have no meaning",
) -> None:
    """Refuse a model that is declared to read the future.

    Parameters
    ----------
    model
        Any module.
    because
        Why that matters.

    Raises
    ------
    NotApplicableError
        If it is.
    """
    if not getattr(model, "causal", True):
        raise NotApplicableError(f"model is bidirectional: {because}; use a causal model")


def state_grows(model: SequenceModule) -> bool:
    """Say whether a state gets larger with every step, as that of attention."""
    return model.state_size(1) != model.state_size(2)


def kept_reals(model: nn.Module, length: int) -> float:
    """Return the reals that a model keeps per row after so many steps; NaN if it does not say."""
    state_size = getattr(model, "state_size", None)
    try:
        return math.nan if state_size is None else float(state_size(length))
    except NotApplicableError:
        return math.nan


def float64_twin(model: nn.Module) -> nn.Module:
    """Return a copy in float64 on the CPU, because not every device has float64."""
    twin = in_dtype(model, torch.float64)
    return (copied(model) if twin is model else twin).cpu()


def check_causal(model: nn.Module, x: Tensor) -> None:
    """Refuse a model whose past outputs change with a future input, or that mixes sequences.

    Parameters
    ----------
    model
        A module of the contract, or any that maps (B, T, D) to (B, T, K).
    x
        Inputs (B, T, D) of reals, or tokens (B, T); the first row is used.

    Raises
    ------
    NotApplicableError
        If the model is declared bidirectional, or an impulse in the middle of the sequence changes
        an earlier output. Outputs must be bit-identical, or equal to 1e-12 of their size (1e-5 in
        float32) for models that declare ``exact_causality=False``. Or if a sequence has another
        output alone than beside another one, as of a module that reads (T, B, D).
    SeqprobeError
        If an output is not a finite number.
    """
    refuse_lookahead(model)
    middle = x.shape[1] // 2
    pushed = x[:1].clone()
    pushed[:, middle] = other_values(x, pushed[:, middle])
    with torch.no_grad():
        y = first_output(model, x[:1])
        bad = (~torch.isfinite(y)).any(dim=2)[0].nonzero()
        if len(bad):
            raise SeqprobeError(
                f"model output is not finite from step {int(bad[0])} on;"
                " check its weights for NaN or inf"
            )
        change = (first_output(model, pushed) - y)[:, :middle].abs().amax().item() if middle else 0
        _check_rows(model, x)
    tolerance = 0.0
    if not getattr(model, "exact_causality", True):
        tolerance = (1e-12 if y.dtype == torch.float64 else 1e-5) * y.abs().amax().item()
    if change > tolerance:
        raise NotApplicableError(
            f"model is not causal: an input at step {middle} changed an earlier output by"
            f" {change:.1e}; 'how far back' has no meaning for it"
        )


def _check_rows(model: nn.Module, x: Tensor) -> None:
    """Refuse a module to which a sequence beside another is not the same as alone."""
    if len(x) < 2:
        return
    beside, alone = first_output(model, x[:2])[1:], first_output(model, x[1:2])
    apart = float((beside - alone).abs().amax() / alone.abs().amax().clamp(min=1e-30))
    if apart > (1e-9 if alone.dtype == torch.float64 else 1e-3):
        raise NotApplicableError(
            f"sequences of a batch depend on each other: beside another, one has outputs that"
            f" differ by {apart:.1e} of the largest; a module that reads (T, B, D) is wrapped by"
            " seqprobe.wrap(module, batch)"
        )
