"""Causal language models of Hugging Face's transformers, read from a folder or an object.

`from_huggingface` makes them models of the contract. `families.FAMILIES` lists which of them can be
run one token at a time, with the names of what they keep; for all others, measures of inputs and
outputs work. transformers is imported when it is first needed.
"""

from seqprobe.adapters.huggingface.families import FAMILIES, Family
from seqprobe.adapters.huggingface.loading import from_huggingface
from seqprobe.adapters.huggingface.model import HuggingFaceModel
from seqprobe.adapters.huggingface.text import text_batch
from seqprobe.adapters.huggingface.verification import Verification

__all__ = [
    "FAMILIES",
    "Family",
    "HuggingFaceModel",
    "Verification",
    "from_huggingface",
    "text_batch",
]
