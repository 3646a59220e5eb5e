"""A first pass through texts too long to index: where a question's words stand, and how rare they are.

A text is looked through in cells of about a kilobyte, some hundred megabytes a second. Kept are the places of
the cells that hold the rarest words, in memory that does not grow with the text. As in the index, a text is
found by its words, not by its meaning.
"""

import re
import unicodedata
from array import array
from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import replace

from longctx.progress import Progress
from longctx.quotes.index import rarity
from longctx.quotes.prose import common_words, humps, words
from longctx.quotes.stems import JUDGED, LETTERS, Stems, cut_foreign, is_foreign_latin
from longctx.text.offsets import byte_after, line_ends
from longctx.text.source import Document
from longctx.text.span import Span
from longctx.text.stretches import merged, stretches, whole, widened

BLOCK = 1 << 16  # characters that are searched at once for words
CELL = 1 << 10  # characters
MARGIN = 1 << 10  # bytes that are added on each side of a cell
FIELDS = 4  # of a cell that is kept: its document, first byte, last byte, first line
SHORT = 4  # letters; of longer words, endings differ
MOST_WORDS = 48  # of a question; the longest ones
MOST_MASKS = 4096  # sets of words that are told apart
_AROUND = "\"'`?!.,;:()[]{}<>"
_MARKS = re.compile("[\u0300-\u036f\u0591-\u05c7\u0610-\u061a\u064b-\u065f\u0670]+")


class Cells:
    """Cells of documents that hold words of questions.

    Args:
        most: cells that can be asked for; of those with the same words, the first ones are kept.
    """

    def __init__(self, documents: Sequence[Document], questions: Sequence[str], most: int) -> None:
        self.documents, self.most, self.total = documents, most, 0
        self._asked = [telling(question) for question in questions]
        found = sorted(set().union(*self._asked), key=lambda word: (-len(word), word))
        self._words = found[:MOST_WORDS]
        self._needles = {foreign: _needles(self._words, foreign) for foreign in (False, True)}
        self._having = [0] * len(self._words)
        self._kept: dict[int, array[int]] = {}  # set of words -> the cells that hold just these
        self._cut: set[int] = set()  # sets of words of which not all cells are kept
        self._held = 0

    def look_through(self, number: int) -> Iterable[int]:
        """Look through a document; yield how many bytes of it are done."""
        document = self.documents[number]
        needles = self._needles[is_foreign_latin(next(document.blocks(JUDGED), ""))]
        named = fold(document.name)
        for span, text in stretches(whole(document), BLOCK):
            folded = text.lower() if text.isascii() else fold(text)
            here = [(bit, needle) for bit, needle in needles if needle in folded]
            name = 0
            if span.byte_start == document.start:
                name = sum(1 << bit for bit, needle in needles if needle in named)
            if here or name:
                self._cells(number, span, text, here, name)
            else:
                self.total += 1 + len(text) // CELL
            yield span.byte_end - document.start

    def _cells(self, number: int, span: Span, text: str, here: list[tuple[int, str]], name: int) -> None:
        """Keep the cells of a block that hold any of the words that are in it."""
        document, plain = span.document, text.isascii()
        folded, at, last = (text.lower() if plain else text), 0, len(text)
        byte, line, counted = (
            span.byte_start,
            span.first_line,
            0,
        )  # bytes and lines are counted only up to cells that are kept
        while at < last:
            stop = at + CELL
            if stop < last:
                stop = text.rfind("\n", at, stop) + 1 or text.rfind(" ", at, stop) + 1 or stop
            cell = folded[at:stop] if plain else fold(text[at:stop])
            mask = 0
            for bit, needle in here:
                if needle in cell:
                    mask |= 1 << bit
                    self._having[bit] += 1
            self.total += 1
            if (mask or name) and self._wants(mask | name):
                byte = byte_after(document, byte, text[counted:at])
                line += line_ends(text[counted : at + 1], at - counted)
                counted = at
                self._keep(mask | name, (number, byte, byte_after(document, byte, text[at:stop]), line))
            name, at = 0, stop

    def _wants(self, mask: int) -> bool:
        full = len(self._kept.get(mask, ())) >= FIELDS * self.most
        if full:
            self._cut.add(mask)
        return not full

    def _keep(self, mask: int, cell: tuple[int, int, int, int]) -> None:
        self._kept.setdefault(mask, array("Q")).extend(cell)
        self._held += 1
        if self._held > 4 * self.most or len(self._kept) > MOST_MASKS:
            self._prune()

    def _prune(self) -> None:
        """Forget the cells with the commonest words; more are left than can be asked for."""
        kept: dict[int, array[int]] = {}
        held = 0
        for mask, _ in self._ranked(-1):
            if held >= 2 * self.most or len(kept) >= MOST_MASKS // 2:
                break
            kept[mask] = self._kept[mask]
            held += len(kept[mask]) // FIELDS
        self._kept, self._held = kept, held

    def _ranked(self, asked: int) -> list[tuple[int, float]]:
        """Rank the sets of words that cells hold by the rarity of those that were asked for."""
        weights = [rarity(having, max(having, self.total)) for having in self._having]
        scores = {
            mask: sum(weight for bit, weight in enumerate(weights) if mask & asked & 1 << bit)
            for mask in self._kept
        }
        return sorted(((m, s) for m, s in scores.items() if s > 0), key=lambda one: (-one[1], one[0]))

    def best(self, room: int, close: float = 0.0) -> list[Span]:
        """Return what stands around the best cells, about `room` bytes in all, in reading order.

        Each question gets its share of the room.

        Args:
            close: take only cells that score at least this share of the best one for the question.
        """
        cells: set[tuple[int, ...]] = set()
        for ranked in self._ranked_for_each():
            left = room // len(self._asked)
            least = close * ranked[0][1] if ranked else 0.0
            for cell in self._in_order(mask for mask, score in ranked if score >= least):
                if left <= 0:
                    break
                cells.add(cell)
                left -= cell[2] - cell[1] + 2 * MARGIN
        return list(merged(widened(self._span(cell), MARGIN) for cell in sorted(cells)))

    def complete(self, room: int, close: float) -> bool:
        """Tell whether `best` returns all cells that score so high, for each question."""
        count = 0
        for ranked in self._ranked_for_each():
            masks = [mask for mask, score in ranked if score >= close * ranked[0][1]]
            if any(mask in self._cut for mask in masks):
                return False
            count = max(count, sum(len(self._kept[mask]) // FIELDS for mask in masks))
        return count * (CELL + 2 * MARGIN) * len(self._asked) <= room

    def _ranked_for_each(self) -> Iterator[list[tuple[int, float]]]:
        """Rank the sets of words for each question; those without any of its words are left out."""
        for asked in self._asked:
            yield self._ranked(sum(1 << bit for bit, word in enumerate(self._words) if word in asked))

    def _in_order(self, masks: Iterable[int]) -> Iterator[tuple[int, ...]]:
        for mask in masks:
            places = self._kept[mask]
            for at in range(0, len(places), FIELDS):
                yield tuple(places[at : at + FIELDS])

    def _span(self, cell: tuple[int, ...]) -> Span:
        number, start, end, line = cell
        span = Span(self.documents[number], start, end, line, line)
        return replace(span, last_line=line + line_ends(span.text()))


def scan(
    documents: Sequence[Document], questions: Sequence[str], room: int
) -> Generator[Progress, None, Cells]:
    """Look through documents for the words of questions, of which about `room` bytes can be asked for."""
    cells = Cells(documents, questions, room // CELL)
    total, done = sum(document.end - document.start for document in documents), 0
    for number, document in enumerate(documents):
        for more in cells.look_through(number):
            yield Progress(f"looking through {document.name}", done + more, total, 0)
        done += document.end - document.start
    return cells


def telling(question: str) -> set[str]:
    """Return the telling words of a question in lower case, parts of names and names as a whole."""
    found: set[str] = set()
    for token in cut_foreign(question).split():
        inside = words(token)
        if len(inside) > 1 and token.isascii():
            found.add(token.strip(_AROUND))
        found.update(inside, humps(token).split())
    found = {fold(word) for word in found} - {""}
    found = found - common_words() or found
    return {word for word in found if len(word) > 1 or not word.isascii()} or found


def fold(text: str) -> str:
    """Return text in lower case without accents and vowel points."""
    return text.lower() if text.isascii() else _MARKS.sub("", unicodedata.normalize("NFD", text.lower()))


def _needles(words: Sequence[str], foreign: bool) -> list[tuple[int, str]]:
    """Return what to search for, beside the number of its word: what all its forms have in common."""
    stems = Stems()
    known = stems.of(words)
    stems.close()
    return [(bit, _root(word, known[word], foreign)) for bit, word in enumerate(words)]


def _root(word: str, stem: str, foreign: bool) -> str:
    if not word.isalpha():
        return word
    same = next((n for n, pair in enumerate(zip(word, stem, strict=False)) if pair[0] != pair[1]), len(stem))
    root = word[:same] or word
    if len(root) > SHORT and root[-1] in "ei":  # write, writing; query, queries
        root = root[:-1]
    return root[:LETTERS] if foreign else root
