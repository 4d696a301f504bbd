"""Models made elsewhere, behind the same contract: modules, torch's own, Hugging Face's."""

from seqprobe.adapters.factory import build
from seqprobe.adapters.foreign import Agreement, ForeignModel
from seqprobe.adapters.huggingface import HuggingFaceModel, from_huggingface, text_batch
from seqprobe.adapters.specimen import Specimen, of_factory, of_folder
from seqprobe.adapters.stepped import Steps
from seqprobe.adapters.torch_rnn import from_torch, to_torch
from seqprobe.adapters.weights import WEIGHT_SUFFIXES, fill, read_weights
from seqprobe.adapters.wrapping import wrap

__all__ = [
    "WEIGHT_SUFFIXES",
    "Agreement",
    "ForeignModel",
    "HuggingFaceModel",
    "Specimen",
    "Steps",
    "build",
    "fill",
    "from_huggingface",
    "from_torch",
    "of_factory",
    "of_folder",
    "read_weights",
    "text_batch",
    "to_torch",
    "wrap",
]
