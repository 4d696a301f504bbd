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
    return provenance.of_model(f"dynamics.{analysis}", model, parameters, seed)
