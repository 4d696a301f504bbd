"""From a folder, or an object of transformers, to a model of the contract."""

from __future__ import annotations

import copy
import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from seqprobe.adapters.huggingface.families import family_of
from seqprobe.adapters.huggingface.library import one_line, quiet, transformers
from seqprobe.adapters.huggingface.model import HuggingFaceModel
from seqprobe.adapters.huggingface.text import Text
from seqprobe.adapters.huggingface.verification import check_finite, check_network, check_step
from seqprobe.errors import NotApplicableError, SeqprobeError, UnreadableFileError, UsageError

if TYPE_CHECKING:
    from transformers import PreTrainedModel

__all__ = ["from_huggingface"]

_WEIGHTS = ("model.safetensors", "pytorch_model.bin")


# Settings under which other numbers would be computed than those of the files that are checked.
_REFUSED = {
    "transformers_weights": "weights are read from model.safetensors or pytorch_model.bin alone;"
    " rename the file and remove the setting",
    "quantization_config": "quantised weights cannot be differentiated; save the network in full"
    " precision",
}


def from_huggingface(
    source: str | Path | PreTrainedModel,
    *,
    tokenizer: Any | None = None,
    verify: bool = True,
) -> HuggingFaceModel:
    """Return a causal language model of transformers as a model of the contract.

    Parameters
    ----------
    source
        A folder with config.json and weights (safetensors, or .bin that hold tensors only), or an
        object such as `AutoModelForCausalLM` returns. The object is copied and stays as it is;
        later training of it does not reach the model. Nothing is downloaded, and no code from the
        folder is run.
    tokenizer
        The tokenizer of an object, or in place of that of the folder.
    verify
        Whether to compare the step with the network; see `Verification`.

    Returns
    -------
    HuggingFaceModel
        In evaluation mode, in the precision of its weights; from a folder on the CPU.

    Raises
    ------
    UnreadableFileError
        If the folder is incomplete, damaged, or of an architecture that transformers does not know.
    NotApplicableError
        If the network is not a causal language model, or its step does not compute what it does.
    SeqprobeError
        If a weight is not a finite number.
    UsageError
        If transformers is not installed, or `source` is something else.

    Notes
    -----
    Cost: from a folder, its weights are read twice, once for their hash. The check takes seconds
    for a hundred million weights, most of it for a copy in float64 and 12 steps.

    Examples
    --------
    >>> model = sp.from_huggingface("path/to/mamba-130m-hf")
    >>> tokens = model.tokenize("The capital of France is")
    >>> profile = sp.memory.gradient_profile(model, tokens)
    """
    with quiet():
        if isinstance(source, str | Path):
            folder = Path(source)
            network, found = _read_folder(folder), _describe(folder)
        elif isinstance(source, transformers().PreTrainedModel):
            _check_kind(source.config)
            network, found, folder = copy.deepcopy(source), {}, None
        else:
            raise UsageError(
                f"{type(source).__name__} is not a model of Hugging Face (allowed: a folder, or an"
                " object such as AutoModelForCausalLM.from_pretrained returns)"
            )
        if network.get_output_embeddings() is None:
            raise NotApplicableError(
                f"{type(network).__name__} has no head that gives logits; use its ForCausalLM"
            )
        check_finite(network)
        model = _wrap(network, Text(tokenizer, folder))
        if verify and model.family is not None:
            model.verified = check_step(model)
    model.source = found | {
        "model_type": model.name,
        "transformers_version": str(transformers().__version__),
    }
    return model


def _wrap(network: Any, text: Text) -> HuggingFaceModel:
    """Prepare a network that is ours, wrap it, and try it."""
    network.eval()
    network.set_attn_implementation("eager")
    if hasattr(network, "set_experts_implementation"):
        network.set_experts_implementation("eager")  # the grouped product has no float64
    family = family_of(network.config.model_type)
    if family is not None:
        family.memory.prepare(network)
    try:
        model = HuggingFaceModel(network, family, text)
        check_network(model)
    except SeqprobeError:
        raise
    except Exception as error:
        raise NotApplicableError(
            f"transformers cannot run '{network.config.model_type}' on embeddings:"
            f" {one_line(error)}"
        ) from None
    return model


def _check_kind(config: Any) -> None:
    """Refuse what is no causal language model."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES as CAUSAL

    if getattr(config, "is_encoder_decoder", False):
        raise NotApplicableError(
            f"'{config.model_type}' has an encoder that reads the whole input first: it is not"
            " causal; use a decoder-only model"
        )
    if config.model_type not in CAUSAL:
        raise NotApplicableError(
            f"'{config.model_type}' is no causal language model in transformers; use one"
        )


def _read_folder(folder: Path) -> Any:
    """Load a network from a folder; see `from_huggingface`."""
    config = _read_config(folder)
    _check_kind(config)
    _check_weights(folder)
    try:
        network, report = transformers().AutoModelForCausalLM.from_pretrained(
            folder,
            config=config,
            local_files_only=True,
            trust_remote_code=False,
            dtype="auto",
            attn_implementation="eager",
            ignore_mismatched_sizes=True,  # reported below, with a name
            output_loading_info=True,
        )
    except Exception as error:
        raise UnreadableFileError(
            f"'{folder}' cannot be loaded by transformers: {one_line(error)}"
        ) from None
    for name, found, wanted in sorted(report["mismatched_keys"]):
        raise UnreadableFileError(
            f"weight '{name}' in '{folder}' has shape {tuple(found)}, its config.json asks for"
            f" {tuple(wanted)}; get the folder again"
        )
    missing = sorted(report["missing_keys"])
    if missing:
        raise UnreadableFileError(
            f"weights in '{folder}' lack {len(missing)} of the tensors that its config.json asks"
            f" for, first '{missing[0]}'; get the folder again"
        )
    unused = sorted(report["unexpected_keys"])
    if unused:
        raise UnreadableFileError(
            f"weights in '{folder}' hold {len(unused)} tensors that its config.json has no place"
            f" for, first '{unused[0]}'; a part of the network would be missing, get the folder"
            " again"
        )
    return network


def _read_config(folder: Path) -> Any:
    if not folder.is_dir():
        raise UnreadableFileError(
            f"'{folder}' is not a folder; nothing is downloaded, so give the path of a model on"
            " disk (hf download NAME --local-dir FOLDER gets one)"
        )
    path = folder / "config.json"
    if not path.is_file():
        raise UnreadableFileError(f"'{folder}' has no config.json; give the folder of a model")
    try:
        settings = json.loads(path.read_text(encoding="utf-8"))
        kind = settings["model_type"]
        if not isinstance(kind, str):
            raise TypeError(kind)
    except (ValueError, OSError, KeyError, TypeError):
        raise UnreadableFileError(
            f"'{path}' does not say which model this is (no JSON with a model_type)"
        ) from None
    if kind not in transformers().CONFIG_MAPPING:
        raise UnreadableFileError(
            f"model_type '{kind}' in '{path}' is not known to transformers"
            f" {transformers().__version__}, and code from a folder is not run; use a newer one"
        )
    for name, why in _REFUSED.items():
        if settings.get(name):
            raise UnreadableFileError(f"'{path}' sets '{name}': {why}")
    try:
        return transformers().AutoConfig.from_pretrained(
            folder, local_files_only=True, trust_remote_code=False
        )
    except Exception as error:
        raise UnreadableFileError(f"'{path}' cannot be read: {one_line(error)}") from None


def _weight_files(folder: Path) -> list[Path]:
    """Return the files with weights that transformers reads, safetensors before .bin."""
    for name in _WEIGHTS:
        index = folder / f"{name}.index.json"
        if (folder / name).is_file():
            return [folder / name]
        if index.is_file():
            try:
                names = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
            except (ValueError, OSError, KeyError, AttributeError, TypeError):
                raise UnreadableFileError(f"'{index}' is damaged; get it again") from None
            shards = sorted(map(str, names))
            if any(Path(shard).name != shard for shard in shards):
                raise UnreadableFileError(f"'{index}' names files of other folders; get it again")
            return [folder / shard for shard in shards]
    raise UnreadableFileError(
        f"'{folder}' has no weights (allowed: {', '.join(_WEIGHTS)}, or their .index.json)"
    )


def _check_weights(folder: Path) -> None:
    """Refuse files that are missing, damaged, or hold more than tensors."""
    from safetensors import safe_open

    for path in _weight_files(folder):
        if not path.is_file():
            raise UnreadableFileError(f"'{path}' is missing; get the folder again")
        try:
            if path.suffix == ".safetensors":
                with safe_open(path, framework="pt"):
                    pass
            else:
                torch.load(path, map_location="meta", weights_only=True)
        except Exception:
            if path.suffix == ".safetensors":
                raise UnreadableFileError(f"'{path}' is damaged; get it again") from None
            raise UnreadableFileError(
                f"'{path}' is damaged or holds more than tensors, which may run code when it is"
                " read; convert it to safetensors where you trust it"
            ) from None


def _describe(folder: Path) -> dict[str, str]:
    """Return where a network is from: the folder, and a hash of its weights and configuration."""
    digest = hashlib.sha256()
    for path in (folder / "config.json", *_weight_files(folder)):
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return {"path": str(folder), "sha256": digest.hexdigest()}
