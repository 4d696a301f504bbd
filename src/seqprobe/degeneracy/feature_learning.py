"""How far training moved a network: its weights, and the kernel of its outputs."""

from __future__ import annotations

import numpy as np
import torch
import xarray as xr
from torch import Tensor, nn
from torch.func import functional_call

from seqprobe.degeneracy.mode_connectivity import check_inputs, check_same_form
from seqprobe.degeneracy.units import layer_weights
from seqprobe.errors import NotApplicableError
from seqprobe.memory.window import sequences
from seqprobe.models import Model, Together, build_model
from seqprobe.models.access import like_parameters
from seqprobe.provenance import of_model
from seqprobe.schema import variable
from seqprobe.tasks import Batch

__all__ = ["feature_learning", "initial_model", "kernel_alignment", "tangent_kernel"]

_SEQUENCES = 64
_ROWS = 2048  # of a kernel: fewer sequences where outputs are many
_BLOCK = 2**24  # reals of a Jacobian, 134 MB, of which two are held
_CHUNK = 2**17  # those that one backward pass makes: what stays in the cache


def initial_model(model: Model) -> Model:
    """Return the network as it was before training, in evaluation mode on the CPU.

    Weights are drawn by architecture, settings, specification and seed alone, and the checkpoint
    says them all.

    Raises
    ------
    NotApplicableError
        If the model was not loaded from a checkpoint, so that its seed is not known.
    """
    if model.origin is None or model.origin.seed is None:
        raise NotApplicableError(
            f"'{model.name}' was not loaded from a checkpoint, so that the seed of its first"
            " weights is not known; load it with seqprobe.load, or keep a copy from before training"
        )
    return build_model(model.name, model.spec, model.config, seed=model.origin.seed).eval()


def feature_learning(model: Model, initial: Model, batch: Batch) -> xr.Dataset:
    """Return how far training moved the weights and the tangent kernel of a network.

    Large changes of both are rich learning, small ones lazy. The alignment of the kernels is
    ``KA = Tr(K_T K_0) / (||K_T||_F ||K_0||_F)`` with ``K = J J^T``, where J has the derivatives of
    every output of every sequence by all parameters.

    Parameters
    ----------
    model, initial
        The trained network, and the same one before training; see `initial_model`. Both are left
        as they were.
    batch
        Inputs (B, T, D) or tokens (B, T). The first 64 sequences make the kernel, or as many as
        have 2048 outputs. Each is looked at at its last scored step, or its last one if all are
        scored. Use one batch for all networks: KA depends on it.

    Returns
    -------
    xarray.Dataset
        Without dimensions:

        * ``delta_w``: Frobenius norm of the change of the recurrent matrices that act on the
          activity, all gates and layers, in units of the weights; ``delta_w_rel``: over the norm of
          the first ones; inf if that is 0.
        * ``delta_w_all``: norm of the change of all parameters, as they are stored.
        * ``ntk_alignment``: KA, in [0, 1]; ``ntk_alignment_se``: its standard error over sequences,
          by the jackknife. NaN where no output depends on any parameter.

    Raises
    ------
    NotApplicableError
        If the model is not a stack of recurrent layers.
    UsageError
        If the two are not of one form, or the inputs are not theirs.

    Notes
    -----
    Computed in float64 on the CPU. ``delta_w`` grows with the length of training, whatever is
    learned. Cost: two Jacobians of (sequences x outputs) x parameters: 0.2 s at 64 units, 3 outputs
    and 40 steps on one thread. Jacobians above 134 MB are made in blocks, of which every two meet:
    R blocks cost (R + 1) / 2 times as much, and memory stays below 500 MB.

    References
    ----------
    Huang et al. 2024, arXiv 2410.03972 (both as measures of feature learning in recurrent
    networks); Jacot et al. 2018, arXiv 1806.07572 (the kernel). Which output steps Huang et al. use
    is not in the text available.
    """
    check_same_form(model, initial)
    change, first = _recurrent_change(model, initial)
    n = min(_SEQUENCES, max(1, _ROWS // model.spec.output_size), len(batch.inputs))
    chosen = batch.rows(slice(n))
    check_inputs(model, chosen)
    at = last_scored(chosen)
    kernels = [tangent_kernel(one, sequences(one, chosen), at) for one in (model, initial)]
    alignment, error = kernel_alignment(kernels[0], kernels[1], n)
    with np.errstate(divide="ignore", invalid="ignore"):
        relative = np.divide(change, first)
    data = {
        "delta_w": variable((), change, "change of the recurrent matrices", "weight"),
        "delta_w_rel": variable((), relative, "relative change of the recurrent matrices", "1"),
        "delta_w_all": variable((), _change(model, initial), "change of all parameters", "weight"),
        "ntk_alignment": variable((), alignment, "alignment of the tangent kernels", "1"),
        "ntk_alignment_se": variable(
            (), error, "standard error of: alignment of the tangent kernels", "1"
        ),
    }
    parameters = {"n_sequences": n, "output_step": "last scored of every sequence"}
    return xr.Dataset(data, attrs=of_model("degeneracy.feature_learning", model, parameters))


def _recurrent_change(model: Model, initial: Model) -> tuple[float, float]:
    """Return the norm of the change of the recurrent matrices, and that of the first ones."""
    now, before = (
        [layer.recurrent.ravel() for layer in layer_weights(one)] for one in (model, initial)
    )
    first = np.concatenate(before)
    return float(np.linalg.norm(np.concatenate(now) - first)), float(np.linalg.norm(first))


def _change(model: nn.Module, initial: nn.Module) -> float:
    pairs = zip(model.parameters(), initial.parameters(), strict=True)
    with torch.no_grad():
        squares = [(p.double().cpu() - q.double().cpu()).square().sum() for p, q in pairs]
    return float(torch.stack(squares).sum().sqrt())


def last_scored(batch: Batch) -> Tensor:
    """Return the last scored step of every sequence, (B,)."""
    n, length = batch.inputs.shape[:2]
    if batch.mask is None:
        return torch.full((n,), length - 1)
    return length - 1 - batch.mask.flip(1).int().argmax(dim=1)


def tangent_kernel(model: Model, x: Tensor, at: Tensor) -> np.ndarray:
    """Return ``K = J J^T`` of the outputs, J having their derivatives by all parameters.

    Every (sequence, output) is a network of its own in `seqprobe.models.Together`, so that one
    backward pass through the plain cells gives many rows of J: faster than `torch.func.jacrev`,
    and in less memory.

    Parameters
    ----------
    model
        A stack of recurrent layers.
    x
        Inputs (B, T, D) or tokens (B, T).
    at
        Output step of each sequence, (B,).

    Returns
    -------
    numpy.ndarray
        (B K, B K), the K outputs of one sequence next to each other; float64.
    """
    stack = Together([model]).cpu().double()
    x = like_parameters(stack, x[:, : int(at.max()) + 1])
    k = model.spec.output_size
    # By row of J: the sequence, and where its output is.
    rows = torch.arange(len(x)).repeat_interleave(k)
    places = torch.stack([at.cpu()[rows], torch.arange(k).repeat(len(x))])
    size = max(1, _BLOCK // sum(p.numel() for p in stack.parameters()))
    blocks = [slice(start, start + size) for start in range(0, len(rows), size)]
    kernel = np.empty((len(rows), len(rows)))
    for i, mine in enumerate(blocks):
        one = _jacobian(stack, x[rows[mine]], places[:, mine])
        for other in blocks[i:]:
            second = one if other is mine else _jacobian(stack, x[rows[other]], places[:, other])
            kernel[mine, other] = _product(one, second)
            kernel[other, mine] = kernel[mine, other].T
    return kernel


def _jacobian(stack: Together, x: Tensor, places: Tensor) -> list[Tensor]:
    """Return the derivatives of one output of each row of x by every parameter, (R, P) each."""
    named = dict(stack.named_parameters())
    made = [p.new_empty(len(x), p.numel()) for p in named.values()]
    size = max(1, _CHUNK // sum(p.numel() for p in named.values()))
    for start in range(0, len(x), size):
        rows = slice(start, start + size)
        inputs = x[rows][:, None]  # one sequence for every network
        copies: dict[str, Tensor] = {
            name: nn.Parameter(p.detach().expand(len(inputs), *p.shape[1:]).contiguous())
            for name, p in named.items()
        }
        y = functional_call(stack, copies, (inputs,))
        total = y[torch.arange(len(inputs)), 0, *places[:, rows]].sum()
        for out, gradient in zip(
            made, torch.autograd.grad(total, tuple(copies.values())), strict=True
        ):
            out[rows] = gradient.flatten(1)
    return made


def _product(one: list[Tensor], other: list[Tensor]) -> np.ndarray:
    products = [a @ b.T for a, b in zip(one, other, strict=True)]
    return torch.stack(products).sum(dim=0).numpy()


def kernel_alignment(a: np.ndarray, b: np.ndarray, sequences: int) -> tuple[float, float]:
    """Return ``Tr(A B) / (||A||_F ||B||_F)`` and its standard error over sequences.

    Parameters
    ----------
    a, b
        Symmetric kernels (N K, N K) of K outputs of N sequences.
    sequences
        N. The standard error is that of the jackknife, which leaves one out at a time; NaN for a
        single one.

    Returns
    -------
    tuple of float
        In [0, 1] for kernels J J^T; NaN if one of them is 0.
    """
    sums = np.array(
        [_sums(first * second, sequences) for first, second in ((a, b), (a, a), (b, b))]
    )
    with np.errstate(divide="ignore", invalid="ignore"):
        inner, of_a, of_b = sums
        ratios = inner / np.sqrt(of_a * of_b)
    left_out = ratios[1:] if sequences > 1 else np.array([np.nan])
    spread = np.square(left_out - left_out.mean()).sum() * (sequences - 1) / sequences
    return float(ratios[0]), float(np.sqrt(spread))


def _sums(products: np.ndarray, sequences: int) -> np.ndarray:
    """Return the sum over (N K, N K), and those without one of the N sequences, (1 + N,)."""
    blocks = products.reshape(sequences, -1, sequences, len(products) // sequences).sum(axis=(1, 3))
    total = blocks.sum()
    without = total - blocks.sum(axis=0) - blocks.sum(axis=1) + np.diag(blocks)
    return np.concatenate([[total], without])
