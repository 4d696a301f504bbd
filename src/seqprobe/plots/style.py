"""One visual language: a fixed look per architecture, and how figures are saved."""

from __future__ import annotations

import os
import zlib
from typing import Any, NamedTuple

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from seqprobe.files import atomic, check_output

__all__ = ["FIGURE_TYPES", "GROUPS", "RC", "SHADES", "Look", "look", "new_axes", "save", "shade"]

FIGURE_TYPES = (".pdf", ".png", ".svg")

RC: Any = {
    "font.size": 8,
    "axes.labelsize": 8,
    "axes.titlesize": 8,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "lines.linewidth": 1.4,
    "lines.markersize": 3.5,
    "legend.frameon": False,
    "legend.handlelength": 2.6,
    "pdf.fonttype": 42,  # TrueType, which journals accept and editors can change
    "svg.fonttype": "none",
    "svg.hashsalt": "seqprobe",
}


class Look(NamedTuple):
    """How an architecture is drawn."""

    color: str
    marker: str
    linestyle: str | tuple[int, tuple[float, ...]]


# Okabe and Ito's palette, told apart also by colour-blind readers and, by marker, in print.
_LOOKS = {
    "rnn": Look("#D55E00", "o", "-"),
    "gru": Look("#0072B2", "s", "-"),
    "lstm": Look("#009E73", "^", "-"),
    "tcn": Look("#CC79A7", "D", (0, (5, 1.5))),
    "transformer": Look("#000000", "v", (0, (1.5, 1))),
    "irnn": Look("#E69F00", "p", (0, (5, 1, 1, 1))),
    "leaky": Look("#8C6D31", "<", "-"),
    "mup": Look("#332288", "d", (0, (1, 1))),
    "s4d": Look("#56B4E9", ">", (0, (3, 1))),
    "mamba": Look("#7F3C8D", "P", (0, (3, 1, 1, 1))),
}
# By unstable dimensions: none, 1, 2, ..., 5 or more. None of these is the colour of an architecture
# with fixed points, whose trajectories are drawn beneath.
SHADES = ("#000000", "#9C179E", "#E0479B", "#F48FB8", "#F9B9D3", "#FBD5E3")
# Of groups that have no order and are no architectures.
GROUPS = ("#000000", "#D55E00", "#0072B2", "#009E73", "#CC79A7", "#E69F00")
_OTHERS = [
    Look(color, marker, (0, (4, 1, 1, 1)))
    for color in ("#666666", "#A0A0A0", "#4C7A34", "#9A3B3B")
    for marker in ("X", "h", "*")
]


def look(architecture: str) -> Look:
    """Return the fixed look of an architecture; other names get one of their own by hash."""
    if architecture in _LOOKS:
        return _LOOKS[architecture]
    return _OTHERS[zlib.crc32(architecture.encode()) % len(_OTHERS)]


def shade(n_unstable: int) -> str:
    """Return the colour of what belongs to a point with so many unstable dimensions."""
    return SHADES[min(max(n_unstable, 0), len(SHADES) - 1)]


def new_axes() -> Axes:
    """Return the axes of a new single-column figure that belongs to no global state."""
    with mpl.rc_context(RC):
        return Figure(figsize=(3.5, 2.6), layout="constrained").subplots()


def save(figure: Figure, path: str | os.PathLike[str]) -> None:
    """Write a figure with embedded fonts; the ending of the name decides the type.

    The file holds no date: the same numbers make the same bytes.

    Raises
    ------
    UsageError
        If the folder does not exist or the type is unknown.
    """
    path = check_output(path, FIGURE_TYPES)
    kind = path.suffix.lower().removeprefix(".")
    undated: dict[str, Any] = {
        "pdf": {"CreationDate": None},
        "svg": {"Date": None},
        "png": {},
    }[kind]
    with mpl.rc_context(RC), atomic(path) as part:
        figure.savefig(part, format=kind, dpi=200, metadata=undated)
