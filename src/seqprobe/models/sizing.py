"""Models of equal size: the width that meets a budget of parameters."""

from __future__ import annotations

import dataclasses

from seqprobe.errors import UsageError
from seqprobe.models.architecture import ModelConfig
from seqprobe.models.assembly import count_parameters, skeleton
from seqprobe.spec import Spec

__all__ = ["match_params", "parse_budget"]

TOLERANCE = 0.05


def match_params(name: str, spec: Spec, config: ModelConfig, budget: int) -> ModelConfig:
    """Choose the width whose number of parameters is nearest to a budget.

    Parameters
    ----------
    name
        Architecture.
    spec
        Input and output; their weights count too.
    config
        All other settings; its width is replaced.
    budget
        Wanted number of parameters.

    Returns
    -------
    ModelConfig
        `config` with the chosen width.

    Raises
    ------
    UsageError
        If no width comes within 5 % of the budget.
    """

    def size(width: int) -> int:
        return count_parameters(skeleton(name, spec, dataclasses.replace(config, width=width)))

    # Sizes grow with the width, so that bisection finds the last width within the budget.
    low, high = 1, 2
    while size(high) < budget:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if size(middle) <= budget else (low, middle)
    best = min((low, high), key=lambda width: abs(size(width) - budget))
    if abs(size(best) - budget) > TOLERANCE * budget:
        raise UsageError(
            f"no width of '{name}' has {budget} parameters within 5 %: width {low} has {size(low)},"
            f" width {high} has {size(high)}; choose one of these or another depth"
        )
    return dataclasses.replace(config, width=best)


def parse_budget(text: str) -> int:
    """Read a number of parameters such as ``20000``, ``20k`` or ``1.5M``.

    Raises
    ------
    UsageError
        If the text is not a positive number.
    """
    scale = {"k": 1e3, "m": 1e6}.get(text[-1:].lower(), 1.0)
    digits = text[:-1] if scale > 1 else text
    try:
        budget = round(float(digits) * scale)
    except (ValueError, OverflowError):
        budget = 0
    if not 1 <= budget <= 10**9:
        raise UsageError(f"'{text}' is not a number of parameters (allowed: 20000, 20k, 1.5M)")
    return budget
