"""The numeric core of the effective state size: the Jacobian block from the past to the future."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from seqprobe.models.access import first_output

__all__ = ["Block", "LinearMap", "full_jacobian", "leading_singular_values", "past_to_future"]

_CHUNK = 2**14  # rows times steps of one pass
_OVERSAMPLING = 10
_FIRST_RANK = 16


def full_jacobian(model: nn.Module, x: Tensor) -> np.ndarray:
    """Return dy_t/dx_s of one sequence (T, D) for all pairs of steps, (T, K, T, D), float64.

    One backward pass for many (t, output) rows at once, T K rows in all.
    """
    with torch.no_grad():
        length, outputs = first_output(model, x[None]).shape[1:]
    rows = np.empty((length * outputs, *x.shape))
    each = max(1, _CHUNK // length)
    for start in range(0, len(rows), each):
        count = min(each, len(rows) - start)
        cotangents = torch.zeros(count, length * outputs, dtype=x.dtype, device=x.device)
        cotangents[torch.arange(count), torch.arange(start, start + count)] = 1
        found = _backward(model, x, cotangents.reshape(count, length, outputs))
        rows[start : start + count] = found.cpu().double().numpy()
    return rows.reshape(length, outputs, *x.shape)


def _backward(model: nn.Module, x: Tensor, cotangents: Tensor) -> Tensor:
    """Return u^T dy/dx for cotangents u (R, T, K), (R, T, D)."""
    rows = x.expand(len(cotangents), *x.shape).detach().clone().requires_grad_()
    with torch.enable_grad():
        y = first_output(model, rows)
        if not y.requires_grad:  # the output does not depend on the input at all
            return torch.zeros_like(rows)
        (gradient,) = torch.autograd.grad(
            y, rows, cotangents, allow_unused=True, materialize_grads=True
        )
    return gradient


def _forward(model: nn.Module, x: Tensor, tangents: Tensor) -> Tensor:
    """Return dy/dx v for tangents v (R, T, D), (R, T, K).

    u^T dy/dx is linear in u, and its derivative by u along v is the product sought; two backward
    passes work for every module, forward-mode differentiation does not.
    """
    rows = x.expand(len(tangents), *x.shape).detach().clone().requires_grad_()
    # Fused attention kernels cannot be differentiated twice.
    with torch.enable_grad(), sdpa_kernel(SDPBackend.MATH):
        y = first_output(model, rows)
        if not y.requires_grad:
            return torch.zeros_like(y)
        u = torch.zeros_like(y, requires_grad=True)
        (gradient,) = torch.autograd.grad(
            y, rows, u, create_graph=True, allow_unused=True, materialize_grads=True
        )
        (product,) = torch.autograd.grad(
            gradient, u, tangents, allow_unused=True, materialize_grads=True
        )
    return product


class LinearMap(NamedTuple):
    """A matrix (m, n) that is known by its products.

    Attributes
    ----------
    shape
        (m, n).
    forward
        Maps rows (r, n) to ``v A^T`` (r, m).
    adjoint
        Maps rows (r, m) to ``u A`` (r, n).
    """

    shape: tuple[int, int]
    forward: Callable[[np.ndarray], np.ndarray]
    adjoint: Callable[[np.ndarray], np.ndarray]


def past_to_future(model: nn.Module, x: Tensor, position: int, outputs: int) -> LinearMap:
    """Return the block of outputs at t >= i by inputs at s < i of one sequence (T, D)."""
    length, inputs = x.shape
    future = length - position

    def forward(rows: np.ndarray) -> np.ndarray:
        def product(piece: Tensor) -> Tensor:
            tangents = x.new_zeros(len(piece), length, inputs)
            tangents[:, :position] = piece.reshape(len(piece), position, inputs)
            return _forward(model, x, tangents)[:, position:].flatten(1)

        return _in_pieces(product, rows, x, length)

    def adjoint(rows: np.ndarray) -> np.ndarray:
        def product(piece: Tensor) -> Tensor:
            cotangents = x.new_zeros(len(piece), length, outputs)
            cotangents[:, position:] = piece.reshape(len(piece), future, outputs)
            return _backward(model, x, cotangents)[:, :position].flatten(1)

        return _in_pieces(product, rows, x, length)

    return LinearMap((future * outputs, position * inputs), forward, adjoint)


def _in_pieces(
    product: Callable[[Tensor], Tensor], rows: np.ndarray, like: Tensor, length: int
) -> np.ndarray:
    given = torch.from_numpy(rows).to(like.device, like.dtype)
    done = [product(piece) for piece in given.split(max(1, _CHUNK // length))]
    found: np.ndarray = torch.cat(done).cpu().double().numpy()
    return found


class Block(NamedTuple):
    """Singular values of a block.

    Attributes
    ----------
    sigma
        Descending.
    floor
        What part of the largest all values above it have been found to; 0 if all were found.
    """

    sigma: np.ndarray
    floor: float


def leading_singular_values(
    block: LinearMap, smallest: float, rng: np.random.Generator, powers: int = 2
) -> Block:
    """Return the singular values above ``smallest * sigma_1`` by random projections.

    The number of directions doubles until the last one found lies below; each attempt with k
    directions costs ``(2 + 2 powers) k`` products, so that the whole is of the order of the rank.
    Where the matrix has no more directions than that, it is formed and all values are exact.

    Parameters
    ----------
    block
        The matrix (m, n).
    smallest
        Part of the largest singular value down to which all are wanted.
    rng
        Source of the projections.
    powers
        Power iterations; each squares the separation of the singular values.

    Notes
    -----
    Halko, Martinsson and Tropp 2011 (arXiv 0909.4061), algorithm 4.4 with 10 more directions than
    asked for.
    """
    limit, rank = min(block.shape), _FIRST_RANK
    while rank + _OVERSAMPLING < limit:
        count = rank + _OVERSAMPLING
        basis = _orthonormal(block.adjoint(rng.standard_normal((count, block.shape[0]))))
        image = block.forward(basis)
        for _ in range(powers):
            basis = _orthonormal(block.adjoint(_orthonormal(image)))
            image = block.forward(basis)
        sigma = np.linalg.svd(image, compute_uv=False)[:rank]
        # Values found last come out too small: half the floor leaves none of those above it out.
        if sigma[-1] <= smallest / 2 * sigma[0]:
            floor = smallest if sigma[0] > 0 else 0.0
            return Block(sigma[sigma > floor * sigma[0]], floor)
        rank *= 2
    wide = block.shape[0] <= block.shape[1]
    rows = block.adjoint(np.eye(limit)) if wide else block.forward(np.eye(limit))
    return Block(np.linalg.svd(rows, compute_uv=False), 0.0)


def _orthonormal(rows: np.ndarray) -> np.ndarray:
    basis: np.ndarray = np.linalg.qr(rows.T)[0].T
    return basis
