"""Analyses by name: what a study asks of every unit, and where the answer is kept.

Analyses are named by their commands, ``"memory profile --max-lag 40"``. The commands stand at the
end of the house, so that they are found by name when a study has analyses, not imported.
"""

from __future__ import annotations

import hashlib
import importlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["Analysis", "Measures", "measures", "result_stem"]

_MEASURES = "seqprobe.cli.measures"


@dataclass(frozen=True)
class Analysis:
    """An analysis with everything that decides its result, besides the checkpoint.

    Attributes
    ----------
    name
        Room and command, such as ``"memory.profile"``.
    parameters
        All options with their values, and the seed.
    files
        Hashes of the files that options name: they count, not where the files are.
    """

    name: str
    parameters: Mapping[str, Any]
    files: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def stem(self) -> str:
        """Name with a hash of the parameters."""
        content = [self.name, dict(self.parameters) | dict(self.files)]
        digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
        return f"{self.name}-{digest[:8]}"

    def as_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        return {
            "name": self.name,
            "parameters": dict(self.parameters),
            "files": dict(self.files),
        }

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Analysis:
        """Return the analysis of `as_dict`."""
        return cls(content["name"], content["parameters"], content["files"])


class Measures(Protocol):
    """What the module behind the names offers."""

    def parse(self, line: str) -> Analysis:
        """Read a command without checkpoints; defaults are filled in."""

    def measure(
        self,
        checkpoint: Path,
        analysis: Analysis,
        device: str,
        update: Callable[[float, float], None],
    ) -> xr.Dataset:
        """Apply an analysis to a checkpoint file."""

    def parse_comparison(self, line: str) -> Analysis:
        """Read a command that compares checkpoints, without them; defaults are filled in."""

    def compare(
        self,
        checkpoints: Sequence[Path],
        analysis: Analysis,
        folder: Path,
        jobs: int | None,
        update: Callable[[float, float, str], None],
    ) -> xr.Dataset:
        """Compare checkpoint files; what is known of pairs is kept in the folder."""


def measures() -> Measures:
    """Return the analyses that seqprobe has."""
    return cast(Measures, importlib.import_module(_MEASURES))


def result_stem(checkpoint: Path, analysis: Analysis) -> Path:
    """Return where the result for a checkpoint belongs, without its ending.

    ``.nc`` is a result, ``.json`` the reason why there is none.
    """
    return checkpoint.parent / "results" / f"{checkpoint.stem}.{analysis.stem}"
