"""Folders with networks and tokenizers: what is read, and what is refused with one line."""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers

from huggingface_cases import VOCABULARY, build, tokens, transformers
from seqprobe.adapters.huggingface import from_huggingface, text_batch
from seqprobe.errors import (
    NotApplicableError,
    SeqprobeError,
    UnreadableFileError,
    UsageError,
)

# What importing the networks themselves says, here as in a user's program.
pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated")

WORDS = [
    "the",
    "cat",
    "sat",
    "on",
    "a",
    "mat",
    "and",
    "then",
    "ran",
    "off",
    "into",
    "its",
    "own",
    "house",
]


@pytest.fixture(scope="module")
def gpt2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a network and a tokenizer of words."""
    folder = tmp_path_factory.mktemp("gpt2")
    build("gpt2").save_pretrained(folder)
    vocabulary = {word: i for i, word in enumerate(["?", *WORDS])}
    words = Tokenizer(models.WordLevel(vocabulary, unk_token="?"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    transformers.PreTrainedTokenizerFast(tokenizer_object=words, unk_token="?").save_pretrained(
        folder
    )
    return folder


def _copy(folder: Path, to: Path) -> Path:
    shutil.copytree(folder, to / "copy")
    return to / "copy"


def test_a_folder_gives_the_network_that_was_saved(
    gpt2: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    model = from_huggingface(gpt2)
    assert capfd.readouterr() == ("", "")
    wanted, _ = from_huggingface(build("gpt2"))(tokens(2, 5))
    assert torch.equal(model(tokens(2, 5))[0], wanted)
    assert model.name == "gpt2" and not model.training
    assert model.spec.input_size == model.spec.output_size == VOCABULARY and model.reads == 16
    attrs = model.attrs()
    assert attrs["path"] == str(gpt2) and len(str(attrs["sha256"])) == 64
    assert attrs["transformers_version"] == transformers.__version__
    assert attrs["verified_dtype"] == "float64" and float(attrs["verified_outputs"]) < 1e-13
    assert json.loads(json.dumps(attrs)) == attrs
    assert from_huggingface(str(gpt2), verify=False).attrs()["sha256"] == attrs["sha256"]


def test_tensors_in_a_bin_file_are_read(gpt2: Path, tmp_path: Path) -> None:
    folder = _copy(gpt2, tmp_path)
    (folder / "model.safetensors").unlink()
    network = build("gpt2")
    torch.save(network.state_dict(), folder / "pytorch_model.bin")
    found, _ = from_huggingface(folder, verify=False)(tokens(1, 5))
    torch.testing.assert_close(found, network(tokens(1, 5)).logits)


class _Payload:
    """What a hostile file holds: reading it with pickle makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)

    def __reduce__(self) -> Any:
        return os.mkdir, (self.path,)


def test_a_bin_file_runs_no_code(gpt2: Path, tmp_path: Path) -> None:
    folder = _copy(gpt2, tmp_path)
    (folder / "model.safetensors").unlink()
    torch.save({"x": _Payload(tmp_path / "ran")}, folder / "pytorch_model.bin")
    with pytest.raises(UnreadableFileError, match="holds more than tensors, which may run code"):
        from_huggingface(folder)
    assert not (tmp_path / "ran").exists()


def test_code_in_a_folder_is_not_run(gpt2: Path, tmp_path: Path) -> None:
    folder = _copy(gpt2, tmp_path)
    ran = tmp_path / "ran"
    (folder / "modeling_x.py").write_text(f"import os; os.mkdir({str(ran)!r})\n")
    config = json.loads((folder / "config.json").read_text())
    config["auto_map"] = {
        "AutoConfig": "modeling_x.XConfig",
        "AutoModelForCausalLM": "modeling_x.XForCausalLM",
    }
    (folder / "config.json").write_text(json.dumps(config))
    from_huggingface(folder, verify=False)  # a gpt2 all the same
    config["model_type"] = "strange"
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(UnreadableFileError, match=r"'strange' in .* is not known to transformers"):
        from_huggingface(folder)
    assert not ran.exists()


def _damage(folder: Path, how: str) -> None:
    weights, config = folder / "model.safetensors", folder / "config.json"
    if how == "config.json":
        config.unlink()
    elif how == "json":
        config.write_text("{")
    elif how == "type":
        config.write_text("[]")
    elif how == "values":
        config.write_text(config.read_text().replace('"n_layer": 2', '"n_layer": "two"'))
    elif how == "weights":
        weights.unlink()
    elif how == "bytes":
        weights.write_bytes(weights.read_bytes()[:1000])
    elif how == "bin":
        weights.unlink()
        (folder / "pytorch_model.bin").write_bytes(b"not a file of torch")
    elif how == "shard":
        weights.unlink()
        index = {"weight_map": {"transformer.wte.weight": "model-00001-of-00002.safetensors"}}
        (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    elif how == "index":
        weights.unlink()
        (folder / "model.safetensors.index.json").write_text("{}")
    elif how == "layer":
        config.write_text(config.read_text().replace('"n_layer": 2', '"n_layer": 3'))
    elif how == "width":
        config.write_text(config.read_text().replace('"n_embd": 16', '"n_embd": 32'))


@pytest.mark.parametrize(
    ("how", "line"),
    [
        ("config.json", "copy' has no config.json; give the folder of a model"),
        ("json", "does not say which model this is"),
        ("type", "does not say which model this is"),
        ("values", "cannot be read: .* expected int, got str"),
        ("weights", r"has no weights \(allowed: model.safetensors, pytorch_model.bin"),
        ("bytes", "model.safetensors' is damaged; get it again"),
        ("bin", "pytorch_model.bin' is damaged or holds more than tensors"),
        ("shard", "model-00001-of-00002.safetensors' is missing; get the folder again"),
        ("index", "model.safetensors.index.json' is damaged; get it again"),
        ("layer", "lack 12 of the tensors that its config.json asks for, first 'transformer.h.2"),
        ("width", r"has shape \(48,\), its config.json asks for \(96,\); get the folder"),
    ],
)
def test_a_damaged_folder_is_refused(gpt2: Path, tmp_path: Path, how: str, line: str) -> None:
    folder = _copy(gpt2, tmp_path)
    _damage(folder, how)
    with pytest.raises(UnreadableFileError, match=line) as caught:
        from_huggingface(folder)
    assert "\n" not in str(caught.value)


def test_what_is_no_folder_of_a_causal_network_is_refused(gpt2: Path, tmp_path: Path) -> None:
    with pytest.raises(UnreadableFileError, match="'gpt2' is not a folder; nothing is downloaded"):
        from_huggingface("gpt2")
    for kind, line in (
        ("vit", "'vit' is no causal language model in transformers"),
        ("t5", "'t5' has an encoder that reads the whole input first"),
    ):
        folder = tmp_path / kind
        folder.mkdir()
        (folder / "config.json").write_text(json.dumps({"model_type": kind}))
        with pytest.raises(NotApplicableError, match=line):
            from_huggingface(folder)
    broken = build("gpt2")
    broken.transformer.wte.weight.data[0, 0] = torch.inf
    broken.save_pretrained(tmp_path / "broken")
    with pytest.raises(SeqprobeError, match=r"weight 'transformer.wte.weight' has 1 values"):
        from_huggingface(tmp_path / "broken")


def test_without_transformers_one_line_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(UsageError, match=r"pip install 'seqprobe\[hf\]'"):
        from_huggingface("anywhere")


def test_text_becomes_tokens(gpt2: Path) -> None:
    model = from_huggingface(gpt2, verify=False)
    assert model.tokenize("the cat sat").tolist() == [[1, 2, 3]]
    assert model.tokenize(["the cat", "a dog"]).tolist() == [[1, 2], [5, 0]]
    assert model.tokenize(["the cat sat", "a mat"], length=2).tolist() == [[1, 2], [5, 6]]
    for line, texts, length in (
        (r"texts have 2 to 3 tokens .* length=2", ["the cat sat", "a mat"], None),
        (r"length 3 does not fit texts of 2 tokens", ["the cat sat", "a mat"], 3),
        ("texts have 0 to 0 tokens", [""], None),
        ("no text was given", [], None),
    ):
        with pytest.raises(UsageError, match=line):
            model.tokenize(texts, length)
    with pytest.raises(NotApplicableError, match="model came without a tokenizer"):
        from_huggingface(build("gpt2"), verify=False).tokenize("the cat")

    class Foreign:
        def __call__(self, text: str, add_special_tokens: bool) -> dict[str, list[int]]:
            return {"input_ids": [3, 700]}

    foreign = from_huggingface(build("gpt2"), tokenizer=Foreign(), verify=False)
    with pytest.raises(UsageError, match="tokenizer makes token 700, the network has 50"):
        foreign.tokenize("the cat")


def test_a_damaged_tokenizer_is_one_line(gpt2: Path, tmp_path: Path) -> None:
    folder = _copy(gpt2, tmp_path)
    (folder / "tokenizer.json").write_text("{")
    model = from_huggingface(folder, verify=False)
    with pytest.raises(
        UnreadableFileError, match=r"the tokenizer in .* cannot be read: "
    ) as caught:
        model.tokenize("the cat")
    assert "\n" not in str(caught.value)


def test_windows_of_a_text_do_not_overlap(gpt2: Path, tmp_path: Path) -> None:
    model = from_huggingface(gpt2, verify=False)
    path = tmp_path / "text.txt"
    path.write_text(" ".join(WORDS) + "\n", encoding="utf-8")
    batch = text_batch(model, path, 3, 4, seed=1)
    assert batch.inputs.shape == batch.targets.shape == (4, 3)
    # Fourteen words in a row make the tokens 1 to 14: four windows, all of them taken.
    assert sorted(batch.inputs[:, 0].tolist()) == [1, 4, 7, 10]
    assert torch.equal(batch.targets, batch.inputs + 1)
    again = text_batch(model, str(path), 3, 4, seed=1)
    assert torch.equal(again.inputs, batch.inputs)
    assert not torch.equal(text_batch(model, path, 3, 4, seed=3).inputs, batch.inputs)
    assert torch.equal(text_batch(model, path, 3, seed=1).inputs, batch.inputs)  # all there are
    assert text_batch(model, "the cat sat", 2, 1).targets.tolist() == [[2, 3]]
    with pytest.raises(UsageError, match=r"text has 14 tokens, too few for 5 windows of 3"):
        text_batch(model, path, 3, 5)
    with pytest.raises(UsageError, match="0 windows of 3 tokens"):
        text_batch(model, path, 3, 0)
    with pytest.raises(UnreadableFileError, match="cannot be read: No such file"):
        text_batch(model, tmp_path / "none.txt", 3, 1)
    path.write_bytes(b"caf\xe9 the")
    with pytest.raises(UnreadableFileError, match=r"is not UTF-8 \(byte 3\)"):
        text_batch(model, path, 1, 1)


def _with_settings(folder: Path, **settings: Any) -> Path:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | settings))
    return folder


def test_weights_that_the_network_has_no_place_for_are_refused(gpt2: Path, tmp_path: Path) -> None:
    """Half of the layers would be missing, and every check of the rest would pass."""
    folder = _with_settings(_copy(gpt2, tmp_path), n_layer=1)
    with pytest.raises(UnreadableFileError, match=r"\d+ tensors .* first 'transformer\.h\.1"):
        from_huggingface(folder)


@pytest.mark.parametrize(
    "settings",
    [{"transformers_weights": "other.safetensors"}, {"quantization_config": {"bits": 4}}],
)
def test_settings_that_change_which_weights_are_read(
    gpt2: Path, tmp_path: Path, settings: dict[str, Any]
) -> None:
    folder = _with_settings(_copy(gpt2, tmp_path), **settings)
    with pytest.raises(UnreadableFileError, match=f"sets '{next(iter(settings))}'"):
        from_huggingface(folder)


def test_a_model_type_that_is_no_name(gpt2: Path, tmp_path: Path) -> None:
    with pytest.raises(UnreadableFileError, match="does not say which model this is"):
        from_huggingface(_with_settings(_copy(gpt2, tmp_path), model_type=["gpt2"]))


@pytest.mark.parametrize("kind", ["longrope", "dynamic"])
def test_positions_that_depend_on_the_length_are_refused_beyond_it(kind: str) -> None:
    """A step would be another function than the network, and the network is not causal there."""
    rope: dict[str, Any] = {"rope_type": kind, "rope_theta": 10000.0, "factor": 4.0}
    if kind == "longrope":
        rope |= {
            "original_max_position_embeddings": 16,
            "short_factor": [1.0] * 4,
            "long_factor": [2.0] * 4,
        }
    config = transformers.LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=64 if kind == "longrope" else 16,
        rope_parameters=rope,
    )
    model = from_huggingface(transformers.AutoModelForCausalLM.from_config(config))
    assert model.longest == 16
    _, state = model(tokens(1, 16))
    with pytest.raises(NotApplicableError, match="at most 16 tokens, not 17"):
        model(tokens(1, 17))
    with pytest.raises(NotApplicableError, match="at most 16 tokens, not 17"):
        model.step(tokens(1, 1)[:, 0], state)
