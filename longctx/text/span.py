"""Where words stand in a document, and the words themselves. Knows no tokens."""

import re
from dataclasses import dataclass, replace

from longctx.text.offsets import byte_after
from longctx.text.places import lines
from longctx.text.source import Document

REACH = 500  # bytes of its line quoted on each side of an answer
CUT = "[...]"
LINE_END = re.compile(r"[\r\n]")


@dataclass(frozen=True, slots=True)
class Span:
    r"""Bytes `[byte_start, byte_end)` of `document.path`, and the lines they stand in; written `name:3-5`.

    Lines count from 1 within the document; \n, \r\n and \r each end one.
    """

    document: Document
    byte_start: int
    byte_end: int
    first_line: int
    last_line: int

    def text(self) -> str:
        """Read and decode the bytes again; undecodable ones become U+FFFD."""
        return self.document.read(self.byte_start, self.byte_end).decode(self.document.encoding, "replace")

    def alone(self) -> Document:
        """Return it as a document of its own; places in it are those in the whole one."""
        start, end = self.byte_start, self.byte_end
        return replace(self.document, start=start, end=end, first_line=self.first_line)

    def __str__(self) -> str:
        place = self.document.place
        return self.document.name + (place(self) if place else f":{lines(self.first_line, self.last_line)}")


@dataclass(frozen=True, slots=True)
class Quote:
    """Verbatim words of a document, and where they stand.

    `score` ranks quotes by how well they fit a question or sum up a text; None if nothing was ranked.
    """

    span: Span
    text: str
    score: float | None = None

    def within(self, document: Document) -> "Quote":
        """Return it as a quote of the document that its own is a part of."""
        return replace(self, span=replace(self.span, document=document))


def line_around(span: Span) -> Quote:
    """Quote the span's line; cut a long one REACH bytes away and mark it with CUT.

    The bytes of the quote are those between the marks.
    """
    document = span.document
    first, last = max(document.start, span.byte_start - REACH), min(document.end, span.byte_end + REACH)
    before = replace(span, byte_start=first, byte_end=span.byte_start).text()
    after = replace(span, byte_start=span.byte_end, byte_end=last).text()
    head, tail = LINE_END.split(before)[-1], LINE_END.split(after)[0]
    starts, ends = first == document.start or head != before, last == document.end or tail != after
    if not starts:  # begin with a whole word
        head = re.sub(r"\A(?:\S*\s+|\ufffd*)", "", head)
    if not ends:
        tail = re.sub(r"(?:\s+\S*|\ufffd*)\Z", "", tail, count=1)
    line = replace(
        span,
        byte_start=byte_after(document, first, before[: len(before) - len(head)]),
        byte_end=byte_after(document, span.byte_end, tail),
    )
    return Quote(line, " ".join([CUT] * (not starts) + [line.text()] + [CUT] * (not ends)))
