"""Text to token ids and back, streaming, in bounded memory; each position leads back to bytes and a line.

Knows documents and a tokenizer, not models.
"""

from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path
from typing import Any, Self

from tokenizers import Encoding
from tokenizers.decoders import DecodeStream

from longctx.errors import InputError, ModelError
from longctx.text.source import Document
from longctx.tokens.boundaries import Boundaries, NotProvableError
from longctx.tokens.files import build, check_added, read_specification, without_special
from longctx.tokens.offsets import byte_after, line_ends

WINDOW = 1 << 14  # characters encoded at once; larger windows leave the processor's caches
BATCH = 8  # windows encoded side by side


class Tokenizer:
    """The tokenizer of a checkpoint: one way for documents, in which nothing is special, one for templates.

    `vocab_size` is one more than the highest token id. `note` is empty, or says why text is encoded whole.
    """

    def __init__(self, specification: dict[str, Any], origin: Path) -> None:
        bare = {**specification, "post_processor": None, "truncation": None, "padding": None}
        self._full = build(bare, origin)
        check_added(specification.get("added_tokens") or [], self._full, origin)
        plain = without_special(bare)
        self._plain = build(plain, origin)
        self.vocab_size = 1 + max(self._full.get_vocab(with_added_tokens=True).values(), default=-1)
        self.boundaries: Boundaries | None = None
        self.note = ""
        try:
            self.boundaries = Boundaries(plain)
        except (NotProvableError, RecursionError) as reason:
            self.note = f"memory grows with the longest document: the tokenizer allows no cuts ({reason})"

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
        """Encode text in which the strings of special tokens mean nothing."""
        return self.encode_parts([text])[0]

    def encode_parts(self, parts: Sequence[str]) -> list[list[int]]:
        """Encode several texts side by side."""
        return [found.ids for found in self._plain.encode_batch_fast(list(parts), add_special_tokens=False)]

    def encode_with_offsets(self, text: str) -> Encoding:
        """Encode as `encode` does, and remember which characters each token comes from."""
        return self._plain.encode(text, add_special_tokens=False)

    def decode(self, ids: Sequence[int], skip_special: bool = True) -> str:
        """Return the text of tokens; incomplete characters become U+FFFD."""
        return self._full.decode(list(ids), skip_special_tokens=skip_special)

    @property
    def special_tokens(self) -> dict[str, int]:
        """Return the strings that mean something in a template, with their ids."""
        return {token.content: id_ for id_, token in self._full.get_added_tokens_decoder().items()}


class Detokenizer:
    """Turns tokens into text one by one; a character made of several tokens appears with the last of them."""

    def __init__(self, tokenizer: Tokenizer, skip_special: bool = True) -> None:
        self._tokenizer = tokenizer
        self._skip_special = skip_special
        self._restart()

    def _restart(self) -> None:
        self._stream = DecodeStream(skip_special_tokens=self._skip_special)
        self._held: list[int] = []

    def push(self, token: int) -> str:
        """Return the text that this token completes, perhaps none."""
        text = self._stream.step(self._tokenizer._full, token)
        self._held = [*self._held, token] if text is None else []
        return text or ""

    def flush(self) -> str:
        """Return what is held back, incomplete characters as U+FFFD, and begin anew."""
        text = self._tokenizer.decode(self._held, self._skip_special)
        self._restart()
        return text


@dataclass(frozen=True)
class Chunk:
    """Tokens to feed at once; `start` is the position of the first in the stream."""

    tokens: list[int]
    start: int


@dataclass(frozen=True)
class Place:
    """Where a token comes from: bytes of document.path, and the line in the document, counted from 1."""

    document: Document
    byte_start: int
    byte_end: int
    line: int


@dataclass(frozen=True, slots=True)
class _Part:
    """A stretch of text between two cuts, or a header: what is encoded at once."""

    document: Document
    text: str
    byte: int
    byte_end: int
    line: int
    is_header: bool = False


@dataclass(frozen=True, slots=True)
class _Anchor:
    """What is kept of a part: enough to read it again."""

    position: int
    tokens: int
    document: Document
    characters: int  # 0 for a header
    byte: int
    line: int


class TokenStream:
    """Documents in, chunks of exactly `chunk` tokens out (the last may be shorter), as if encoded whole.

    `bytes_read` and `tokens_read` grow while iterating; iterating again starts again. A header is encoded by
    itself, before its document. Memory: some windows of text, one chunk, 250 bytes per window already read.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        documents: Sequence[Document],
        chunk: int,
        header: Callable[[Document], str] | None = None,
        window: int = WINDOW,
    ) -> None:
        if chunk < 1 or window < 1:
            raise ValueError("a chunk has at least one token, a window at least one character")
        self.tokenizer = tokenizer
        self.documents = documents
        self.chunk = chunk
        self.header = header
        self.window = window
        self._start_over()

    def _start_over(self) -> None:
        self.bytes_read = 0
        self.tokens_read = 0
        self._anchors: list[_Anchor] = []
        self._recent: tuple[_Anchor, str, Encoding] | None = None

    def __iter__(self) -> Iterator[Chunk]:
        self._start_over()
        held: list[int] = []
        for tokens in self._encoded():
            held += tokens
            full = len(held) - len(held) % self.chunk
            for start in range(0, full, self.chunk):
                yield self._chunk(held[start : start + self.chunk])
            del held[:full]
        if held:
            yield self._chunk(held)

    def _chunk(self, tokens: list[int]) -> Chunk:
        start = self.tokens_read
        self.tokens_read += len(tokens)
        return Chunk(tokens, start)

    def _encoded(self) -> Iterator[list[int]]:
        """Yield the tokens of a few parts at a time, and leave an anchor for each part."""
        position = 0
        for batch in self._batches():
            encoded = self.tokenizer.encode_parts([part.text for part in batch])
            for part, tokens in zip(batch, encoded, strict=True):
                characters = 0 if part.is_header else len(part.text)
                anchor = _Anchor(position, len(tokens), part.document, characters, part.byte, part.line)
                self._anchors.append(anchor)
                self.bytes_read += part.byte_end - part.byte
                position += len(tokens)
                yield tokens

    def _batches(self) -> Iterator[list[_Part]]:
        batch: list[_Part] = []
        characters = 0
        for document in self.documents:
            for part in self._parts(document):
                batch.append(part)
                characters += len(part.text)
                if characters >= BATCH * self.window:
                    yield batch
                    batch, characters = [], 0
        if batch:
            yield batch

    def _parts(self, document: Document) -> Iterator[_Part]:
        byte, line = document.start, 1
        if self.header is not None:
            yield _Part(document, self.header(document), byte, byte, line, is_header=True)
        for text in self._cut(document):
            end = byte_after(document, byte, text)
            yield _Part(document, text, byte, end, line)
            byte, line = end, line + line_ends(text)

    def _cut(self, document: Document) -> Iterator[str]:
        """Cut at the last place inside a window, or else (one very long word) at the first place after it."""
        boundaries = self.tokenizer.boundaries
        if boundaries is None:
            if text := "".join(document.blocks()):
                yield text
            return
        text, searched = "", 0  # up to `searched`, a text that is too long is known to have no cut
        for block in document.blocks():
            text += block
            start = 0
            while len(text) - start > self.window:
                stop = start + self.window
                cut = 0 if searched else boundaries.last(text, start, stop)
                cut = cut or boundaries.first(text, max(searched, stop))
                if not cut:
                    searched = len(text) - 1 - start
                    break
                yield text[start:cut]
                start, searched = cut, 0
            text = text[start:]
        if text:
            yield text

    def locate(self, position: int) -> Place | None:
        """Return where a token that was already read comes from; a header is at the start of its document.

        Raises InputError when the document has changed since it was read.
        """
        index = bisect_right(self._anchors, position, key=attrgetter("position")) - 1
        if index < 0 or position >= self._anchors[index].position + self._anchors[index].tokens:
            return None
        anchor = self._anchors[index]
        document = anchor.document
        if not anchor.characters:
            return Place(document, document.start, document.start, 1)
        text, encoding = self._read_again(anchor)
        span = encoding.token_to_chars(position - anchor.position)
        assert span is not None
        start, stop = span
        byte_start = byte_after(document, anchor.byte, text[:start])
        byte_stop = byte_after(document, byte_start, text[start:stop])
        return Place(document, byte_start, byte_stop, anchor.line + line_ends(text, start))

    def _read_again(self, anchor: _Anchor) -> tuple[str, Encoding]:
        """Return the text of a part and its tokens; the latest part is remembered."""
        if self._recent is None or self._recent[0] != anchor:
            text = ""
            for block in anchor.document.blocks(start=anchor.byte):
                text += block[: anchor.characters - len(text)]
                if len(text) == anchor.characters:
                    break
            encoding = self.tokenizer.encode_with_offsets(text)
            if len(encoding) != anchor.tokens:
                raise InputError(f"{anchor.document.name}: changed while it was being read; run again")
            self._recent = (anchor, text, encoding)
        return self._recent[1:]
