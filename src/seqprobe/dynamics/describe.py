"""Where a result of this room comes from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from seqprobe import provenance

__all__ = ["describe"]


def describe(
    analysis: str, model: object, parameters: Mapping[str, Any], seed: int = 0
) -> dict[str, str | int]:
    """Return the attributes of a result; everything here is computed in float64 on the CPU."""
    attrs = provenance.attrs(
        f"dynamics.{analysis}", parameters, seed=seed, device="cpu", dtype="float64"
    )
    return attrs | provenance.model_attrs(model)
