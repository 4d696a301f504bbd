"""The Transformer against torch's own layer, its two attention paths, and its positions."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from seqprobe.errors import UsageError
from seqprobe.models import Trace, build_model
from seqprobe.models.transformer import TransformerBlock, _rotate
from seqprobe.spec import Spec

WIDTH, HEADS = 12, 3


def test_block_equals_torch_encoder_layer() -> None:
    block = TransformerBlock(WIDTH, HEADS, 4, dropout=0.0, rotary=False).double()
    peer = nn.TransformerEncoderLayer(
        WIDTH, HEADS, 4 * WIDTH, 0.0, "gelu", batch_first=True, norm_first=True
    ).double()
    own = block.state_dict()
    names = {
        "norm0": "norm1",
        "norm1": "norm2",
        "qkv.weight": "self_attn.in_proj_weight",
        "qkv.bias": "self_attn.in_proj_bias",
        "out.": "self_attn.out_proj.",
        "up": "linear1",
        "down": "linear2",
    }
    renamed = {}
    for name, weight in own.items():
        old, new = next((o, n) for o, n in names.items() if name.startswith(o))
        renamed[name.replace(old, new, 1)] = weight
    peer.load_state_dict(renamed)
    x = torch.randn(2, 9, WIDTH).double()
    mask = nn.Transformer.generate_square_subsequent_mask(9, dtype=torch.float64)
    expected = peer(x, src_mask=mask, is_causal=True)
    torch.testing.assert_close(block(x)[0], expected, rtol=0, atol=1e-12)


def test_attention_weights_are_causal_and_sum_to_one() -> None:
    model = build_model("transformer", Spec("token", 5, "class", 5), {"width": 8}).eval()
    trace = Trace("*.attn")
    model(torch.randint(5, (2, 7)), trace=trace)
    assert set(trace) == {"layer0.attn", "layer1.attn"}
    attn = trace["layer0.attn"].transpose(1, 2)  # (B, heads, query, key)
    torch.testing.assert_close(attn.sum(dim=3), torch.ones(2, 4, 7))
    assert attn.triu(1).abs().max() == 0


def test_rotary_scores_depend_on_the_distance_only() -> None:
    q, k = torch.randn(1, 1, 1, 8).double(), torch.randn(1, 1, 1, 8).double()
    scores = [(_rotate(q, start + 5) * _rotate(k, start)).sum().item() for start in (0, 1, 17, 300)]
    assert scores == pytest.approx([scores[0]] * 4, abs=1e-10)
    assert (_rotate(q, 6) * _rotate(k, 0)).sum().item() != pytest.approx(scores[0], abs=1e-3)


def test_learned_positions_end_with_one_clear_line() -> None:
    config = {"positions": "learned", "max_length": 6, "width": 8}
    model = build_model("transformer", Spec("continuous", 1, "regression", 1), config)
    model(torch.zeros(1, 6, 1))
    with pytest.raises(UsageError, match="7 steps is longer than the 6 learned positions"):
        model(torch.zeros(1, 7, 1))
