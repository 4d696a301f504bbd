"""Jacobians of a batch of states, as dense matrices or by what they do to vectors."""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["Autodiff", "Blocks", "Operator", "RowScaled"]


class Operator(ABC):
    """One matrix (n, m) for each of B states."""

    @abstractmethod
    def dense(self) -> Tensor:
        """Return the matrices, (B, n, m)."""

    @abstractmethod
    def times(self, v: Tensor) -> Tensor:
        """Return the products with v (B, m, k), (B, n, k), without forming the matrices."""


@dataclass
class RowScaled(Operator):
    """``sum_i D(d_i) W_i + D(e)``: the form of every Jacobian of a recurrent cell.

    Assembling it costs a multiplication per entry and term, ten to a hundred times less than
    differentiating the cell row by row.

    Attributes
    ----------
    terms
        Pairs of row factors d (B, n) and a matrix W (n, m).
    diagonal
        e (B, n) or a number; None for no such term.
    """

    terms: Sequence[tuple[Tensor, Tensor]]
    diagonal: Tensor | float | None = None

    def dense(self) -> Tensor:
        """Return the matrices, (B, n, m)."""
        (d, w), *others = self.terms
        out = d[:, :, None] * w
        for d, w in others:
            out.addcmul_(d[:, :, None], w)
        if self.diagonal is not None:
            out.diagonal(dim1=1, dim2=2).add_(self.diagonal)
        return out

    def times(self, v: Tensor) -> Tensor:
        """Return the products with v (B, m, k)."""
        out = sum(d[:, :, None] * _shared_product(w, v) for d, w in self.terms)
        if self.diagonal is not None:
            e = self.diagonal
            out = out + (e[:, :, None] if isinstance(e, Tensor) else e) * v
        assert isinstance(out, Tensor)  # there is at least one term
        return out

    def minus_identity(self) -> RowScaled:
        """Return the operator less the identity."""
        return RowScaled(self.terms, -1.0 if self.diagonal is None else self.diagonal - 1)


def _shared_product(w: Tensor, v: Tensor) -> Tensor:
    """Return w (n, m) times v (B, m, k) as one product of matrices instead of B small ones."""
    rows = v.mT.reshape(-1, v.shape[1]) @ w.t()
    return rows.view(len(v), v.shape[2], len(w)).mT


@dataclass
class Blocks(Operator):
    """Operators side by side and below each other; a Tensor (B, n) stands for its diagonal."""

    rows: Sequence[Sequence[Operator | Tensor]]

    def dense(self) -> Tensor:
        """Return the matrices, (B, n, m)."""
        made = [
            torch.cat([torch.diag_embed(b) if isinstance(b, Tensor) else b.dense() for b in row], 2)
            for row in self.rows
        ]
        return torch.cat(made, dim=1)

    def times(self, v: Tensor) -> Tensor:
        """Return the products with v (B, m, k), whose rows are shared out evenly."""
        pieces = v.chunk(len(self.rows[0]), dim=1)
        made = []
        for row in self.rows:
            parts = [
                b[:, :, None] * piece if isinstance(b, Tensor) else b.times(piece)
                for b, piece in zip(row, pieces, strict=True)
            ]
            made.append(sum(parts[1:], parts[0]))
        return torch.cat(made, dim=1)


@dataclass
class Autodiff(Operator):
    """The Jacobian of a function of one row, by `torch.func`.

    Attributes
    ----------
    function
        Maps the rows (B, m) and what else they need (B, ...) to (B, n).
    at
        The rows, (B, m).
    beside
        The arguments that are held, (B, ...).
    reverse
        Differentiate backwards, row by row; forwards, column by column, otherwise.
    """

    function: Callable[[Tensor, Tensor], Tensor]
    at: Tensor
    beside: Tensor
    reverse: bool = True

    def _row(self, x: Tensor, held: Tensor) -> Tensor:
        return self.function(x[None], held[None])[0]

    def dense(self) -> Tensor:
        """Return the matrices, (B, n, m)."""
        if not self.reverse:
            size = self.at.shape[1]
            unit = torch.eye(size, dtype=self.at.dtype).expand(len(self.at), -1, -1)
            return self.times(unit)
        with _quiet():
            jacobian: Tensor = torch.func.vmap(torch.func.jacrev(self._row))(self.at, self.beside)
        return jacobian

    def times(self, v: Tensor) -> Tensor:
        """Return the products with v (B, m, k)."""
        columns = v.shape[2]
        if columns == 0:
            value = self.function(self.at, self.beside)
            return value.new_zeros(*value.shape, 0)
        held = self.beside.repeat_interleave(columns, dim=0)
        at = self.at.repeat_interleave(columns, dim=0)
        with _quiet():
            moved: Tensor = torch.func.jvp(
                lambda y: self.function(y, held), (at,), (v.mT.reshape(-1, v.shape[1]),)
            )[1]
        return moved.view(len(v), columns, -1).mT


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence what torch says of its own deprecated or slow parts."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "`torch.jit", DeprecationWarning)
        warnings.filterwarnings("ignore", "There is a performance drop", UserWarning)
        yield
