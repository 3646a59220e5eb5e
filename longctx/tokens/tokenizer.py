"""The tokenizer of a checkpoint: text to token ids and back. Knows no documents and no models."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

from tokenizers import Encoding
from tokenizers.decoders import DecodeStream

from longctx.chat import CLOSE, OPEN
from longctx.errors import ModelError
from longctx.tokens.boundaries import Boundaries, NotProvableError
from longctx.tokens.files import (
    build,
    check_added,
    check_growth,
    library,
    opening,
    read_specification,
    without_special,
)


class Tokenizer:
    """The tokenizer of a checkpoint: special tokens exist in templates, never in documents.

    Attributes:
        vocab_size: one more than the highest token id.
        opening: what stands before every text of a base model, such as a beginning-of-text token.
        note: empty, or says why text is encoded in long pieces.
    """

    def __init__(self, specification: dict[str, Any], origin: Path) -> None:
        bare = {**specification, "post_processor": None, "truncation": None, "padding": None}
        self._origin = origin
        check_growth(bare, origin)
        self._full = build(bare, origin)
        check_added(specification.get("added_tokens") or [], self._full, origin)
        plain = without_special(bare)
        self._plain = build(plain, origin)
        self.vocab_size = 1 + max(self._full.get_vocab(with_added_tokens=True).values(), default=-1)
        self.opening = opening(specification, origin)
        self.boundaries: Boundaries | None = None
        self.note = ""
        try:
            self.boundaries = Boundaries(plain)
        except (NotProvableError, RecursionError) as reason:
            self.note = f"the tokens of long documents may differ where they are cut ({reason})"

    @classmethod
    def load(cls, folder: Path, vocab_size: int) -> Self:
        """Load tokenizer.json, or vocab.json and merges.txt, for a model with that many token ids."""
        origin = folder / "tokenizer.json"
        if not origin.is_file():
            origin = folder / "vocab.json"
        tokenizer = cls(read_specification(folder), origin)
        if not 0 < tokenizer.vocab_size <= vocab_size:
            ids = f"has token ids up to {tokenizer.vocab_size - 1}, the model only {vocab_size} ids"
            raise ModelError(f"{origin}: {ids}; take the tokenizer that came with the model")
        return tokenizer

    def encode(self, text: str) -> list[int]:
        """Encode text; the strings of special tokens are plain text here."""
        return self.encode_batch([text])[0]

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """Encode several texts side by side."""
        with library(self._origin):
            found = self._plain.encode_batch_fast(list(texts), add_special_tokens=False)
        return [one.ids for one in found]

    def encode_with_offsets(self, text: str) -> Encoding:
        """Encode like `encode`, and keep the characters of each token."""
        with library(self._origin):
            return self._plain.encode(text, add_special_tokens=False)

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of tokens without special ones; incomplete characters become U+FFFD."""
        with library(self._origin):
            return self._full.decode(list(ids))

    @property
    def special_tokens(self) -> dict[str, int]:
        """Return the special strings of templates, with their ids."""
        return {token.content: id_ for id_, token in self._full.get_added_tokens_decoder().items()}


class Detokenizer:
    """Turns tokens into text one by one; a character of several tokens appears with the last one."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        marks = {text: tokenizer.special_tokens.get(text) for text in (OPEN, CLOSE)}
        self._marks = {id: text for text, id in marks.items() if id is not None}
        self._restart()

    def _restart(self) -> None:
        self._stream = DecodeStream(skip_special_tokens=True)
        self._held: list[int] = []

    def push(self, token: int) -> str:
        """Return the text that this token completes, perhaps none."""
        if token in self._marks:  # which the library would leave out where they are special
            return self.flush() + self._marks[token]
        text = self._stream.step(self._tokenizer._full, token)
        self._held = [*self._held, token] if text is None else []
        return text or ""

    def flush(self) -> str:
        """Return what is held back, incomplete characters as U+FFFD, and begin anew."""
        text = self._tokenizer.decode(self._held)
        self._restart()
        return text
