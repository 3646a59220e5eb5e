"""The lines of a document, streamed, each located when it is asked for."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from longctx.text.offsets import byte_after, line_ends
from longctx.text.source import Document
from longctx.text.span import Quote, Span

LONGEST = 1000  # characters of a line that is looked at
KEPT = 1 << 20  # characters that are kept while no line ends


@dataclass(frozen=True, slots=True)
class Line:
    """A line without its end, and its place."""

    document: Document
    byte: int
    text: str
    number: int

    def quote(self) -> Quote:
        """Return the line without white space around it, and its place."""
        body = self.text.strip()
        lead = self.text[: len(self.text) - len(self.text.lstrip())]
        start = byte_after(self.document, self.byte, lead)
        end = byte_after(self.document, start, body)
        return Quote(Span(self.document, start, end, self.number, self.number), body)


def lines(document: Document, wanted: re.Pattern[str] | None = None) -> Iterator[Line]:
    """Yield the lines of a document; with a pattern of small letters, only those in which it is found."""
    byte, number, rest = document.start, document.first_line, ""
    for block in _with_end(document.blocks()):
        text = rest + (block or "")
        cut = len(text) if block is None or len(text) > KEPT else text.rfind("\n") + 1
        whole, rest = text[:cut], text[cut:]
        if not wanted or wanted.search(_small(whole)):
            yield from _of_block(document, byte, number, whole, wanted)
        byte = byte_after(document, byte, whole)
        number += line_ends(whole)


def _of_block(
    document: Document, byte: int, number: int, whole: str, wanted: re.Pattern[str] | None
) -> Iterator[Line]:
    simple = "\r" not in whole
    if wanted and (simple or whole.count("\r") == whole.count("\r\n")):
        yield from _found(document, byte, number, whole, wanted)
        return
    at = measured = 0
    for count, line in enumerate(whole.split("\n") if simple else whole.splitlines(keepends=True)):
        body = line if simple else line.rstrip("\r\n")
        if len(body) <= LONGEST and (not wanted or wanted.search(_small(body))):
            byte, measured = byte_after(document, byte, whole[measured:at]), at
            yield Line(document, byte, body, number + count if simple else number + line_ends(whole, at))
        at += len(line) + simple


def _found(document: Document, byte: int, number: int, whole: str, wanted: re.Pattern[str]) -> Iterator[Line]:
    """Yield the lines in which a pattern is found, without a look at the others."""
    # Whatever the case: a pattern that ignores it is looked for twenty times as slowly.
    at, search, small = 0, wanted.search, _small(whole)
    while found := search(small, at):
        start = whole.rfind("\n", at, found.start()) + 1 or at
        end = whole.find("\n", found.end())
        end = len(whole) if end < 0 else end
        byte, number = byte_after(document, byte, whole[at:start]), number + whole.count("\n", at, start)
        if end - start <= LONGEST:
            yield Line(document, byte, whole[start:end].removesuffix("\r"), number)
        byte, number, at = byte_after(document, byte, whole[start : end + 1]), number + 1, end + 1


def _small(text: str) -> str:
    """Return a text of the same length in small letters."""
    return text.replace("\u0130", "i").lower()  # the only letter that becomes two


def _with_end(blocks: Iterator[str]) -> Iterator[str | None]:
    yield from blocks
    yield None
