"""Where texts are to end: at a line, after a share of the bytes, or before the first line that matches.

Documents are cut before anything looks into them, so that nothing can know what comes later.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Self

from longctx import signals
from longctx.errors import InputError
from longctx.text.document import Corpus, Cut, Document
from longctx.text.offsets import byte_after, line_ends
from longctx.text.span import Span
from longctx.text.stretches import stretches, whole

STEP = 1 << 18  # characters that are searched in one go, about
LONGEST = 1 << 20  # characters of a line that are searched together
SECONDS = 5.0  # for a step; a pattern that does not run away takes some milliseconds
LINE_END = re.compile(r"\r\n|\r|\n")
# Some text -> the number of its lines before the first that is not to be read; None: all of them are.
Stop = Callable[[Span, str], int | None]


@dataclass(frozen=True)
class Point:
    """Where to stop, as it was `given`: behind a line, at a share of all bytes, before a pattern's line."""

    given: str
    line: int = 0
    share: float = 0.0
    pattern: "re.Pattern[str] | None" = None

    @classmethod
    def parse(cls, given: str) -> Self:
        """Understand "1200", "40%", or else a regular expression.

        Raises:
            ValueError: saying what is wrong with it.
        """
        if given.isascii() and given.isdigit():
            if not int(given):
                raise ValueError("lines count from 1")
            return cls(given, line=int(given))
        if share := re.fullmatch(r"(\d{1,3}(?:\.\d*)?) ?%", given, re.ASCII):
            if not 0 < float(share[1]) <= 100:
                raise ValueError("a share is more than 0% and at most 100%")
            return cls(given, share=float(share[1]) / 100)
        try:
            return cls(given, pattern=re.compile(given))
        except (re.error, OverflowError, RecursionError) as error:
            raise ValueError(f"no line, percentage or regular expression: {error}") from error


@dataclass(frozen=True)
class _Place:
    """The `byte` to stop at, if there is one in a document; its last `line` before that; how many it has."""

    byte: int | None
    line: int
    lines: int


def cut(corpus: Corpus, point: Point) -> None:
    """End the texts of a corpus at a point, and note there what was left out.

    Raises:
        InputError: when nothing stands before the point, no line matches, a pattern takes too long, or a line
            is named where there are several documents, or lines have no numbers of their own.
    """
    documents = corpus.documents
    if point.line and (len(documents) > 1 or documents[0].place):
        why = f"there are {len(documents):,} documents" if len(documents) > 1 else "its lines have no numbers"
        raise InputError(f"--until {point.given}: {why}; give a percentage, or a pattern of a line")
    before, of, told = 0, len(documents), _Place(None, 0, 0)
    total = corpus.bytes  # a sum over all documents: once, not for each
    with corpus.meter.stage("finding where to stop", total):
        for number, document in enumerate(documents):
            last, told = (
                told,
                _end(document, _stop(point, document, int(total * point.share) - before)),
            )
            if told.byte is not None:
                begun = told.byte > document.start
                documents[number:] = [replace(document, end=told.byte, cut=True)] * begun
                told = told if begun else last
                break
            before += document.end - document.start
        else:
            if point.pattern:
                raise InputError(f"--until {point.given}: no line matches, so there is no place to stop")
    if not documents:
        raise InputError(f"--until {point.given}: nothing stands before it; name a later place")
    document = documents[-1]
    place = Span(document, document.end, document.end, told.line, told.line)
    corpus.cut = Cut(point.given, str(place), told.line, told.lines, len(documents), of)


def _stop(point: Point, document: Document, bytes_: int) -> Stop:
    """Return what finds a point in a document; of its bytes, so many are within the share."""
    if point.pattern:
        return _Search(point.pattern, point.given)
    if point.line:
        return lambda span, _: point.line + 1 - span.first_line if span.last_line > point.line else None
    at = document.start + bytes_

    def stop(span: Span, text: str) -> int | None:
        if span.byte_end <= at:
            return None
        within = document.read(span.byte_start, at).decode(document.encoding, "replace")
        return line_ends(text, len(within))

    return stop


class _Search:
    """Looks for a pattern line by line; a line that goes on is searched once it is whole, if it ever is."""

    def __init__(self, pattern: "re.Pattern[str]", given: str) -> None:
        self._search, self._given, self._rest = pattern.search, given, ""

    def __call__(self, span: Span, text: str) -> int | None:
        """Return the number of lines before the first that matches."""
        lines = LINE_END.split(text) if "\r" in text else text.split("\n")
        lines[0] = self._rest + lines[0]
        last = span.byte_end == span.document.end or len(lines[-1]) > LONGEST
        self._rest = "" if last else lines.pop()
        try:
            with signals.within(SECONDS):
                return next((number for number, line in enumerate(lines) if self._search(line)), None)
        except TimeoutError as error:
            hint = "a pattern without repeats inside repeats is faster"
            raise InputError(f"--until {self._given}: takes too long to look for; {hint}") from error


def _end(document: Document, stop: Stop) -> _Place:
    """Find where a document is to stop; count all of its lines."""
    begun, found = document.start, None  # where the line begins that the text so far ends in
    line, lines = 0, 0
    for span, text in stretches(whole(document), STEP):
        if found is None and (before := stop(span, text)) is not None:
            found = byte_after(document, span.byte_start, text[: _after(text, before)]) if before else begun
            line = span.first_line + before - 1
        ended = text.endswith(("\n", "\r"))
        lines = span.last_line - ended
        if ended:
            begun = span.byte_end
        elif found is None and (ends := line_ends(text)):
            begun = byte_after(document, span.byte_start, text[: _after(text, ends)])
    return _Place(found, line if found is not None else lines, lines)


def _after(text: str, ends: int) -> int:
    """Return where the text goes on after so many line ends."""
    found = LINE_END.finditer(text)
    for _ in range(ends - 1):
        next(found)
    return next(found).end()
