"""Stream documents as token ids in bounded memory; each position leads back to bytes and lines.

Knows documents and a tokenizer, not models.
"""

import hashlib
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from operator import attrgetter

from tokenizers import Encoding

from longctx.errors import InputError
from longctx.text.offsets import byte_after, line_ends
from longctx.text.source import Document
from longctx.text.span import Span
from longctx.tokens.tokenizer import Tokenizer

WINDOW = 1 << 14  # characters encoded at once; larger windows leave the processor's caches
BATCH = 8  # windows encoded side by side
LONGEST = 1 << 20  # characters without a place to cut: more take hundreds of bytes each while encoded
DIGEST = 16  # bytes of it
APART = 16  # chunks between documents at whose beginning one ends, at least


@dataclass(frozen=True, slots=True)
class Anchor:
    """What is kept of a window (text between two cuts): enough to read it again.

    Attributes:
        position: of its first token, counted from the start of the stream.
        part: number of the document or span that it is of, in the stream.
        span: where it stands; empty for a header, which stands before its document.
        digest: of its text, see `digest`.
    """

    position: int
    tokens: int
    part: int
    span: Span
    digest: bytes

    @property
    def end(self) -> int:
        """Return the position after its last token."""
        return self.position + self.tokens


def digest(text: str) -> bytes:
    """Return 16 bytes (BLAKE2b) that tell a text from all others."""
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=DIGEST).digest()


class TokenStream:
    """Documents in, chunks of exactly `chunk` tokens out, as if encoded whole: all but texts without any cut
    in LONGEST characters, such as megabytes of one letter. The last may be shorter, and those before a
    document that begins APART chunks or more behind the last such: a snapshot there outlives a change to it.

    A span is read as a document of its own, but its tokens are located in the one that it is of.

    `bytes_read` grows while iterating; iterating again starts again. A header is encoded by itself, before
    its document. Memory: some windows of text, one chunk, 400 bytes per window already read.

    Attributes:
        anchors: one for each window encoded so far, in order.
        border: where the last chunk ended that was cut short for a document.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        documents: Sequence[Document | Span],
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
        self.begin_after((), 0)

    def begin_after(self, anchors: Sequence[Anchor], position: int) -> None:
        """Let the next iteration go on at a position, where all windows of `anchors` are read already.

        Args:
            anchors: of documents of this stream, from the first on.
            position: at or after their end; the tokens between are encoded and dropped.
        """
        self._begun, self._position = tuple(anchors), position
        self._start_over()

    def _start_over(self) -> None:
        self.anchors: list[Anchor] = list(self._begun)
        self.bytes_read = sum(one.span.byte_end - one.span.byte_start for one in self.anchors)
        self.border = max(borders(((one.position, one.part) for one in self.anchors), self.chunk), default=0)
        self._recent: tuple[Anchor, str, Encoding] | None = None

    @property
    def bytes_total(self) -> int:
        """The bytes of all documents and spans."""
        return sum(
            one.byte_end - one.byte_start if isinstance(one, Span) else one.end - one.start
            for one in self.documents
        )

    def __iter__(self) -> Iterator[list[int]]:
        self._start_over()
        held: list[int] = []
        surplus = self._position - (self._begun[-1].end if self._begun else 0)
        for encoded in self._encoded():
            if self._passes_border() and held:
                yield held
                held = []
            tokens, surplus = encoded[surplus:], max(0, surplus - len(encoded))
            held += tokens
            full = len(held) - len(held) % self.chunk
            for start in range(0, full, self.chunk):
                yield held[start : start + self.chunk]
            del held[:full]
        if held:
            yield held

    def _passes_border(self) -> bool:
        """Tell whether a chunk ends before the window that was encoded last."""
        *before, last = self.anchors[-2:]
        begins = bool(before) and before[0].part != last.part
        if far := begins and last.position - self.border >= APART * self.chunk:
            self.border = last.position
        return far

    def _encoded(self) -> Iterator[list[int]]:
        """Yield the tokens of a few windows at a time, and leave an anchor for each."""
        position = self._begun[-1].end if self._begun else 0
        for batch in self._batches():
            encoded = self.tokenizer.encode_batch([text for *_, text in batch])
            for (part, span, text), tokens in zip(batch, encoded, strict=True):
                self.anchors.append(Anchor(position, len(tokens), part, span, digest(text)))
                self.bytes_read += span.byte_end - span.byte_start
                position += len(tokens)
                yield tokens

    def _batches(self) -> Iterator[list[tuple[int, Span, str]]]:
        batch: list[tuple[int, Span, str]] = []
        characters = 0
        for part, span, text in self._windows():
            batch.append((part, span, text))
            characters += len(text)
            if characters >= BATCH * self.window:
                yield batch
                batch, characters = [], 0
        if batch:
            yield batch

    def _windows(self) -> Iterator[tuple[int, Span, str]]:
        """Yield the windows behind those that are read already, each with the number of its document."""
        spans = [each if isinstance(each, Span) else _whole(each) for each in self.documents]
        last = self._begun[-1] if self._begun else None
        if last is not None:
            part = spans[last.part]
            yield from self._windows_of(last.part, part, last.span.byte_end, last.span.last_line)
        for number in range(last.part + 1 if last else 0, len(spans)):
            span = spans[number]
            document, byte, line = span.document, span.byte_start, span.first_line
            if self.header is not None:
                yield number, Span(document, byte, byte, line, line), self.header(document)
            yield from self._windows_of(number, span, byte, line)

    def _windows_of(self, number: int, span: Span, byte: int, line: int) -> Iterator[tuple[int, Span, str]]:
        """Yield the windows of a span from a cut on."""
        document, held = span.document, ""
        for piece in self._cut(replace(document, start=byte, end=span.byte_end)):
            text = held + piece
            window = Span(document, byte, byte_after(document, byte, text), line, line + line_ends(text))
            # After a damaged byte the bytes of a window alone may decode to another text.
            held = text if "\ufffd" in text and window.text() != text else ""
            if not held:
                yield number, window, text
                byte, line = window.byte_end, window.last_line
        if held:
            yield number, window, held

    def _cut(self, document: Document) -> Iterator[str]:
        """Cut at the last place inside a window, or else (one very long word) at the first place after it."""
        text, searched = "", 0  # a too long text has no cut before `searched`
        for block in document.blocks():
            text += block
            start = 0
            while len(text) - start > self.window:
                cut = self._next_cut(text, start, searched) or _forced_cut(text, start)
                if not cut:
                    searched = len(text) - 1 - start
                    break
                yield text[start:cut]
                start, searched = cut, 0
            text = text[start:]
        if text:
            yield text

    def _next_cut(self, text: str, start: int, searched: int) -> int:
        """Return where tokens end for certain, or 0."""
        boundaries, stop = self.tokenizer.boundaries, start + self.window
        if boundaries is None:
            return 0
        return (0 if searched else boundaries.last(text, start, stop)) or boundaries.first(
            text, max(searched, stop)
        )

    def locate(self, position: int) -> Span | None:
        """Return where a token already read comes from; a header is at the start of its document.

        Raises InputError when the document has changed since it was read.
        """
        if (anchor := self._anchor(position)) is None:
            return None
        window = anchor.span
        if window.byte_start == window.byte_end:
            return window
        text, encoding = self._read_again(anchor)
        characters = encoding.token_to_chars(position - anchor.position)
        assert characters is not None
        start, stop = characters
        byte_start = byte_after(window.document, window.byte_start, text[:start])
        byte_end = byte_after(window.document, byte_start, text[start:stop])
        first, last = (window.first_line + line_ends(text, at) for at in (start, max(start, stop - 1)))
        return Span(window.document, byte_start, byte_end, first, last)

    def tokens(self, position: int, count: int) -> list[int]:
        """Return up to so many tokens from a position on that were read already, of one window.

        None of a header. Raises InputError when the document has changed since it was read.
        """
        anchor = self._anchor(position)
        if anchor is None or anchor.span.byte_start == anchor.span.byte_end:
            return []
        first = position - anchor.position
        return self._read_again(anchor)[1].ids[first : first + count]

    def _anchor(self, position: int) -> Anchor | None:
        """Return the window of a token, if it was read already."""
        index = bisect_right(self.anchors, position, key=attrgetter("position")) - 1
        return self.anchors[index] if index >= 0 and position < self.anchors[index].end else None

    def _read_again(self, anchor: Anchor) -> tuple[str, Encoding]:
        """Return the text of a window and its tokens; the latest window is remembered."""
        if self._recent is None or self._recent[0] != anchor:
            text = anchor.span.text()
            encoding = self.tokenizer.encode_with_offsets(text)
            if len(encoding) != anchor.tokens:
                raise InputError(f"{anchor.span.document.name}: changed while it was being read; run again")
            self._recent = (anchor, text, encoding)
        return self._recent[1:]


def borders(windows: Iterable[tuple[int, int]], chunk: int) -> Iterator[int]:
    """Yield where documents begin at which a chunk ends.

    Args:
        windows: the position of each, and the number of its document.
    """
    last = part = 0
    for position, number in windows:
        if number != part and position - last >= APART * chunk:
            last = position
            yield position
        part = number


def heading(document: Document) -> str:
    """Return what introduces one of several documents to a model."""
    return f"\n\n==> {document.name} <==\n"


def _forced_cut(text: str, start: int) -> int:
    """Return where to cut a text that has had no place for it for too long: at a line end if there is one."""
    stop = start + LONGEST
    if len(text) <= stop:
        return 0
    line_end = text.rfind("\n", start + LONGEST // 2, stop) + 1
    return line_end or stop - (text[stop - 1 : stop + 1] == "\r\n")  # one line end, if it is not cut


def _whole(document: Document) -> Span:
    """Return all of a document; its last line is not known."""
    return Span(document, document.start, document.end, document.first_line, document.first_line)
