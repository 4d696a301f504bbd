"""Which networks of transformers can be run one token at a time, and what they keep."""

from __future__ import annotations

from dataclasses import dataclass

from seqprobe.adapters.huggingface.caches import DynamicMemory
from seqprobe.adapters.huggingface.memory import Memory
from seqprobe.adapters.huggingface.recurrent_gemma import RecurrentGemmaMemory
from seqprobe.adapters.huggingface.rwkv import RwkvMemory
from seqprobe.adapters.huggingface.xlstm import XLSTMMemory

__all__ = ["FAMILIES", "Family", "family_of"]


@dataclass(frozen=True)
class Family:
    """Networks that keep the same between tokens.

    Attributes
    ----------
    name
        For messages.
    model_types
        ``config.model_type`` of its members.
    memory
        How their state is read and put back; its docstring names the parts.
    recurrent
        Name of the recurrent part of a layer.
    """

    name: str
    model_types: tuple[str, ...]
    memory: type[Memory] = DynamicMemory
    recurrent: str = "h"


FAMILIES = (
    Family(
        "attention",
        (
            *("gpt2", "gpt_neo", "gpt_neox", "gpt_bigcode", "gptj", "codegen", "opt", "bloom"),
            *("falcon", "mpt", "biogpt", "llama", "mistral", "ministral", "mixtral", "qwen2"),
            *("qwen2_moe", "qwen3", "qwen3_moe", "gemma", "gemma2", "gemma3_text", "phi", "phi3"),
            *("olmo", "olmo2", "olmo3", "olmoe", "stablelm", "starcoder2", "smollm3", "granite"),
            *("granitemoe", "cohere", "cohere2", "glm", "glm4", "helium", "nemotron", "arcee"),
            *("persimmon", "exaone4", "ernie4_5", "seed_oss", "apertus", "gpt_oss", "diffllama"),
            *("deepseek_v2", "deepseek_v3", "minicpm3", "modernbert-decoder"),
        ),
    ),
    Family("mamba", ("mamba", "falcon_mamba", "mamba2"), recurrent="ssm"),
    Family(
        "mamba with attention",
        ("jamba", "bamba", "zamba2", "granitemoehybrid", "falcon_h1", "nemotron_h"),
        recurrent="ssm",
    ),
    Family(
        "gated delta rule",
        ("qwen3_next", "qwen3_5_text", "qwen3_5_moe_text", "olmo_hybrid", "kimi_linear"),
        recurrent="memory",
    ),
    Family("short convolutions", ("lfm2", "lfm2_moe")),
    Family("recurrent_gemma", ("recurrent_gemma",), RecurrentGemmaMemory),
    Family("rwkv", ("rwkv",), RwkvMemory),
    Family("xlstm", ("xlstm",), XLSTMMemory),
)


def family_of(model_type: str) -> Family | None:
    """Return the family of an architecture, or None if no adapter knows it."""
    return next((family for family in FAMILIES if model_type in family.model_types), None)
