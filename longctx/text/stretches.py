"""Cut long documents into stretches that keep their place: one after the other, or overlapping.

Documents are streamed; a few stretches of some kilobytes are held. Knows no tokens and no words.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import replace

from longctx.text.offsets import byte_after, line_ends
from longctx.text.source import Document
from longctx.text.span import Span


def whole(document: Document) -> Span:
    """Return a document as a span; its last line is not counted."""
    return Span(document, document.start, document.end, document.first_line, document.first_line)


def stretches(span: Span, size: int) -> Iterator[tuple[Span, str]]:
    """Cut a span into stretches of about `size` characters, twice as many at most, each with its place.

    They end where lines do; in very long lines, at white space; and where there is none, anywhere.
    """
    document = span.document
    byte, line = span.byte_start, span.first_line
    for text in _cut(span.alone(), size):
        end, last = byte_after(document, byte, text), line + line_ends(text)
        yield Span(document, byte, end, line, last), text
        byte, line = end, last


def _cut(document: Document, size: int) -> Iterator[str]:
    rest = ""
    for block in document.blocks(size):
        text = rest + block
        cut = text.rfind("\n") + 1
        if not cut and len(text) >= size:
            cut = text.rfind(" ") + 1 or len(text) - text.endswith("\r")  # a \r\n stays one line end
        if cut:
            yield text[:cut]
        rest = text[cut:]
    if rest:
        yield rest


def overlapping(span: Span, size: int, overlap: int) -> Iterator[Span]:
    """Cut a span into pieces of about `size` bytes at most; each shares `overlap` bytes with the one before.

    Whatever is shorter than `overlap`, with some lines around it, stands whole in one of them.
    """
    held: deque[Span] = deque()
    fresh = False
    for one, _ in stretches(span, max(1, overlap // 2)):
        if fresh and one.byte_end - held[0].byte_start > size:
            yield _joined(held)
            while len(held) > 1 and held[-1].byte_end - held[1].byte_start >= overlap:
                held.popleft()
            fresh = False
        held.append(one)
        fresh = True
    if fresh:
        yield _joined(held)


def _joined(held: deque[Span]) -> Span:
    return replace(held[0], byte_end=held[-1].byte_end, last_line=held[-1].last_line)


def parts(spans: Iterable[Span], size: int, overlap: int) -> Iterator[list[Span]]:
    """Group spans into parts of at most about `size` bytes; what is longer is cut into overlapping pieces."""
    part: list[Span] = []
    held = 0
    for span in spans:
        for piece in overlapping(span, size, overlap) if _size(span) > size else (span,):
            if part and held + _size(piece) > size:
                yield part
                part, held = [], 0
            part.append(piece)
            held += _size(piece)
    if part:
        yield part


def _size(span: Span) -> int:
    return span.byte_end - span.byte_start


def widened(span: Span, most: int) -> Span:
    """Return a span with up to `most` bytes more on each side, as far as whole lines or words go."""
    document = span.document
    most -= most % 4  # two-byte encodings stay in step
    first, last = max(document.start, span.byte_start - most), min(document.end, span.byte_end + most)
    before = replace(span, byte_start=first, byte_end=span.byte_start).text()
    after = replace(span, byte_start=span.byte_end, byte_end=last).text()
    head = 0 if first == document.start else (before.find("\n") + 1 or before.find(" ") + 1 or len(before))
    tail = len(after) if last == document.end else after.rfind("\n") + 1 or after.rfind(" ") + 1
    return Span(
        document,
        byte_after(document, first, before[:head]),
        byte_after(document, span.byte_end, after[:tail]),
        span.first_line - line_ends(before[head:]),
        span.last_line + line_ends(after[:tail]),
    )


def merged(spans: Iterable[Span]) -> Iterator[Span]:
    """Join spans in reading order that touch or overlap."""
    held: Span | None = None
    for span in spans:
        if held and held.document is span.document and span.byte_start <= held.byte_end:
            if span.byte_end > held.byte_end:
                held = replace(held, byte_end=span.byte_end, last_line=span.last_line)
            continue
        if held:
            yield held
        held = span
    if held:
        yield held
