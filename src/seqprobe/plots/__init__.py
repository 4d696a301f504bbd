"""Dataset and axes in, axes out: figures are drawn from results alone, without torch."""

from seqprobe.plots.gradient_profile import (
    cumulative_share,
    gradient_profile,
    gradient_profile_figure,
)
from seqprobe.plots.style import save

__all__ = ["cumulative_share", "gradient_profile", "gradient_profile_figure", "save"]
