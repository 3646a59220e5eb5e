"""Cut documents into passages with their places, and find those that share words with a question.

Text is streamed: at most one block and one paragraph of a document are held, and the index is in a
temporary file. No model is asked here: a passage is found by its words, not by its meaning.
"""

import math
import re
import sqlite3
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Self

from longctx.errors import LongctxError, OutputError
from longctx.quotes.prose import (
    LINE,
    LONGEST_HEADING,
    common_words,
    heading_level,
    humps,
    is_prose,
    unspaced_characters,
    with_pairs,
    words,
)
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

BATCH = 256
MOST_NEIGHBOURS = 3  # passages that come as one
NAME_WEIGHT = 0.5  # of a word in a document's name; in its text a word weighs about 1

_SCHEMA = (
    "PRAGMA journal_mode = OFF",
    "PRAGMA synchronous = OFF",
    "PRAGMA cache_size = -16384",
    # Combining marks are parts of words: without them Hindi falls apart.
    "CREATE VIRTUAL TABLE words USING fts5(text, names, content='',"
    " tokenize=\"porter unicode61 remove_diacritics 2 categories 'L* N* Co M*'\")",
    "CREATE TABLE places(row INTEGER PRIMARY KEY, document INTEGER, byte_start INTEGER, byte_end INTEGER,"
    " first_line INTEGER, last_line INTEGER)",
)
_BEST = (
    "SELECT row, document, -bm25(words, 1.0, 0.5) AS score FROM words JOIN places ON row = words.rowid"
    " WHERE words MATCH ? ORDER BY score DESC, row LIMIT ?"
)
_SPAN = (
    "SELECT byte_start, byte_end, first_line, last_line FROM places WHERE row BETWEEN ? AND ? ORDER BY row"
)
_BEST_IN_DOCUMENT = _BEST.replace("MATCH ?", "MATCH ? AND document = ?")

# Atomic groups: without them a lone \r\n would be read as \r and a blank line.
_BLANK_LINES = re.compile(r"(?>\r\n|\r|\n)(?>[^\S\r\n]*(?>\r\n|\r|\n))+")

_SPACES = re.compile(r"\s+")


def passages(document: Document) -> Iterator[Quote]:
    """Yield the document in pieces of about 400 to 900 characters, at most 20 lines, in reading order.

    Pieces end at a paragraph end if one is near, else at sentence ends (prose) or line ends (code, logs,
    tables), else at white space. Only white space lies between one passage and the next.
    """
    yield from placed(_sized(_paragraphs(document)), document)


def paragraphs(document: Document, within: Span | None = None) -> Iterator[Quote]:
    """Yield the paragraphs of a document or of a span of it; very long ones are cut."""
    if within is None:
        return placed(_paragraphs(document), document)
    stretch = replace(document, start=within.byte_start, end=within.byte_end)
    return placed(_paragraphs(stretch), document, within.byte_start, within.first_line)


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


def placed(texts: Iterable[str], document: Document, byte: int = -1, line: int = 1) -> Iterator[Quote]:
    """Locate consecutive texts of a document; the first begins at `byte`, in `line`."""
    byte = document.start if byte < 0 else byte
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


@dataclass(slots=True)
class _Hit:
    """Neighbouring rows `first` to `last` of one document."""

    document: int
    first: int
    last: int
    score: float

    def takes(self, other: "_Hit") -> bool:
        """Merge another hit of one row into this one if it lies beside it."""
        first, last = min(self.first, other.first), max(self.last, other.last)
        near = last - first == self.last - self.first + 1 and last - first < MOST_NEIGHBOURS
        if near and self.document == other.document:
            self.first, self.last = first, last
            return True
        return False


class PassageIndex:
    """The words of passages, in a temporary database that lasts until the index is closed.

    Use it as a context manager: `add` passages in reading order, document after document, then `search`.
    The text is not stored: passages found are read from their documents.
    """

    def __init__(self) -> None:
        # An empty name is SQLite's temporary database: it moves to disk once it outgrows the cache.
        self._database = sqlite3.connect("", isolation_level=None)
        self._documents: list[Document] = []
        self._first_rows: list[int] = []
        self._texts: list[tuple[int, str, str]] = []
        self._places: list[tuple[int, int, int, int, int, int]] = []
        self._added = 0
        try:
            for statement in _SCHEMA:
                self._database.execute(statement)
        except sqlite3.OperationalError as error:
            self._database.close()
            raise LongctxError(
                f"SQLite cannot search text ({error}): use a Python whose SQLite has FTS5"
            ) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._database.close()

    def add(self, passage: Quote) -> None:
        """Index the words of a passage."""
        self._added += 1
        span = passage.span
        if not self._documents or self._documents[-1] is not span.document:
            self._documents.append(span.document)
            self._first_rows.append(self._added)
        lines = span.first_line, span.last_line
        self._texts.append((self._added, with_pairs(passage.text), humps(passage.text)))
        self._places.append((self._added, len(self._documents) - 1, span.byte_start, span.byte_end, *lines))
        if len(self._texts) >= BATCH:
            self._write()

    def search(self, question: str, limit: int) -> list[Quote]:
        """Return up to `limit` passages, best first, ties in reading order; neighbours are joined."""
        self._write()
        chosen: list[_Hit] = []
        for hit in self._hits(question, limit):
            if any(other.takes(hit) for other in chosen):
                continue
            if len(chosen) == limit:
                break
            chosen.append(hit)
        return [self._passage(hit) for hit in chosen]

    def _write(self) -> None:
        try:
            self._database.execute("BEGIN")
            self._database.executemany("INSERT INTO words(rowid, text, names) VALUES (?, ?, ?)", self._texts)
            self._database.executemany("INSERT INTO places VALUES (?, ?, ?, ?, ?, ?)", self._places)
            self._database.execute("COMMIT")
        except sqlite3.OperationalError as error:
            raise OutputError(
                f"the temporary index cannot grow ({error}): set TMPDIR to a folder with room"
            ) from error
        self._texts.clear()
        self._places.clear()

    def _hits(self, question: str, limit: int) -> list[_Hit]:
        """Rank rows by their words and a little by the words in the name of their document."""
        query = _query(question)
        if not query:
            return []
        count = limit * (MOST_NEIGHBOURS + 1)
        scores = {
            (row, document): score for row, document, score in self._database.execute(_BEST, (query, count))
        }
        bonus = self._named(question)
        for document in sorted(bonus, key=lambda n: (-bonus[n], n))[:limit]:
            # A file asked for by name need not hold the words in its text.
            scores.setdefault((self._first_rows[document], document), 0.0)
            for row, _, score in self._database.execute(_BEST_IN_DOCUMENT, (query, document, count)):
                scores[row, document] = score
        hits = [_Hit(n, row, row, score + bonus.get(n, 0.0)) for (row, n), score in scores.items()]
        return sorted(hits, key=lambda hit: (-hit.score, hit.first))

    def _named(self, question: str) -> dict[int, float]:
        """Score the documents whose names share words with the question; rare words count more."""
        asked = set(words(question.lower()))
        having: dict[str, list[int]] = {}
        for number, document in enumerate(self._documents):
            for word in asked.intersection(words(document.name.lower())):
                having.setdefault(word, []).append(number)
        total, bonus = len(self._documents), dict[int, float]()
        for numbers in having.values():
            rarity = math.log(1 + (total - len(numbers) + 0.5) / (len(numbers) + 0.5))
            for number in numbers if total > 1 else ():
                bonus[number] = bonus.get(number, 0.0) + NAME_WEIGHT * rarity
        return bonus

    def _passage(self, hit: _Hit) -> Quote:
        places = self._database.execute(_SPAN, (hit.first, hit.last)).fetchall()
        (byte_start, _, first_line, _), (_, byte_end, _, last_line) = places[0], places[-1]
        span = Span(self._documents[hit.document], byte_start, byte_end, first_line, last_line)
        return Quote(span, span.text(), hit.score)


def _query(question: str) -> str:
    """Write a question as an FTS5 query for any of its words, and for its dotted or dashed names as a whole.

    Every term is quoted, so that nothing in the question is query syntax.
    """
    plain = question.encode("utf-8", "replace").decode("utf-8").replace('"', " ").replace("\0", " ")
    terms: dict[str, None] = {}
    for token in plain.split():
        inside = words(token)
        if len(inside) > 1 and token.isascii():
            terms[f'"{token}"'] = None
        for word in (*inside, *humps(token).split()):
            # A single character without word spaces around it stands at the start of a pair.
            terms[f'"{word}"*' if len(word) == 1 and unspaced_characters(word) else f'"{word}"'] = None
    telling = [term for term in terms if term.strip('"*').lower() not in common_words()]
    return " OR ".join(telling or terms)
