"""Tiny networks of transformers with random weights, one per adapter and kind of state."""

from __future__ import annotations

from typing import Any, cast

import pytest
import torch

from seqprobe.adapters.huggingface import HuggingFaceModel
from seqprobe.models.access import float64_twin

transformers: Any = pytest.importorskip("transformers")

VOCABULARY = 50
_TOKENS = {"vocab_size": VOCABULARY, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
_SIZES = {
    **_TOKENS,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "intermediate_size": 24,
    "max_position_embeddings": 64,
}
_GPT = {**_TOKENS, "n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 64}
_SCAN = {**_TOKENS, "hidden_size": 16, "num_hidden_layers": 2, "state_size": 4}
_MAMBA2 = {
    "mamba_n_heads": 4,
    "mamba_d_head": 8,
    "mamba_n_groups": 1,
    "mamba_d_state": 4,
    "mamba_chunk_size": 4,
}
_EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 8}
_MIXED = {"layer_types": ["linear_attention", "full_attention"]}
_DELTA = {
    **_MIXED,
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
    "linear_key_head_dim": 4,
    "linear_value_head_dim": 4,
    "head_dim": 8,
}
_KIMI = {
    **_SIZES,
    **_MIXED,
    "num_key_value_heads": 2,
    "linear_head_dim": 4,
    "linear_num_heads": 2,
    "kv_lora_rank": 8,
    "qk_nope_head_dim": 4,
    "qk_rope_head_dim": 4,
    "v_head_dim": 4,
    "num_experts": 4,
    "num_experts_per_token": 2,
    "moe_intermediate_size": 8,
}
_NEMOTRON = {
    **_SIZES,
    "num_hidden_layers": 3,
    "layers_block_type": ["mamba", "attention", "mlp"],
    "mamba_num_heads": 4,
    "mamba_head_dim": 8,
    "n_groups": 1,
    "ssm_state_size": 4,
    "chunk_size": 4,
    "head_dim": 8,
}
_ZAMBA2 = {
    **_SIZES,
    "num_key_value_heads": 2,
    "layers_block_type": ["mamba", "hybrid"],
    "num_mem_blocks": 1,
    "mamba_d_state": 4,
    "mamba_headdim": 8,
    "n_mamba_heads": 4,
    "mamba_ngroups": 1,
    "chunk_size": 4,
    "attention_hidden_size": 32,
    "attention_head_dim": 16,
    "adapter_rank": 4,
    # Above most time steps, so that the limit matters.
    "time_step_min": 0.5,
}
_GRIFFIN = {
    key: value for key, value in _SIZES.items() if key not in ("max_position_embeddings",)
} | {"num_hidden_layers": 3, "attention_window_size": 5, "lru_width": 24}

# What the default tests run: every way of keeping a state, on both sides of a window and a chunk.
CONFIGS: dict[str, tuple[str, dict[str, Any]]] = {
    "gpt2": ("GPT2Config", _GPT),
    "llama": ("LlamaConfig", _SIZES),
    "mistral": ("MistralConfig", {**_SIZES, "sliding_window": 5}),
    "gemma2": ("Gemma2Config", {**_SIZES, "head_dim": 8, "sliding_window": 4}),
    "mamba": ("MambaConfig", _SCAN),
    "mamba2": (
        "Mamba2Config",
        {
            **_SCAN,
            "num_heads": 4,
            "head_dim": 8,
            "n_groups": 2,
            "chunk_size": 4,
            "time_step_limit": (0.5, 0.8),
        },
    ),
    "falcon_mamba": ("FalconMambaConfig", _SCAN),
    "jamba": (
        "JambaConfig",
        {
            **_SIZES,
            "attn_layer_period": 2,
            "attn_layer_offset": 1,
            "expert_layer_period": 2,
            "expert_layer_offset": 1,
            "num_experts": 4,
            "mamba_d_state": 4,
        },
    ),
    "bamba": ("BambaConfig", {**_SIZES, **_MAMBA2, "attn_layer_indices": [1]}),
    "qwen3_next": (
        "Qwen3NextConfig",
        {**_SIZES, **_DELTA, **_EXPERTS, "shared_expert_intermediate_size": 8},
    ),
    "kimi_linear": ("KimiLinearConfig", _KIMI),
    "lfm2": ("Lfm2Config", {**_SIZES, "layer_types": ["conv", "full_attention"]}),
    "recurrent_gemma": ("RecurrentGemmaConfig", _GRIFFIN),
    "rwkv": (
        "RwkvConfig",
        {
            **_TOKENS,
            "hidden_size": 16,
            # More than `rescale_every`, so that transformers would rescale.
            "num_hidden_layers": 3,
            "rescale_every": 2,
            "attention_hidden_size": 16,
            "intermediate_size": 24,
            "context_length": 64,
        },
    ),
    "xlstm": (
        "xLSTMConfig",
        {
            **_TOKENS,
            "hidden_size": 16,
            "num_hidden_layers": 2,
            "num_blocks": 2,
            "num_heads": 2,
            "chunk_size": 4,
        },
    ),
}

# What the slow tests run besides.
MORE: dict[str, tuple[str, dict[str, Any]]] = {
    "opt": (
        "OPTConfig",
        {
            **_TOKENS,
            "hidden_size": 16,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "ffn_dim": 24,
            "max_position_embeddings": 64,
            "word_embed_proj_dim": 12,
        },
    ),
    "bloom": ("BloomConfig", {**_TOKENS, "hidden_size": 16, "n_layer": 2, "n_head": 2}),
    "gptj": ("GPTJConfig", {**_GPT, "rotary_dim": 4}),
    "codegen": ("CodeGenConfig", {**_GPT, "n_head": 4, "rotary_dim": 4}),
    "mixtral": ("MixtralConfig", {**_SIZES, "num_local_experts": 4}),
    "zamba2": ("Zamba2Config", _ZAMBA2),
    "granitemoehybrid": (
        "GraniteMoeHybridConfig",
        {
            **_SIZES,
            **_MAMBA2,
            "layers_block_type": ["mamba", "attention"],
            "num_local_experts": 2,
            "num_experts_per_tok": 1,
            "shared_intermediate_size": 16,
        },
    ),
    "falcon_h1": ("FalconH1Config", {**_SIZES, **_MAMBA2, "mamba_d_ssm": 32, "head_dim": 8}),
    "nemotron_h": ("NemotronHConfig", _NEMOTRON),
    "qwen3_5_text": ("Qwen3_5TextConfig", {**_SIZES, **_DELTA}),
    "qwen3_5_moe_text": (
        "Qwen3_5MoeTextConfig",
        {**_SIZES, **_DELTA, **_EXPERTS, "shared_expert_intermediate_size": 8},
    ),
    "olmo_hybrid": (
        "OlmoHybridConfig",
        {**_SIZES, **_DELTA, "linear_num_value_heads": 2, "linear_value_head_dim": 8},
    ),
    "lfm2_moe": (
        "Lfm2MoeConfig",
        {**_SIZES, **_EXPERTS, "layer_types": ["conv", "full_attention"], "num_dense_layers": 1},
    ),
}


def build(name: str, **changed: Any) -> Any:
    """Return a network in evaluation mode, with every weight moved."""
    kind, settings = {**CONFIGS, **MORE}[name]
    return from_config(getattr(transformers, kind)(**{**settings, **changed}))


def from_config(config: Any) -> Any:
    """Return a network with every weight moved, also those that start at zero or one."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = transformers.AutoModelForCausalLM.from_config(config).eval()
        for parameter in network.parameters():
            parameter.data += 0.1 * torch.randn(parameter.shape)
    return network


def tokens(rows: int, length: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(VOCABULARY, (rows, length), generator=generator)


def double(model: HuggingFaceModel) -> HuggingFaceModel:
    """Return a copy in float64 without gradients of its weights."""
    return cast("HuggingFaceModel", float64_twin(model).requires_grad_(False))
