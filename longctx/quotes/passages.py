"""Cut documents into passages with their places.

Text is streamed: at most one block and one paragraph of a document are held.
"""

import math
import re
from collections.abc import Iterable, Iterator

from longctx.quotes.prose import LINE, LONGEST_HEADING, heading_level, is_prose
from longctx.quotes.sentences import split_sentences
from longctx.text.offsets import byte_after, line_ends
from longctx.text.source import Document
from longctx.text.span import Quote, Span

MOST_CHARACTERS = 900
ENOUGH_CHARACTERS = 400
MOST_LINES = 20
ENOUGH_LINES = 8
# A paragraph is held whole while it is cut; a text of one line must not be.
LONGEST_PARAGRAPH = 8192

# Atomic groups: without them a lone \r\n would be read as \r and a blank line.
_BLANK_LINES = re.compile(r"(?>\r\n|\r|\n)(?>[^\S\r\n]*(?>\r\n|\r|\n))+")

_SPACES = re.compile(r"\s+")


def passages(document: Document, within: Span | None = None) -> Iterator[Quote]:
    """Yield a document or a span of it in pieces of about 400 to 900 characters, at most 20 lines, in order.

    Pieces end at a paragraph end if one is near, else at sentence ends (prose) or line ends (code, logs,
    tables), else at white space. Only white space lies between one passage and the next.
    """
    if within is None:
        yield from placed(_sized(_paragraphs(document)), document)
        return
    yield from placed(_sized(_paragraphs(within.alone())), document, within.byte_start, within.first_line)


def paragraphs(document: Document, within: Span | None = None) -> Iterator[Quote]:
    """Yield the paragraphs of a document or of a span of it; very long ones are cut."""
    if within is None:
        return placed(_paragraphs(document), document)
    return placed(_paragraphs(within.alone()), document, within.byte_start, within.first_line)


def _paragraphs(document: Document) -> Iterator[str]:
    """Yield paragraphs with the white space after them; joined, they are the document."""
    rest = ""
    for block in document.blocks():
        buffer = rest + block
        start = 0
        for blank in _BLANK_LINES.finditer(buffer):
            yield from _shortened(buffer[start : blank.end()])
            start = blank.end()
        *parts, rest = _shortened(buffer[start:]) or [""]
        yield from parts
    if rest:
        yield rest


def _shortened(paragraph: str) -> list[str]:
    """Cut a very long paragraph into parts, each but the last ending where an atom ends."""
    parts = []
    while len(paragraph) > LONGEST_PARAGRAPH:
        *whole, last = _atoms(paragraph[:LONGEST_PARAGRAPH])
        cut = LONGEST_PARAGRAPH - len(last) if whole else LONGEST_PARAGRAPH
        parts.append(paragraph[:cut])
        paragraph = paragraph[cut:]
    return [*parts, paragraph] if paragraph else parts


def _sized(texts: Iterable[str]) -> Iterator[str]:
    """Join short paragraphs and divide long ones until each piece has a good size."""
    held = ""
    for paragraph in texts:
        if held and heading_level(paragraph):
            yield held
            held = ""
        for part in _divided(paragraph):
            # A heading goes with what follows it, even when that makes the piece a little too long.
            if len(held) > LONGEST_HEADING and not _fits(held + part):
                yield held
                held = ""
            held += part
            if len(held) >= ENOUGH_CHARACTERS or len(LINE.findall(held)) >= ENOUGH_LINES:
                yield held
                held = ""
    if held:
        yield held


def _divided(paragraph: str) -> Iterator[str]:
    """Divide a paragraph that is too long, into equal parts rather than full ones and a scrap."""
    if _fits(paragraph):
        yield paragraph
        return
    size, lines = len(paragraph), line_ends(paragraph)
    count = max(math.ceil(size / MOST_CHARACTERS), math.ceil(lines / MOST_LINES))
    held = ""
    for atom in _atoms(paragraph):
        if held and not _fits(held + atom):
            yield held
            held = ""
        held += atom
        if len(held) >= size / count:
            yield held
            held = ""
    if held:
        yield held


def _fits(text: str) -> bool:
    body = text.rstrip()
    return len(body) <= MOST_CHARACTERS and line_ends(body) < MOST_LINES


def _atoms(text: str) -> Iterator[str]:
    """Yield what should stay whole: sentences of prose, lines of anything else."""
    for unit in split_sentences(text) if is_prose(text) else LINE.findall(text):
        if len(unit) <= MOST_CHARACTERS:
            yield unit
            continue
        for line in LINE.findall(unit):
            for sentence in split_sentences(line):
                yield from _chopped(sentence)


def _chopped(text: str) -> Iterator[str]:
    """Cut text without sentence ends at white space, or else anywhere."""
    while len(text) > MOST_CHARACTERS:
        spaces = [space.end() for space in _SPACES.finditer(text, MOST_CHARACTERS // 2, MOST_CHARACTERS)]
        cut = spaces[-1] if spaces else MOST_CHARACTERS
        yield text[:cut]
        text = text[cut:]
    yield text


def placed(texts: Iterable[str], document: Document, byte: int = -1, line: int = 0) -> Iterator[Quote]:
    """Locate consecutive texts of a document; the first begins at `byte`, in `line`, or where it does."""
    byte, line = (document.start, document.first_line) if byte < 0 else (byte, line)
    after_return = False
    for text in texts:
        body = text.strip()
        start = len(text) - len(text.lstrip())
        for part in (text[:start], body, text[start + len(body) :]):
            byte_start, first_line = byte, line
            if part:
                byte = byte_after(document, byte, part)
                # A \r\n that was cut in two is still one line end.
                line += line_ends(part) - (after_return and part[0] == "\n")
                after_return = part[-1] == "\r"
            if part and part is body:
                yield Quote(Span(document, byte_start, byte, first_line, line), body)
