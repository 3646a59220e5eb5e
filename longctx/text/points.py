"""Where texts are to begin and end: at a line, after a share of the bytes, or before a line that matches.

What `--until` reads of a point is what `--since` leaves out: nothing is in both, and nothing in neither.

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
    """A place between lines, as it was `given`: behind a line, at a share of all bytes, before a match."""

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
    """The `byte` of a point, if a document has it; the `line` before that; the document's `last` line."""

    byte: int | None
    line: int
    last: int


def cut(corpus: Corpus, since: Point | None, until: Point | None) -> None:
    """Let the texts of a corpus begin and end at points, and note in it what was left out.

    Raises:
        InputError: when nothing stands between, no line matches, a pattern takes too long, or a line is named
            where there are several documents, or lines have no numbers of their own.
    """
    whole, of = corpus.bytes, len(corpus.documents)
    if since:
        _begin(corpus, since)
    if until:
        _end(corpus, until, whole, of, since)


def _begin(corpus: Corpus, point: Point) -> None:
    """Leave out what stands before a point."""
    documents, of = corpus.documents, len(corpus.documents)
    number, told = _find(corpus, point, "--since", corpus.bytes, 0)
    rest = told.byte is not None and told.byte < documents[number].end
    if rest:
        assert told.byte is not None
        documents[number] = replace(documents[number], start=told.byte, first_line=told.line + 1)
    del documents[: number + (not rest)]
    if not documents:
        raise InputError(f"--since {point.given}: nothing stands behind it; name an earlier place")
    first = documents[0]
    last = told.last if rest else _place(first, lambda *_: None).last
    place = Span(first, first.start, first.start, first.first_line, first.first_line)
    corpus.since = Cut(point.given, str(place), first.first_line, last, len(documents), of)


def _end(corpus: Corpus, point: Point, whole: int, of: int, since: Point | None) -> None:
    """Leave out what stands behind a point.

    Args:
        whole, of: bytes and number of all texts, before their beginning was left out.
        since: where it was left out up to. The line that its pattern has found does not count here.
    """
    documents, passed = corpus.documents, since is not None and since.pattern is not None
    number, told = _find(corpus, point, "--until", whole, passed)
    if told.byte is not None:
        begun = told.byte > documents[number].start
        documents[number:] = [replace(documents[number], end=told.byte, cut=True)] * begun
        if documents and not begun:  # the one before ends where it always did
            told = _place(documents[-1], lambda *_: None)
    if not documents and since:
        ends = "give the earlier place to --since, and the later to --until"
        raise InputError(f"nothing stands between --since {since.given} and --until {point.given}; {ends}")
    if not documents:
        raise InputError(f"--until {point.given}: nothing stands before it; name a later place")
    document = documents[-1]
    place = Span(document, document.end, document.end, told.line, told.line)
    corpus.until = Cut(point.given, str(place), told.line, told.last, len(documents), of)


def _find(corpus: Corpus, point: Point, option: str, whole: int, passed: int) -> tuple[int, _Place]:
    """Return the number of the document that a point is in, or of the last one, and the place in it."""
    documents = corpus.documents
    if point.line and (len(documents) > 1 or documents[0].place):
        why = f"there are {len(documents):,} documents" if len(documents) > 1 else "its lines have no numbers"
        raise InputError(f"{option} {point.given}: {why}; give a percentage, or a pattern of a line")
    search = _Search(point.pattern, f"{option} {point.given}", passed) if point.pattern else None
    before = whole - corpus.bytes  # left out already
    told = _Place(None, 0, 0)
    with corpus.meter.stage("finding the place", corpus.bytes):
        for number, document in enumerate(documents):
            told = _place(document, search or _stop(point, document, int(whole * point.share) - before))
            if told.byte is not None:
                return number, told
            before += document.end - document.start
    if point.pattern:
        raise InputError(f"{option} {point.given}: no line matches, so there is no such place")
    return len(documents) - 1, told


def _stop(point: Point, document: Document, bytes_: int) -> Stop:
    """Return what finds a line or share in a document, of whose bytes so many are within the share."""
    if point.line:
        return lambda span, _: (
            max(0, point.line + 1 - span.first_line) if span.last_line > point.line else None
        )
    at = document.start + max(0, bytes_)

    def stop(span: Span, text: str) -> int | None:
        if span.byte_end <= at:
            return None
        within = document.read(span.byte_start, at).decode(document.encoding, "replace")
        return line_ends(text, len(within))

    return stop


class _Search:
    """Looks for a pattern line by line; a line that goes on is searched once it is whole, if it ever is.

    Args:
        given: the option, as it was typed. passed: so many lines at the beginning do not count.
    """

    def __init__(self, pattern: "re.Pattern[str]", given: str, passed: int) -> None:
        self._search, self._given, self._passed, self._rest = pattern.search, given, passed, ""

    def __call__(self, span: Span, text: str) -> int | None:
        """Return the number of lines before the first that matches."""
        lines = LINE_END.split(text) if "\r" in text else text.split("\n")
        lines[0] = self._rest + lines[0]
        last = span.byte_end == span.document.end or len(lines[-1]) > LONGEST
        self._rest = "" if last else lines.pop()
        passed, self._passed = self._passed, max(0, self._passed - len(lines))
        try:
            with signals.within(SECONDS):
                counted = enumerate(lines[passed:], passed)
                return next((number for number, line in counted if self._search(line)), None)
        except TimeoutError as error:
            hint = "a pattern without repeats inside repeats is faster"
            raise InputError(f"{self._given}: takes too long to look for; {hint}") from error


def _place(document: Document, stop: Stop) -> _Place:
    """Find the place in a document where `stop` says; count all of its lines."""
    begun, found = document.start, None  # where the line begins that the text so far ends in
    line = last = 0
    for span, text in stretches(whole(document), STEP):
        if found is None and (before := stop(span, text)) is not None:
            found = byte_after(document, span.byte_start, text[: _after(text, before)]) if before else begun
            line = span.first_line + before - 1
        ended = text.endswith(("\n", "\r"))
        last = span.last_line - ended
        if ended:
            begun = span.byte_end
        elif found is None and (ends := line_ends(text)):
            begun = byte_after(document, span.byte_start, text[: _after(text, ends)])
    return _Place(found, line if found is not None else last, last)


def _after(text: str, ends: int) -> int:
    """Return where the text goes on after so many line ends."""
    found = LINE_END.finditer(text)
    for _ in range(ends - 1):
        next(found)
    return next(found).end()
