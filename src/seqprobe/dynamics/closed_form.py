"""Feed-forward stacks that are linear in their own state have one fixed point, known exactly."""

from __future__ import annotations

import torch
from torch import Tensor

from seqprobe.dynamics.krylov import gmres
from seqprobe.dynamics.maps import StateMap
from seqprobe.dynamics.search import Found
from seqprobe.dynamics.solver import Status
from seqprobe.models import SequenceModule
from seqprobe.models.access import float64_twin
from seqprobe.state import flatten

__all__ = ["closed_form"]


def closed_form(model: object, of: StateMap, u: Tensor, n_starts: int) -> Found | None:
    """Return the one fixed point if the model knows it, else None.

    Its certificate is solved for by products with the Jacobian, which may be large.
    """
    if not isinstance(model, SequenceModule):
        return None
    twin = float64_twin(model).eval()
    assert isinstance(twin, SequenceModule)
    known = twin.equilibrium(u[None])
    if known is None:
        return None
    x = flatten(known[0])
    r, jacobian, _ = of.linearise_residual(x, u)
    error = gmres(jacobian, r)
    eigenvalues = known[1].to(torch.complex128)
    order = eigenvalues.abs().argsort(dim=1, descending=True, stable=True)
    return Found(
        y=x,
        certificate=torch.linalg.vector_norm(error, dim=1),
        sign=torch.ones(1, dtype=torch.long),  # every |lambda| is below 1
        status=torch.full((n_starts,), int(Status.CONVERGED)),
        root=torch.zeros(n_starts, dtype=torch.long),
        steps=torch.zeros(n_starts, dtype=torch.long),
        complete=1,
        eigenvalues=eigenvalues.gather(1, order),
    )
