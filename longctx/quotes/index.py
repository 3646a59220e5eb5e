"""An index of passages that finds those which share words with a question, best first.

The index is in a temporary file. No model is asked here: a passage is found by its words, not by its meaning.
"""

import math
import sqlite3
from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from longctx.errors import LongctxError, OutputError
from longctx.quotes.prose import common_words, humps, with_pairs, words
from longctx.quotes.second_look import PHRASES_WEIGHT, ROWS, Look
from longctx.quotes.stems import JUDGED, TOKENIZER, Stems, cut_foreign, cut_latin, is_foreign_latin
from longctx.quotes.terms import phrases_of, terms_of
from longctx.text.source import Document
from longctx.text.span import Quote, Span

BATCH = 256
MOST_TERMS = 200  # of a question, as of one with a page pasted into it
MOST_NEIGHBOURS = 3  # passages that come as one
SHORT = 16  # passages of a text that can be shown from the start, if its words say nothing
NAME_WEIGHT = 0.5  # of a word in a document's name; in its text a word weighs about 1

_SCHEMA = (
    "PRAGMA journal_mode = OFF",
    "PRAGMA synchronous = OFF",
    "PRAGMA cache_size = -16384",
    f"CREATE VIRTUAL TABLE words USING fts5(text, names, stems, content='', tokenize=\"{TOKENIZER}\")",
    "CREATE TABLE places(row INTEGER PRIMARY KEY, document INTEGER, byte_start INTEGER, byte_end INTEGER,"
    " first_line INTEGER, last_line INTEGER)",
)
_BEST = (
    "SELECT row, document, -bm25(words, 1.0, 0.5, 1.0) AS score FROM words JOIN places ON row = words.rowid"
    " WHERE words MATCH ? ORDER BY score DESC, row LIMIT ?"
)
_SPAN = (
    "SELECT byte_start, byte_end, first_line, last_line FROM places WHERE row BETWEEN ? AND ? ORDER BY row"
)
_BEST_IN_DOCUMENT = _BEST.replace("MATCH ?", "MATCH ? AND document = ?")
_SCORES = "SELECT rowid, -bm25(words, 1.0, 0.5, 1.0) FROM words"
_KEPT = "CREATE TABLE documents(number INTEGER, first_row INTEGER, is_foreign INTEGER)"
_HAVING = "SELECT count(*) FROM words WHERE words MATCH ?"


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
        self._begin()
        # An empty name is SQLite's temporary database: it moves to disk once it outgrows the cache.
        self._database = sqlite3.connect("", isolation_level=None)
        try:
            for statement in _SCHEMA:
                self._database.execute(statement)
        except sqlite3.OperationalError as error:
            self._database.close()
            raise LongctxError(
                f"SQLite cannot search text ({error}): use a Python whose SQLite has FTS5"
            ) from error

    def _begin(self) -> None:
        self._documents: list[Document] = []
        self._first_rows: list[int] = []
        self._foreign: list[bool] = []  # of documents: of Latin letters, but not English
        self._texts: list[tuple[int, str, str, str]] = []
        self._places: list[tuple[int, int, int, int, int, int]] = []
        self._added = 0
        self._stems = Stems()

    @classmethod
    def load(cls, path: Path, documents: Sequence[Document]) -> Self:
        """Open an index that was saved, of documents that are still the same; nothing can be added to it.

        Raises:
            sqlite3.Error, LookupError: when the file is no such index.
        """
        index = cls.__new__(cls)
        index._begin()
        index._database = sqlite3.connect(f"{path.as_uri()}?immutable=1", uri=True, isolation_level=None)
        try:
            for number, row, foreign in index._database.execute("SELECT * FROM documents ORDER BY first_row"):
                index._documents.append(documents[number])
                index._first_rows.append(row)
                index._foreign.append(bool(foreign))
            (index._added,) = index._database.execute("SELECT count(*) FROM places").fetchone()
        except BaseException:
            index.__exit__()
            raise
        return index

    def save(self, path: Path, documents: Sequence[Document]) -> None:
        """Write the index to a new file, its documents as numbers among those given.

        Raises:
            sqlite3.Error: when it cannot be written.
        """
        self._write()
        numbers = {id(document): number for number, document in enumerate(documents)}
        own = [numbers[id(document)] for document in self._documents]
        with closing(sqlite3.connect(path, isolation_level=None)) as target:
            self._database.backup(target)
            target.execute(_KEPT)
            rows = zip(own, self._first_rows, self._foreign, strict=True)
            target.executemany("INSERT INTO documents VALUES (?, ?, ?)", rows)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._database.close()
        self._stems.close()

    @property
    def count(self) -> int:
        """The number of passages."""
        return self._added

    def add(self, passage: Quote) -> None:
        """Index the words of a passage."""
        self._added += 1
        span = passage.span
        if not self._documents or self._documents[-1] is not span.document:
            self._documents.append(span.document)
            self._first_rows.append(self._added)
            self._foreign.append(is_foreign_latin(next(span.document.blocks(JUDGED), "")))
        lines = span.first_line, span.last_line
        stems = cut_latin(passage.text) if self._foreign[-1] else ""
        text = with_pairs(cut_foreign(passage.text))
        self._texts.append((self._added, text, humps(passage.text), stems))
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

    def beginning(self, limit: int) -> list[Quote]:
        """Return up to `limit` passages from the start on; none of a text that has many more."""
        self._write()
        if self._added > SHORT:
            return []
        chosen: list[_Hit] = []
        for row, document in self._database.execute("SELECT row, document FROM places ORDER BY row"):
            hit = _Hit(document, row, row, 0.0)
            if not any(other.takes(hit) for other in chosen):
                chosen.append(hit)
        return [self._passage(hit) for hit in chosen[:limit]]

    def look(self, question: str, document: Document) -> Look:
        """Return the question's telling words and their rarity, as a document that was added holds them."""
        foreign = any(
            foreign for one, foreign in zip(self._documents, self._foreign, strict=True) if one is document
        )
        return self._look(question, foreign)

    def _write(self) -> None:
        if not self._texts:
            return
        try:
            self._database.execute("BEGIN")
            self._database.executemany(
                "INSERT INTO words(rowid, text, names, stems) VALUES (?, ?, ?, ?)", self._texts
            )
            self._database.executemany("INSERT INTO places VALUES (?, ?, ?, ?, ?, ?)", self._places)
            self._database.execute("COMMIT")
        except sqlite3.OperationalError as error:
            raise OutputError(
                f"the temporary index cannot grow ({error}): set TMPDIR to a folder with room"
            ) from error
        self._texts.clear()
        self._places.clear()

    def _hits(self, question: str, limit: int) -> list[_Hit]:
        """Rank rows by their words and a little by those in the name of their document, then look closer."""
        terms = self._rarest(terms_of(question))
        if not terms:
            return []
        query = _any_of(terms, any(self._foreign))
        count = min(max(ROWS, limit * (MOST_NEIGHBOURS + 1)), self._added)
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
        hits.sort(key=lambda hit: (-hit.score, hit.first))
        return self._second_look(question, hits)

    def _rarest(self, terms: list[str]) -> list[str]:
        """Return the terms that decide: for very many, each row would be compared with each of them."""
        if len(terms) <= MOST_TERMS:
            return terms
        foreign = any(self._foreign)
        having = {term: self._count(_any_of([term], foreign)) for term in terms}
        return sorted((term for term in terms if having[term]), key=having.__getitem__)[:MOST_TERMS]

    def _count(self, query: str) -> int:
        """Return how many rows match."""
        (count,) = self._database.execute(_HAVING, (query,)).fetchone()
        return int(count)

    def _second_look(self, question: str, hits: list[_Hit]) -> list[_Hit]:
        """Rank the best rows anew: a row also counts for the question's words that stand close together."""
        best = hits[0].score if hits else 0.0
        if best <= 0:
            return hits
        phrases = self._phrases(question, hits[:ROWS])
        looks = {foreign: self._look(question, foreign) for foreign in set(self._foreign)}
        for hit in hits:
            hit.score /= best
        for hit in hits[:ROWS]:
            text = with_pairs(cut_foreign(self._passage(hit).text))
            hit.score += PHRASES_WEIGHT * phrases.get(hit.first, 0.0) / best
            hit.score += looks[self._foreign[hit.document]].closeness(text)
        return sorted(hits, key=lambda hit: (-hit.score, hit.first))

    def _phrases(self, question: str, hits: list[_Hit]) -> dict[int, float]:
        """Score rows by the pairs of neighbouring telling words of the question that they hold as phrases."""
        query = " OR ".join(self._rarest(phrases_of(question)))
        if not query:
            return {}
        rows = ", ".join(str(hit.first) for hit in hits)
        found = f"{_SCORES} WHERE words MATCH ? AND rowid IN ({rows})"
        return dict(self._database.execute(found, (query,)))

    def _look(self, question: str, foreign: bool) -> Look:
        """Return the question's telling words and how rare they are, as rows of a document hold them."""
        telling = [word for word in words(cut_foreign(question)) if word.lower() not in common_words()]
        forms = self._cut if foreign else self._stems.of
        rarities = {}
        for word, form in forms(telling).items():
            if not form:
                continue
            column = "stems" if foreign else "text"
            count = self._count(f'{column} : "{form if foreign else word}"')
            rarities[form] = rarity(count, self._added)
        return Look.at(question, rarities, forms)

    def _cut(self, given: Iterable[str]) -> dict[str, str]:
        return {word: cut_latin(word) for word in given}

    def _named(self, question: str) -> dict[int, float]:
        """Score the documents whose names share words with the question; rare words count more."""
        asked = set(words(question.lower()))
        having: dict[str, list[int]] = {}
        for number, document in enumerate(self._documents):
            for word in asked.intersection(words(document.name.lower())):
                having.setdefault(word, []).append(number)
        total, bonus = len(self._documents), dict[int, float]()
        for numbers in having.values():
            for number in numbers if total > 1 else ():
                bonus[number] = bonus.get(number, 0.0) + NAME_WEIGHT * rarity(len(numbers), total)
        return bonus

    def _passage(self, hit: _Hit) -> Quote:
        places = self._database.execute(_SPAN, (hit.first, hit.last)).fetchall()
        (byte_start, _, first_line, _), (_, byte_end, _, last_line) = places[0], places[-1]
        span = Span(self._documents[hit.document], byte_start, byte_end, first_line, last_line)
        return Quote(span, span.text(), hit.score)


def rarity(having: int, total: int) -> float:
    """Return the idf of what is in so many of all rows or documents."""
    return math.log(1 + (total - having + 0.5) / (having + 0.5))


def _any_of(terms: list[str], foreign: bool) -> str:
    """Write terms as a query for any of them; in documents of other languages also for their cut form."""
    query = " OR ".join(terms)
    stems = dict.fromkeys(f'"{cut}"' for term in terms if (cut := cut_latin(term)))
    if not foreign or not stems:
        return query
    return f"{{text names}} : ({query}) OR stems : ({' OR '.join(stems)})"
