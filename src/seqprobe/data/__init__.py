"""Real data sets: where they are, whether they are what they should be, and how they get there."""

from seqprobe.data.catalog import CATALOG, DataFile, Dataset, dataset
from seqprobe.data.fetch import fetch
from seqprobe.data.neural import grasshopper, head_direction
from seqprobe.data.store import folder, missing, read

__all__ = [
    "CATALOG",
    "DataFile",
    "Dataset",
    "dataset",
    "fetch",
    "folder",
    "grasshopper",
    "head_direction",
    "missing",
    "read",
]
