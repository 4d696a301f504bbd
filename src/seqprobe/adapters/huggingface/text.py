"""From text to tokens: the tokenizer of a network, prompts, and windows of a file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from seqprobe.adapters.huggingface.library import one_line, quiet, transformers
from seqprobe.errors import NotApplicableError, UnreadableFileError, UsageError
from seqprobe.seeding import generator
from seqprobe.tasks import Batch

if TYPE_CHECKING:
    from seqprobe.adapters.huggingface.model import HuggingFaceModel

__all__ = ["Text", "encode", "text_batch"]


class Text:
    """A tokenizer, or the folder to read one from when it is first asked for.

    Copies of a model share it: converting a model to float64 is no reason to copy a vocabulary.
    """

    def __init__(self, tokenizer: Any | None = None, folder: Path | None = None) -> None:
        self._tokenizer = tokenizer
        self._folder = folder

    def __deepcopy__(self, memo: dict[int, Any]) -> Text:
        return self

    def tokens(self, text: str, special: bool) -> list[int]:
        """Return the tokens of a text, with or without those the tokenizer adds to a prompt.

        Raises
        ------
        NotApplicableError
            If there is no tokenizer.
        UnreadableFileError
            If that in the folder cannot be read.
        """
        if self._tokenizer is None:
            self._tokenizer = self._read()
        with quiet():
            found = self._tokenizer(text, add_special_tokens=special)["input_ids"]
        return [int(token) for token in found]

    def _read(self) -> Any:
        names = ("tokenizer.json", "tokenizer_config.json", "tokenizer.model", "vocab.json")
        if self._folder is None or not any((self._folder / name).is_file() for name in names):
            raise NotApplicableError(
                "model came without a tokenizer; give tokens, or"
                " from_huggingface(..., tokenizer=...)"
            )
        try:
            with quiet():
                return transformers().AutoTokenizer.from_pretrained(
                    self._folder, local_files_only=True, trust_remote_code=False
                )
        except Exception as error:
            raise UnreadableFileError(
                f"the tokenizer in '{self._folder}' cannot be read: {one_line(error)}"
            ) from None


def encode(text: Text, vocabulary: int, prompts: str | list[str], length: int | None) -> Tensor:
    """Return the tokens (B, T) of prompts; see `HuggingFaceModel.tokenize`."""
    prompts = [prompts] if isinstance(prompts, str) else list(prompts)
    if not prompts:
        raise UsageError("no text was given (allowed: one or more)")
    rows = [text.tokens(prompt, special=True) for prompt in prompts]
    sizes = [len(row) for row in rows]
    if length is None and (min(sizes) != max(sizes) or not min(sizes)):
        raise UsageError(
            f"texts have {min(sizes)} to {max(sizes)} tokens (allowed: the same number, 1 or more);"
            f" cut them with length={max(1, min(sizes))}"
        )
    length = sizes[0] if length is None else length
    if not 1 <= length <= min(sizes):
        raise UsageError(
            f"length {length} does not fit texts of {min(sizes)} tokens and more"
            f" (allowed: 1 to {min(sizes)})"
        )
    tokens = torch.tensor([row[:length] for row in rows])
    return _checked(tokens, vocabulary)


def text_batch(
    model: HuggingFaceModel,
    source: str | Path,
    length: int,
    sequences: int | None = None,
    *,
    seed: int = 0,
) -> Batch:
    """Return windows of a text as tokens, with the next token of each as its target.

    Windows do not overlap, so that statistics over them are over separate pieces of text.

    Parameters
    ----------
    model
        A `HuggingFaceModel` with a tokenizer.
    source
        A text file in UTF-8, or the text itself; a string that names a file is that file.
    length
        Tokens T of a window.
    sequences
        Number N of windows; None for all that there are.
    seed
        Which windows, in which order.

    Returns
    -------
    Batch
        Inputs (N, T) and targets (N, T), integers. No token is added to the text.

    Raises
    ------
    UnreadableFileError
        If the file cannot be read as UTF-8.
    UsageError
        If the text is too short.
    NotApplicableError
        If the model has no tokenizer.
    """
    if length < 1 or (sequences is not None and sequences < 1):
        raise UsageError(f"{sequences} windows of {length} tokens were asked for (allowed: 1 on)")
    tokens = torch.tensor(model.text.tokens(_content(source), special=False), dtype=torch.long)
    blocks = (len(tokens) - 1) // length
    sequences = max(1, blocks) if sequences is None else sequences
    if sequences > blocks:
        raise UsageError(
            f"text has {len(tokens)} tokens, too few for {sequences} windows of {length} and their"
            f" targets (allowed: {max(blocks, 0)}); use fewer, or more text"
        )
    picked = generator(seed, "text").choice(blocks, sequences, replace=False) * length
    rows = tokens[torch.from_numpy(picked)[:, None] + torch.arange(length + 1)]
    rows = _checked(rows, model.spec.input_size)
    return Batch(rows[:, :-1], rows[:, 1:])


def _content(source: str | Path) -> str:
    if isinstance(source, str) and not _is_file(source):
        return source
    try:
        return Path(source).read_text(encoding="utf-8")
    except OSError as error:
        raise UnreadableFileError(f"text '{source}' cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise UnreadableFileError(
            f"text '{source}' is not UTF-8 (byte {error.start}); convert it, as with iconv"
        ) from None


def _is_file(source: str) -> bool:
    try:
        return Path(source).is_file()
    except (OSError, ValueError):  # longer than a name may be, or with a zero in it
        return False


def _checked(tokens: Tensor, vocabulary: int) -> Tensor:
    if int(tokens.max()) >= vocabulary:
        raise UsageError(
            f"tokenizer makes token {int(tokens.max())}, the network has {vocabulary}; give the"
            " tokenizer that belongs to it"
        )
    return tokens
